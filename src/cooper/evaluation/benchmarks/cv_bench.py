"""CV-Bench: multiple choice about photographs; 2D from ADE20K and COCO, 3D from Omni3D."""

from __future__ import annotations

from typing import Any

from cooper.data.fields import given
from cooper.data.options import letter_of, options_of
from cooper.data.tables import Row
from cooper.evaluation.benchmarks.base import Benchmark, Reading
from cooper.evaluation.items import INSTRUCTIONS, Item, Place, text_of

DIMENSIONS = {"ADE20K": "2D", "COCO": "2D", "Omni3D": "3D"}


def read(row: Row, place: Place) -> Item:
    source = text_of(row, "source")
    if source not in DIMENSIONS:
        raise ValueError(f"its source {source!r} is none of {', '.join(DIMENSIONS)}")
    return Item(
        text_of(row, "idx", "index", default=str(place.number)), text_of(row, "question"),
        letter_of(text_of(row, "answer")), "choice", (DIMENSIONS[source], source, text_of(row, "task")),
        options_of(row, "choices"), instruction=INSTRUCTIONS["choice"],
    )  # fmt: skip


def picture(row: Row) -> Any:
    """In the row, or a file in the folder `img` beside the table."""
    if given(row.get("image")):
        return row["image"]
    name = text_of(row, "filename")
    return name if name.startswith("img/") else f"img/{name}"


CV_BENCH = Benchmark(
    "cv-bench", read, (Reading("mean of 2D and 3D", levels=2), Reading("mean over questions")), picture,
)  # fmt: skip
