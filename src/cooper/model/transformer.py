"""The Mixture-of-Transformers decoder: two experts, `und` and `gen`, over one shared attention.

Tokens come as two streams, one an expert: `und` (text and vision tokens, and the frames of images) and `gen`
(drawing tokens). Each layer runs every stream through its own weights and lets all tokens attend together. An absent
stream is None and costs nothing. Attention does not care about order, so the streams are simply put one after the
other, `und` first; rotary positions and masks come in that same order ("stream order").

Legend: B rows, N tokens of a stream or of both, h query heads, k key/value heads, D head width, H hidden width.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cooper.model.config import DecoderConfig


class Attend(Protocol):
    """Attention as seen by a layer. The masks, the cache and the back end are its own business."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, N, h, D) and k, v (B, N, k, D), rotated, in stream order, to (B, N, h * D)."""
        ...


class Expert(nn.Module):
    """One expert's weights in one layer. q, k and v are one matrix (rows q | k | v), and so are gate and up."""

    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.c = c
        self.norm_attention = nn.RMSNorm(c.hidden, eps=c.norm_eps)
        self.qkv = nn.Linear(c.hidden, (c.heads + 2 * c.kv_heads) * c.head_dim)
        self.norm_q = nn.Parameter(torch.ones(c.head_dim))
        self.norm_k = nn.Parameter(torch.ones(c.head_dim))
        self.out = nn.Linear(c.hidden, c.hidden, bias=False)
        self.norm_ffn = nn.RMSNorm(c.hidden, eps=c.norm_eps)
        self.gate_up = nn.Linear(c.hidden, 2 * c.ffn, bias=False)
        self.down = nn.Linear(c.ffn, c.hidden, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, N, H) to queries and keys, normalised per head, (B, N, h + k, D) and values (B, N, k, D)."""
        c = self.c
        qkv = self.qkv(self.norm_attention(x)).unflatten(-1, (-1, c.head_dim))
        qk, v = qkv.split([c.heads + c.kv_heads, c.kv_heads], dim=2)
        weight = torch.cat([self.norm_q.expand(c.heads, -1), self.norm_k.expand(c.kv_heads, -1)])
        return F.rms_norm(qk, (c.head_dim,), eps=c.norm_eps) * weight, v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.out(attended)
        gate, up = self.gate_up(self.norm_ffn(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.und = Expert(c)
        self.gen = Expert(c)


class MixtureOfTransformers(nn.Module):
    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.c = c
        self.embed = nn.Embedding(c.vocabulary, c.hidden)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm_und = nn.RMSNorm(c.hidden, eps=c.norm_eps)
        self.norm_gen = nn.RMSNorm(c.hidden, eps=c.norm_eps)
        self.head = nn.Linear(c.hidden, c.vocabulary, bias=False)

    def forward(
        self, und: Tensor | None, gen: Tensor | None, positions: Tensor, attend: Attend
    ) -> tuple[Tensor | None, Tensor | None]:
        """Streams (B, N, H), rotary positions (B, N of both) in stream order, to normalised hidden states."""
        c = self.c
        split = 0 if und is None else und.shape[1]
        cos, sin = rotary(positions, c.head_dim, c.rope_theta, (und if und is not None else gen).dtype)  # type: ignore[union-attr]
        for i, layer in enumerate(self.layers):
            qk, v = _join(
                None if und is None else layer.und.project(und),  # type: ignore[union-attr,operator]
                None if gen is None else layer.gen.project(gen),  # type: ignore[union-attr,operator]
            )
            q, k = rotate(qk, cos, sin).split([c.heads, c.kv_heads], dim=2)
            attended = attend(i, q, k, v)
            if und is not None:
                und = layer.und.finish(und, attended[:, :split])  # type: ignore[union-attr,operator]
            if gen is not None:
                gen = layer.gen.finish(gen, attended[:, split:])  # type: ignore[union-attr,operator]
        return (
            None if und is None else self.norm_und(und),
            None if gen is None else self.norm_gen(gen),
        )


def _join(a: tuple[Tensor, Tensor] | None, b: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    if a is None or b is None:
        both = a or b
        assert both is not None, "at least one stream must be present"
        return both
    return torch.cat([a[0], b[0]], dim=1), torch.cat([a[1], b[1]], dim=1)


def rotary(positions: Tensor, width: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines (B, N, 1, D / 2) of the rotary angles; computed in fp32 whatever the model's dtype."""
    frequencies = theta ** (-torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width)
    angles = positions[..., None].float() * frequencies
    return angles.cos().to(dtype).unsqueeze(2), angles.sin().to(dtype).unsqueeze(2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x (B, N, heads, D); the two halves of a head are the two coordinates (the Qwen2 convention)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
