"""Block-sparse attention of packed rows: the dense query-key blocks that have to be computed.

A row that holds a picture once and many continuations is mostly zeros as one big mask: continuations do not see each
other. Here the trunk of a tree (what all its continuations share) attends to itself, and the continuations, short ones
several at a time, attend to the trunk and to themselves. For a picture with a dozen questions that is a third of the
work.

    trunk    P x P            continuations    C x (P + C), with a mask inside

Blocks of about the same size, of all rows, are computed together as one `Part`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Continuations are put together up to this many tokens.
SMALLEST = 128
#: Blocks whose queries, and whose keys, need the same number of these are computed together.
STEP = 64


@dataclass
class Part:
    """K dense attentions. Places are in the flattened stream of the batch, B * N."""

    queries: Tensor
    """int64 (K, C)."""
    keys: Tensor
    """int64 (K, L)."""
    allowed: Tensor
    """bool (K, C, L); padded queries may see everything, padded keys are seen by no other."""


@dataclass
class Chunks:
    """The parts, and where each token of the batch (B * N,) finds itself in their concatenated queries."""

    parts: list[Part]
    back: Tensor


@dataclass(frozen=True)
class Tree:
    """What matters of a row, a forest of nodes; its tokens are in sequence order."""

    slots: np.ndarray
    """Place of each token in the flattened stream of the batch (N,)."""
    segment: np.ndarray
    """Node of each token (N,)."""
    parents: Sequence[int]
    """The node before each node; -1: none."""
    sees: np.ndarray
    """bool (nodes, nodes): may the tokens of one node attend to those of another?"""
    causal: np.ndarray
    """bool (nodes,): do the tokens of a node see only what came before them in it?"""
    blind: np.ndarray
    """bool (nodes,): do the tokens of a node not see those that are hidden?"""
    hidden: np.ndarray
    """bool (N,)."""

    def allowed(self, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """bool (queries, keys): may one token attend to another?"""
        q, k = self.segment[queries][:, None], self.segment[keys][None]
        future = (q == k) & self.causal[q] & (keys[None] > queries[:, None])
        return self.sees[q, k] & ~future & ~(self.blind[q] & self.hidden[keys][None])

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The tokens of each block: queries, and keys."""
        of_node = np.split(np.arange(len(self.segment)), np.cumsum(np.bincount(self.segment))[:-1])
        children: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parents):
            children.setdefault(parent, []).append(node)

        def below(node: int) -> list[int]:
            return [node, *(x for child in children.get(node, ()) for x in below(child))]

        for root in children.get(-1, ()):
            nodes = [root]
            while len(children.get(nodes[-1], ())) == 1:
                nodes += children[nodes[-1]]
            trunk = np.concatenate([of_node[i] for i in nodes])
            yield trunk, trunk
            branches = (np.concatenate([of_node[i] for i in below(n)]) for n in children.get(nodes[-1], ()))
            for chunk in _together(sorted(branches, key=len, reverse=True)):
                yield chunk, np.concatenate([trunk, chunk])


def _together(pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Short pieces put together: first fit, longest first."""
    chunks: list[list[np.ndarray]] = []
    for piece in pieces:
        for chunk in chunks:
            if sum(map(len, chunk)) + len(piece) <= SMALLEST:
                chunk.append(piece)
                break
        else:
            chunks.append([piece])
    return [np.concatenate(c) for c in chunks]


def cut(rows: Sequence[Tree], places: int) -> Chunks:
    """The parts of a batch whose flattened stream has so many places."""
    sizes: dict[tuple[int, ...], list[tuple[Tree, tuple[np.ndarray, np.ndarray]]]] = {}
    for row in rows:
        for block in row.blocks():
            sizes.setdefault(tuple(-(-len(tokens) // STEP) for tokens in block), []).append((row, block))
    parts: list[Part] = []
    back = np.zeros(places, dtype=np.int64)
    begin = 0
    for _, blocks in sorted(sizes.items(), key=lambda item: item[0]):
        c, n = (max(len(block[i]) for _, block in blocks) for i in (0, 1))
        at_queries, at_keys = (np.zeros((len(blocks), width), dtype=np.int64) for width in (c, n))
        allowed = np.zeros((len(blocks), c, n), dtype=bool)
        for i, (row, (queries, keys)) in enumerate(blocks):
            at_queries[i, : len(queries)] = row.slots[queries]
            at_keys[i, : len(keys)] = row.slots[keys]
            allowed[i, : len(queries), : len(keys)] = row.allowed(queries, keys)
            allowed[i, len(queries) :] = True
            back[row.slots[queries]] = begin + i * c + np.arange(len(queries))
        parts.append(Part(torch.from_numpy(at_queries), torch.from_numpy(at_keys), torch.from_numpy(allowed)))
        begin += at_queries.size
    return Chunks(parts, torch.from_numpy(back))
