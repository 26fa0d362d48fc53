"""`cooper train`: from nothing to a model, or to any stage on the way."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from cooper.commands.outputs import check_folder
from cooper.training.recipe import RECIPES, TINY, check_beginning

STAGES = ("tiny", *TINY.stages)


@dataclass(frozen=True)
class Train:
    """Train a model: a stage and all that lead to it, from nothing or from a checkpoint. What is finished is not
    trained again, and an interrupted run goes on where it was.

    autoencoder: pictures and maps to latents and back. vision: what is where. base: answer directly, draw pictures.
    perception: draw depth and segmentation (stage 1). interleaved: draw, think and answer (stage 2, supervised).
    reinforcement: learn from answers when to draw and how to read it (stage 2). tiny: all of these.

    To compare with: direct, text and text_reinforcement never draw; true_maps has true maps in its traces instead of
    the model's own; no_exploration lacks that part of the reward; view_dropout and view_dropout_reinforcement hide half
    of the picture from what is written after a map.

    The preset bagel_7b has the paper's numbers for perception, interleaved and reinforcement. It begins with BAGEL's
    weights (--start), learns from scenes of the synthetic world as the tiny model does, and needs GPUs.
    """

    stage: Annotated[Literal[STAGES], Positional]  # type: ignore[valid-type]
    """The last stage."""
    run_folder: Annotated[Path, arg(name="run", metavar="DIR")]
    """Folder of the run: checkpoints, logs and contact sheets of every stage."""
    scenes: Annotated[Path, arg(metavar="DIR")]
    """Folder of the scenes, in train/ and validation/; those that are missing are rendered."""
    preset: Literal["tiny", "bagel_7b"] = "tiny"
    """What stages are trained with, and, from nothing, the model's size."""
    start: str | None = None
    """A model to begin with instead of with nothing: a shipped model, or a model's folder."""
    n_train: int = 50_000
    """Scenes to train on."""
    n_validation: int = 1000
    """Scenes of other seeds, for contact sheets and figures on the way."""
    processes: int = field(default_factory=lambda: min(2, os.cpu_count() or 1))
    """Processes that render scenes, and then train together."""

    def run(self) -> int:
        from cooper.scenes.shards import make_shards
        from cooper.scenes.world import SPLITS

        if self.processes < 1:
            raise ValueError(f"--processes must be at least 1, not {self.processes}")
        recipe, last = RECIPES[self.preset], "reinforcement" if self.stage == "tiny" else self.stage
        check_beginning(recipe, last, self.start)
        check_folder(self.run_folder, "--run")
        check_folder(self.scenes, "--scenes")
        folders = {name: self.scenes / name for name in ("train", "validation")}
        for (name, folder), n in zip(folders.items(), (self.n_train, self.n_validation), strict=True):
            make_shards(folder, SPLITS[name].start, n, workers=self.processes)

        from cooper.training.pipeline import Workspace, train

        space = Workspace(self.run_folder, folders["train"], folders["validation"], self.start)
        print(f"finished: {train(space, recipe, last, self.processes)}")
        return 0
