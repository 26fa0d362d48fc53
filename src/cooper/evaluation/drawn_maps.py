"""How good the maps are that a model draws on demand of a set of pictures whose depth or labels are known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from cooper.data.examples import MapExample
from cooper.data.tables import BadRow
from cooper.evaluation.map_scores import MapScoring
from cooper.evaluation.map_sets import MapSet
from cooper.evaluation.maps import decoded
from cooper.evaluation.predictions import Predictions, Row, fingerprint
from cooper.evaluation.scores import mean_interval
from cooper.inference.engine import Engine
from cooper.progress import OnProgress


def run_of(
    engine: Engine, examples: MapSet, scoring: MapScoring, model: str, precision: str, seed: int
) -> dict[str, str]:
    """What figures come from: a file of them holds those of one run. `model` and `precision` are told."""
    drawing = f"seed {seed}, {precision}, maps of {engine.flow.told}"
    return {
        "task": scoring.kind, "data": f"{examples.name}={examples.path.name}", "examples": str(len(examples.examples)),
        "model": model, "weights": fingerprint(engine.model), "settings": f"{drawing}; {scoring.settings}",
    }  # fmt: skip


def measure(
    engine: Engine, examples: Sequence[MapExample], chosen: Sequence[int], scoring: MapScoring, kept: Predictions,
    seed: int = 0, on_progress: OnProgress = lambda *_: None,
) -> tuple[list[Row], list[str]]:  # fmt: skip
    """The rows of the chosen examples, in their order, and a line for each that cannot be used and has no row.

    Only what `kept`, whose key is a row's "index", does not hold yet is drawn. The noise of a map comes from `seed` and
    its example's number. "seconds" is what a map took, its batch dealt out evenly.
    """
    if (first := next((k for k in chosen if k in kept.rows), None)) is not None:
        _check_same(examples, first, kept)
    broken: list[str] = []
    missing, batch = [k for k in chosen if k not in kept.rows], engine.settings.batch
    done = len(chosen) - len(missing)
    for first in range(0, len(missing), batch):
        part = missing[first : first + batch]
        usable: dict[int, MapExample] = {}
        for k in part:
            try:
                usable[k] = scoring.usable(examples[k])
            except BadRow as error:
                broken.append(str(error))
        began = time.perf_counter()
        pictures = [example.picture for example in usable.values()]
        drawings = engine.draw(pictures, scoring.kind, seeds=[seed + k for k in usable])
        seconds = (time.perf_counter() - began) / max(len(drawings), 1)
        for (k, example), drawing in zip(usable.items(), drawings, strict=True):
            figures = scoring.score(decoded(engine.model, [drawing])[0], example)
            kept.add([{"index": k, "name": example.name, "figures": figures, "seconds": round(seconds, 3)}])
        done += len(part)
        on_progress("maps", done, len(chosen))
    return [kept.rows[k] for k in chosen if k in kept.rows], broken


def _check_same(examples: Sequence[MapExample], k: int, kept: Predictions) -> None:
    """Raises ValueError if row k is about another example: sets of one name and size may lie in several folders."""
    try:
        name = examples[k].name
    except BadRow:
        return  # it was there when it was measured; what is wrong with it now is told with the others
    if name != kept.rows[k]["name"]:
        raise ValueError(f"{kept.path} is of {kept.rows[k]['name']}, not of {name}; choose another file")


def summarise(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """Of each figure of each reading, the mean over at least one row, its 95 % bootstrap interval, and how many rows
    have it; mean and interval are None if none has."""
    return {
        reading: {name: _mean([row["figures"][reading][name] for row in rows]) for name in figures}
        for reading, figures in rows[0]["figures"].items()
    }


def _mean(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "interval": None, "n": 0}
    return {"mean": sum(known) / len(known), "interval": mean_interval(known), "n": len(known)}
