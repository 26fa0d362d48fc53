"""`cooper eval`: measure a model."""

from __future__ import annotations

import json as json_
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import arg

from cooper.commands.options import Flag, OutFile, OutFolder, WithModel, check_counts
from cooper.commands.outputs import check_file
from cooper.commands.terminal import between, progress_bars
from cooper.evaluation.controls import Control
from cooper.evaluation.scenes import evaluate_scenes
from cooper.modalities import names
from cooper.policy import Mode
from cooper.scenes.scene_set import SceneSet


@dataclass(frozen=True)
class EvalScenes(WithModel):
    """Score a model's answers and maps on scenes of the synthetic world that it has not seen."""

    mode: Mode = "interleaved"
    """How questions are answered."""
    n: int = 500
    """Scenes."""
    split: Literal["train", "validation", "test"] = "test"
    """The range of seeds that scenes come from."""
    start: Annotated[int | None, arg(metavar="SEED", help_behavior_hint="(default: the first of the split)")] = None
    """First seed."""
    questions: int = 3
    """Most questions a scene, each of another task; 12 asks all there are."""
    temperature: float = 0.0
    """Sampling temperature of the text: 0 always takes the likeliest token (greedy), 1 samples from the model's own
    distribution, as rollouts of reinforcement do."""
    batch: int = 64
    """Questions, or maps, that are worked on together."""
    size: int = 128
    """Side of the pictures, in pixels."""
    shards: OutFolder = None
    """Folder of rendered scenes to read instead of rendering."""
    out: OutFile = None
    """JSON Lines file to keep every answer in; run again, the evaluation goes on where it was interrupted.
    `cooper score` reads it, and compares it with another model's."""
    maps: Flag = True
    """Also draw and measure depth and segmentation of every scene; --no-maps leaves that out."""
    control: Annotated[Control, arg(name="control")] = field(default_factory=Control)
    json: Flag = False
    """Print one JSON object."""

    def run(self) -> int:
        check_counts(self, "n", "questions", "batch", "size")
        if self.out is not None:
            check_file(self.out, "--out")
        if self.shards is not None and self.size != EvalScenes.size:
            raise ValueError("--size is for rendering; --shards have the size that they have")
        which = SceneSet(self.n, self.split, self.start, self.size, self.shards)
        cooper = self.load()
        with progress_bars() as show:
            result = evaluate_scenes(
                cooper, self.mode, which, show, questions=self.questions, batch=self.batch, maps=self.maps,
                predictions=self.out, control=self.control, temperature=self.temperature,
            )  # fmt: skip
        if self.json:
            print(json_.dumps(result))
        else:
            report(result, Console())
        return 0


def report(result: dict[str, Any], console: Console) -> None:
    """The result of `evaluate_scenes` as tables."""
    table = Table(title=Text(f"{result['model']}, {result['mode']}, {result['n']} scenes of {result['split']}"))
    drawn = [f"drew {name}" for name in next(iter(result["tasks"].values()))["calls"]] if result["tasks"] else []
    for name in ("task", "score", "95 % interval", "n", *drawn):
        table.add_column(name, justify="left" if name == "task" else "right", no_wrap=name in ("task", "95 % interval"))
    for task, row in result["tasks"].items():
        calls = (f"{share:.0%}" for share in row["calls"].values())
        table.add_row(task, f"{row['score']:.3f}", between(row["interval"], 3), str(row["n"]), *calls)
    table.add_section()
    for name in ("spatial", "general", "mean", "well_formed"):
        if result[name] is not None:
            table.add_row(name.replace("_", "-"), f"{result[name]:.3f}")
    console.print(table)
    if "map_seconds" in result:
        console.print(_maps(result))
    console.print(f"{result['seconds']:.1f} s")


#: Figures of depth that few look at.
_JSON_ALONE = ("sq_rel", "rmse_log", "log10", "silog", "delta2", "delta3")


def _maps(result: dict[str, Any]) -> Table:
    table = Table(title=f"maps, {result['map_seconds']:.2f} s each")
    for name in ("map", "figure", "mean", "95 % interval"):
        table.add_column(name, justify="right" if name in ("mean", "95 % interval") else "left")
    figures = {name: result[name] for name in names() if name in result}
    figures["depth of objects"] = figures.get("depth", {}).get("objects", {})
    figures["autoencoder, depth"] = result["autoencoder"]
    for name, values in figures.items():
        for figure, interval in values.get("intervals", {}).items():
            if figure not in _JSON_ALONE:
                table.add_row(name, figure, f"{values[figure]:.4f}", between(interval, 4))
    return table
