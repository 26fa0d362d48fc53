"""`cooper bench`: how fast this machine runs a model."""

from __future__ import annotations

import json as json_
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from tyro.conf import arg

from cooper.benchmark.answer import bench_answer
from cooper.benchmark.engine import bench_engine
from cooper.benchmark.script import PARTS, random_model
from cooper.checkpoints.checkpoint import find
from cooper.commands.options import check_counts
from cooper.model.config import PRECISIONS, Precision
from cooper.model.presets import PRESETS


@dataclass(frozen=True)
class BenchEngine:
    """Reading, writing and drawing by themselves, at several batch sizes."""

    preset: str = "tiny"
    """Size of the model; its weights are random."""
    model: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder of a model to measure instead of a preset."""
    threads: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: as many as PyTorch takes)")] = None
    """Threads to compute on."""
    repeats: int = 3
    """Runs of which the median counts."""
    dtype: Precision = "fp32"
    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        model = random_model(self.preset) if self.model is None else find(self.model).load().for_inference()
        name = self.preset if self.model is None else str(self.model)
        with Console(stderr=True).status("measuring") as status:
            threads = torch.get_num_threads() if self.threads is None else self.threads
            result = bench_engine(model, name, threads, self.dtype, self.repeats, status.update)
        _print(result, self.json, _engine_tables)
        return 0


@dataclass(frozen=True)
class BenchAnswer:
    """One scripted answer with one map, and eight rollouts of one question, on random weights of a fixed size."""

    preset: str = "bench"
    """Size of the model: tiny, bench (one for comparisons) or bagel_7b."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads to try."""
    repeats: int = 2
    """Runs of which the median counts."""
    dtype: tuple[Precision, ...] = PRECISIONS
    """Data types to try; "mixed" draws in bf16 and writes in fp32, "int8" and "int4" keep the decoder's weights in so
    many bits and are as "mixed" otherwise."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        with Console(stderr=True).status("measuring") as status:
            result = bench_answer(self.preset, self.threads, self.dtype, self.repeats, status.update)
        _print(result, self.json, _answer_tables)
        return 0


@dataclass(frozen=True)
class BenchReinforcement:
    """One step of reinforcement learning on questions of the synthetic world, and the same one rollout at a time. Maps
    are drawn in 11 steps, however many the model takes by itself."""

    model: str = "tiny"
    """A shipped model, or a model's folder."""
    questions: int = 16
    """Questions of the step."""
    rollouts: int = 8
    """Rollouts of each."""
    alone: int = 16
    """Rollouts to run one at a time, for comparison."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        from cooper.api import Cooper
        from cooper.benchmark.reinforcement import bench_reinforcement
        from cooper.scenes.chosen import choose_questions
        from cooper.scenes.scene_set import SceneSet
        from cooper.training.asked import about_scenes
        from cooper.training.recipe import TINY

        check_counts(self, "questions", "rollouts", "alone")
        scenes = SceneSet(self.questions, "train").load()
        asked = [question for _, question in about_scenes(scenes, choose_questions(scenes, 1))]
        with Console(stderr=True).status("measuring") as status, TemporaryDirectory() as folder:
            cooper = Cooper.load(self.model)
            flow = replace(cooper.model.config.flow, time_points=12)
            settings = replace(
                TINY.reinforced["reinforcement"], questions=self.questions, rollouts=self.rollouts, flow=flow
            )
            result = bench_reinforcement(cooper, asked, settings, self.alone, folder, status.update)
        _print(result, self.json, _reinforcement_tables)
        return 0


@dataclass(frozen=True)
class BenchPrecision:
    """What fewer bits cost: answers about scenes, and velocities of maps, in every precision."""

    model: str = "tiny"
    """A shipped model, or a model's folder."""
    n: int = 100
    """Scenes to ask about, three questions each."""
    precisions: tuple[Precision, ...] = PRECISIONS
    """Which to compare."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        from cooper.benchmark.precision import bench_precision

        check_counts(self, "n")
        if not self.precisions:
            raise ValueError(f"--precisions takes at least one of {', '.join(PRECISIONS)}")
        with Console(stderr=True).status("measuring") as status:
            result = bench_precision(self.model, self.precisions, self.n, on_progress=status.update)
        _print(result, self.json, _precision_tables)
        return 0


@dataclass(frozen=True)
class BenchBig:
    """One turn of a model of the published size, with a map, and the memory it takes; on random weights, which lie on
    the disk (29.5 GB) while this runs."""

    precision: Literal["int4", "int8"] = "int4"
    """Bits that the decoder's weights are kept in."""
    preset: str = "bagel_7b"
    """Size of the model."""
    folder: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder below which the weights are written, and removed again; by default the system's temporary one."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        from cooper.benchmark.big import bench_big

        if self.preset not in PRESETS:
            raise ValueError(f"no preset is called {self.preset!r}; choose from {', '.join(PRESETS)}")
        with Console(stderr=True).status("measuring") as status:
            result = bench_big(PRESETS[self.preset](), self.preset, self.precision, self.folder, status.update)
        _print(result, self.json, _big_tables)
        return 0 if result["finite"] else 1


def _print(result: dict[str, Any], json: bool, tables: Any) -> None:
    if json:
        print(json_.dumps(result))
        return
    console, machine = Console(), result["machine"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}")
    for table in tables(result):
        console.print(table)


def _engine_tables(result: dict[str, Any]) -> list[Table]:
    title = f"{result['model']}, {result['dtype']}, {result['threads']} threads, peak {result['peak_gflops']} GFLOP/s"
    speeds = _table(title, "what", "batch", "tokens/s", "of peak")
    for what in ("prefill", "decode"):
        for row in result[what]:
            speeds.add_row(what, str(row["batch"]), f"{row['tokens_per_second']:.0f}", f"{row['peak_share']:.1%}")
    maps = _table("maps", "time points", "guidance", "batch", "seconds a map", "of peak")
    for row in result["maps"]:
        maps.add_row(
            str(row["time_points"]), row["guidance"], str(row["batch"]), f"{row['seconds_per_map']:.4f}",
            f"{row['peak_share']:.1%}",
        )  # fmt: skip
    rest = _table("eight rollouts of one question", "what", "figure")
    for part in ("rollouts", "cache"):
        for name, value in result[part].items():
            rest.add_row(name.replace("_", " "), str(value))
    return [speeds, maps, rest]


def _reinforcement_tables(result: dict[str, Any]) -> list[Table]:
    table = _table(f"a step of reinforcement, {result['model']}", "what", "figure")
    for name, value in {**result, **{f"alone_{k}": v for k, v in result["alone"].items()}}.items():
        if isinstance(value, int | float):
            table.add_row(name.replace("_", " "), str(value))
    return [table]


def _precision_tables(result: dict[str, Any]) -> list[Table]:
    names = list(next(iter(result["precisions"].values())))
    title = f"{result['model']}, {result['scenes']} scenes of {result['split']}"
    table = _table(title, "precision", *(name.replace("_", " ") for name in names))
    for precision, row in result["precisions"].items():
        table.add_row(precision, *(_rounded(row[name]) for name in names))
    return [table]


def _rounded(figure: float | None) -> str:
    """None: nothing was asked that it could be told from."""
    return "-" if figure is None else f"{figure:.3f}" if figure < 2 else f"{figure:.1f}"


def _big_tables(result: dict[str, Any]) -> list[Table]:
    table = _table(f"one turn, {result['model']}, {result['precision']}", "what", "figure")
    for name, value in result.items():
        if isinstance(value, int | float):
            table.add_row(name.replace("_", " "), str(value))
    return [table]


def _answer_tables(result: dict[str, Any]) -> list[Table]:
    tables = []
    for name, title in (("one", "one answer"), ("eight", "eight rollouts of one question")):
        columns = [f"{run['dtype']}, {run['threads']} thr." for run in result["runs"]]
        table = _table(f"{title}, {result['preset']}: seconds", "part", *columns)
        for part in PARTS:
            table.add_row(part, *(f"{run[name]['parts'][part]:.3f}" for run in result["runs"]))
        table.add_section()
        table.add_row("together", *(f"{run[name]['seconds']:.3f}" for run in result["runs"]))
        table.add_row("of peak", *(f"{run[name]['peak_share']:.1%}" for run in result["runs"]))
        tables.append(table)
    return tables


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
