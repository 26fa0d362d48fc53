"""MMVP: pairs of pictures that look alike to CLIP, with the same question and two answers.

The file is `Questions.csv` beside the folder `MMVP Images`, the same rows with their pictures in Parquet, or a TSV of
`index, image, question, A, B, answer`, as VLMEvalKit has its multiple choices. The benchmark counts pairs; the paper
counts questions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cooper.data.fields import given
from cooper.data.options import letter_of, options_of
from cooper.data.tables import Row
from cooper.evaluation.benchmarks.base import Benchmark, Reading
from cooper.evaluation.items import INSTRUCTIONS, Item, Place, text_of

_OPTION = re.compile(r"\(([a-h])\)\s*(.*?)\s*(?=\([a-h]\)|$)", re.DOTALL)


def read(row: Row, place: Place) -> Item:
    options = options_of(row)
    if not options:
        listed = text_of(row, "Options")
        found = _OPTION.findall(listed)
        if [letter for letter, _ in found] != list("abcdefgh"[: len(found)]) or len(found) < 2:
            raise ValueError(f"its options {listed!r} are not of the form (a) .. (b) ..")
        options = tuple(text for _, text in found)
    return Item(
        str(_index(row)), text_of(row, "Question", "question"), letter_of(text_of(row, "Correct Answer", "answer")),
        "choice", options=options, instruction=INSTRUCTIONS["choice"], size=2,
    )  # fmt: skip


def paired(items: Sequence[Item]) -> list[Item]:
    """Two questions in a row are a pair; they are numbered from 1, or from 0: where there is a 0, or, if that row
    cannot be read, where rows have their own number."""
    own = all(int(item.index) == item.row for item in items)
    first = 0 if own or any(item.index == "0" for item in items) else 1
    return [replace(item, group=f"pair {(int(item.index) - first) // 2 + 1}") for item in items]


def picture(row: Row) -> Any:
    return row["image"] if given(row.get("image")) else f"MMVP Images/{_index(row)}.jpg"


def _index(row: Row) -> int:
    # copies of the file have an l in the place of the I
    text = text_of(row, "Index", "lndex", "index")
    if not text.isdigit():
        raise ValueError(f"its index {text!r} is no number")
    return int(text)


MMVP = Benchmark(
    "mmvp", read, (Reading("per pair", whole_groups=True), Reading("per question")), picture,
    expand=paired,
)  # fmt: skip
