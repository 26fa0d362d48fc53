"""VSI-Bench's questions and scores, of single pictures: its films are not watched, so each row needs an `image`, a
frame of its film. Numbers get their mean relative accuracy, choices are right or wrong."""

from __future__ import annotations

import re

from cooper.data.options import letter_of, options_of
from cooper.data.tables import Row
from cooper.evaluation.benchmarks.base import Benchmark, Reading
from cooper.evaluation.grading import check_number, with_unit
from cooper.evaluation.items import INSTRUCTIONS, Item, Kind, Place, text_of

NUMBERS = ("object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation")
_LETTER = re.compile(r"^[A-H]\.\s*")
#: Three types are levels of difficulty of one task.
_DIRECTION = "object_rel_direction"


def read(row: Row, place: Place) -> Item:
    name, truth = text_of(row, "question_type"), text_of(row, "ground_truth", "answer")
    kind: Kind = "number" if name in NUMBERS else "choice"
    question = text_of(row, "question")
    options = tuple(_LETTER.sub("", option) for option in options_of(row, "options"))
    if kind == "choice" and not options:
        raise ValueError("it has no options")
    return Item(
        text_of(row, "id", "index", default=str(place.number)), question,
        letter_of(truth) if kind == "choice" else with_unit(check_number(truth), question), kind,
        (_DIRECTION, name) if name.startswith(_DIRECTION) else (name,), options if kind == "choice" else (),
        instruction=INSTRUCTIONS[kind],
    )  # fmt: skip


VSI = Benchmark("vsi", read, (Reading("mean over tasks", levels=2), Reading("mean over questions")))
