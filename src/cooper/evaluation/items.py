"""Questions as benchmarks put them, and what rows of their files say in many ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from cooper.data.fields import PICTURE, given
from cooper.data.options import LETTERS, lettered
from cooper.data.tables import Row

#: What answers are, and so how they are scored (`cooper.evaluation.grading`). A "number" may miss a little, a "count"
#: may not; a "length" has a unit; a "word" is any short text; an "open" answer needs a judge.
Kind: TypeAlias = Literal["choice", "yes_no", "number", "count", "length", "word", "open"]

#: The kinds whose answers are numbers.
NUMBERS: tuple[Kind, ...] = ("number", "count", "length")
#: What is added to questions so that their answers can be read.
INSTRUCTIONS: dict[Kind, str] = {
    "choice": "Answer with the letter of the right option.",
    "yes_no": "Answer yes or no.",
    "number": "Answer with one number.",
    "count": "Answer with one whole number.",
    "length": "Answer with one number and its unit.",
    "word": "",
    "open": "",
}


@dataclass(frozen=True)
class Place:
    """Where a row is: its number in the data, from 1, and the name of its file without folder and ending."""

    number: int
    file: str


@dataclass(frozen=True)
class Item:
    """A question of a benchmark. Raises ValueError if its answer is none that could be right."""

    index: str
    """Its name, of which there is one in the data."""
    question: str
    truth: str
    """A letter of `LETTERS`, yes or no, a number with or without a unit, or text, as `kind` says."""
    kind: Kind
    category: tuple[str, ...] = ()
    """All that it counts for; the first ones may be levels, the coarsest first (`Reading.levels`)."""
    options: tuple[str, ...] = ()
    listed: bool = True
    """Whether the prompt lists the options; otherwise the question does, or nothing has to."""
    instruction: str = ""
    group: str = ""
    """Questions of one group are asked about one thing (a pair, the rotations of a question); alone if it is empty."""
    size: int = 1
    """Questions in its group."""
    row: int = 0
    """Number of the row, from 0, that it came from and that has its picture."""

    def __post_init__(self) -> None:
        if not self.question:
            raise ValueError("its question is empty")
        if self.kind == "choice" and self.truth not in tuple(LETTERS[: len(self.options) or len(LETTERS)]):
            raise ValueError(f"its answer {self.truth!r} is none of its {len(self.options)} options")
        if self.kind == "yes_no" and self.truth not in ("yes", "no"):
            raise ValueError(f"its answer {self.truth!r} is neither yes nor no")

    @property
    def prompt(self) -> str:
        options = self.options if self.listed else ()
        return "\n".join(part for part in (self.question, *lettered(options), self.instruction) if part)


def text_of(row: Row, *names: str, default: str | None = None) -> str:
    """The first of these fields that holds something, as text without white space around it.

    Raises ValueError if none does, unless there is a `default`, or if that is no text and no number.
    """
    for name in names:
        if given(value := row.get(name)):
            if not isinstance(value, str | int | float):
                raise ValueError(f"its {name} is to be text; this row has {type(value).__name__}")
            return str(value).strip()
    if default is None:
        raise ValueError(f"it has no {names[0]}; its fields are {', '.join(map(str, row))}")
    return default


def one_picture(row: Row) -> Any:
    """What most rows have as their picture, in the first of the fields that training looks in, too."""
    return next((row[name] for name in PICTURE if given(row.get(name))), None)


def grouped(items: Sequence[Item], lost: Mapping[str, int]) -> list[Item]:
    """The items with a group each, and with as many in it as there are, and were `lost`, if that was not known to be
    more."""
    sizes = Counter(item.group or item.index for item in items)
    sizes.update(lost)
    return [
        replace(item, group=item.group or item.index, size=max(item.size, sizes[item.group or item.index]))
        for item in items
    ]
