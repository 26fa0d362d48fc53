"""The whole reproduction: seeds one after the other, then their ablations; the report grows with each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cooper.reproduction.report import write_report
from cooper.reproduction.seed import Bars, Say, Seed
from cooper.reproduction.variants import Plan


def reproduce(
    run: Path, out: Path, plan: Plan, seeds: Sequence[int], processes: int, say: Say, bars: Bars,
    command: str = "cooper reproduce",
) -> Path:  # fmt: skip
    """Train and ask the variants of these seeds in the folder `run`; returns the path of the report in `out`.

    Raises ValueError if the folder holds a run of another plan.
    """
    _claim(run, plan)
    for one in (Seed(run, plan, seed) for seed in seeds):
        one.run(processes, say, bars)
        path = _report(run, out, plan, command)
    for one in (Seed(run, plan, seed) for seed in seeds):
        one.run_ablations(processes, say, bars)
        path = _report(run, out, plan, command)
    return path


def _report(run: Path, out: Path, plan: Plan, command: str) -> Path:
    known = sorted(int(path.name.removeprefix("seed-")) for path in run.glob("seed-*"))
    finished = [one for one in (Seed(run, plan, seed) for seed in known) if one.finished]
    return write_report(finished, plan.variants + plan.ablations, out, command)


def _claim(run: Path, plan: Plan) -> None:
    path = run / "plan.txt"
    if not path.exists():
        run.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{plan}\n")
    elif path.read_text() != f"{plan}\n":
        raise ValueError(f"{run} holds a run with other settings; choose another --run, or delete it")
