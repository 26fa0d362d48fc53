"""MMVP: pairs of pictures that look alike to CLIP, with the same question and two answers.

The file is `Questions.csv` beside the folder `MMVP Images`, or the same rows with their pictures in Parquet. The
benchmark counts pairs; the paper counts questions.
"""

from __future__ import annotations

import re
from typing import Any

from cooper.data.tables import Row
from cooper.evaluation.benchmarks.base import Benchmark, Reading
from cooper.evaluation.items import INSTRUCTIONS, Item, Place, given, letter_of, text_of

_OPTION = re.compile(r"\(([a-h])\)\s*(.*?)\s*(?=\([a-h]\)|$)", re.DOTALL)


def read(row: Row, place: Place) -> Item:
    index, listed = _index(row), text_of(row, "Options")
    found = _OPTION.findall(listed)
    if [letter for letter, _ in found] != list("abcdefgh"[: len(found)]) or len(found) < 2:
        raise ValueError(f"its options {listed!r} are not of the form (a) .. (b) ..")
    return Item(
        str(index), text_of(row, "Question"), letter_of(text_of(row, "Correct Answer")), "choice",
        options=tuple(text for _, text in found), instruction=INSTRUCTIONS["choice"],
        group=f"pair {(index + 1) // 2}", size=2,
    )  # fmt: skip


def picture(row: Row) -> Any:
    return row["image"] if given(row.get("image")) else f"MMVP Images/{_index(row)}.jpg"


def _index(row: Row) -> int:
    # copies of the file have an l in the place of the I
    text = text_of(row, "Index", "lndex")
    if not text.isdigit():
        raise ValueError(f"its index {text!r} is no number")
    return int(text)


MMVP = Benchmark(
    "mmvp", read, (Reading("per pair", whole_groups=True), Reading("per question")), picture,
)  # fmt: skip
