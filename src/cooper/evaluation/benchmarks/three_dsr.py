"""3DSRBench: multiple choice, each question also with its options rotated and with its picture mirrored.

Which rows are of one question says `qid`: "AB12CD34", "AB12CD34-1", "AB12CD34-flip", "AB12CD34-flip-1".
"""

from __future__ import annotations

import re

from cooper.data.options import letter_of, options_of
from cooper.data.tables import Row
from cooper.evaluation.benchmarks.base import Benchmark, Reading
from cooper.evaluation.items import INSTRUCTIONS, Item, Place, text_of

_TYPES = ("height", "location", "orientation", "multi_object")


def read(row: Row, place: Place) -> Item:
    name = text_of(row, "qid", "index")
    category = text_of(row, "category")
    kind = [t for t in _TYPES if category.startswith(t)]
    return Item(
        name, text_of(row, "question"), letter_of(text_of(row, "answer")), "choice", (*kind, category),
        options_of(row), instruction=INSTRUCTIONS["choice"],
    )  # fmt: skip


def group(row: Row) -> str:
    return text_of(row, "qid", "index").partition("-")[0]


def rotated(row: Row) -> str:
    """The question whose rotations a row of predictions is one of; of the mirrored picture it is another one."""
    return re.sub(r"-\d+$", "", row["index"])


# published scorers count a question and its mirrored one apart; the paper's FlipEval asks for both
THREE_DSR = Benchmark(
    "3dsrbench", read,
    (
        Reading("all rotations", whole_groups=True, part=rotated),
        Reading("all rotations and flips", whole_groups=True),
        Reading("per question"),
    ), group=group,
)  # fmt: skip
