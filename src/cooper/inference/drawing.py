"""Drawing: the velocities of many maps at once, in contexts that stand still.

A drawing's contexts do not change over its flow steps. So what each map of each guidance branch sees is put together
once, without gaps, and attention is then one operation, or a few, for all of them. On a CPU the maps are dealt out to
threads that each run their own operations: threads that share one small operation mostly wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from cooper.hardware import lanes, side_by_side
from cooper.inference.cache import SCORES, Context
from cooper.layout import Noised, chain, collate, lay_out
from cooper.model.packed import embed
from cooper.model.unified import UnifiedModel


class GatheredCache:
    """What rows see: keys and values (layers, rows, kv heads, columns + room, head dim), the room being theirs."""

    def __init__(self, contexts: Sequence[Context], room: int, dtype: torch.dtype):
        rows = [_seen(context, row) for context in contexts for row in range(context.rows)]
        counts = [sum(k.shape[2] for k, _ in row) for row in rows]
        columns = max(counts)
        layers, heads, _, width = rows[0][0][0].shape
        device = contexts[0].positions.device
        self.k = torch.zeros(layers, len(rows), heads, columns + room, width, dtype=dtype, device=device)
        self.v = torch.zeros_like(self.k)
        for i, row in enumerate(rows):
            at = 0
            for k, v in row:
                self.k[:, i, :, at : at + k.shape[2]], self.v[:, i, :, at : at + k.shape[2]] = k, v
                at += k.shape[2]
        self.bias: Tensor | None = None
        if min(counts) < columns:
            empty = torch.arange(columns + room) >= torch.tensor(counts)[:, None]
            empty[:, columns:] = False
            bias = torch.zeros(empty.shape, dtype=dtype).masked_fill_(empty, float("-inf"))
            self.bias = bias[:, None, None].to(device)

    def attention(self, rows: slice) -> GatheredAttention:
        return GatheredAttention(self.k[:, rows], self.v[:, rows], None if self.bias is None else self.bias[rows])


def _seen(context: Context, row: int) -> list[tuple[Tensor, Tensor]]:
    """Keys and values (layers, kv heads, columns, head dim) that a row sees, block by block."""
    parts = []
    for link in context.links:
        at = row // (context.rows // link.block.rows)
        k, v = (x[:, at, :, : link.length] for x in (link.block.k, link.block.v))
        if link.visible is not None:
            k, v = (x[:, :, link.visible[at]] for x in (k, v))
        parts.append((k, v))
    return parts


class GatheredAttention:
    """Attention of drawings (rows, N tokens) to what their rows see and to themselves."""

    def __init__(self, k: Tensor, v: Tensor, bias: Tensor | None):
        self.k, self.v, self.bias = k, v, bias

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        b, n, h, d = q.shape
        heads = k.shape[2]
        keys, values = self.k[layer], self.v[layer]
        keys[:, :, -n:], values[:, :, -n:] = k.transpose(1, 2), v.transpose(1, 2)
        at = q.to(keys.dtype).view(b, n, heads, h // heads, d).permute(0, 2, 3, 1, 4).reshape(b, heads, -1, d)
        if keys.dtype == torch.bfloat16 and keys.device.type == "cpu":
            # a third faster there than PyTorch's fused attention, which in fp32 takes half of the time of this
            step = max(1, SCORES // (b * heads * keys.shape[2]))
            out = torch.cat([self._seen(part * d**-0.5, keys, values) for part in at.split(step, dim=2)], dim=2)
        else:
            out = F.scaled_dot_product_attention(at, keys, values, attn_mask=self.bias)
        return out.view(b, heads, h // heads, n, d).permute(0, 3, 1, 2, 4).reshape(b, n, h * d)

    def _seen(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        scores = q @ keys.mT
        if self.bias is not None:
            scores = scores + self.bias
        return torch.softmax(scores, dim=-1) @ values


class Velocities:
    """Velocities of maps (rows, tokens, latent_dim), one branch after another, for `cooper.inference.flow`."""

    def __init__(self, model: UnifiedModel, branches: Sequence[Context], noise: Tensor, grid: tuple[int, int]):
        self.model = model
        self.starts = [int(position) for context in branches for position in context.positions.tolist()]
        self.blank = Noised(noise[0], grid, 0.0, noise[0])
        # its tokens and its frame
        self.gathered = GatheredCache(branches, noise.shape[1] + 2, model.drawing_dtype)
        self._passes: dict[int, list[tuple[slice, Callable[[Tensor, float], Tensor]]]] = {}

    def __call__(self, x: Tensor, t: float, branches: int) -> tuple[Tensor, ...]:
        """Of the first so many branches, each (rows, tokens, latent_dim), fp32."""
        x = x.repeat(branches, 1, 1)
        tasks = [partial(run, x[rows], t) for rows, run in self._lanes(len(x))]
        decoder = self.model.config.decoder
        tokens = -(-len(x) // len(tasks)) * x.shape[1]  # of the largest task
        return torch.cat(side_by_side(tasks, tokens * decoder.hidden * 2 * decoder.ffn)).chunk(branches)

    def _lanes(self, rows: int) -> list[tuple[slice, Callable[[Tensor, float], Tensor]]]:
        if rows not in self._passes:
            number = lanes(rows) if self.model.device.type == "cpu" else 1
            ends = [rows * i // number for i in range(number + 1)]
            parts = [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]
            self._passes[rows] = [(part, self._pass(part)) for part in parts]
        return self._passes[rows]

    def _pass(self, rows: slice) -> Callable[[Tensor, float], Tensor]:
        model, device = self.model, self.model.device
        layouts = [lay_out(chain([self.blank]), model.config, start) for start in self.starts[rows]]
        batch = collate(layouts, model.config)
        drawn = batch.drawn
        assert drawn is not None
        positions, attend = batch.positions.to(device), self.gathered.attention(rows)

        @torch.no_grad()
        def run(x: Tensor, t: float) -> Tensor:
            tokens = x.flatten(0, 1)
            moved = replace(drawn, tokens=tokens, times=torch.full((len(tokens),), t, device=device))
            und, gen = embed(model, replace(batch, drawn=moved))
            _, hidden = model.decoder(und, gen, positions, attend)
            assert hidden is not None
            return model.velocity(hidden).float()

        return run
