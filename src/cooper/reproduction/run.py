"""The whole reproduction: seeds one after the other, then their ablations; the report grows with each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cooper.reproduction.report import write_report
from cooper.reproduction.results import load_results
from cooper.reproduction.seed import Bars, Say, Seed
from cooper.reproduction.variants import Plan
from cooper.training.pipeline import note_once
from cooper.training.processes import held
from cooper.training.settings import noted


def reproduce(
    run: Path, out: Path, plan: Plan, seeds: Sequence[int], processes: int, say: Say, bars: Bars,
    command: str = "cooper reproduce",
) -> Path:  # fmt: skip
    """Train and ask the variants of these seeds in the folder `run`; returns the path of the report in `out`.

    What comes of a seed is kept in `out`/results as it comes, and the report is of all that is there.

    A plan may get more variants, or stages, when others are done: what is there stays. Raises ValueError if either
    folder holds what other settings of the plan gave, and if another process works in `run`: seeds share what is there.
    """
    results = out / "results"
    _check_results(results, plan)
    with held(run):
        note_once(run / "plan.txt", noted(plan.shared), begun=True)
        ones = [Seed(run, plan, seed) for seed in seeds]
        for work in (Seed.run, Seed.run_ablations):
            for one in ones:
                for _ in work(one, processes, say, bars):
                    one.results().keep(results / one.folder.name, plan.names)
                    path = write_report(load_results(results), plan, out, command)
    return path


def _check_results(folder: Path, plan: Plan) -> None:
    """Before hours are spent: what this run finds must be comparable with what is in the report."""
    wanted = plan.names
    for found in load_results(folder):
        for variant, name in found.figures.asked.items():
            if wanted.get(variant, name) != name:
                raise ValueError(
                    f"{folder}/seed-{found.seed} has answers of {variant} in a run with other settings; choose another "
                    "--out, or move it away"
                )
