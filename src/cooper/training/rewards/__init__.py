"""The cooperative perception-reasoning reward, CPR (docs/method.md, section 4): answer, form, exploration.

Each is a pure function of immutable traces and of the question's record, in a file of its own. `rewards` is their sum
for the rollouts of one question, whatever their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cooper.trace import Trace
from cooper.training.rewards.answer import answer_reward, claim_of
from cooper.training.rewards.exploration import exploration_rewards
from cooper.training.rewards.form import form_reward
from cooper.training.rewards.record import Record

__all__ = ["Record", "Reward", "Weights", "claim_of", "rewards"]


@dataclass(frozen=True)
class Weights:
    """What each part of the reward counts. All are 1 in the paper."""

    answer: float = 1.0
    form: float = 1.0
    exploration: float = 1.0


@dataclass(frozen=True)
class Reward:
    """The parts of one rollout's reward, unweighted, and their weighted sum. NaN: a judge gave no verdict."""

    answer: float
    form: float
    exploration: float
    total: float


def rewards(
    traces: Sequence[Trace], record: Record, tags: Sequence[str], weights: Weights = Weights(),
    tolerance: float | None = None, verdicts: Sequence[bool | None] | None = None, thinks: bool | None = True,
) -> list[Reward]:  # fmt: skip
    """The rewards of the rollouts of one question. `tags` are those that may be called; `tolerance` is that of
    `answer_reward`, and `verdicts` are a judge's of each rollout, where the question is judged; `thinks` is that of the
    policy."""
    verdicts = [None] * len(traces) if verdicts is None else verdicts
    parts = zip(
        (answer_reward(trace, record, tolerance, v) for trace, v in zip(traces, verdicts, strict=True)),
        (form_reward(trace, tags, thinks) for trace in traces),
        exploration_rewards(traces, record.flag, tags),
        strict=True,
    )
    return [
        Reward(a, f, e, weights.answer * a + weights.form * f + weights.exploration * e) for a, f, e in parts
    ]
