"""Something that can be read by number, each when it is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

import numpy as np

E = TypeVar("E", covariant=True)


class Reader(Sequence[E], ABC):
    """A table of rows, or a training set of examples.

    It is opened by listing its files or finding its rows. What can be seen to be wrong then raises ValueError; what
    turns out to be broken when it is read raises `cooper.data.tables.BadRow`.
    """

    @overload
    def __getitem__(self, i: int) -> E: ...
    @overload
    def __getitem__(self, i: slice) -> list[E]: ...
    def __getitem__(self, i: int | slice) -> E | list[E]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(f"there are {len(self)} rows")
        return self._at(i % len(self))

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """Every number once, in random order."""
        return rng.permutation(len(self))

    @abstractmethod
    def _at(self, i: int) -> E: ...
