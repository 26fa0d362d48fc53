"""Attention supervision: words attend to the objects they name, and map values reach the words that state them.

Whoever reads "the red ball" looks at it. A small model needs millions of questions to find that out from answers alone,
since nothing in an answer's loss says where the word should have looked. Here the renderer says it: at the last token
of every mention of an object, in questions, captions and thoughts alike, one head of one layer is trained to attend to
the patches of the picture that show the object, in proportion to its pixels, or to the token that opens the picture if
nothing in it is called so; and one head of the next layer to the same patches of the maps that were drawn. "Balls" and
"red objects" point at all of them. In a numbered list whoever writes the next name has looked ahead already: so do the
sign and the number before it, or, where nothing is left, the sign before "no more". What a word names is in the word,
what comes next is in all that was told before: looking ahead takes more layers, and has a head further up. Attention
supervision of this kind is an old idea in visual question answering (e.g. Selvaraju et al. 2019, arXiv 1902.03751); it
adds nothing to the model.

Looking at a map is not reading it. The map's colour would have to reach the word, from there the token that writes the
number, and there it would have to be understood; none of these is worth anything without the others, and a small model
finds none of them (docs/log.md, "How maps come to be read"). So the first three numbers that a head brings to a word
from a map are to be the colour in which the map shows the thing, and those that a head of the layer above brings to
where a number follows it, too. What colours mean is left to be found out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from cooper.layout import Node, RowLayout, Seen, Words
from cooper.model.transformer import Attend
from cooper.scenes.questions import plural
from cooper.scenes.render import View
from cooper.scenes.world import COLORS, SHAPES, Scene

#: The head that is taught what words name, of a layer a sixth of the way up (pictures), of the one above it (maps), and
#: of the one above that (what is read off them).
HEAD = 0
#: The head that is taught to look ahead, of a layer a third of the way up (pictures), and of the one above it (maps).
AHEAD = -1
#: How many times the colours of a map, -1 to 1, what is brought is to be.
_BRIGHT = 2.0
#: Tokens between a name and the number that is told of it, at most.
_NEAR = 6


@dataclass(frozen=True)
class Pointer:
    """A token of a row (node, and place in it), an image before it (node), and what share of its attention the opening
    token of the image deserves, and each patch (1 + patches,): as much as it shows of the object's pixels."""

    node: int
    token: int
    image: int
    is_map: bool
    ahead: bool
    """Whether the token comes before the name, in a list."""
    shares: np.ndarray
    color: np.ndarray | None = None
    """Of a map that shows one thing: the mean colour in which it does, -1..1 (3,)."""
    writes: tuple[int, ...] = ()
    """Tokens of the node after which a digit of what is read off there is written."""

    def moved(self, nodes: int) -> Pointer:
        """The same in a row that has so many nodes before it."""
        return replace(self, node=self.node + nodes, image=self.image + nodes)


@dataclass(frozen=True)
class Brought:
    """What is to be brought where in a batch: `tokens` int64 (R,), places as in `Pointers`, and `colors`
    float32 (R, 3)."""

    tokens: Tensor
    colors: Tensor

    @classmethod
    def of(cls, found: Sequence[tuple[int, np.ndarray]]) -> Brought:
        colors = np.array([color for _, color in found], dtype=np.float32).reshape(-1, 3)
        return cls(torch.tensor([token for token, _ in found], dtype=torch.int64), torch.from_numpy(colors))


@dataclass(frozen=True)
class Pointers:
    """The pointers of a batch. Places are in the flattened streams (B * N)."""

    tokens: Tensor
    """int64 (P,)"""
    seen: Tensor
    """int64 (P, 1 + patches), the opening token first."""
    shares: Tensor
    """float32 (P, 1 + patches); each row sums to 1."""
    is_map: Tensor
    """bool (P,)"""
    ahead: Tensor
    """bool (P,)"""
    named: Brought
    """What maps show, at the words that name it."""
    written: Brought
    """The same where it is written."""


_PLURALS = {plural(noun): noun for noun in (*SHAPES, "object")}
_NOUNS = {*_PLURALS.values()}


class Mentions:
    """Finds mentions of objects in token ids."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer

    @cached_property
    def words(self) -> dict[int, str]:
        """Tokens that are a word by themselves, of those that mentions are made of."""
        wanted = {*COLORS, *_NOUNS, *_PLURALS, *"123456789", "no", "more"}
        return {i: word for i, word in self._texts.items() if word in wanted}

    @cached_property
    def _texts(self) -> dict[int, str]:
        return {i: self.tokenizer.decode([i]).strip() for i in range(self.tokenizer.get_vocab_size())}

    @cached_property
    def digits(self) -> set[int]:
        return {i for i, text in self._texts.items() if text.isdigit()}

    @cached_property
    def joins(self) -> set[int]:
        """Tokens that stand between the digits of one number, or of two that are told together ("2.9, 3.1")."""
        return {i for i, text in self._texts.items() if text in ("", ".", ",")}

    def writes(self, ids: Sequence[int], name: int, others: Collection[int]) -> tuple[int, ...]:
        """Places of the tokens that a digit follows, of the number that is told of what has its name at that place,
        before anything else is named."""
        found: list[int] = []
        for k in range(name + 1, len(ids) - 1):
            more = ids[k + 1] in self.digits
            told = found and (ids[k] not in self.digits | self.joins or (self._texts[ids[k]] == "." and not more))
            if told or k in others or (not found and k > name + _NEAR):
                break
            if more:
                found.append(k)
        return tuple(found)

    def find(self, ids: Sequence[int], scene: Scene) -> Iterator[tuple[int, tuple[int, ...], bool]]:
        """(place of a token, ids of the things it points at, false) for the last token of every mention whose things
        are known: a name of exactly one, or of none, if it has both a colour and a shape; several, in the plural, or
        none. For those in numbered lists also for the tokens before it, from the sign on, which look ahead: true.
        """
        words = [self.words.get(i, "") for i in ids]
        for k, word in enumerate(words):
            noun = _PLURALS.get(word, word)
            if noun not in _NOUNS:
                continue
            color = words[k - 1] if k and words[k - 1] in COLORS else None
            begin = k - (color is not None)
            fit = tuple(t.id for t in scene.things if color in (None, t.color) and noun in ("object", t.shape))
            if word in _PLURALS and words[max(0, begin - 2) : begin] == ["no", "more"]:
                yield k, (), False
                if begin > 2:
                    yield begin - 3, (), True
            elif word in _PLURALS:
                yield k, fit, False
            elif (len(fit) == 1 and (color or noun in SHAPES)) or (not fit and color and noun in SHAPES):
                yield k, fit, False
                if begin > 2 and words[begin - 1].isdigit():  # ", 2 red balls": the space is a token, too
                    yield from ((place, fit, True) for place in range(begin - 3, begin))


def pointers(nodes: Sequence[Node], scene: Scene, view: View, patch: int, mentions: Mentions) -> list[Pointer]:
    """All pointers of one row, whose images show the scene."""
    found = []
    nowhere = np.eye(1, 1 + view.labels.size // patch**2, dtype=np.float32)[0]
    shares: dict[tuple[int, ...], np.ndarray] = {(): nowhere}
    before: list[tuple[int, ...]] = []  # the images before each node, and itself
    for n, node in enumerate(nodes):
        before.append(
            (before[node.parent] if node.parent >= 0 else ()) + ((n,) if isinstance(node.piece, Seen) else ())
        )
        if not isinstance(node.piece, Words) or not before[n]:
            continue
        begin, mentioned = node.piece.begin, list(mentions.find(node.piece.ids, scene))
        others = {k for k, *_ in mentioned}
        for k, things, ahead in mentioned:
            if things not in shares:
                shares[things] = _mean([_shares(view.labels == label, patch) for label in things])
            if not shares[things].any():
                continue
            # a map need not tell what is not there, and the blind cannot look at the picture
            for image in before[n][node.piece.blind : None if things else 1]:
                pointer = Pointer(n, k + begin, image, image != before[n][0], ahead, shares[things])
                if pointer.is_map and len(things) == 1 and not ahead:
                    seen = nodes[image].piece
                    assert isinstance(seen, Seen)
                    color = seen.image[:, torch.from_numpy(view.labels == things[0])].mean(dim=1).numpy()
                    writes = tuple(w + begin for w in mentions.writes(node.piece.ids, k, others))
                    pointer = replace(pointer, color=color, writes=writes)
                found.append(pointer)
    return found


def _mean(shares: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of those that are not zero; zeros if none is."""
    total = np.sum(shares, axis=0)
    return total / max(1.0, total.sum())


def _shares(shown: np.ndarray, patch: int) -> np.ndarray:
    """What share of the pixels `shown` (H, W) lies in each patch, float32 (1 + patches,), the first 0; zeros if there
    are none."""
    height, width = shown.shape
    counts = shown.reshape(height // patch, patch, width // patch, patch).sum(axis=(1, 3)).ravel()
    return np.append(0, counts / max(1, counts.sum())).astype(np.float32)


def gather(rows: Sequence[tuple[RowLayout, Sequence[Pointer]]], width: int) -> Pointers | None:
    """Pointers of rows that were laid out, in a batch `width` tokens wide; None if there are none."""
    tokens, seen, shares, is_map, ahead = [], [], [], [], []
    named: list[tuple[int, np.ndarray]] = []
    written: list[tuple[int, np.ndarray]] = []
    for r, (row, found) in enumerate(rows):
        slot = r * width + np.cumsum(~row.gen) - 1  # of `und` tokens, in stream order
        starts = np.searchsorted(row.segment, np.arange(len(row.nodes)))
        for p in found:
            tokens.append(slot[starts[p.node] + p.token])
            first = starts[p.image]
            seen.append(slot[first : first + len(p.shares)])
            shares.append(p.shares)
            is_map.append(p.is_map)
            ahead.append(p.ahead)
            if p.color is not None:
                named.append((tokens[-1], p.color))
                written += [(slot[starts[p.node] + token], p.color) for token in p.writes]
    if not tokens:
        return None
    return Pointers(
        torch.from_numpy(np.array(tokens)), torch.from_numpy(np.stack(seen)), torch.from_numpy(np.stack(shares)),
        torch.tensor(is_map), torch.tensor(ahead), Brought.of(named), Brought.of(written),
    )  # fmt: skip


class Pointing:
    """An attention back end that looks on: `losses` gets how far each pointer is from pointing well, in nats, and
    `reading` the mean squared error of each colour that is brought."""

    def __init__(
        self, attend: Attend, pointers: Pointers, layers: int, losses: list[Tensor], reading: list[Tensor]
    ):  # fmt: skip
        self.attend, self.pointers, self.losses, self.reading = attend, pointers, losses, reading
        self.named_layer, self.ahead_layer = layers // 6, layers // 3

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        for ahead, head, first in ((False, HEAD, self.named_layer), (True, AHEAD, self.ahead_layer)):
            if layer in (first, first + 1):
                mine = (self.pointers.ahead == ahead) & (self.pointers.is_map == (layer > first))
                if mine.any():
                    self.losses.append(self._loss(q, k, mine, head % q.shape[2]))
        attended = self.attend(layer, q, k, v)
        brought = {1: self.pointers.named, 2: self.pointers.written}.get(layer - self.named_layer)
        if brought is not None and len(brought.tokens):
            begin = HEAD * q.shape[-1]
            colors = attended.flatten(0, 1)[brought.tokens, begin : begin + 3].float()
            self.reading.append((colors - _BRIGHT * brought.colors.to(colors)).square().mean(dim=-1))
        return attended

    def _loss(self, q: Tensor, k: Tensor, mine: Tensor, head: int) -> Tensor:
        p, width = self.pointers, q.shape[-1]
        asking = q.flatten(0, 1)[p.tokens[mine], head].float()
        asked = k.flatten(0, 1)[:, head * k.shape[2] // q.shape[2]][p.seen[mine]].float()
        logs = torch.log_softmax((asked @ asking[:, :, None]).squeeze(-1) * width**-0.5, dim=-1)
        shares = p.shares[mine].to(logs.device)
        return (shares * (shares.clamp(min=1e-9).log() - logs)).sum(dim=-1)
