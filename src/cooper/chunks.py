"""Which tokens need not be compared: a row's attention, cut into dense parts.

A row that holds a picture once and many continuations is mostly zeros as one big mask: continuations do not see each
other. Here the trunk (what all continuations share) attends to itself, and the continuations, put together into chunks
of like size, attend to the trunk and to their chunk. For a picture with a dozen questions that is a third of the work.

    trunk    P x P            chunks    K times C x (P + C), with a mask inside
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Chunks are at least this long, so that short continuations share one.
SMALLEST = 96


@dataclass
class Part:
    """K dense attentions a row. Places are in the flattened stream of the batch, B * N."""

    queries: Tensor
    """int64 (B, K, C)."""
    keys: Tensor
    """int64 (B, K, L)."""
    allowed: Tensor
    """bool (B, K, C, L); padded queries may see everything, padded keys are seen by no other."""


@dataclass
class Chunks:
    """The parts, and where each token of the batch finds itself in their concatenated queries: int64 (B, N)."""

    parts: list[Part]
    back: Tensor


@dataclass(frozen=True)
class Tree:
    """What matters of a row: the node of each token (N,), the node before each node (-1: none), and the mask (N, N)."""

    segment: np.ndarray
    parents: Sequence[int]
    allowed: np.ndarray


def trunk_of(parents: Sequence[int]) -> int:
    """How many leading nodes form the trunk: a chain that everything after it descends from."""
    end = 0
    while end < len(parents) and parents[end] == end - 1 and list(parents).count(end - 1) == 1:
        end += 1
    return end


def group(row: Tree) -> tuple[np.ndarray, list[np.ndarray]]:
    """The tokens (in sequence order) of a row's trunk, and of its chunks of continuations."""
    trunk = trunk_of(row.parents)
    branch: list[int] = []  # the continuation that each later node belongs to
    for i, parent in enumerate(row.parents[trunk:], trunk):
        branch.append(i if parent < trunk else branch[parent - trunk])
    tokens: dict[int, list[np.ndarray]] = {}
    for i, first in enumerate(branch, trunk):
        tokens.setdefault(first, []).append(np.flatnonzero(row.segment == i))
    pieces = sorted((np.concatenate(t) for t in tokens.values()), key=len, reverse=True)
    size = max([SMALLEST, *(len(p) for p in pieces)])
    chunks: list[list[np.ndarray]] = []
    for piece in pieces:  # first fit, longest first
        for chunk in chunks:
            if sum(map(len, chunk)) + len(piece) <= size:
                chunk.append(piece)
                break
        else:
            chunks.append([piece])
    return np.flatnonzero(row.segment < trunk), [np.concatenate(c) for c in chunks]


def cut(rows: Sequence[Tree], slots: Sequence[np.ndarray], width: int) -> Chunks:
    """The parts of a batch. `slots` give each row's tokens their place in the row's stream of `width`."""
    grouped = [group(row) for row in rows]
    batch = len(rows)
    longest_trunk = max(len(trunk) for trunk, _ in grouped)
    number = max(len(chunks) for _, chunks in grouped)
    size = max((len(c) for _, chunks in grouped for c in chunks), default=0)
    first = np.arange(batch)[:, None] * width
    back = np.zeros((batch, width), dtype=np.int64)
    total = longest_trunk + number * size
    parts: list[Part] = []
    if longest_trunk:
        places = np.repeat(first, longest_trunk, axis=1)[:, None]
        allowed = np.zeros((batch, 1, longest_trunk, longest_trunk), dtype=bool)
        for r, (trunk, _) in enumerate(grouped):
            n = len(trunk)
            places[r, 0, :n] = first[r] + slots[r][trunk]
            allowed[r, 0, :n, :n] = rows[r].allowed[np.ix_(trunk, trunk)]
            allowed[r, 0, n:] = True
            back[r, slots[r][trunk]] = r * total + np.arange(n)
        parts.append(Part(torch.from_numpy(places), torch.from_numpy(places), torch.from_numpy(allowed)))
    if number:
        queries = np.repeat(first, number * size, axis=1).reshape(batch, number, size)
        keys = np.repeat(first, number * (longest_trunk + size), axis=1).reshape(batch, number, longest_trunk + size)
        allowed = np.zeros((batch, number, size, longest_trunk + size), dtype=bool)
        for r, (trunk, chunks) in enumerate(grouped):
            keys[r, :, : len(trunk)] = first[r] + slots[r][trunk]
            for k in range(number):
                tokens = chunks[k] if k < len(chunks) else np.zeros(0, dtype=np.int64)
                n = len(tokens)
                queries[r, k, :n] = first[r] + slots[r][tokens]
                keys[r, k, longest_trunk : longest_trunk + n] = queries[r, k, :n]
                allowed[r, k, :n, : len(trunk)] = rows[r].allowed[np.ix_(tokens, trunk)]
                allowed[r, k, :n, longest_trunk : longest_trunk + n] = rows[r].allowed[np.ix_(tokens, tokens)]
                allowed[r, k, n:] = True
                back[r, slots[r][tokens]] = r * total + longest_trunk + k * size + np.arange(n)
        parts.append(Part(torch.from_numpy(queries), torch.from_numpy(keys), torch.from_numpy(allowed)))
    return Chunks(parts, torch.from_numpy(back))
