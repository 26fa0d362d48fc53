"""From pieces to tokens: experts, rotary positions, attention and losses. Training and inference both go through here.

A **piece** is a segment ready for the model: `Words` (token ids), `Seen` (an image for the vision transformer), `Clean`
(a drawing's latent, to be looked at) and `Noised` (a drawing's latent on its way from noise). A **row** is a forest of
pieces: each follows its parent, and sees its ancestors and itself, nothing else. One interleaved sequence is a chain; a
picture with ten questions, or a question with eight rollouts, is a tree that holds what they share once.

Rules (docs/method.md, section 2), with `|` for the frame tokens around every piece:

    piece     tokens           attends to itself   rotary position                   seen by descendants
    Words     | w w w |        causally            one a token, advances by each     yes
    Seen      | p p p p |      fully               all share one, advances by one    yes
    Clean     | d d d d |      fully               all share one, advances by one    yes
    Noised    | d d d d |      fully               all share one, does not advance   no

Example, with S the system text, P a picture and Q a question, then two continuations A and N (noised):

             S P Q A N
        S    x
        P    x x             (x: may attend, block by block; inside a block as in the table)
        Q    x x x
        A    x x x x
        N    x x x   x

Frames and `p` go to the expert `und`, `d` to `gen`. Rows are batched as two streams, `und` first; "stream order".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from cooper.chunks import Chunks, Tree, cut
from cooper.model.config import ModelConfig
from cooper.model.vision import grid_positions

NO_LABEL = -100


@dataclass(frozen=True)
class Words:
    """Token ids of a text, without its frame. With `loss`, each next token (and the end) is to be predicted.

    A text that is still being written, or goes on, lacks the `end` or the `begin` of its frame. A `blind` one does not
    see what is `hidden` of images before it (view dropout, docs/method.md, section 9).
    """

    ids: tuple[int, ...]
    loss: bool = False
    begin: bool = True
    end: bool = True
    blind: bool = False


@dataclass(frozen=True, eq=False)
class Seen:
    """An image for the vision transformer: float (3, height, width) in [-1, 1]."""

    image: Tensor
    hidden: np.ndarray | None = None
    """bool (patches,): those that blind words do not see; None: they see all."""


@dataclass(frozen=True, eq=False)
class Clean:
    """Drawing tokens (rows * columns, latent_dim) of a picture or a map that is looked at."""

    tokens: Tensor
    grid: tuple[int, int]
    hidden: np.ndarray | None = None
    """As in `Seen`."""


@dataclass(frozen=True, eq=False)
class Noised:
    """Drawing tokens at noise time `time`: (1 - time) * tokens + time * noise. The target is noise - tokens."""

    tokens: Tensor
    grid: tuple[int, int]
    time: float
    noise: Tensor
    weight: Tensor | None = None
    """(tokens,): weight of each token in the flow loss (0 masks it); None: all 1."""


Piece: TypeAlias = Words | Seen | Clean | Noised


@dataclass(frozen=True)
class Node:
    """A piece and the index of the one before it in the row, -1 at a beginning."""

    piece: Piece
    parent: int


def chain(pieces: Sequence[Piece]) -> list[Node]:
    """One sequence. What follows a `Noised` piece follows what was before it."""
    return merge([pieces])


def merge(sequences: Sequence[Sequence[Piece]]) -> list[Node]:
    """Several sequences as one row; leading pieces they share (the same object, or equal words) are held once.

    Pieces that carry a loss are never merged: each sequence has its own.
    """
    nodes: list[Node] = []
    children: dict[tuple[int, object], int] = {}
    for sequence in sequences:
        at = -1
        for piece in sequence:
            key = (at, piece)
            carries_loss = isinstance(piece, Noised) or (isinstance(piece, Words) and piece.loss)
            index = None if carries_loss else children.get(key)
            if index is None:
                nodes.append(Node(piece, at))
                index = len(nodes) - 1
                if not carries_loss:
                    children[key] = index
            if not isinstance(piece, Noised):
                at = index
    return nodes


@dataclass(frozen=True)
class RowLayout:
    """The tokens of a row in sequence order (node by node). All arrays have length N unless it says otherwise."""

    nodes: tuple[Node, ...]
    segment: np.ndarray
    """Node of each token."""
    position: np.ndarray
    """Rotary positions."""
    gen: np.ndarray
    """True where the expert is `gen`."""
    ids: np.ndarray
    """Token ids; -1 where the token is not text."""
    labels: np.ndarray
    """The id to be predicted at this token, or NO_LABEL."""
    sees: np.ndarray
    """(nodes, nodes): may the tokens of one node attend to those of another?"""
    hidden: np.ndarray
    """bool: tokens that blind nodes do not see."""
    end: int
    """The next rotary position after the last node that advances it."""

    @property
    def blind(self) -> np.ndarray:
        """bool: tokens of blind nodes."""
        return np.array([isinstance(n.piece, Words) and n.piece.blind for n in self.nodes], dtype=bool)[self.segment]

    def tree(self, slots: np.ndarray) -> Tree:
        """The row's attention, its tokens being at these places of a batch."""
        words = [n.piece if isinstance(n.piece, Words) else None for n in self.nodes]
        causal = np.array([w is not None for w in words], dtype=bool)
        blind = np.array([w is not None and w.blind for w in words], dtype=bool)
        return Tree(slots, self.segment, [n.parent for n in self.nodes], self.sees, causal, blind, self.hidden)

    def allowed(self) -> np.ndarray:
        """Attention, bool (N, N): may token i attend to token j? To look at: what is trained has it in `Batch`."""
        index = np.arange(len(self.segment))
        return self.tree(index).allowed(index, index)


def lay_out_rows(rows: Sequence[Sequence[Node]], config: ModelConfig, device: str) -> list[RowLayout]:
    """Rows of a batch. On a CPU as one row, which needs no padding: what different rows have of each other there is
    left out by `chunks`. Elsewhere attention is dense, and would grow with the square of all rows together."""
    if device != "cpu":
        return [lay_out(row, config) for row in rows]
    nodes: list[Node] = []
    for row in rows:
        first = len(nodes)
        nodes += [Node(node.piece, node.parent + first if node.parent >= 0 else -1) for node in row]
    return [lay_out(nodes, config)]


def lay_out(nodes: Sequence[Node], config: ModelConfig, start: int = 0) -> RowLayout:
    """Lay a row out. `start` is the rotary position of the beginnings (a cached context's next position)."""
    special = config.special
    ids: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    gen: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    hidden: list[np.ndarray] = []
    ends: list[int] = []
    sees = np.zeros((len(nodes), len(nodes)), dtype=bool)
    for i, node in enumerate(nodes):
        piece, parent = node.piece, node.parent
        begin = start if parent < 0 else ends[parent]
        if parent >= 0:
            sees[i] = sees[parent]
        sees[i, i] = True
        if isinstance(piece, Words):
            text = (special.begin,) * piece.begin + piece.ids + (special.end,) * piece.end
            n = len(text)
            label = np.full(n, NO_LABEL)
            if piece.loss:
                label[:-1] = text[1:]
            ids.append(np.array(text))
            positions.append(begin + np.arange(n))
            gen.append(np.zeros(n, dtype=bool))
            ends.append(begin + n)
        else:
            n = tokens_of(piece, config) + 2
            inner = np.full(n, -1)
            inner[0], inner[-1] = special.image_begin, special.image_end
            ids.append(inner)
            positions.append(np.full(n, begin))
            gen.append((inner < 0) & (not isinstance(piece, Seen)))
            label = np.full(n, NO_LABEL)
            ends.append(begin if isinstance(piece, Noised) else begin + 1)
        labels.append(label)
        hidden.append(np.zeros(n, dtype=bool))
        if isinstance(piece, Seen | Clean) and piece.hidden is not None:
            hidden[-1][1:-1] = piece.hidden
    for i, node in enumerate(nodes):
        if isinstance(node.piece, Noised):  # nothing but itself may look at it
            sees[:, i] = False
            sees[i, i] = True
    segment = np.repeat(np.arange(len(nodes)), [len(x) for x in ids]).astype(np.int64)
    advancing = [e for e, n in zip(ends, nodes, strict=True) if not isinstance(n.piece, Noised)]
    return RowLayout(
        tuple(nodes), segment, _join(positions, np.int64), _join(gen, bool), _join(ids, np.int64),
        _join(labels, np.int64), sees, _join(hidden, bool), advancing[-1] if advancing else start,
    )  # fmt: skip


def _join(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)


def tokens_of(piece: Piece, config: ModelConfig) -> int:
    """How many tokens a piece has, without its frame."""
    if isinstance(piece, Words):
        return len(piece.ids)
    if isinstance(piece, Seen):
        h, w = piece.image.shape[-2:]
        return (h // config.vision.patch) * (w // config.vision.patch)
    return piece.grid[0] * piece.grid[1]


@dataclass(frozen=True)
class Drawn:
    """The T drawing tokens of a batch."""

    tokens: Tensor
    """(T, latent_dim), noised where they are to be."""
    times: Tensor
    """Noise time of each (T,)."""
    where: Tensor
    """Row of the position table of each (T,)."""
    at: Tensor
    """Place of each in the flattened `gen` stream (T,)."""


@dataclass(frozen=True)
class FlowTargets:
    """The M drawing tokens that carry a flow loss."""

    at: Tensor
    """Place of each in the flattened `gen` stream (M,)."""
    velocity: Tensor
    """noise - tokens (M, latent_dim)."""
    weight: Tensor
    """What each counts (M,)."""


@dataclass
class Batch:
    """Rows laid out, padded and ready to be embedded. U, G: longest `und` and `gen` streams; N = U + G."""

    und_ids: Tensor
    """int64 (B, U); 0 where the token is not text."""
    gen_width: int
    """G."""
    positions: Tensor
    """int64 (B, N), stream order."""
    valid: Tensor
    """bool (B, N): False for padding."""
    hidden: Tensor
    """bool (B, N): tokens that blind ones do not see."""
    blind: Tensor
    """bool (B, N)."""
    trees: list[Tree]
    """Attention of each row."""
    labels: Tensor
    """int64 (B, U)."""
    order: Tensor
    """int64 (B, N): where each token stands in its row's sequence; -1 for padding."""
    ends: Tensor
    """int64 (B,): next rotary position of each row."""
    pictures: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Images of one size (k, 3, H, W), and the places of their patches in the flattened `und` stream (k, patches)."""
    drawn: Drawn | None = None
    """None if G is 0."""
    targets: FlowTargets | None = None

    @cached_property
    def allowed(self) -> Tensor:
        """Attention as one mask, bool (B, N, N); padding attends to itself only."""
        size, width = self.positions.shape
        allowed = np.zeros((size, width, width), dtype=bool)
        allowed[:, np.arange(width), np.arange(width)] = True
        for r, tree in enumerate(self.trees):
            index, slots = np.arange(len(tree.slots)), tree.slots - r * width
            allowed[r, slots[:, None], slots] = tree.allowed(index, index)
        return torch.from_numpy(allowed)

    @cached_property
    def chunks(self) -> Chunks:
        """The same attention in dense blocks."""
        return cut(self.trees, self.positions.numel())


def collate(rows: Sequence[RowLayout], config: ModelConfig) -> Batch:
    """Pad rows to one batch in stream order."""
    gen_width = max(int(row.gen.sum()) for row in rows)
    und_width = max(int((~row.gen).sum()) for row in rows)
    width = und_width + gen_width
    # where each token of a row stands in stream order
    slots = [np.where(row.gen, und_width + np.cumsum(row.gen), np.cumsum(~row.gen)) - 1 for row in rows]

    def padded(fill: int | bool, values: Iterable[np.ndarray]) -> Tensor:
        """Values of each token, in stream order (B, N)."""
        out = np.full((len(rows), width), fill)
        for r, value in enumerate(values):
            out[r, slots[r]] = value
        return torch.from_numpy(out)

    order = padded(-1, (np.arange(len(row.gen)) for row in rows))
    drawn, targets = _drawings(rows, slots, und_width, gen_width, config)
    return Batch(
        padded(0, (np.maximum(row.ids, 0) for row in rows))[:, :und_width], gen_width,
        padded(0, (row.position for row in rows)), order >= 0,
        padded(False, (row.hidden for row in rows)), padded(False, (row.blind for row in rows)),
        [row.tree(r * width + slot) for r, (row, slot) in enumerate(zip(rows, slots, strict=True))],
        padded(NO_LABEL, (row.labels for row in rows))[:, :und_width], order,
        torch.tensor([row.end for row in rows]), _pictures(rows, slots, und_width), drawn, targets,
    )  # fmt: skip


def _images(rows: Sequence[RowLayout], slots: Sequence[np.ndarray]) -> Iterator[tuple[int, Piece, np.ndarray]]:
    """Every piece but words: its row, and the slots of its tokens without the frame."""
    for r, (row, slot) in enumerate(zip(rows, slots, strict=True)):
        for i, node in enumerate(row.nodes):
            if not isinstance(node.piece, Words):
                yield r, node.piece, slot[row.segment == i][1:-1]


def _pictures(
    rows: Sequence[RowLayout], slots: Sequence[np.ndarray], und_width: int
) -> list[tuple[Tensor, Tensor]]:
    """Images of one size, and the places of their patches."""
    sizes: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
    for r, piece, inner in _images(rows, slots):
        if isinstance(piece, Seen):
            places = torch.from_numpy(r * und_width + inner)
            sizes.setdefault(tuple(piece.image.shape), []).append((piece.image, places))
    return [
        (torch.stack([image for image, _ in same]), torch.stack([at for _, at in same])) for same in sizes.values()
    ]


def _drawings(
    rows: Sequence[RowLayout], slots: Sequence[np.ndarray], und_width: int, gen_width: int, config: ModelConfig
) -> tuple[Drawn | None, FlowTargets | None]:
    """All drawing tokens, and those of them that carry a loss; None where there are none."""
    drawn: list[tuple[Tensor, ...]] = []
    targets: list[tuple[Tensor, ...]] = []
    for r, piece, inner in _images(rows, slots):
        if isinstance(piece, Clean | Noised):
            at = torch.from_numpy(r * gen_width + inner - und_width)
            tokens, time = piece.tokens, 0.0
            if isinstance(piece, Noised):
                time = piece.time
                tokens = (1 - time) * tokens + time * piece.noise
                weight = torch.ones(len(tokens)) if piece.weight is None else piece.weight
                targets.append((at, piece.noise - piece.tokens, weight))
            where = grid_positions(piece.grid, config.max_latent_side, "the drawing")
            drawn.append((tokens, torch.full((len(tokens),), time), where, at))
    return (
        Drawn(*map(torch.cat, zip(*drawn, strict=True))) if drawn else None,
        FlowTargets(*map(torch.cat, zip(*targets, strict=True))) if targets else None,
    )
