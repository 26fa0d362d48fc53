"""Sets of data by name: those to train on, and of them those that maps are measured on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cooper.data.ade20k import AdeColours, AdeLabels
from cooper.data.examples import Example, MapExample
from cooper.data.hypersim import Hypersim
from cooper.data.kitti import Kitti, KittiSplit
from cooper.data.map_rows import MapRows
from cooper.data.nyu import Nyu, NyuDepths, NyuLabels
from cooper.data.question_rows import Fields, QuestionRows
from cooper.data.tables import BadRow, Row, Table, open_table, tables_in
from cooper.data.trace_rows import FIELD as TRACE_FIELD
from cooper.data.trace_rows import SavedTraces, TraceRows
from cooper.data.virtual_kitti import VirtualKitti


@dataclass(frozen=True)
class MapReader:
    """Opens a set of pictures whose maps are known."""

    kinds: tuple[str, ...]
    """Kinds of map that it may hold."""
    training: Callable[[Path], Sequence[MapExample]]
    held_out: Callable[[Path], Sequence[MapExample]]
    """The part that is not trained on. Where the data has none, all that lies there."""


def _undivided(*kinds: str, reader: Callable[[Path], Sequence[MapExample]]) -> MapReader:
    return MapReader(kinds, reader, reader)


MAP_SETS = {
    "hypersim": _undivided("depth", reader=Hypersim),
    "virtual_kitti": _undivided("depth", reader=VirtualKitti),
    "kitti": MapReader(("depth",), Kitti, partial(Kitti, split="val")),
    "kitti_split": _undivided("depth", reader=KittiSplit),
    "nyu": _undivided("depth", reader=Nyu),
    "nyu_depths": _undivided("depth", reader=NyuDepths),
    "nyu_labels": _undivided("segmentation", reader=NyuLabels),
    "ade20k": MapReader(("segmentation",), AdeLabels, partial(AdeLabels, split="validation")),
    "ade20k_full": MapReader(
        ("segmentation",),
        lambda root: AdeColours(root / "images" / "ADE" / "training"),
        lambda root: AdeColours(root / "images" / "ADE" / "validation"),
    ),
    "ade20k_colours": _undivided("segmentation", reader=lambda root: AdeColours(root / "images", root / "labels")),
    "maps": _undivided("depth", "segmentation", reader=MapRows),
}
TRAINING_SETS: dict[str, Callable[[Path], Sequence[Example]]] = {
    **{name: reader.training for name, reader in MAP_SETS.items()},
    "questions": QuestionRows,
    "traces": TraceRows,
    "saved_traces": SavedTraces,
}


#: so many rows are tried for one that tells what a table holds
_TRIES = 100


def set_in(path: str | Path) -> str:
    """The name of the set that a user's own file or folder is, told by the first row that can be read. Raises
    ValueError if it cannot be told, and for a folder that holds both tables and traces."""
    path = Path(path)
    saved = next(path.glob("**/trace.json"), None) if path.is_dir() else None
    if saved is not None:
        if any(table != saved for table in tables_in(path)):
            raise ValueError(
                f"{path} holds tables and, in {saved.parent}, a saved trace; give the table itself, or "
                f"saved_traces={path}"
            )
        return "saved_traces"
    table = open_table(path)
    if not len(table):
        raise ValueError(f"{path} has no rows")
    fields = first_readable(table).keys()
    if TRACE_FIELD in fields:
        return "traces"
    names = Fields()
    asks = set(names.question) & fields and set(names.answer) & fields  # whatever else is known of the picture
    return "maps" if {"depth", "segmentation"} & fields and not asks else "questions"


def first_readable(table: Table) -> Row:
    """Raises what is wrong with the first row if none of the first can be read."""
    for i in range(min(len(table), _TRIES)):
        try:
            return table[i]
        except BadRow:
            pass
    return table[0]


def named(where: str) -> tuple[str, str]:
    """Name and path of `[NAME=]PATH`; without a name, what the file itself tells (`set_in`). What stands before an "="
    is a name only if it can be one, so that paths may have such signs."""
    name, found, path = where.partition("=")
    if not (path if found else name).strip():
        raise ValueError(f"{where!r} names no file or folder of data")
    return (name, path) if found and re.fullmatch(r"\w+", name) else (set_in(where), where)


def open_set(name: str, path: str | Path) -> Sequence[Example]:
    """The training set of that name in a folder or file (docs/data.md says which), with the reader's defaults.

    Raises ValueError if no set is called so, or `path` does not hold it.
    """
    if name not in TRAINING_SETS:
        raise ValueError(f"no training set is called {name!r}; choose from {', '.join(TRAINING_SETS)}")
    return TRAINING_SETS[name](Path(path))
