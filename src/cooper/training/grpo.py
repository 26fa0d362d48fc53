"""GRPO: group advantages and the clipped objective, as mathematics on tensors.

As in the paper (docs/method.md, section 4):
 1. The advantage of a rollout is its reward less its group's mean, over the group's deviation + 1e-4.
 2. The ratio of new to old probability is clipped at 0.2 on both sides.
 3. Only tokens that the model wrote are optimised: texts, not maps.
What differs, and why:
 4. A token's log-probability is read at the position before it, where it was sampled. (The released packing reads it at
    the token itself.)
 5. Groups without spread have nothing to teach and are left out and counted. (Their advantages are zero anyway; left
    in, they only make the mean loss smaller. With 8 they stay: what they write is held to the reference, too.)
 6. Rollouts that ran out of tokens may be masked: that they did not end is no verdict on what they wrote.
 7. How token losses become one number is a choice (`Aggregation`). The default, over all tokens of the batch, gives
    every token the same weight; per sequence, tokens of short rollouts count more; "dr_grpo" divides by a constant, so
    that length is neither rewarded nor punished, and leaves out the deviation in 1, so that neither are questions whose
    rollouts hardly differ (Liu et al., 2025).
 8. A penalty for leaving a reference is possible, with the estimator that is never negative; the paper has none. The
    reference is another model, or the trained one with its adapters off.

Legend: G groups of n rollouts, R rollouts, T tokens of all rollouts, one after another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cooper.training.settings import within

Aggregation: TypeAlias = Literal["tokens", "sequences", "dr_grpo"]


@dataclass(frozen=True)
class Objective:
    """The settings of the loss."""

    clip: tuple[float, float] = (0.2, 0.2)
    """How far the ratio may fall below, and rise above, 1."""
    kl: float = 0.0
    """KL coefficient (beta): weight of the penalty for leaving the reference model; 0 needs no reference."""
    aggregation: Aggregation = "tokens"
    longest: int = 288
    """Most tokens of a rollout: what "dr_grpo" divides by."""

    def __post_init__(self) -> None:
        within(self, 0, math.inf, "clip", "kl")
        within(self, 1, math.inf, "longest")
        if min(self.clip) == 0:
            raise ValueError("clip must be above 0 on both sides, or nothing is learned")
        if self.aggregation not in ("tokens", "sequences", "dr_grpo"):
            raise ValueError(f"no aggregation is called {self.aggregation!r}; use tokens, sequences or dr_grpo")


def group_advantages(
    rewards: Float[Tensor, "G n"], aggregation: Aggregation = "tokens"
) -> tuple[Float[Tensor, "G n"], Bool[Tensor, " G"]]:  # fmt: skip
    """Advantages, float32, and which groups have any spread; the others' are zero. n is at least 2. A NaN reward is
    none: that rollout's advantage is NaN, and the others' are as if it were not there."""
    if rewards.shape[1] < 2:
        raise ValueError(f"a group needs at least 2 rollouts to be compared, not {rewards.shape[1]}")
    there = ~rewards.isnan()
    number = there.sum(dim=1, keepdim=True)
    mean = rewards.nansum(dim=1, keepdim=True) / number.clamp(min=1)
    centred = rewards - mean
    deviation = (centred.square().nansum(dim=1, keepdim=True) / (number - 1).clamp(min=1)).sqrt()
    # more than what rounding makes of equal rewards, which are sums of parts
    least = 8 * torch.finfo(rewards.dtype).eps * rewards.nan_to_num().abs().amax(dim=1, keepdim=True).clamp(min=1)
    spread = (centred.abs().nan_to_num() > least).any(dim=1)
    scaled = centred if aggregation == "dr_grpo" else centred / (deviation + 1e-4)
    return (scaled * spread[:, None]).float(), spread


@dataclass(frozen=True)
class Outcome:
    """The loss, and what is logged of it."""

    loss: Tensor
    clip_share: float
    """Share of the tokens for which clipping changed the objective."""
    kl: float
    """Mean of the penalty's estimate, unweighted; 0 without a reference."""


def grpo_loss(
    log_p: Float[Tensor, " T"], old: Float[Tensor, " T"], rollout: Int64[Tensor, " T"],
    advantages: Float[Tensor, " R"], objective: Objective = Objective(), reference: Float[Tensor, " T"] | None = None,
) -> Outcome:  # fmt: skip
    """The loss of tokens that were sampled with log-probabilities `old`, token i in rollout `rollout[i]`.

    Raises ValueError if a penalty is asked for without a reference.
    """
    if objective.kl and reference is None:
        raise ValueError("a penalty for leaving the reference needs the reference's log-probabilities")
    ratio = torch.exp(log_p - old)
    advantage = advantages[rollout]
    low, high = objective.clip
    clipped = ratio.clamp(1 - low, 1 + high) * advantage
    token = -torch.minimum(ratio * advantage, clipped)
    kl = 0.0
    if reference is not None:
        away = reference - log_p
        estimate = torch.exp(away) - away - 1
        token = token + objective.kl * estimate
        kl = float(estimate.detach().mean()) if len(token) else 0.0
    clip_share = float((clipped < ratio * advantage).detach().float().mean()) if len(token) else 0.0
    return Outcome(aggregate(token, rollout, len(advantages), objective), clip_share, kl)


def aggregate(
    token: Float[Tensor, " T"], rollout: Int64[Tensor, " T"], rollouts: int, objective: Objective
) -> Float[Tensor, ""]:
    """Token losses as one number."""
    if not len(token):
        return token.sum()
    if objective.aggregation == "tokens":
        return token.mean()
    if objective.aggregation == "dr_grpo":
        return token.sum() / (rollouts * objective.longest)
    sums = token.new_zeros(rollouts).index_add(0, rollout, token)
    counts = torch.bincount(rollout, minlength=rollouts)
    written = counts > 0
    return (sums[written] / counts[written]).mean()
