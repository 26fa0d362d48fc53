"""Any table with the columns `image, question, answer`, and `index`, `category`, `group`, `type` and options (`A, B` ..
or a list in `options`) if it has them: such as the scenes that `cooper scenes export` writes. Each row is scored by its
type, or, without one, by what its answer is, as it is in training."""

from __future__ import annotations

from cooper.data.fields import given
from cooper.data.options import letter_among, options_in, options_of
from cooper.data.question_rows import NO_ANSWERS, YES_NO, plain_answer, plain_question
from cooper.data.tables import Row
from cooper.evaluation.benchmarks.base import Benchmark, Reading
from cooper.evaluation.grading import check_number, kind_of, with_unit
from cooper.evaluation.items import Item, Kind, Place, text_of

KINDS: dict[str, Kind] = {
    "MCQ": "choice", "YN": "yes_no", "Number": "number", "Number_Int": "count", "Word": "word",
}  # fmt: skip
_NAMES = {kind: name for name, kind in KINDS.items()}
_BY_LOWER = {name.lower(): name for name in KINDS}


def typed(row: Row) -> tuple[Kind, str, tuple[str, ...]]:
    """The kind, truth and options of a row by its `type`; one that has none, but options, is a choice. Raises
    ValueError if they do not fit."""
    options, answer = listed_options(row), _answer(row)
    named = text_of(row, "type", default="MCQ" if options else "")
    if named.lower() not in _BY_LOWER:
        known = ", ".join(KINDS)
        raise ValueError(f"its type {named!r} is none of {known}" if named else f"it has no type: one of {known}")
    kind = KINDS[_BY_LOWER[named.lower()]]
    if kind == "choice":
        options = options or options_in(text_of(row, "question"))
        return kind, letter_among(options, answer), options
    if kind == "yes_no":
        said = answer.lower().rstrip(".")
        return kind, YES_NO.get(said, said), ()
    if kind == "number":
        return kind, with_unit(check_number(answer), text_of(row, "question")), ()
    return kind, check_number(answer) if kind == "count" else answer, ()


def listed_options(row: Row) -> tuple[str, ...]:
    """The options that a row has apart from its question."""
    return options_of(row, "options", "choices")


def _answer(row: Row) -> str:
    answer = plain_answer(text_of(row, "answer"))
    if not answer or answer in NO_ANSWERS:
        raise ValueError("its answer is empty, or no number; leave the row out")
    return answer


def _untyped(row: Row) -> tuple[Kind, str, tuple[str, ...]]:
    answer = row.get("answer")
    kind, truth = kind_of(("no", "yes")[answer] if isinstance(answer, bool) else _answer(row))
    if kind != "choice":
        return kind, truth, ()
    options = options_in(text_of(row, "question"))
    return (kind, truth, options) if options else typed(row)  # a letter of nothing is refused there


def read(row: Row, place: Place) -> Item:
    kind, truth, options = typed(row) if given(row.get("type")) or listed_options(row) else _untyped(row)
    return Item(
        text_of(row, "index", default=str(place.number)), plain_question(text_of(row, "question")), truth, kind,
        (text_of(row, "category", default=_NAMES[kind]),), options, listed=bool(listed_options(row)),
    )  # fmt: skip


def group_of(row: Row) -> str:
    return text_of(row, "group", default="")


TSV = Benchmark(
    "tsv", read, (Reading("mean over categories", levels=1), Reading("mean over questions")), group=group_of
)
