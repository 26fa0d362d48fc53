"""MM-Vet: open questions, graded 0..1 by a judge.

In true answers, <AND> joins what must all be said, and <OR> ways of saying it.
"""

from __future__ import annotations

import re

from cooper.data.fields import given
from cooper.data.tables import Row
from cooper.evaluation.benchmarks.base import Benchmark, Reading
from cooper.evaluation.items import Item, Place, text_of


def read(row: Row, place: Place) -> Item:
    index = text_of(row, "index", "question_id", default=str(place.number))
    return Item(index, text_of(row, "question"), text_of(row, "answer"), "open", _capabilities(row))


def _capabilities(row: Row) -> tuple[str, ...]:
    """A list, or names with anything but letters between them: "rec, ocr", "ocr_spat"."""
    value = next((row[name] for name in ("capability", "category") if given(row.get(name))), ())
    listed = isinstance(value, list | tuple)
    names = [str(name) for name in value] if listed else re.findall(r"[a-zA-Z]+", str(value))
    return tuple(dict.fromkeys(names))


MM_VET = Benchmark("mm-vet", read, (Reading("mean grade"),))
