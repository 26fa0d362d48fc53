"""`cooper eval depth` and `cooper eval segmentation`: draw maps of pictures whose truth is known, and compare."""

from __future__ import annotations

import json as json_
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import arg

from cooper.commands.options import Flag, FlowSteps, Guidance, OutFile, WithModel, check_counts, options
from cooper.commands.outputs import check_file
from cooper.commands.terminal import between, progress_bars, tell_left_out
from cooper.evaluation.map_sets import MapSet

if TYPE_CHECKING:
    from cooper.data.examples import MapExample
    from cooper.evaluation.map_scores import MapScoring


@dataclass(frozen=True)
class _EvalMaps(WithModel, ABC):
    kind: ClassVar[str]

    data: Annotated[str, arg(metavar="[NAME=]PATH")]
    """A set of docs/data.md and where it lies, or a user's own table of maps."""
    n: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: all)")] = None
    """Take only so many examples, drawn by lot."""
    flow_steps: FlowSteps = None
    """Calls of the model per map, one fewer than time points: the release's num_timesteps=50 is 49."""
    guidance: Guidance = None
    """Scales of text and image guidance; 1 is none."""
    seed: int = 0
    """Of the noise that maps are drawn from, and of the lot."""
    batch: int = 32
    """Maps that are drawn together."""
    out: OutFile = None
    """JSON Lines file to keep every example's figures in; run again, the evaluation goes on where it was interrupted.
    """
    json: Flag = False
    """Print one JSON object."""

    def run(self) -> int:
        check_counts(self, "n")
        options(flow_steps=self.flow_steps, guidance=self.guidance, seed=self.seed, batch=self.batch)
        if self.out is not None:
            check_file(self.out)
        examples = MapSet.open(self.data, self.kind)
        scoring = self.scoring(examples.examples)

        from cooper.evaluation.drawn_maps import measure, run_of, summarise
        from cooper.evaluation.predictions import Predictions
        from cooper.inference.engine import Engine, Settings
        from cooper.inference.flow import changed, on_demand

        cooper = self.load()
        draws = cooper.model.config.modalities
        if self.kind not in draws:
            raise ValueError(f"{cooper.name} does not draw {self.kind}; it draws {', '.join(draws)}")
        flow = changed(on_demand(cooper.model.config.flow), self.flow_steps, self.guidance)
        engine = Engine(cooper.model, cooper.sequencer, Settings(batch=self.batch, flow=flow))
        run = run_of(engine, examples, scoring, cooper.name, self.precision, self.seed)
        chosen = examples.chosen(self.n, self.seed)
        with progress_bars() as show_progress, Predictions(self.out, run, key=lambda row: row["index"]) as kept:
            rows, broken = measure(engine, examples.examples, chosen, scoring, kept, self.seed, show_progress)
        if not rows:
            raise ValueError(f"none of {len(broken)} examples could be used; the first: {broken[0]}")
        tell_left_out(broken, "examples")
        seconds = sum(row["seconds"] for row in rows) / len(rows)
        result = {**run, "n": len(rows), "broken": len(broken), "map_seconds": seconds, "figures": summarise(rows)}
        if self.json:
            print(json_.dumps(result))
        else:
            report(result, Console())
        return 0

    @abstractmethod
    def scoring(self, examples: Sequence[MapExample]) -> MapScoring:
        """Raises ValueError for what cannot be measured with."""


def report(result: dict[str, Any], console: Console) -> None:
    """What `--json` prints, as a table."""
    table = Table(title=Text(f"{result['task']} of {result['data']}: {result['model']}"))
    for head in ("reading", "figure", "mean", "95 % interval", "examples"):
        table.add_column(head, justify="left" if head in ("reading", "figure") else "right")
    for reading, figures in result["figures"].items():
        for name, figure in figures.items():
            mean, interval = "-", "-"
            if figure["n"]:
                mean, interval = f"{figure['mean']:.4f}", between(figure["interval"], 4)
            table.add_row(reading, name, mean, interval, str(figure["n"]))
        table.add_section()
    console.print(table)
    console.print(Text(result["settings"]))
    console.print(f"{result['n']} compared, {result['broken']} left out, {result['map_seconds']:.2f} s a map")


@dataclass(frozen=True)
class EvalDepth(_EvalMaps):
    """Compare the depth that a model draws with the true one, in metres and up to scale and shift."""

    kind = "depth"

    align: Annotated[Literal["none", "scale_shift"] | None, arg(help_behavior_hint="(default: both)")] = None
    """Whether scale and shift are first fitted to the truth, picture by picture."""
    clamp: Annotated[
        tuple[float, float] | None,
        arg(
            metavar="LOW HIGH",
            help_behavior_hint="(default: 0.001 10 after alignment; 0.001 65 for Hypersim, 0.001 80 outdoors)",
        ),
    ] = None
    """Limit drawn depth to so many metres."""
    crop: Annotated[Literal["eigen"] | None, arg(help_behavior_hint="")] = None
    """Compare the part of NYU's pictures that is usual, rows 45 to 470 and columns 41 to 600."""
    linear: Annotated[
        tuple[float, float] | None,
        arg(metavar="NEAR FAR", help_behavior_hint="(default: what the model's config says)"),
    ] = None
    """Metres that the model draws black and white, linear between them: 0 1 if nobody knows them."""

    def scoring(self, examples: Sequence[MapExample]) -> MapScoring:
        from cooper.checkpoints.adapters import Adapters
        from cooper.checkpoints.checkpoint import find
        from cooper.evaluation.map_scores import DepthScoring
        from cooper.modalities import Depth

        if self.clamp is not None and not 0 < self.clamp[0] < self.clamp[1] < inf:
            raise ValueError(f"--clamp takes two lengths above 0, the lower first, not {_two(self.clamp)}")
        if self.linear is not None and not 0 <= self.linear[0] < self.linear[1] < inf:
            raise ValueError(f"--linear takes two lengths, the lower first, not {_two(self.linear)}")
        config = find(self.model, self.base).config
        codes = (config if self.adapter is None else Adapters(self.adapter).adapted(config)).codes
        if self.linear is None and codes.depth is None:
            raise ValueError(
                f"{self.model} draws depth over a range that its files do not tell; give it with --linear, or "
                "--linear 0 1 --align scale_shift for figures that do not depend on it"
            )
        code = codes.modality("depth") if self.linear is None else Depth(*self.linear, code="linear")
        assert isinstance(code, Depth)
        known = getattr(examples, "modality", None)  # outdoors things are farther away
        far = max(DepthScoring.far, known.far) if isinstance(known, Depth) else DepthScoring.far
        return DepthScoring(code, self.align, self.clamp, far, self.crop)


@dataclass(frozen=True)
class EvalSegmentation(_EvalMaps):
    """Compare the segmentation that a model draws with the true one: mIoU, adjusted Rand index, F1 of boundaries."""

    kind = "segmentation"

    labels: Literal["nearest", "classes"] = "nearest"
    """Drawn pixels become labels by the nearest of the colours that the truth has, or as the shipped model's classes.
    """

    def scoring(self, examples: Sequence[MapExample]) -> MapScoring:
        from cooper.evaluation.map_scores import SegmentationScoring
        from cooper.modalities import Segmentation

        return SegmentationScoring(Segmentation(), self.labels)


def _two(lengths: tuple[float, float]) -> str:
    return f"{lengths[0]:g} {lengths[1]:g}"
