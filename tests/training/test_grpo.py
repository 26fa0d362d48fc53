"""GRPO's mathematics, against calculations by hand."""

from __future__ import annotations

import math

import pytest
import torch

from cooper.training.grpo import Objective, group_advantages, grpo_loss

#: three tokens of rollout 0, one of rollout 1, none of rollout 2
ROLLOUT = torch.tensor([0, 0, 0, 1])
ADVANTAGES = torch.tensor([1.0, -2.0, 5.0])
OLD = torch.tensor([-1.0, -2.0, -0.5, -1.5])
PLAIN = Objective()


def loss(changes: list[float], objective: Objective = PLAIN, reference: torch.Tensor | None = None) -> float:
    """The loss after each token's probability changed by a factor."""
    log_p = OLD + torch.tensor([math.log(c) for c in changes])
    return float(grpo_loss(log_p, OLD, ROLLOUT, ADVANTAGES, objective, reference).loss)


def test_advantages() -> None:
    got, spread = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]]))
    deviation = math.sqrt(4 * 0.25 / 3)
    assert got[0].tolist() == pytest.approx([x / (deviation + 1e-4) for x in (0.5, -0.5, -0.5, 0.5)])
    assert got[1].tolist() == [0, 0, 0, 0] and spread.tolist() == [True, False]
    with pytest.raises(ValueError, match="at least 2 rollouts"):
        group_advantages(torch.ones(3, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reward", [0.7, 100.3, -10000.1])
def test_equal_rewards_are_equal_whatever_their_size(reward: float, dtype: torch.dtype) -> None:
    rewards = torch.full((1, 8), reward, dtype=dtype)
    got, spread = group_advantages(rewards)
    assert not spread.any() and got.tolist() == [[0.0] * 8] and got.dtype == torch.float32
    rewards[0, 0] += 1
    got, spread = group_advantages(rewards)
    assert spread.all() and got[0, 0] == pytest.approx(7 / 8 / (math.sqrt(1 / 8) + 1e-4), rel=0.01)


def test_dr_grpo_leaves_the_deviation_out() -> None:
    got, spread = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.6, 0.4, 0.4, 0.6], [1.0] * 4]), "dr_grpo")
    assert got[0].tolist() == pytest.approx([0.75, -0.25, -0.25, -0.25])
    assert got[1].tolist() == pytest.approx([0.1, -0.1, -0.1, 0.1])
    assert got[2].tolist() == [0] * 4 and spread.tolist() == [True, True, False]


def test_a_rollout_without_a_verdict_is_as_if_it_were_not_there() -> None:
    nan = float("nan")
    got, spread = group_advantages(torch.tensor([[1.0, nan, 0.0, 1.0], [nan, 1.0, 1.0, nan], [nan, nan, nan, 1.0]]))
    alone, _ = group_advantages(torch.tensor([[1.0, 0.0, 1.0]]))
    assert got[0].isnan().tolist() == [False, True, False, False] and spread.tolist() == [True, False, False]
    assert torch.allclose(got[0][[0, 2, 3]], alone[0])


def test_the_ratio_is_clipped_where_that_lowers_the_gain() -> None:
    """Good rollouts gain no more above 1.2, bad ones are punished on; below 0.8 the other way round."""
    assert loss([1, 1, 1, 1]) == pytest.approx(-(3 * 1 - 2) / 4)
    assert loss([1.5, 0.5, 1.1, 1.5]) == pytest.approx(-(1.2 + 0.5 + 1.1 - 2 * 1.5) / 4)
    assert loss([1, 1, 1, 0.5]) == pytest.approx(-(3 - 2 * 0.8) / 4)
    assert loss([1.5, 1, 1, 1], Objective(clip=(0.2, 0.3))) == pytest.approx(-(1.3 + 2 - 2) / 4)
    log_p = OLD + torch.tensor([math.log(c) for c in (1.5, 0.5, 1.1, 0.5)])
    assert grpo_loss(log_p, OLD, ROLLOUT, ADVANTAGES).clip_share == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("tokens", -(1.1 + 0.9 + 1.0 - 2.0) / 4),
        ("sequences", -((1.1 + 0.9 + 1.0) / 3 - 2.0) / 2),  # the rollout without a token does not count
        ("dr_grpo", -(1.1 + 0.9 + 1.0 - 2.0) / (3 * 10)),
    ],
)
def test_aggregations(aggregation: str, expected: float) -> None:
    objective = Objective(aggregation=aggregation, longest=10)  # type: ignore[arg-type]
    assert loss([1.1, 0.9, 1.0, 1.0], objective) == pytest.approx(expected, rel=1e-5)


def test_the_penalty_for_leaving_the_reference() -> None:
    reference = OLD - math.log(2)
    each = 0.5 + math.log(2) - 1
    assert loss([1, 1, 1, 1], Objective(kl=0.1), reference) == pytest.approx(-1 / 4 + 0.1 * each, rel=1e-5)
    outcome = grpo_loss(OLD, OLD, ROLLOUT, ADVANTAGES, Objective(kl=0.1), reference)
    assert outcome.kl == pytest.approx(each, rel=1e-5)
    with pytest.raises(ValueError, match="needs the reference"):
        grpo_loss(OLD, OLD, ROLLOUT, ADVANTAGES, Objective(kl=0.1))


def test_at_the_first_update_the_gradient_is_that_of_the_log_probabilities() -> None:
    log_p = OLD.clone().requires_grad_()
    grpo_loss(log_p, OLD, ROLLOUT, ADVANTAGES).loss.backward()
    assert log_p.grad is not None
    assert log_p.grad.tolist() == pytest.approx((-ADVANTAGES[ROLLOUT] / 4).tolist())


def test_nothing_sampled_is_no_loss() -> None:
    none = torch.zeros(0)
    assert float(grpo_loss(none, none, none.long(), ADVANTAGES).loss) == 0


@pytest.mark.parametrize("wrong", [{"clip": (0.0, 0.2)}, {"kl": -1.0}, {"longest": 0}, {"aggregation": "mean"}])
def test_mistakes(wrong: dict) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Objective(**wrong)
