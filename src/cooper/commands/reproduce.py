"""`cooper reproduce`: the paper's claims, put to the test."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from cooper.commands.options import check_counts, check_installed
from cooper.commands.outputs import check_folder
from cooper.commands.terminal import progress_bars


@dataclass(frozen=True)
class Reproduce:
    """Train every variant and control from nothing, ask them all the same questions, and write docs/results.md.

    Hours for each seed. What is done is kept: stopped at any moment, the command goes on where it was, and seeds that
    were run separately come together in one report.
    """

    run_folder: Annotated[
        Path | None,
        arg(name="run", metavar="DIR", help_behavior_hint="(default: runs/reproduce; runs/quick with --quick)"),
    ] = None
    """Folder for scenes, checkpoints, logs and answers."""
    out: Annotated[
        Path | None, arg(metavar="DIR", help_behavior_hint="(default: docs; the run's folder with --quick)")
    ] = None
    """Folder for results.md and results/."""
    seeds: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 3; 1 with --quick)")] = None
    """How many seeds: 0, 1, ..."""
    seed: Annotated[int | None, arg(metavar="SEED", help_behavior_hint="")] = None
    """Run only this seed; the report is of all whose results are in the folder."""
    autoencoder: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint="(default: one is trained)")] = None
    """A model, such as tiny, whose autoencoder all variants have, as the paper's have FLUX's."""
    quick: bool = False
    """A few steps of each stage, a quarter of an hour in all: shows that everything runs, and no claim."""
    processes: int = field(default_factory=lambda: min(2, os.cpu_count() or 1))
    """Processes that render and train together."""

    def run(self) -> int:
        seeds = (1 if self.quick else 3) if self.seeds is None else self.seeds
        check_counts(self, "seeds", "processes")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"--seed must be at least 0, not {self.seed}")
        run = self.run_folder or Path("runs/quick" if self.quick else "runs/reproduce")
        out = self.out or (run if self.quick else Path("docs"))
        check_folder(run, "--run")
        check_folder(out)

        check_installed("matplotlib", "tensorboard", "mujoco", extras="train,scenes")
        from cooper.checkpoints.checkpoint import find
        from cooper.reproduction.run import reproduce
        from cooper.reproduction.variants import FULL, QUICK, with_autoencoder

        console = Console(stderr=True)
        wanted = range(seeds) if self.seed is None else (self.seed,)
        plan, command = (QUICK, "cooper reproduce --quick") if self.quick else (FULL, "cooper reproduce")
        if self.autoencoder is not None:
            find(self.autoencoder).check()  # before hours are spent
            plan = with_autoencoder(plan, self.autoencoder)
            command = f"{command} --autoencoder {self.autoencoder}"
        path = reproduce(run, out, plan, wanted, self.processes, console.print, progress_bars, command)
        print(path)
        return 0
