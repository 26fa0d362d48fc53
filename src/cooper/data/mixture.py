"""Several sets mixed by weight into one endless stream of draws, of which every draw can be found by its number.

Draw k is a pure function of the seed and k. So ranks and workers deal the stream out by number and share nothing, and
training that was stopped goes on at any draw without replaying those before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import count
from typing import Generic, TypeVar

import numpy as np

from cooper.data.reader import Reader
from cooper.data.tables import BadRow

E = TypeVar("E")

#: Within so many draws each set has its share, to a draw or two; their order is random.
_BLOCK = 256
#: A set is given up when so many of its examples in a row are broken.
_GIVE_UP = 100

# What random numbers are for; those of different purposes must not be the same.
_SETS, _ITEMS = 1, 2


class Mixture(Generic[E]):
    """Sets with weights, such as the paper's first stage: Hypersim 0.45, Virtual KITTI 0.05, ADE20K 0.50.

    Every example of a set is drawn once before any is drawn twice. Raises ValueError if there is no set, a set is
    empty, or a weight is not positive.
    """

    def __init__(self, parts: Sequence[tuple[Sequence[E], float]], seed: int = 0):
        if not parts:
            raise ValueError("a mixture needs at least one set")
        for number, (examples, weight) in enumerate(parts, 1):
            if not len(examples):
                raise ValueError(f"set {number} of the mixture is empty; leave it out")
            if not 0 < weight < math.inf:
                raise ValueError(f"set {number} of the mixture has the weight {weight:g}; give a number above 0")
        self.sets = tuple(examples for examples, _ in parts)
        self.seed = seed
        weights = [Fraction(weight) for _, weight in parts]
        # of each set, its share of what is left after those before it; the last takes all that is left
        self._shares = [weight / sum(weights[s:]) for s, weight in enumerate(weights)]
        self._orders: dict[int, tuple[int, np.ndarray]] = {}  # of each set, the last epoch and its order

    def example(self, k: int) -> E:
        """Draw k, counted from 0. Raises `BadRow` if it is broken."""
        s, item = self.place(k)
        return self.sets[s][item]

    def place(self, k: int, further: int = 0) -> tuple[int, int]:
        """The number of the set that draw k is from, and of its example there; or, `further` on, of one that comes so
        many after it in the same set (it comes again at its own draw)."""
        block, at = divmod(k, _BLOCK)
        before, after = self._drawn(block * _BLOCK), self._drawn((block + 1) * _BLOCK)
        sets = np.repeat(np.arange(len(self.sets)), np.subtract(after, before).astype(int))
        sets = np.random.default_rng((self.seed, _SETS, block)).permutation(sets)
        s = int(sets[at])
        epoch, nth = divmod(before[s] + int((sets[:at] == s).sum()), len(self.sets[s]))
        order = self._order(s, epoch)
        return s, int(order[(nth + further) % len(order)])

    def _drawn(self, draws: int) -> list[int]:
        """How many of the first so many draws are of each set. None of these numbers ever falls as `draws` rises."""
        counts = []
        for share in self._shares:
            counts.append(math.floor(draws * share))
            draws -= counts[-1]
        return counts

    def _order(self, s: int, epoch: int) -> np.ndarray:
        """The order in which the examples of a set are drawn in that epoch of it."""
        known = self._orders.get(s)
        if known is None or known[0] != epoch:
            rng, examples = np.random.default_rng((self.seed, _ITEMS, s, epoch)), self.sets[s]
            order = examples.order(rng) if isinstance(examples, Reader) else rng.permutation(len(examples))
            known = self._orders[s] = (epoch, order)
        return known[1]


class Unbroken(Generic[E]):
    """The draws of a mixture with the next of the same set in place of what is broken.

    `on_bad` is told of each broken example once, and `bad` holds them all, by their places in the mixture. If `strict`,
    the first is raised instead.
    """

    def __init__(self, mixture: Mixture[E], on_bad: Callable[[BadRow], None], strict: bool = False):
        self.mixture, self.on_bad, self.strict = mixture, on_bad, strict
        self.bad: dict[tuple[int, int], BadRow] = {}

    def example(self, k: int, check: Callable[[E], None] = lambda example: None) -> E:
        """Draw k. Raises ValueError if its set has nothing but broken examples for a long stretch.

        `check` raises `BadRow` for examples that are whole and cannot be used; they count as broken.
        """
        s, _ = self.mixture.place(k)
        tries = min(len(self.mixture.sets[s]), _GIVE_UP)
        for further in range(tries):
            place = self.mixture.place(k, further)
            if place in self.bad:
                continue
            try:
                example = self.mixture.sets[s][place[1]]
                check(example)
                return example
            except BadRow as error:
                if self.strict:
                    raise
                self.bad[place] = error
                self.on_bad(error)
        raise ValueError(
            f"all of {tries} examples tried of set {s + 1} are broken; check its folder. The last: {self.bad[place]}"
        )


def draws(rank: int, world: int, first: int = 0) -> Iterator[int]:
    """The draws of one of `world` ranks, which together make all draws from `first` on, each once."""
    if not 0 <= rank < world:
        raise ValueError(f"there is no rank {rank} of {world}; ranks are counted from 0")
    return count(first + rank, world)
