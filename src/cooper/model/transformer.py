"""The Mixture-of-Transformers decoder: two experts, `und` and `gen`, over one shared attention.

Tokens come as two streams, one an expert: `und` (text and vision tokens, and the frames of images) and `gen`
(drawing tokens). Each layer runs every stream through its own weights and lets all tokens attend together. An absent
stream is None and costs nothing. Attention does not care about order, so the streams are simply put one after the
other, `und` first; rotary positions and masks come in that same order ("stream order"). The experts may differ in
dtype: attention then takes that of `gen`.

Legend: B rows, N tokens of a stream or of both, h query heads, k key/value heads, D head width, H hidden width.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cooper.model.config import DecoderConfig
from cooper.model.norm import RMSNorm, rms_norm

Hidden: TypeAlias = Float[Tensor, "B N H"]


@runtime_checkable
class Attend(Protocol):
    """Attention as seen by a layer. The masks, the cache and the back end are its own business."""

    def __call__(
        self, layer: int, q: Float[Tensor, "B N h D"], k: Float[Tensor, "B N k D"], v: Float[Tensor, "B N k D"]
    ) -> Float[Tensor, "B N H"]:
        """Queries and keys, rotated, and values, in stream order, to the attended values (H = h * D)."""
        ...


class Expert(nn.Module):
    """One expert's weights in one layer. q, k and v are one matrix (rows q | k | v), and so are gate and up."""

    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.c = c
        self.norm_attention = RMSNorm(c.hidden, eps=c.norm_eps)
        self.qkv = nn.Linear(c.hidden, (c.heads + 2 * c.kv_heads) * c.head_dim)
        self.norm_q = nn.Parameter(torch.ones(c.head_dim))
        self.norm_k = nn.Parameter(torch.ones(c.head_dim))
        self.out = nn.Linear(c.hidden, c.hidden, bias=False)
        self.norm_ffn = RMSNorm(c.hidden, eps=c.norm_eps)
        self.gate_up = nn.Linear(c.hidden, 2 * c.ffn, bias=False)
        self.down = nn.Linear(c.ffn, c.hidden, bias=False)

    def project(self, x: Hidden) -> tuple[Float[Tensor, "B N heads D"], Float[Tensor, "B N k D"]]:
        """To queries and keys, normalised per head, and values."""
        c = self.c
        qkv = self.qkv(self.norm_attention(x)).unflatten(-1, (-1, c.head_dim))
        qk, v = qkv.split([c.heads + c.kv_heads, c.kv_heads], dim=2)
        weight = torch.cat([self.norm_q.expand(c.heads, -1), self.norm_k.expand(c.kv_heads, -1)])
        return rms_norm(qk, weight, c.norm_eps), v

    def finish(self, x: Hidden, attended: Hidden) -> Hidden:
        # a stream's part of several rows has gaps: PyTorch would multiply row by row, with a copy of the weights each
        x = x + self.out(attended.to(x.dtype).contiguous())
        return x + self.down(Gated.apply(self.gate_up(self.norm_ffn(x))))  # type: ignore[no-untyped-call]


class Gated(torch.autograd.Function):
    """silu(gate) * up of gate | up (..., 2 * F), as (..., F).

    Left to autograd its gradient takes more than twice as long, and a twentieth of a training step on a CPU: two halves
    that are then put side by side.
    """

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        opened = F.silu(gate)
        ctx.save_for_backward(gate_up, opened)
        return opened * up

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        gate_up, opened = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        both = torch.empty_like(gate_up)
        of_gate, of_up = both.chunk(2, dim=-1)
        torch.mul(grad, opened, out=of_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=of_gate)
        return both


def embedding(number: int, width: int) -> nn.Embedding:
    """A table of so many rows. Without data ("meta") it is not filled: for that PyTorch would import its compiler, for
    a second and a half whenever a model is loaded."""
    if torch.get_default_device().type != "meta":
        return nn.Embedding(number, width)
    return nn.Embedding.from_pretrained(torch.empty(number, width), freeze=False)


class Layer(nn.Module):
    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.und = Expert(c)
        self.gen = Expert(c)


class MixtureOfTransformers(nn.Module):
    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.c = c
        self.embed = embedding(c.vocabulary, c.hidden)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm_und = RMSNorm(c.hidden, eps=c.norm_eps)
        self.norm_gen = RMSNorm(c.hidden, eps=c.norm_eps)
        self.head = nn.Linear(c.hidden, c.vocabulary, bias=False)
        self.checkpointing = False
        """Activation checkpointing: keep only the input of each layer, and recompute the rest in the backward pass.
        Slower, with much less memory."""

    def forward(
        self, und: Float[Tensor, "B U H"] | None, gen: Float[Tensor, "B G H"] | None,
        positions: Int64[Tensor, "B N"], attend: Attend,
    ) -> tuple[Float[Tensor, "B U H"] | None, Float[Tensor, "B G H"] | None]:
        """Streams, and rotary positions of both in stream order, to normalised hidden states."""
        c = self.c
        split = 0 if und is None else und.shape[1]
        dtype = (gen if gen is not None else und).dtype  # type: ignore[union-attr]
        cos, sin = rotary(positions, c.head_dim, c.rope_theta, dtype)

        def through(i: int, und: Tensor | None, gen: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
            layer = self.layers[i]
            qk, v = _join(
                None if und is None else layer.und.project(und),  # type: ignore[union-attr,operator]
                None if gen is None else layer.gen.project(gen),  # type: ignore[union-attr,operator]
            )
            q, k = rotate(qk, cos, sin).split([c.heads, c.kv_heads], dim=2)
            attended = attend(i, q, k, v)
            return (
                None if und is None else layer.und.finish(und, attended[:, :split]),  # type: ignore[union-attr,operator]
                None if gen is None else layer.gen.finish(gen, attended[:, split:]),  # type: ignore[union-attr,operator]
            )

        again = self.checkpointing and torch.is_grad_enabled()
        for i in range(c.layers):
            und, gen = checkpoint(through, i, und, gen, use_reentrant=False) if again else through(i, und, gen)
        return (
            None if und is None else self.norm_und(und),
            None if gen is None else self.norm_gen(gen),
        )


def _join(a: tuple[Tensor, Tensor] | None, b: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    if a is None or b is None:
        both = a or b
        assert both is not None, "at least one stream must be present"
        return both
    qk, v = (torch.cat([x.to(y.dtype), y], dim=1) for x, y in zip(a, b, strict=True))
    return qk, v


def rotary(
    positions: Int64[Tensor, "B N"], width: int, theta: float, dtype: torch.dtype
) -> tuple[Float[Tensor, "B N 1 D"], Float[Tensor, "B N 1 D"]]:
    """Cosines and sines of the rotary angles, for `rotate`; computed in fp32 whatever the dtype."""
    frequencies = theta ** (-torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width)
    angles = positions[..., None].float() * frequencies
    cos, sin = angles.cos(), angles.sin()
    both = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
    return both[0].to(dtype).unsqueeze(2), both[1].to(dtype).unsqueeze(2)


def rotate(
    x: Float[Tensor, "B N heads D"], cos: Float[Tensor, "B N 1 D"], sin: Float[Tensor, "B N 1 D"]
) -> Float[Tensor, "B N heads D"]:
    """Rotate x; the two halves of a head are the two coordinates (the Qwen2 convention)."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
