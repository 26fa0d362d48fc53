"""Attention back ends for whole, packed rows. (Attention over a cache is in `inference/cache.py`.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from cooper.chunks import Chunks, Part
from cooper.model.transformer import Attend

if TYPE_CHECKING:
    from cooper.layout import Batch


def packed_attention(batch: Batch, dtype: torch.dtype, device: torch.device) -> Attend:
    """The back end that is fastest where the batch is: dense parts on a CPU, where masked blocks are not skipped."""
    if device.type == "cpu":
        return ChunkedAttention(batch.chunks, dtype)
    return DenseAttention(batch.allowed.to(device))


class DenseAttention:
    """`scaled_dot_product_attention` under a mask (B, N, N), True where a token may attend."""

    def __init__(self, allowed: Tensor):
        self.allowed = allowed[:, None]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.allowed, enable_gqa=True)
        return out.transpose(1, 2).flatten(2)


class ChunkedAttention:
    """The same, part by part (`cooper.chunks`), as matrix products and a softmax.

    On a CPU in bf16 these train 1.5 times faster than `scaled_dot_product_attention`.
    """

    def __init__(self, chunks: Chunks, dtype: torch.dtype):
        self.back = chunks.back
        self.parts = [(part, _bias(part, dtype)) for part in chunks.parts]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        b, n, h, d = q.shape
        heads = k.shape[2]
        q, k, v = (x.flatten(2).flatten(0, 1) for x in (q * d**-0.5, k, v))
        outs = []
        for part, bias in self.parts:
            size = part.queries.shape[1]
            at = _take(q, part.queries).unflatten(-1, (heads, h // heads, d))  # K, C, k, g, D
            keys = _take(k, part.keys).unflatten(-1, (heads, d)).permute(0, 2, 3, 1)  # K, k, D, L
            values = _take(v, part.keys).unflatten(-1, (heads, d)).transpose(1, 2)  # K, k, L, D
            scores = at.permute(0, 2, 3, 1, 4).flatten(2, 3) @ keys  # K, k, g * C, L
            weights = torch.softmax(scores.unflatten(2, (-1, size)) + bias, dim=-1).flatten(2, 3)
            out = (weights @ values).unflatten(2, (-1, size))  # K, k, g, C, D
            outs.append(out.permute(0, 3, 1, 2, 4).reshape(-1, h * d))
        return torch.cat(outs).index_select(0, self.back).view(b, n, h * d)


def _take(x: Tensor, places: Tensor) -> Tensor:
    """Rows of x (B * N, width) at `places` (...), as (..., width)."""
    return x.index_select(0, places.flatten()).view(*places.shape, x.shape[-1])


def _bias(part: Part, dtype: torch.dtype) -> Tensor:
    """K, 1, 1, C, L: zero where a token may attend, minus infinity elsewhere."""
    bias = torch.zeros(part.allowed.shape, dtype=dtype).masked_fill_(~part.allowed, float("-inf"))
    return bias[:, None, None]
