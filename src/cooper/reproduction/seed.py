"""One seed of the reproduction: every stage trained from nothing, every variant asked. Resumable at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from cooper.api import Cooper
from cooper.evaluation.maps import evaluate_maps
from cooper.evaluation.predictions import Row
from cooper.evaluation.scenes import evaluate_scenes
from cooper.files import named, new_file
from cooper.hardware import describe
from cooper.inference.engine import Engine, Settings
from cooper.progress import OnProgress
from cooper.reproduction.results import SeedFigures, SeedResults, name_of, source
from cooper.reproduction.variants import Plan, Variant
from cooper.scenes.scene_set import SceneSet
from cooper.scenes.shards import make_shards
from cooper.scenes.world import SPLITS
from cooper.training.pipeline import Workspace, note_once, train
from cooper.training.recipe import SCRATCH_STAGES
from cooper.training.settings import noted
from cooper.training.sharpness import relative_sharpness

#: told what is done now, in a line
Say: TypeAlias = Callable[[str], None]
#: opens bars that are told how far something is
Bars: TypeAlias = Callable[[], AbstractContextManager[OnProgress]]


class Seed:
    """The folder of a seed: RUN/seed-K, with the training run, `predictions/VARIANT-NAME.jsonl` and
    `maps/STAGE-NAME.json`."""

    def __init__(self, run: Path, plan: Plan, seed: int):
        self.folder, self.plan, self.seed = run / f"seed-{seed}", plan, seed
        self.recipe = replace(plan.recipe, seed=seed)
        scenes = run / "scenes"
        # what the paper takes from others, FLUX's autoencoder and SigLIP, is the same for all seeds
        self.space = Workspace(self.folder, scenes / "train", scenes / "validation", scratch=run / "scratch")
        self.test = scenes / "test"

    @property
    def first(self) -> int:
        """The first of this seed's test scenes."""
        return SPLITS["test"].start + self.plan.first_test + self.seed * self.plan.n_test

    def predictions(self, variant: Variant) -> Path:
        """The file of its answers, which is there when all have been given; in a plan where they would be others, it is
        another file."""
        name = name_of(self.plan.of(variant.stage, variant))
        return self.folder / "predictions" / f"{variant.name.replace(' ', '_')}-{name}.jsonl"

    def maps(self, stage: str) -> Path:
        return self.folder / "maps" / f"{stage}-{name_of(self.plan.of(stage))}.json"

    def trained(self, stage: str) -> bool:
        return (self.space.model(stage) / "model.safetensors").exists()

    @property
    def _times(self) -> Path:
        return self.folder / "times.jsonl"

    def run(self, processes: int, say: Say, bars: Bars) -> Iterator[None]:
        """Train and ask what is not done yet, but for the ablations. Stops when all that a model is asked is there, and
        at the end."""
        yield from self._each(self.plan.variants, processes, say, bars)
        for stage in self.plan.drawing:
            if not self.maps(stage).exists():
                with self._timed(f"measuring the maps of {stage}", say), bars() as on_progress:
                    self._measure(stage, on_progress)
        yield

    def run_ablations(self, processes: int, say: Say, bars: Bars) -> Iterator[None]:
        """The same for the ablations, but that it stops at the end only if the last one was still to be asked."""
        yield from self._each(self.plan.ablations, processes, say, bars)

    def _each(self, variants: Sequence[Variant], processes: int, say: Say, bars: Bars) -> Iterator[None]:
        def needs(variant: Variant) -> str:
            return variant.as_sure_as or variant.stage

        missing = [variant for variant in variants if not self.predictions(variant).exists()]
        stages = [needs(variant) for variant in missing]
        missing.sort(key=lambda variant: stages.index(needs(variant)))  # all that a model is asked, before the next one
        if missing:
            with self._timed("rendering", say):
                self._render(processes)
        for stage, asked in groupby(missing, key=needs):
            for name in self.recipe.path(stage):
                if name not in SCRATCH_STAGES:  # those are the same for all
                    note_once(self.space.stage(name) / "plan.txt", noted(self.plan.of(name)), begun=True)
            if not self.trained(stage):
                with self._timed(f"training {stage}", say):
                    train(self.space, self.recipe, stage, processes)
            for variant in asked:
                with self._timed(f"asking {variant.name}", say), bars() as on_progress:
                    self._ask(variant, on_progress)
            yield

    @contextmanager
    def _timed(self, what: str, say: Say) -> Iterator[None]:
        say(f"seed {self.seed}: {what}")
        began = time.monotonic()
        try:
            yield
        finally:
            self.folder.mkdir(parents=True, exist_ok=True)
            row = {"what": what, "seconds": round(time.monotonic() - began, 1)}
            with named(self._times), self._times.open("a", encoding="utf-8") as file:
                file.write(f"\n{json.dumps(row)}\n")  # a line before may have been cut off

    def _render(self, processes: int) -> None:
        plan = self.plan
        parts = (
            (self.space.train, SPLITS["train"].start, plan.n_train),
            (self.space.validation, SPLITS["validation"].start, plan.n_validation),
            (self.test, self.first, plan.n_test),
        )
        for folder, start, n in parts:
            make_shards(folder, start, n, plan.size, workers=processes)

    def _tested(self, n: int) -> SceneSet:
        return SceneSet(n, "test", self.first, shards=self.test)

    def _ask(self, variant: Variant, on_progress: OnProgress) -> None:
        path = self.predictions(variant)
        part = path.with_suffix(".part")  # grows, and an interrupted evaluation goes on with it
        path.parent.mkdir(parents=True, exist_ok=True)
        cooper = Cooper.load(self.space.model(variant.stage))
        sharpness = 1.0
        if variant.as_sure_as is not None:
            sharpness = relative_sharpness(Cooper.load(self.space.model(variant.as_sure_as)).model, cooper.model)
        evaluate_scenes(
            cooper, variant.mode, self._tested(self.plan.n_test), on_progress, questions=self.plan.questions,
            maps=False, predictions=part, control=variant.control, temperature=variant.temperature / sharpness,
        )  # fmt: skip
        part.rename(path)

    def _measure(self, stage: str, on_progress: OnProgress) -> None:
        cooper = Cooper.load(self.space.model(stage))
        scenes = self._tested(self.plan.n_maps).load()
        figures = evaluate_maps(Engine(cooper.model, cooper.sequencer, Settings()), scenes, on_progress)
        with new_file(self.maps(stage)) as file:
            file.write_text(json.dumps(figures, indent=1) + "\n")

    def results(self) -> SeedResults:
        """What has come of it so far."""
        asked = {v.name: self.predictions(v) for v in self.plan.variants + self.plan.ablations}
        answers = {name: _rows(path) for name, path in asked.items() if path.exists()}
        reinforced = [stage for stage in self.recipe.reinforced if self.trained(stage)]
        return SeedResults(
            SeedFigures(
                self.seed, {name: self.plan.names[name] for name in answers},
                maps={
                    stage: json.loads(self.maps(stage).read_text())
                    for stage in self.plan.drawing if self.maps(stage).exists()
                },
                logs={stage: _rows(self.space.stage(stage) / "log.jsonl") for stage in reinforced},
                hours=self._hours(), machine=describe(), code=source(),
            ),
            answers=answers,
        )  # fmt: skip

    def _hours(self) -> dict[str, float]:
        folders = (*(self.space.stage(name) for name in SCRATCH_STAGES), *sorted(self.folder.iterdir()))
        logs = {folder.name: folder / "log.jsonl" for folder in folders}
        rows = {name: _rows(path) for name, path in logs.items() if path.exists()} | {"by the clock": self._clock()}
        return {name: sum(row["seconds"] for row in those) / 3600 for name, those in rows.items()}

    def _clock(self) -> list[Row]:
        """What took how long, but for what was cut off when a disk was full."""
        rows = []
        for line in self._times.read_text(encoding="utf-8", errors="replace").split("\n"):
            with suppress(ValueError):
                rows.append(json.loads(line))
        return rows


def _rows(path: Path) -> list[Row]:
    # answers may hold what `splitlines` takes for the end of a line
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
