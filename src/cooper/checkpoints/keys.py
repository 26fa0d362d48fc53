"""Names of the released checkpoints (`ema.safetensors`, `ae.safetensors`) and ours.

What the released file holds, family by family:

    language_model.model.embed_tokens, .norm, .norm_moe_gen, language_model.lm_head
    language_model.model.layers.N.
        input_layernorm, post_attention_layernorm           expert `und`
        self_attn.{q,k,v,o}_proj, self_attn.{q,k}_norm
        mlp.{gate,up,down}_proj
        the same with `_moe_gen`                            expert `gen` (`q_proj_moe_gen`, `mlp_moe_gen` ...)
    vit_model.vision_model.embeddings.{patch_embedding, position_embedding}, .post_layernorm
    vit_model.vision_model.encoder.layers.N.{layer_norm1, layer_norm2, self_attn.{q,k,v,out}_proj, mlp.fc1, mlp.fc2}
    connector.fc1, connector.fc2                            vision features -> decoder
    time_embedder.mlp.0, time_embedder.mlp.2                noise time -> decoder
    vae2llm, llm2vae                                        drawing tokens in, velocities out
    vit_pos_embed.pos_embed, latent_pos_embed.pos_embed     fixed sin-cos tables (may be absent)
    encoder.*, decoder.*                                    in `ae.safetensors`: our names without `autoencoder.`

Ours fuse q, k, v into `qkv` and gate, up into `gate_up`; a fused tensor stands for several released ones, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from cooper.model.config import ModelConfig

#: the fixed tables: our buffer -> released name
TABLES = {"latent_table": "latent_pos_embed.pos_embed", "vision_table": "vit_pos_embed.pos_embed"}
#: what the names of all its parameters begin with
AUTOENCODER = "autoencoder."


def released_names(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """Our parameter name -> the released names it consists of, in row order. Without the autoencoder's."""
    names: dict[str, tuple[str, ...]] = {}

    def add(ours: str, *released: str, kinds: tuple[str, ...] = ("weight", "bias")) -> None:
        for kind in kinds:
            names[f"{ours}.{kind}"] = tuple(f"{r}.{kind}" for r in released)

    weight = ("weight",)
    lm = "language_model.model."
    add("decoder.embed", lm + "embed_tokens", kinds=weight)
    add("decoder.norm_und", lm + "norm", kinds=weight)
    add("decoder.norm_gen", lm + "norm_moe_gen", kinds=weight)
    add("decoder.head", "language_model.lm_head", kinds=weight)
    for i in range(config.decoder.layers):
        for expert, suffix in (("und", ""), ("gen", "_moe_gen")):
            ours, theirs = f"decoder.layers.{i}.{expert}.", f"{lm}layers.{i}."
            attention, mlp = theirs + "self_attn.", f"{theirs}mlp{suffix}."
            add(ours + "norm_attention", f"{theirs}input_layernorm{suffix}", kinds=weight)
            add(ours + "norm_ffn", f"{theirs}post_attention_layernorm{suffix}", kinds=weight)
            add(ours + "qkv", *(f"{attention}{x}_proj{suffix}" for x in "qkv"))
            for x in "qk":
                names[f"{ours}norm_{x}"] = (f"{attention}{x}_norm{suffix}.weight",)
            add(ours + "out", f"{attention}o_proj{suffix}", kinds=weight)
            add(ours + "gate_up", mlp + "gate_proj", mlp + "up_proj", kinds=weight)
            add(ours + "down", mlp + "down_proj", kinds=weight)
    vit = "vit_model.vision_model."
    add("vision.patches", vit + "embeddings.patch_embedding")
    add("vision.positions", vit + "embeddings.position_embedding", kinds=weight)
    add("vision.norm", vit + "post_layernorm")
    for i in range(config.vision.layers):
        ours, theirs = f"vision.layers.{i}.", f"{vit}encoder.layers.{i}."
        add(ours + "norm_attention", theirs + "layer_norm1")
        add(ours + "norm_ffn", theirs + "layer_norm2")
        add(ours + "qkv", *(f"{theirs}self_attn.{x}_proj" for x in "qkv"))
        add(ours + "out", theirs + "self_attn.out_proj")
        add(ours + "up", theirs + "mlp.fc1")
        add(ours + "down", theirs + "mlp.fc2")
    add("connector_in", "connector.fc1")
    add("connector_out", "connector.fc2")
    add("time_in", "time_embedder.mlp.0")
    add("time_out", "time_embedder.mlp.2")
    add("latent_in", "vae2llm")
    add("latent_out", "llm2vae")
    return names


def rows_of_parts(name: str, config: ModelConfig) -> list[int]:
    """Rows of each part of a fused tensor."""
    if ".gate_up." in name:
        return [config.decoder.ffn] * 2
    if name.startswith("vision."):
        return [config.vision.hidden] * 3
    c = config.decoder
    return [c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.head_dim]


def to_released(tensors: Mapping[str, Tensor], config: ModelConfig) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Our tensors (parameters and tables, or anything of their shapes, such as gradients) under the released names.

    Returns the main file's and the autoencoder's. Fused tensors come back as views of their rows.
    """
    main: dict[str, Tensor] = {}
    names = released_names(config)
    for name, tensor in tensors.items():
        if name.startswith(AUTOENCODER) or name in TABLES:
            continue
        parts = names[name]
        pieces = (tensor,) if len(parts) == 1 else tensor.split(rows_of_parts(name, config))
        main.update(zip(parts, pieces, strict=True))
    main.update({released: tensors[ours] for ours, released in TABLES.items() if ours in tensors})
    ae = {k.removeprefix(AUTOENCODER): t for k, t in tensors.items() if k.startswith(AUTOENCODER)}
    return main, ae
