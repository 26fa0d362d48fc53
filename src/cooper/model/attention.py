"""Attention back ends for whole, packed rows. (Attention over a cache is in `inference/cache.py`.)"""

from __future__ import annotations

from collections.abc import Sequence
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
        shared = q.shape[2] // k.shape[2]
        # keys and values once for each head: for masked attention with fewer of them CUDA has only the slow kernel,
        # which keeps all scores in fp32
        k, v = (x.repeat_interleave(shared, dim=2) for x in (k, v))
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.allowed)
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
        parts = [part for part, _ in self.parts]
        queries = _take(q * d**-0.5, [part.queries for part in parts])
        keys, values = (_take(x, [part.keys for part in parts]) for x in (k, v))
        outs = []
        for (part, bias), at, seen, value in zip(self.parts, queries, keys, values, strict=True):
            size = part.queries.shape[1]
            at = at.unflatten(-1, (heads, h // heads, d)).permute(0, 2, 3, 1, 4).flatten(2, 3)  # K, k, g * C, D
            seen = seen.unflatten(-1, (heads, d)).permute(0, 2, 3, 1)  # K, k, D, L
            value = value.unflatten(-1, (heads, d)).transpose(1, 2)  # K, k, L, D
            weights = torch.softmax((at @ seen).unflatten(2, (-1, size)) + bias, dim=-1).flatten(2, 3)
            out = (weights @ value).unflatten(2, (-1, size))  # K, k, g, C, D
            outs.append(out.permute(0, 3, 1, 2, 4).reshape(-1, h * d))
        return torch.cat(outs).index_select(0, self.back).view(b, n, h * d)


def _take(x: Tensor, places: Sequence[Tensor]) -> list[Tensor]:
    """What x (B, N, heads, D) has at places (...) of its flattened stream: (..., heads * D) for each of them.

    At once: taken one by one, each would have a gradient as large as x, mostly zeros, and all these be added up.
    """
    rows = x.flatten(2).flatten(0, 1)
    taken = rows.index_select(0, torch.cat([at.flatten() for at in places])).split([at.numel() for at in places])
    return [one.view(*at.shape, rows.shape[1]) for one, at in zip(taken, places, strict=True)]


def _bias(part: Part, dtype: torch.dtype) -> Tensor:
    """K, 1, 1, C, L: zero where a token may attend, minus infinity elsewhere."""
    bias = torch.zeros(part.allowed.shape, dtype=dtype).masked_fill_(~part.allowed, float("-inf"))
    return bias[:, None, None]
