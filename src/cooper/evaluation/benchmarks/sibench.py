"""SIBench, its questions about single pictures: a folder of TSV files, one a setting, as published."""

from __future__ import annotations

from cooper.data.tables import Row
from cooper.evaluation.benchmarks.base import Benchmark, Reading
from cooper.evaluation.benchmarks.tsv import listed_options, typed
from cooper.evaluation.items import INSTRUCTIONS, Item, Place, text_of

#: The settings of single pictures, which are what the paper asks.
SETTINGS = (
    "relative_distance", "Reach_Prediction", "Height", "Existence", "Spatial_Compatibility", "Coordinate_Conversion",
    "Geometric_Reasoning", "Spatial_Imagination", "Spatial_Grid", "Situational_QA", "Maze_Navigation", "Occlusion",
    "Spatial_Relation",
)  # fmt: skip
_BY_LOWER = {name.lower(): name for name in SETTINGS}


def read(row: Row, place: Place) -> Item | None:
    """Rows of other settings, and those with a film or several pictures, are none of its questions.

    The setting is the row's `category` if that names one, or else the name of its file.
    """
    setting = _BY_LOWER.get(text_of(row, "category", default="").lower()) or _BY_LOWER.get(place.file.lower())
    if setting is None or text_of(row, "input_type", default="image") != "image":
        return None
    kind, truth, options = typed(row)
    return Item(
        # every file numbers its questions from the start
        f"{setting}/{text_of(row, 'index', default=str(place.number))}", text_of(row, "question"), truth, kind,
        (setting,), options, listed=bool(listed_options(row)), instruction=INSTRUCTIONS[kind],
    )  # fmt: skip


SIBENCH = Benchmark(
    "sibench", read, (Reading("mean over questions"), Reading("mean over settings", levels=1)),
)  # fmt: skip
