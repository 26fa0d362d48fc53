"""The cooperative perception-reasoning reward, CPR (docs/method.md, section 4): answer, form, exploration.

Each is a pure function of immutable traces and of the question's record, in a file of its own. `rewards` is their sum
for the rollouts of one question, whatever their order; a user's own (`RewardFunction`) may be part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cooper.trace import Trace
from cooper.training.rewards.answer import answer_reward, claim_of
from cooper.training.rewards.exploration import exploration_rewards
from cooper.training.rewards.form import form_reward
from cooper.training.rewards.record import Record
from cooper.training.settings import within

__all__ = ["Record", "Reward", "RewardFunction", "Weights", "claim_of", "rewards"]


@dataclass(frozen=True)
class Weights:
    """What each part of the reward counts. All are 1 in the paper."""

    answer: float = 1.0
    form: float = 1.0
    exploration: float = 1.0

    def __post_init__(self) -> None:
        within(self, 0, math.inf, "answer", "form", "exploration")


@dataclass(frozen=True)
class Reward:
    """The parts of one rollout's reward, unweighted, and their weighted sum. NaN: a judge gave no verdict."""

    answer: float
    form: float
    exploration: float
    total: float
    more: Mapping[str, float] = field(default_factory=dict)
    """Of a user's own rewards, by name. They are part of the sum as they are."""


#: what each rollout of a question earns: finite numbers
RewardFunction: TypeAlias = Callable[[Sequence[Trace], Record], Sequence[float]]


def rewards(
    traces: Sequence[Trace], record: Record, tags: Sequence[str], weights: Weights = Weights(),
    tolerance: float | None = None, verdicts: Sequence[bool | None] | None = None, thinks: bool | None = True,
    more: Mapping[str, RewardFunction] | None = None,
) -> list[Reward]:  # fmt: skip
    """The rewards of the rollouts of one question. `tags` are those that may be called; `tolerance` is that of
    `answer_reward`, and `verdicts` are a judge's of each rollout, where the question is judged; `thinks` is that of the
    policy; `more` are rewards besides the three, by name."""
    verdicts = [None] * len(traces) if verdicts is None else verdicts
    parts = zip(
        (answer_reward(trace, record, tolerance, v) for trace, v in zip(traces, verdicts, strict=True)),
        (form_reward(trace, tags, thinks) for trace in traces),
        exploration_rewards(traces, record.flag, tags),
        strict=True,
    )
    others: list[dict[str, float]] = [{} for _ in traces]
    for name, function in (more or {}).items():
        earned = [float(number) for number in function(traces, record)]
        if len(earned) != len(traces):
            raise ValueError(f"the reward {name} is of {len(earned)} rollouts, and there are {len(traces)}")
        if not all(map(math.isfinite, earned)):
            raise ValueError(f"the reward {name} of a rollout is {next(n for n in earned if not math.isfinite(n))}")
        for other, number in zip(others, earned, strict=True):
            other[name] = number
    return [
        Reward(a, f, e, weights.answer * a + weights.form * f + weights.exploration * e + sum(other.values()), other)
        for (a, f, e), other in zip(parts, others, strict=True)
    ]
