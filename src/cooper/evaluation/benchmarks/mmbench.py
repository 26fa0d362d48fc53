"""MMBench V1.1: multiple choice, asked once for every rotation of the options.

Rows of one question have the same index modulo a million; where a file has only the originals, the rotations are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cooper.data.fields import given
from cooper.data.options import LETTERS, letter_of, options_of
from cooper.data.tables import Row
from cooper.evaluation.benchmarks.base import Benchmark, Reading
from cooper.evaluation.items import INSTRUCTIONS, Item, Place, text_of

ROUND = 1_000_000


def read(row: Row, place: Place) -> Item:
    index, options = text_of(row, "index"), options_of(row)
    if not index.isdigit():
        raise ValueError(f"its index {index!r} is no number")
    hint = [text_of(row, "hint")] if given(row.get("hint")) else []
    category = [text_of(row, name) for name in ("category", "l2-category", "L2-category") if given(row.get(name))]
    return Item(
        index, "\n".join([*hint, text_of(row, "question")]), letter_of(text_of(row, "answer")), "choice",
        tuple(category), options, instruction=INSTRUCTIONS["choice"], group=str(int(index) % ROUND), size=len(options),
    )  # fmt: skip


def with_rotations(items: Sequence[Item]) -> list[Item]:
    """The items, with all rotations of each if there is none of any."""
    if any(int(item.index) >= ROUND for item in items):
        return list(items)
    return [rotated(item, by) for item in items for by in range(len(item.options))]


def rotated(item: Item, by: int) -> Item:
    """The same question with its options moved up by so many places, the first ones to the end."""
    if by == 0:
        return item
    options = item.options[by:] + item.options[:by]
    truth = LETTERS[(LETTERS.index(item.truth) - by) % len(options)]
    return replace(item, index=str(int(item.index) + by * ROUND), options=options, truth=truth)


MMBENCH = Benchmark(
    "mmbench", read,
    (
        Reading("circular", whole_groups=True),
        Reading("plain", counts=lambda row: int(row["index"]) < ROUND),
    ),
    expand=with_rotations,
)  # fmt: skip
