"""Any table with the columns `index, image, question, answer, type`, and `category` and options `A, B ..` if it has
them: such as the scenes that `cooper scenes export` writes. Each row is scored by its type."""

from __future__ import annotations

from cooper.data.tables import Row
from cooper.evaluation.benchmarks.base import Benchmark, Reading
from cooper.evaluation.grading import check_number, with_unit
from cooper.evaluation.items import Item, Kind, Place, letter_of, options_in, options_of, text_of

KINDS: dict[str, Kind] = {
    "MCQ": "choice", "YN": "yes_no", "Number": "number", "Number_Int": "count", "Word": "word",
}  # fmt: skip
_YES_NO = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}


def typed(row: Row) -> tuple[Kind, str, tuple[str, ...]]:
    """The kind, truth and options of a row that has a `type`. Raises ValueError if they do not fit."""
    name, answer = text_of(row, "type"), text_of(row, "answer")
    if name not in KINDS:
        raise ValueError(f"its type {name!r} is none of {', '.join(KINDS)}")
    kind = KINDS[name]
    if kind == "choice":
        return kind, letter_of(answer), options_of(row) or options_in(text_of(row, "question"))
    if kind == "yes_no":
        return kind, _YES_NO.get(answer.lower().rstrip("."), answer), ()
    if kind == "number":
        return kind, with_unit(check_number(answer), text_of(row, "question")), ()
    return kind, check_number(answer) if kind == "count" else answer, ()


def read(row: Row, place: Place) -> Item:
    kind, truth, options = typed(row)
    return Item(
        text_of(row, "index", default=str(place.number)), text_of(row, "question"), truth, kind,
        (text_of(row, "category", default=text_of(row, "type")),), options, listed=bool(options_of(row)),
    )  # fmt: skip


TSV = Benchmark("tsv", read, (Reading("mean over categories", levels=1), Reading("mean over questions")))
