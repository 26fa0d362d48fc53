"""The whole reproduction: seeds one after the other, then their ablations; the report grows with each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cooper.reproduction.report import write_report
from cooper.reproduction.results import load_results, name_of
from cooper.reproduction.seed import Bars, Say, Seed
from cooper.reproduction.variants import Plan
from cooper.training.pipeline import note_once
from cooper.training.processes import held


def reproduce(
    run: Path, out: Path, plan: Plan, seeds: Sequence[int], processes: int, say: Say, bars: Bars,
    command: str = "cooper reproduce",
) -> Path:  # fmt: skip
    """Train and ask the variants of these seeds in the folder `run`; returns the path of the report in `out`.

    What comes of a seed is kept in `out`/results as it comes, and the report is of all that is there.

    Raises ValueError if either folder holds a run of another plan, and if another process works in `run`: seeds share
    what is there.
    """
    results = out / "results"
    _check_results(results, plan)
    with held(run):
        note_once(run / "plan.txt", str(plan), begun=True)
        ones = [Seed(run, plan, seed) for seed in seeds]
        for work in (Seed.run, Seed.run_ablations):
            for one in ones:
                for _ in work(one, processes, say, bars):
                    one.results().keep(results / one.folder.name)
                    path = write_report(load_results(results), plan, out, command)
    return path


def _check_results(folder: Path, plan: Plan) -> None:
    """Before hours are spent: what this run finds must be comparable with what is in the report."""
    for found in load_results(folder):
        if found.figures.plan != name_of(plan):
            path = folder / f"seed-{found.seed}"
            raise ValueError(f"{path} is of a run with other settings; choose another --out, or move it away")
