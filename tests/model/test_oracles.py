"""A second opinion: parts of the model against other people's implementations of the same, on shared random weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.helpers import random_model
from torch import Tensor, nn

from cooper.checkpoints.keys import to_released
from cooper.layout import Words, chain, collate, lay_out
from cooper.model.config import AutoencoderConfig
from cooper.model.norm import rms_norm
from cooper.model.packed import forward
from cooper.model.transformer import Gated

MODEL = random_model(autoencoder=AutoencoderConfig(8, (1, 2, 2), 2, 4, groups=4, scale=0.36, shift=0.12))
MAIN, AUTOENCODER = to_released({k: p.detach() for k, p in MODEL.named_parameters()}, MODEL.config)


def load(module: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    module.load_state_dict(state, strict=True)
    return module.eval()


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-5)


@torch.no_grad()
def test_text_is_read_as_by_qwen3() -> None:
    """The `und` expert alone is a Qwen2 with norms on queries and keys, which is a Qwen3 with biases on q, k and v."""
    transformers = pytest.importorskip("transformers")
    c = MODEL.config.decoder
    config = transformers.Qwen3Config(
        hidden_size=c.hidden, num_hidden_layers=c.layers, num_attention_heads=c.heads, num_key_value_heads=c.kv_heads,
        head_dim=c.head_dim, intermediate_size=c.ffn, vocab_size=c.vocabulary, rms_norm_eps=c.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta}, attention_bias=True,
        tie_word_embeddings=False,
    )  # fmt: skip
    state = {
        k.removeprefix("language_model."): t
        for k, t in MAIN.items()
        if k.startswith("language_model.") and "_moe_gen" not in k
    }
    for i in range(c.layers):  # theirs has a bias there, too
        state[f"model.layers.{i}.self_attn.o_proj.bias"] = torch.zeros(c.hidden)
    theirs = load(transformers.Qwen3ForCausalLM(config), state)
    words = Words(tuple(range(7, 80, 3)))
    row = lay_out(chain([words]), MODEL.config)
    ours = MODEL.logits(forward(MODEL, collate([row], MODEL.config))[0])
    close(ours, theirs(torch.from_numpy(row.ids)[None]).logits)


@torch.no_grad()
def test_pictures_are_seen_as_by_siglip() -> None:
    """On a picture that fills the position table; theirs knows no other sizes without interpolation."""
    transformers = pytest.importorskip("transformers")
    c = MODEL.config.vision
    config = transformers.SiglipVisionConfig(
        hidden_size=c.hidden, intermediate_size=c.ffn, num_hidden_layers=c.layers, num_attention_heads=c.heads,
        image_size=c.max_side * c.patch, patch_size=c.patch, layer_norm_eps=c.norm_eps, vision_use_head=False,
    )  # fmt: skip
    prefix = "vit_model.vision_model."
    state = {k.removeprefix(prefix): t for k, t in MAIN.items() if k.startswith(prefix)}
    patches = state["embeddings.patch_embedding.weight"].view(c.hidden, c.patch, c.patch, 3)
    state["embeddings.patch_embedding.weight"] = patches.permute(0, 3, 1, 2)
    theirs = load(transformers.SiglipVisionModel(config), state)
    images = torch.rand(2, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    close(MODEL.vision(images), theirs(images).last_hidden_state)


def diffusers_name(name: str, levels: int) -> str:
    """The released autoencoder's tensor names to diffusers'."""
    side, part, *rest = name.split(".")
    if part == "mid":
        block, *tail = rest
        if block == "attn_1":
            names = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
            return f"{side}.mid_block.attentions.0.{names[tail[0]]}.{tail[1]}"
        return f"{side}.mid_block.resnets.{int(block[-1]) - 1}.{'.'.join(tail)}"
    if part in ("down", "up"):
        level, kind, *tail = rest
        place = f"{side}.{part}_blocks.{level if part == 'down' else levels - 1 - int(level)}"
        if kind == "block":
            return f"{place}.resnets.{'.'.join(tail)}".replace("nin_shortcut", "conv_shortcut")
        return f"{place}.{part}samplers.0.{'.'.join(tail)}"
    return f"{side}.{part.replace('norm_out', 'conv_norm_out')}.{'.'.join(rest)}"


@torch.no_grad()
def test_images_are_encoded_as_by_diffusers() -> None:
    """diffusers' port of FLUX's autoencoder."""
    diffusers = pytest.importorskip("diffusers")
    c = MODEL.config.autoencoder
    n = len(c.multipliers)
    theirs = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * n, up_block_types=("UpDecoderBlock2D",) * n,
        block_out_channels=tuple(c.channels * m for m in c.multipliers), layers_per_block=c.blocks,
        latent_channels=c.latent, norm_num_groups=c.groups, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    shapes = theirs.state_dict()
    state = {(name := diffusers_name(k, n)): t.reshape(shapes[name].shape) for k, t in AUTOENCODER.items()}
    load(theirs, state)
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, log_variance = MODEL.autoencoder.posterior(images)
    posterior = theirs.encode(images).latent_dist
    close(mean, posterior.mean)
    close(log_variance, posterior.logvar)
    close(MODEL.autoencoder.encode(images), c.scale * (posterior.mean - c.shift))
    close(MODEL.autoencoder.decode(mean), theirs.decode(mean / c.scale + c.shift).sample)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gate_has_the_gradient_that_autograd_finds(dtype: torch.dtype) -> None:
    a = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_(True)
    b = a.detach().clone().requires_grad_(True)
    gate, up = b.chunk(2, dim=-1)
    ours, theirs = Gated.apply(a), F.silu(gate) * up
    weight = torch.arange(ours.numel()).view_as(ours).to(dtype)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    assert torch.equal(ours, theirs) and torch.equal(a.grad, b.grad)


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-6), (torch.bfloat16, 0.01)])
@pytest.mark.parametrize("heads", [(), (6,)])
def test_the_norm_has_the_gradient_that_autograd_finds(
    dtype: torch.dtype, off: float, heads: tuple[int, ...]
) -> None:
    """In fp64, from the same numbers; rows may be all but zero."""
    generator = torch.Generator().manual_seed(0)
    x, weight, grad = (torch.randn(*n, *heads, 48, generator=generator).to(dtype) for n in ((2, 50), (), (2, 50)))
    x[0, :10] *= 1e-4
    leaves = (x.detach(), weight)
    ours, theirs = ([t.to(of, copy=True).requires_grad_() for t in leaves] for of in (dtype, torch.float64))
    made = rms_norm(*ours, 1e-6)
    plain = F.rms_norm(theirs[0], (48,), eps=1e-6) * theirs[1]
    with torch.no_grad():
        assert torch.equal(made, rms_norm(*ours, 1e-6)), "the same, whether or not it is learned from"
    assert type(made.grad_fn).__name__ == "NormedBackward"
    made.backward(grad)
    plain.backward(grad.double())
    for a, b in zip(ours, theirs, strict=True):
        assert a.grad is not None and b.grad is not None
        assert a.grad.dtype == dtype and float((a.grad.double() - b.grad).norm() / b.grad.norm()) < off
    fixed = weight.clone()
    rms_norm(again := x.clone().requires_grad_(), fixed, 1e-6).backward(grad)
    assert torch.equal(again.grad, ours[0].grad) and fixed.grad is None
