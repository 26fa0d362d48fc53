"""`cooper train`: from nothing to a model, or to any stage on the way."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from tyro.conf import Positional, arg

from cooper.commands.options import Flag, JudgeName, JudgeUrl, check_counts, check_installed, judge_named
from cooper.commands.outputs import check_folder
from cooper.training.optimisation import Optimisation
from cooper.training.recipe import RECIPES, TINY, Recipe, check_beginning
from cooper.training.reinforcement import Reinforcement
from cooper.training.settings import with_changes
from cooper.training.unified import StageSettings

STAGES = ("tiny", *TINY.stages)
#: Settings of stages that rows of a user's own do not follow.
ABOUT_SCENES = ("mix", "scenes", "drawn", "balanced", "point_weight", "tolerance")


Settings = TypeVar("Settings", bound=StageSettings | Reinforcement)


@dataclass(frozen=True)
class Train:
    """Train a model: a stage and all that lead to it, from nothing or from a checkpoint. What is finished is not
    trained again, and an interrupted run goes on where it was.

    autoencoder: pictures and maps to latents and back. vision: what is where. base: answer directly, draw pictures.
    perception: draw depth and segmentation; answers: mostly answer again, and draw still (both are stage 1).
    interleaved: draw, think and answer (stage 2, supervised). reinforcement: learn from answers when to draw and how to
    read it (stage 2). tiny: all of these.

    To compare with: direct, text and text_reinforcement never draw; text_from_base and text_from_base_reinforcement are
    without direct, too; true_maps has true maps in its traces instead of the model's own; no_exploration lacks that
    part of the reward; view_dropout and view_dropout_reinforcement hide half of the picture from what is written after
    a map; half of the traces of by_eye call for no map, so that by_eye_reinforcement, or by_eye_no_exploration without
    that part of the reward, has something to decide.

    With --data a model is trained further on your own sets instead of on scenes (docs/data.md): one stage, such as
    base, perception, interleaved or reinforcement, whole or by LoRA, from --start to RUN/STAGE/model.

    The preset bagel_7b has the paper's numbers for perception, interleaved and reinforcement (`training/recipe.py`
    tells what differs). It begins with BAGEL's weights (--start) and learns from scenes of the synthetic world as the
    tiny model does, on CPUs, where that size needs more patience than anyone has; with --data and --device it is
    trained on a GPU.
    """

    stage: Annotated[Literal[STAGES], Positional]  # type: ignore[valid-type]
    """The last stage."""
    run_folder: Annotated[Path, arg(name="run", metavar="DIR")]
    """Folder of the run: checkpoints, logs and contact sheets of every stage."""
    scenes: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder of the scenes, in train/ and validation/; those that are missing are rendered."""
    data: Annotated[tuple[str, ...], arg(metavar="[NAME=]PATH[@WEIGHT] ...", help_behavior_hint="")] = ()
    """Your own data: files or folders, or published sets by name, mixed by weight."""
    preset: Literal["tiny", "bagel_7b"] = "tiny"
    """What stages are trained with, and, from nothing, the model's size."""
    start: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint="(default: nothing)")] = None
    """A model to begin with instead of with nothing: a shipped model, or a model's folder."""
    n_train: int = 50_000
    """Training scenes to render. If the folder already holds more, all of them are used."""
    n_validation: int = 1000
    """Scenes of other seeds to render, for contact sheets and figures on the way."""
    processes: int = field(default_factory=lambda: min(2, os.cpu_count() or 1))
    """Processes that render scenes, and then train together."""

    device: str = "cpu"
    """With --data: where it is trained, such as cuda, in one process there. `cooper inspect` tells what memory it
    needs."""
    base: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint="")] = None
    """With --data: the model that the weights to start with are a fine-tune of."""
    prompts: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """With --data: the words that these weights were trained with."""
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the preset's)")] = None
    """With --data: steps."""
    rows: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the preset's)")] = None
    """With --data: examples of a step; questions, in reinforcement."""
    lr: Annotated[float | None, arg(metavar="RATE", help_behavior_hint="(default: the preset's)")] = None
    """With --data: peak learning rate of AdamW; the preset's other rates change in proportion."""
    changes: Annotated[tuple[str, ...], arg(name="set", metavar="NAME=VALUE ...", help_behavior_hint="")] = ()
    """Other settings of the last stage: optimisation.ema=0.99 of any, objective.kl=0.01 view_dropout=0.5 of
    reinforcement, mix.view_dropout=0.5 of a supervised one on scenes. A name that is not there is answered by those
    that are."""
    lora: Annotated[int | None, arg(metavar="RANK", help_behavior_hint="(default: train weights themselves)")] = None
    """Train LoRA adapters of this rank. They are saved separately, and merged into the saved model."""
    experts: Annotated[
        tuple[Literal["und", "gen"], ...] | None, arg(help_behavior_hint="(default: both)")
    ] = None
    """Which experts have adapters: what reads and writes, what draws."""
    checkpointing: Flag = False
    """Activation checkpointing: recompute layers in the backward pass, to save memory. Not in reinforcement."""
    strict: Flag = False
    """With --data: end at the first broken row instead of passing over it."""
    judge: JudgeUrl = None
    """With --data, in reinforcement: server of a model that judges answers in words (OpenAI-compatible), such as
    http://localhost:8000/v1. Letters, numbers, yes and no are compared by rules."""
    judge_model: JudgeName = None
    """That model. Its verdicts are kept in RUN/STAGE/judge.jsonl."""

    def run(self) -> int:
        check_counts(self, "lora", "processes")
        if self.lora is not None and self.start is None:
            raise ValueError("--lora trains adapters on weights that are there; name them with --start")
        if self.experts is not None and self.lora is None:
            raise ValueError("--experts says which experts --lora adapts; give a rank, or leave it out")
        writing = self.stage in ("tiny", *RECIPES[self.preset].reinforced)
        if self.experts is not None and writing and "und" not in self.experts:
            raise ValueError("reinforcement trains what writes; --experts must have und among them")
        self._check_changes()
        check_folder(self.run_folder, "--run")
        check_installed("tensorboard", extras="train")
        return self._on_data() if self.data else self._on_scenes()

    def _check_changes(self) -> None:
        """Raises ValueError for changes of what is not used, which would be noted as if it had been."""
        for name in (change.partition("=")[0] for change in self.changes):
            group = name.partition(".")[0]
            if group == "lora":
                raise ValueError("adapters are asked for with --lora and --experts, not with --set")
            if group == "after":
                raise ValueError("where a stage stands among the others is not changed with --set")
            if self.data and group in ABOUT_SCENES:
                raise ValueError(f"{name} is about scenes, and changes nothing with --data")
            if self.lora is not None and name in ("optimisation.matrix_lr", "optimisation.scale_lr"):
                raise ValueError(f"{name} is for whole matrices and the scale of logits, which --lora does not train")

    def _on_data(self) -> int:
        from cooper.training.tuning import BROKEN, Part, Tuning, broken_in, tune

        recipe = RECIPES[self.preset]
        if self.stage not in (*recipe.unified, *recipe.reinforced):
            names = ", ".join((*recipe.unified, *recipe.reinforced))
            raise ValueError(f"--data is for one of the stages {names}, not {self.stage}")
        if self.start is None or self.scenes is not None:
            raise ValueError("--data needs --start, the model to train further, and no --scenes")
        if (self.n_train, self.n_validation) != (Train.n_train, Train.n_validation):
            raise ValueError("--n-train and --n-validation are for scenes; --data has as many examples as it has")
        for name, value in (("steps", self.steps), ("rows", self.rows), ("lr", self.lr)):
            if value is not None and not 0 < value < inf:
                raise ValueError(f"--{name} must be above 0 and finite, not {value:g}")
        judge = judge_named(self.judge, self.judge_model)
        if judge and self.stage in recipe.unified:
            raise ValueError(f"--judge is for reinforcement; {self.stage} learns what it is shown")
        settings = self.adapting(recipe).stage(self.stage)
        how = settings.optimisation
        faster = (self.lr or how.lr) / how.lr
        how = replace(
            how.in_steps(self.steps or how.steps), lr=how.lr * faster,
            matrix_lr=how.matrix_lr and how.matrix_lr * faster, scale_lr=how.scale_lr and how.scale_lr * faster,
        )  # fmt: skip
        if isinstance(settings, StageSettings):
            settings = replace(settings, optimisation=how, rows=self.rows or settings.rows)
        else:
            if self.checkpointing:
                raise ValueError("--checkpointing is for supervised stages, not for reinforcement")
            # turns as long, and maps drawn, as the model to start with does it
            settings = replace(
                settings, optimisation=how, questions=self.rows or settings.questions, turn_tokens=None, flow=None
            )
        settings = self.changed(settings)
        together = settings.rows if isinstance(settings, StageSettings) else settings.questions
        parts = tuple(map(Part.parse, self.data))
        tuning = Tuning(
            self.run_folder, self.stage, settings, parts, self.start, self.base, self.prompts, strict=self.strict,
            judge=judge, device=self.device,
        )  # fmt: skip
        # a process needs something to do in every step; one is enough for a GPU
        processes = min(self.processes, together) if self.device == "cpu" else 1
        path = tune(tuning, processes)
        if broken := broken_in(path.parent):
            print(f"{len(broken)} rows could not be read: {path.parent / BROKEN}", file=sys.stderr)
        print(f"finished: {path}")
        return 0

    def adapting(self, recipe: Recipe) -> Recipe:
        """The recipe whose stages train adapters, or compute layers once more, if they are to."""
        from cooper.lora import Lora

        lora = None if self.lora is None else Lora(self.lora, 2.0 * self.lora, self.experts or ("und", "gen"))

        def whole(o: Optimisation) -> Optimisation:
            # what Muon does to matrices it would do to adapters, which are factors of one; and they hold no scale
            return replace(o, matrix_lr=None, scale_lr=None) if lora else o

        return replace(
            recipe,
            unified={
                name: replace(s, optimisation=whole(s.optimisation), lora=lora, checkpointing=self.checkpointing)
                for name, s in recipe.unified.items()
            },
            reinforced={
                name: replace(s, optimisation=whole(s.optimisation), lora=lora) for name, s in recipe.reinforced.items()
            },
        )

    def changed(self, settings: Settings) -> Settings:
        """Settings with the changes that are asked for. Raises ValueError if nothing can be learned with them."""
        settings = with_changes(settings, self.changes)
        named, how = {change.partition("=")[0] for change in self.changes}, settings.optimisation
        if "optimisation.steps" in named and "optimisation.warmup" not in named:
            settings = replace(settings, optimisation=how.in_steps(how.steps))
        if settings.optimisation.steps < 1:
            raise ValueError("nothing is learned in no steps; --set optimisation.steps to 1 or more")
        if isinstance(settings, Reinforcement) and settings.rollouts < 2:
            raise ValueError("rollouts of a question are compared with each other; --set rollouts to 2 or more")
        return settings

    def changing(self, recipe: Recipe, last: str) -> Recipe:
        """The recipe whose stage `last` has the changes that are asked for."""
        unified, reinforced = dict(recipe.unified), dict(recipe.reinforced)
        if last in unified:
            unified[last] = self.changed(unified[last])
        elif last in reinforced:
            reinforced[last] = self.changed(reinforced[last])
        elif self.changes:
            raise ValueError(f"--set changes a stage of the whole model; {last} comes before there is one")
        return replace(recipe, unified=unified, reinforced=reinforced)

    def _on_scenes(self) -> int:
        from cooper.scenes.shards import make_shards
        from cooper.scenes.world import SPLITS

        recipe, last = self.adapting(RECIPES[self.preset]), "reinforcement" if self.stage == "tiny" else self.stage
        check_beginning(recipe, last, self.start)
        recipe = self.changing(recipe, last)
        if self.scenes is None:
            raise ValueError("give --scenes, a folder for scenes to train on, or --data, your own")
        for name in ("base", "prompts", "steps", "rows", "lr", "judge", "judge_model", "strict"):
            value = getattr(self, name)
            if value is not None and value is not False:
                raise ValueError(f"--{name.replace('_', '-')} goes with --data alone")
        if self.device != "cpu":
            raise ValueError("--device goes with --data alone; scenes are trained on with CPUs")
        check_folder(self.scenes, "--scenes")
        folders = {name: self.scenes / name for name in ("train", "validation")}
        for (name, folder), n in zip(folders.items(), (self.n_train, self.n_validation), strict=True):
            make_shards(folder, SPLITS[name].start, n, workers=self.processes)

        from cooper.training.pipeline import Workspace, train

        space = Workspace(self.run_folder, folders["train"], folders["validation"], self.start)
        print(f"finished: {train(space, recipe, last, self.processes)}")
        return 0
