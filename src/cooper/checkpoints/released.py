"""A folder in the released layout (BAGEL family): the files that COOPER's and BAGEL's authors publish.

    ema.safetensors or model.safetensors    decoder, vision transformer, connectors; one file, or parts with an index
    ae.safetensors                          autoencoder
    llm_config.json, vit_config.json        sizes
    ae_config.json, model_args.json         sizes that the published model fixes in code; only small models have them
    tokenizer.json                          or vocab.json, merges.txt and tokenizer_config.json, which say the same

The published autoencoder, latent patch and position tables are the defaults where `ae_config` and `model_args` are
absent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from cooper.modalities.codes import RELEASED as RELEASED_CODES
from cooper.model.config import AutoencoderConfig, DecoderConfig, ModelConfig, SpecialTokens, VisionConfig
from cooper.model.presets import BAGEL_AUTOENCODER, BAGEL_FLOW, BAGEL_SPECIAL, BAGEL_TOKENS

#: averaged weights, which are what is used, before others
WEIGHTS = ("ema", "model")
CONFIGS = ("llm_config.json", "vit_config.json")
#: how Qwen2's tokenizer cuts text into words, before it looks them up
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def released_config(folders: Sequence[Path], special: SpecialTokens = BAGEL_SPECIAL) -> ModelConfig:
    """The sizes that a released model's folders state. Raises ValueError, naming the file, if one is missing or
    incomplete."""
    llm, vit = (_json(folders, name) for name in CONFIGS)
    ae, args = _json(folders, "ae_config.json", None), _json(folders, "model_args.json", {})
    if "cooper" in args:
        return ModelConfig.from_dict(args["cooper"])
    try:
        side = args.get("vit_max_num_patch_per_side", vit["image_size"] // vit["patch_size"])
        used = vit["num_hidden_layers"] + 1 + args.get("vit_select_layer", -2)
        return ModelConfig(
            DecoderConfig(
                llm["hidden_size"], llm["num_hidden_layers"], llm["num_attention_heads"], llm["num_key_value_heads"],
                llm["intermediate_size"], llm["vocab_size"], llm["rope_theta"], llm["rms_norm_eps"],
            ),
            VisionConfig(
                vit["hidden_size"], used, vit["num_attention_heads"], vit["intermediate_size"], vit["patch_size"],
                side, vit.get("layer_norm_eps", 1e-6),
            ),
            BAGEL_AUTOENCODER if ae is None else AutoencoderConfig(
                ae["ch"], tuple(ae["ch_mult"]), ae["num_res_blocks"], ae["z_channels"], ae.get("num_groups", 32),
                scale=ae["scale_factor"], shift=ae["shift_factor"],
            ),
            special,
            args.get("latent_patch_size", 2),
            args.get("max_latent_size", 64),
            time_shift=args.get("timestep_shift", 1.0),
            codes=RELEASED_CODES,
            flow=BAGEL_FLOW,
            turn_tokens=BAGEL_TOKENS[0],
            trace_tokens=BAGEL_TOKENS[1],
        )  # fmt: skip
    except KeyError as error:
        where = " and ".join(map(str, folders))
        raise ValueError(f"{where}: its config files lack {error}; is it a complete BAGEL-family folder?") from None


def config_files(config: ModelConfig) -> dict[str, dict[str, Any]]:
    """The inverse of `released_config`: what each settings file of a released folder says. What the layout has no place
    for is in `model_args.json`, which other programs do not read."""
    d, v, a = config.decoder, config.vision, config.autoencoder
    return {
        "llm_config.json": {
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "hidden_size": d.hidden,
            "num_hidden_layers": d.layers, "num_attention_heads": d.heads, "num_key_value_heads": d.kv_heads,
            "intermediate_size": d.ffn, "vocab_size": d.vocabulary, "rope_theta": d.rope_theta,
            "rms_norm_eps": d.norm_eps, "tie_word_embeddings": False,
        },
        "vit_config.json": {
            "model_type": "siglip_vision_model", "hidden_act": "gelu_pytorch_tanh", "hidden_size": v.hidden,
            "num_hidden_layers": v.layers + 1, "num_attention_heads": v.heads, "intermediate_size": v.ffn,
            "num_channels": 3, "patch_size": v.patch, "image_size": v.patch * v.max_side, "layer_norm_eps": v.norm_eps,
        },
        "ae_config.json": {
            "ch": a.channels, "ch_mult": list(a.multipliers), "num_res_blocks": a.blocks, "z_channels": a.latent,
            "num_groups": a.groups, "scale_factor": a.scale, "shift_factor": a.shift,
        },
        "model_args.json": {
            "vit_select_layer": -2, "vit_max_num_patch_per_side": v.max_side, "latent_patch_size": config.latent_patch,
            "max_latent_size": config.max_latent_side, "timestep_shift": config.time_shift, "cooper": config.to_dict(),
        },
    }  # fmt: skip


def released_tokenizer(folders: Sequence[Path], special: SpecialTokens = BAGEL_SPECIAL) -> Tokenizer:
    """The tokenizer of a released model. Raises ValueError if its files are not there, damaged, or another model's."""
    where = " and ".join(map(str, folders))
    whole = _find(folders, "tokenizer.json")
    parts = [_find(folders, name) for name in ("vocab.json", "merges.txt", "tokenizer_config.json")]
    if whole is None and None in parts:
        raise ValueError(
            f"{where} has no tokenizer; looked for tokenizer.json, or vocab.json, merges.txt and "
            "tokenizer_config.json. Copy them from the Qwen2.5 model that the weights are based on"
        )
    try:
        tokenizer = _from_parts(*(path for path in parts if path)) if whole is None else Tokenizer.from_file(str(whole))
    except Exception as error:  # tokenizers raises nothing more particular
        raise ValueError(f"{whole or parts[0]} is damaged: {error}") from None
    if tokenizer.token_to_id("<|im_start|>") != special.begin:
        raise ValueError(f"{where}: <|im_start|> should be token {special.begin}; is this Qwen2's tokenizer?")
    return tokenizer


def _from_parts(vocabulary: Path, merges: Path, settings: Path) -> Tokenizer:
    """What Qwen2's tokenizer.json would say, from the files that it was made of."""
    tokenizer = Tokenizer(BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    added = json.loads(settings.read_text(encoding="utf-8"))["added_tokens_decoder"]
    for _, token in sorted(added.items(), key=lambda item: int(item[0])):
        make = tokenizer.add_special_tokens if token["special"] else tokenizer.add_tokens
        make([AddedToken(token["content"], normalized=token["normalized"], special=token["special"])])
    return tokenizer


def _find(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _json(folders: Sequence[Path], name: str, *default: Any) -> Any:
    path = _find(folders, name)
    if path is None:
        if default:
            return default[0]
        raise ValueError(f"{' and '.join(map(str, folders))} has no {name}; a released model needs it")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
