"""`cooper train`: from nothing to a model."""

from __future__ import annotations

from dataclasses import dataclass
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
    workers: int = 2
    """Processes that render scenes."""

    def run(self) -> int:
        from cooper.scenes.shards import make_shards
        from cooper.scenes.world import SPLITS

        check_folder(self.run_folder, "--run")
        check_folder(self.scenes, "--scenes")
        folders = {name: self.scenes / name for name in ("train", "validation")}
        for (name, folder), n in zip(folders.items(), (self.n_train, self.n_validation), strict=True):
            make_shards(folder, SPLITS[name].start, n, workers=self.workers)

        from cooper.training.recipe import Workspace, train_tiny

        train_tiny(Workspace(self.run_folder, folders["train"], folders["validation"]))
        return 0
