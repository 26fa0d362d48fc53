"""`cooper train`: from nothing to a model."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from cooper.commands.outputs import check_folder


@dataclass(frozen=True)
class Tiny:
    """Train the tiny model: autoencoder, base, perception, interleaved. Interrupted, it goes on where it was."""

    run_folder: Annotated[Path, arg(name="run", metavar="DIR")]
    """Folder of the run: checkpoints, logs and contact sheets of every stage."""
    scenes: Annotated[Path, arg(metavar="DIR")]
    """Folder of the scenes, in train/ and validation/; those that are missing are rendered."""
    n_train: int = 30_000
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
        check_folder(self.run_folder, "--run")
        check_folder(self.scenes, "--scenes")
        folders = {name: self.scenes / name for name in ("train", "validation")}
        for (name, folder), n in zip(folders.items(), (self.n_train, self.n_validation), strict=True):
            make_shards(folder, SPLITS[name].start, n, workers=self.processes)

        from cooper.training.recipe import Workspace, train_tiny

        space = Workspace(self.run_folder, folders["train"], folders["validation"])
        print(f"the model is in {train_tiny(space, processes=self.processes)}")
        return 0
