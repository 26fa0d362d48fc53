"""What the logs of reinforcement tell: accuracy within a run, and how far two runs are the same training."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.special import stdtrit

from cooper.evaluation.predictions import Row

#: The rows of a run, a step each.
Log: TypeAlias = Sequence[Row]


class Mean(NamedTuple):
    """A mean (or a difference of means) and its 95 % interval; NaN where one step cannot tell."""

    mean: float
    low: float
    high: float


def accuracy(logs: Sequence[Log], part: slice) -> Mean:
    """Mean answer reward of the rollouts of these steps of every run, by Student's t over steps, each of which has
    questions of its own."""
    values = _answers(logs, part)
    return _with_interval(float(values.mean()), _error(values), len(values) - 1)


def gain(logs: Sequence[Log], steps: int) -> Mean | None:
    """How much higher accuracy is in the last so many steps than in the first (Welch's interval); None where a run is
    so short that they overlap."""
    if min(map(len, logs)) < 2 * steps:
        return None
    first, last = _answers(logs, slice(steps)), _answers(logs, slice(-steps, None))
    errors = _error(first), _error(last)
    error = math.hypot(*errors)
    freedom = error**4 / sum(e**4 / (len(of) - 1) for e, of in zip(errors, (first, last), strict=True)) if error else 1
    return _with_interval(float(last.mean() - first.mean()), error, freedom)


def share_of_rollouts(logs: Sequence[Log], of: Collection[str], kinds: Collection[str], part: slice) -> float | None:
    """Share of the rollouts about these tasks, or of these flags, in these steps of every run, that called for a map of
    these kinds, each task and step counting the same; None if there were none. A rollout that called for two kinds
    counts twice."""
    rows = [row for log in logs for row in log[part]]
    keys = [[f"calls/{kind}/{name}" for kind in kinds] for name in of]
    shares = [sum(row[key] for key in each) for row in rows for each in keys if None not in map(row.get, each)]
    return float(np.mean(shares)) if shares else None


def told_apart(logs: Sequence[Log], questions: int) -> tuple[int, int] | None:
    """In how many groups of rollouts the exploration reward differed, and of how many, where a step has so many; None
    if no log tells."""
    shares = [row["exploration_differs"] for log in logs for row in log if row.get("exploration_differs") is not None]
    return (round(questions * sum(shares)), questions * len(shares)) if shares else None


@dataclass(frozen=True)
class Alike:
    """Two runs, step by step."""

    steps: int
    rewarded: int
    """Steps in which the part of the reward that is in question was not zero in the first run."""
    furthest: float
    """The largest difference between the losses of a step, of those in which both are finite."""
    size: float
    """Mean absolute loss of the first run."""


def alike(pairs: Sequence[tuple[Log, Log]], part: str) -> Alike:
    """Compares runs with and without a part of the reward ("exploration"), over all pairs."""
    both = [
        (row, theirs[row["step"]])
        for one, other in pairs for theirs in [{row["step"]: row for row in other}] for row in one
        if row["step"] in theirs
    ]  # fmt: skip
    finite = [(row["loss"], other["loss"]) for row, other in both if None not in (row["loss"], other["loss"])]
    return Alike(
        len(both), sum(bool(row[f"reward/{part}"]) for row, _ in both),
        max((abs(ours - theirs) for ours, theirs in finite), default=math.nan),
        float(np.mean([abs(ours) for ours, _ in finite])) if finite else math.nan,
    )  # fmt: skip


def _answers(logs: Sequence[Log], part: slice) -> np.ndarray:
    # a step in which a judge was silent tells nothing
    return np.array([row["reward/answer"] for log in logs for row in log[part] if row["reward/answer"] is not None])


def _error(values: np.ndarray) -> float:
    """Standard error of the mean."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _with_interval(mean: float, error: float, freedom: float) -> Mean:
    off = float(stdtrit(freedom, 0.975)) * error if freedom > 0 else math.nan
    return Mean(mean, mean - off, mean + off)
