"""What a benchmark is: how a row of its file becomes a question, and how answers become its figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cooper.data.tables import Row
from cooper.evaluation.grading import grade
from cooper.evaluation.items import Item, Kind, Place, one_picture

#: (kind, answer as it was read, truth) to 0..1
Grade: TypeAlias = Callable[[Kind, str | None, str], float]


def every(row: Row) -> bool:
    return True


def alone(row: Row) -> str:
    return ""


@dataclass(frozen=True)
class Reading:
    """A metric: one way to turn the answers to a benchmark into a figure. A benchmark may have several."""

    name: str
    grade: Grade = grade
    whole_groups: bool = False
    """Whether a group counts once: right if all of its questions are. Groups that lack one are left out."""
    part: Callable[[Row], str] = alone
    """Which part of its group the question of a row of predictions is in: each part counts once."""
    levels: int = 0
    """Depth of macro-averaging: 1 is the mean over the first category of each question, 2 of means over the second."""
    counts: Callable[[Row], bool] = every
    """Which rows of predictions it is about."""


@dataclass(frozen=True)
class Benchmark:
    name: str
    """As the command knows it."""
    read: Callable[[Row, Place], Item | None]
    """A row of its file as a question; None for rows that are none of its questions. Raises ValueError, saying what
    is wrong, for rows that cannot be used."""
    readings: tuple[Reading, ...]
    """The benchmark's own first."""
    picture: Callable[[Row], Any] = one_picture
    """What `picture_of` is given."""
    group: Callable[[Row], str] = alone
    """The group of the question in a row, which it has even if the rest of the row cannot be used; "" for none."""
    expand: Callable[[Sequence[Item]], Sequence[Item]] = list
    """All questions that are asked, of all that were read."""
