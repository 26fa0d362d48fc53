"""Keys and values of what has been read, in blocks that are shared, not copied.

A `Context` is what R rows may look at: a chain of `Block`s. Only the last block grows; those before it are shared:

    prompt block (2 rows: two questions)        k, v allocated once, written once
        `-- fork(4) -> own block (8 rows)       row r looks at prompt row r // 4, and at its own row

Attention over a shared block folds the rows that share it into the query axis: one matrix product per prompt instead of
one per rollout, and no copy. Guidance branches are other views of the same blocks (`without`), or small blocks of
their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from cooper.model.config import DecoderConfig

#: Most scores (of a query and a key) that are in memory at once, some three times over: long prompts of large models
#: would need many gigabytes.
SCORES = 1 << 26


class Block:
    """Keys (rotated) and values: (layers, rows, kv heads, capacity, head dim), written up to `used`."""

    def __init__(self, c: DecoderConfig, rows: int, capacity: int, dtype: torch.dtype, device: torch.device):
        shape = (c.layers, rows, c.kv_heads, capacity, c.head_dim)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.visible = torch.zeros(rows, capacity, dtype=torch.bool, device=device)
        self.hidden: Tensor | None = None
        """bool (rows, capacity): columns that blind tokens do not see; None: they see all."""
        self.used = 0

    @property
    def rows(self) -> int:
        return self.k.shape[1]

    @property
    def capacity(self) -> int:
        return self.k.shape[3]

    @property
    def bytes(self) -> int:
        return self.k.nbytes + self.v.nbytes

    def take(self, rows: list[int]) -> Block:
        """The block of some of its rows: a view if they follow one another, else a copy."""
        index = slice(rows[0], rows[-1] + 1) if rows == list(range(rows[0], rows[-1] + 1)) else rows
        part = Block.__new__(Block)
        part.k, part.v, part.visible, part.used = self.k[:, index], self.v[:, index], self.visible[index], self.used
        part.hidden = _rows(self.hidden, rows)
        return part

    def hide(self, columns: slice, hidden: Tensor) -> None:
        """Which of these columns are hidden: bool (rows, columns)."""
        if self.hidden is None and hidden.any():
            self.hidden = torch.zeros_like(self.visible)
        if self.hidden is not None:
            self.hidden[:, columns] = hidden


@dataclass(frozen=True)
class Link:
    """A context's view of a block: the first `length` columns, of which `visible` (rows, length) may be seen.

    None for `visible` means all of them, which saves the mask.
    """

    block: Block
    length: int
    visible: Tensor | None


@dataclass(frozen=True)
class Context:
    """What `rows` rows may look at, and the next rotary position of each. Immutable; growing gives a new one."""

    links: tuple[Link, ...]
    rows: int
    positions: Tensor
    """int64 (rows,)."""

    @classmethod
    def empty(cls, rows: int, c: DecoderConfig, capacity: int, dtype: torch.dtype, device: torch.device) -> Context:
        """Rows that have read nothing yet, with room for `capacity` tokens each."""
        link = Link(Block(c, rows, capacity, dtype, device), 0, None)
        return cls((link,), rows, torch.zeros(rows, dtype=torch.int64, device=device))

    @property
    def length(self) -> int:
        """Columns, padding included."""
        return sum(link.length for link in self.links)

    @property
    def bytes(self) -> int:
        return sum(link.block.bytes for link in self.links)

    def fork(self, copies: int, c: DecoderConfig, capacity: int) -> Context:
        """Each row `copies` times, next to each other, with a block of their own for `capacity` tokens to come."""
        own = Block(c, self.rows * copies, capacity, self.links[-1].block.k.dtype, self.positions.device)
        return Context((*self.links, Link(own, 0, None)), own.rows, self.positions.repeat_interleave(copies))

    def grown(self, columns: int, valid: Tensor, positions: Tensor, hidden: Tensor | None = None) -> Context:
        """After `columns` tokens were written to the last block; `valid` (rows, columns) says which are real, `hidden`
        which of them blind tokens do not see."""
        link = self.links[-1]
        block = link.block
        if hidden is not None:
            block.hide(slice(link.length, link.length + columns), hidden)
        block.visible[:, link.length : link.length + columns] = valid
        block.used = link.length + columns
        whole = link.visible is None and bool(valid.all())
        visible = None if whole else block.visible[:, : block.used]
        return Context((*self.links[:-1], Link(block, block.used, visible)), self.rows, positions)

    def without(self, hidden: Tensor, positions: Tensor) -> Context:
        """The same blocks with the last one's columns `hidden` (rows, length) out of sight."""
        link = self.links[-1]
        seen = torch.ones_like(hidden) if link.visible is None else link.visible
        return replace(self, links=(*self.links[:-1], replace(link, visible=seen & ~hidden)), positions=positions)

    def select(self, rows: list[int]) -> Context:
        """Some rows, in ascending order. Rows that follow one another are views of the same blocks, others are copied;
        so either this context or the selected one may grow on, not both. A shared block stays shared where each of its
        rows keeps equally many readers."""
        if rows == list(range(self.rows)):
            return self
        links = []
        for link in self.links:
            owners = [r // (self.rows // link.block.rows) for r in rows]
            distinct = sorted(set(owners))
            if owners == [o for o in distinct for _ in range(len(rows) // len(distinct))]:
                owners = distinct
            links.append(Link(link.block.take(owners), link.length, _rows(link.visible, owners)))
        return Context(tuple(links), len(rows), self.positions[rows])


def _rows(x: Tensor | None, rows: list[int]) -> Tensor | None:
    return None if x is None else x[rows]


class CachedAttention:
    """Attention of new tokens to a context and to each other.

    `local` (rows, N, N) says which new tokens see which; None if each row has one token. `blind` (rows, N) says which
    do not see what is hidden in the context; None if all see it. The new keys and values are written into the context's
    last block, behind what it holds, and attended to there; the caller then makes the grown context.
    """

    def __init__(self, context: Context, local: Tensor | None, blind: Tensor | None = None):
        self.last = context.links[-1]
        self.new = 1 if local is None else local.shape[1]
        before = [link for link in context.links[:-1] if link.length > 0]
        self.links = [*before, replace(self.last, length=self.last.length + self.new)]
        self.bias: Tensor | None = None
        hides = blind is not None and bool(blind.any()) and any(link.block.hidden is not None for link in self.links)
        if local is None and not hides and all(link.visible is None for link in self.links):
            return
        rows, device = context.rows, context.positions.device
        masks: list[Tensor] = []
        for link in (*before, self.last):
            repeat = rows // link.block.rows
            seen = link.visible
            if seen is None:
                seen = torch.ones(1, 1, dtype=torch.bool, device=device).expand(rows, link.length)
            elif repeat > 1:
                seen = seen.repeat_interleave(repeat, dim=0)
            mask = seen[:, None].expand(rows, self.new, link.length)
            if hides and link.block.hidden is not None:
                assert blind is not None
                hidden = link.block.hidden[:, : link.length].repeat_interleave(repeat, dim=0)
                mask = mask & ~(blind[:, :, None] & hidden[:, None])
            masks.append(mask)
        masks.append(torch.ones(rows, 1, 1, dtype=torch.bool, device=device) if local is None else local)
        allowed = torch.cat(masks, dim=-1)
        bias = torch.zeros(allowed.shape, device=device).masked_fill_(~allowed, float("-inf"))
        self.bias = bias[:, None, None].to(self.last.block.k.dtype)  # rows, 1, 1, N, columns

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        b, n, h, _ = q.shape
        block, begin, end = self.last.block, self.last.length, self.last.length + n
        if end > block.capacity:
            raise ValueError(f"the cache was allocated for {block.capacity} tokens and {n} more do not fit")
        block.k[layer, :, :, begin:end] = k.transpose(1, 2)
        block.v[layer, :, :, begin:end] = v.transpose(1, 2)
        step = max(1, SCORES // (b * h * sum(link.length for link in self.links)))
        parts = [self._seen(layer, q[:, i : i + step], i) for i in range(0, n, step)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _seen(self, layer: int, q: Tensor, first: int) -> Tensor:
        """What queries (rows, N, heads, D) see, the first of them being number `first` of the new tokens: (rows, N,
        heads * D)."""
        b, n, h, d = q.shape
        block, heads = self.last.block, self.last.block.k.shape[2]
        groups = h // heads
        q = q.to(block.k.dtype) * d**-0.5
        # rows, k, g * n, D: queries that share keys are one matrix
        q = q.view(b, n, heads, groups, d).permute(0, 2, 3, 1, 4).reshape(b, heads, groups * n, d)
        scores = [_over_block(q, link.block.k[layer, :, :, : link.length].mT) for link in self.links]
        weights = torch.cat(scores, dim=-1)
        if self.bias is not None:
            bias = self.bias[..., first : first + n, :]
            weights = (weights.view(b, heads, groups, n, -1) + bias).view(b, heads, groups * n, -1)
        parts = torch.softmax(weights, dim=-1).split([link.length for link in self.links], dim=-1)
        attended = (
            _over_block(part, link.block.v[layer, :, :, : link.length])
            for link, part in zip(self.links, parts, strict=True)
        )
        out = reduce(torch.add, attended)
        return out.view(b, heads, groups, n, d).permute(0, 3, 1, 2, 4).reshape(b, n, h * d)


def _over_block(x: Tensor, shared: Tensor) -> Tensor:
    """x (rows, k, M, A) times shared (block rows, k, A, C): rows that share a block row become one product."""
    repeat = x.shape[0] // shared.shape[0]
    if repeat == 1:
        return x @ shared
    rows, heads, m, a = x.shape
    folded = x.view(-1, repeat, heads, m, a).transpose(1, 2).reshape(-1, heads, repeat * m, a)
    product = folded @ shared
    return product.view(-1, heads, repeat, m, product.shape[-1]).transpose(1, 2).reshape(rows, heads, m, -1)
