"""Q-Spatial: lengths in photographs. An answer within a factor of 2 (or 1.5) of the truth is right."""

from __future__ import annotations

from cooper.data.tables import Row
from cooper.evaluation.benchmarks.base import Benchmark, Grade, Reading
from cooper.evaluation.grading import check_number, within
from cooper.evaluation.items import INSTRUCTIONS, Item, Kind, Place, text_of
from cooper.quantities import parse_number


def read(row: Row, place: Place) -> Item:
    truth = check_number(f"{text_of(row, 'answer_value')} {text_of(row, 'answer_unit')}", positive=True)
    found = parse_number(truth)
    if found is None or found[1] is None:
        raise ValueError(f"its unit {text_of(row, 'answer_unit')!r} is not known")
    return Item(
        text_of(row, "index", default=str(place.number)), text_of(row, "question"), truth, "length",
        (text_of(row, "question_type", default="all"),), instruction=INSTRUCTIONS["length"],
    )  # fmt: skip


def _within(factor: float) -> Grade:
    def grade(kind: Kind, answer: str | None, truth: str) -> float:
        return within(factor, answer, truth)

    return grade


Q_SPATIAL = Benchmark(
    "q-spatial", read, (Reading("within a factor of 2", _within(2.0)), Reading("within a factor of 1.5", _within(1.5)))
)
