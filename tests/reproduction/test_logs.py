"""What logs of reinforcement tell, against SciPy's statistics and logs made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from cooper.reproduction.logs import Log, accuracy, alike, gain, share_of_rollouts, told_apart


def log(answers: Sequence[float], losses: Sequence[float] = (), explored: Sequence[float] = ()) -> Log:
    made = [{"step": k, "reward/answer": a, "loss": 0.0, "reward/exploration": 0.0} for k, a in enumerate(answers)]
    for row, loss, part in zip(made, losses, explored, strict=False):
        row |= {"loss": loss, "reward/exploration": part}
    return made


def test_accuracy_has_students_interval_over_the_steps_of_all_runs() -> None:
    rng = np.random.default_rng(0)
    runs = rng.uniform(0.3, 0.8, (2, 12))
    first = runs[:, :5].ravel()
    found = accuracy([log(run) for run in runs], slice(5))
    low, high = stats.t.interval(0.95, len(first) - 1, first.mean(), stats.sem(first))
    assert found == pytest.approx((first.mean(), low, high))


def test_gain_has_welchs_interval() -> None:
    runs = np.random.default_rng(1).normal(0.5, 0.1, (2, 12))
    runs[:, 7:] += 0.2
    found = gain([log(run) for run in runs], 5)
    first, last = runs[:, :5].ravel(), runs[:, -5:].ravel()
    expected = stats.ttest_ind(last, first, equal_var=False).confidence_interval(0.95)
    assert found == pytest.approx((last.mean() - first.mean(), expected.low, expected.high))


def test_runs_that_are_too_short_tell_no_more_than_they_can() -> None:
    assert gain([log([0.5] * 10), log([0.5] * 9)], 5) is None, "the first and the last steps are the same"
    assert gain([log([0.25] * 5 + [0.75] * 5)], 5) == (0.5, 0.5, 0.5)
    found = accuracy([log([0.5])], slice(5))
    assert found.mean == 0.5 and math.isnan(found.low) and math.isnan(found.high)


def test_two_runs_beside_each_other() -> None:
    one = log([0.5] * 4, losses=(0.1, -0.3, 0.2, 0.0), explored=(0.0, -0.2, 0.2, 0.0))
    other = log([0.5] * 4, losses=(0.1, -0.25, 0.2, 0.01), explored=(0.0,) * 4)
    found = alike([(one, list(reversed(other))), (one, one)], "exploration")
    assert (found.steps, found.rewarded) == (8, 4)
    assert found.furthest == pytest.approx(0.05) and found.size == pytest.approx(0.15)
    one[2]["loss"] = None  # as a loss is logged that was not finite
    found = alike([(one, other)], "exploration")
    assert (found.steps, found.rewarded) == (4, 2)
    assert found.furthest == pytest.approx(0.05) and found.size == pytest.approx(0.4 / 3)


def test_what_rollouts_call_for() -> None:
    one: Log = [
        {"calls/depth/closer": 0.5, "calls/segmentation/closer": 0.25, "calls/depth/negative": 1.0},
        {"calls/depth/closer": 1.0, "calls/segmentation/closer": 0.0, "calls/depth/taller": None},
    ]
    assert share_of_rollouts([one, one], ("closer", "taller"), ("depth",), slice(None)) == 0.75
    assert share_of_rollouts([one], ("closer",), ("depth", "segmentation"), slice(1)) == 0.75
    assert share_of_rollouts([one], ("negative",), ("depth", "segmentation"), slice(None)) is None


def test_groups_that_a_reward_told_apart() -> None:
    differing: list[Log] = [[{"exploration_differs": share} for share in run] for run in ((0.25, 0.0), (0.5,))]
    logs = [*differing, [{}]]
    assert told_apart(logs, 16) == (12, 48), "of the steps whose logs tell"
    assert told_apart([[{}]], 16) is None
