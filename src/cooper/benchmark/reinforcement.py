"""`cooper bench reinforcement`: seconds of a step of GRPO, and of the same work one rollout at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from cooper.api import Cooper
from cooper.data.mixture import Mixture
from cooper.hardware import describe
from cooper.training.loop import Trainer
from cooper.training.optimisation import Optimisation
from cooper.training.reinforcement import Group, PicturedQuestion, Reinforcement, ReinforcementStage


def bench_reinforcement(
    cooper: Cooper, questions: Sequence[PicturedQuestion], settings: Reinforcement, alone: int, folder: str,
    on_progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """One step of `settings.questions` questions, rollouts and update, after a first that warms up.

    Then `alone` rollouts of the same questions, each by itself: rolled out, and gone over in a pass of its own. What a
    rollout takes alone, over what it takes in the step, is "speedup". Rewards are the synthetic world's; the weights
    stay, as the rate is zero. `folder` is for what a training run leaves behind. Raises ValueError if there are too few
    questions, or nothing is to be measured alone.
    """
    if not 0 < alone <= len(questions) * settings.rollouts:
        raise ValueError(f"of {len(questions) * settings.rollouts} rollouts, 1 or more can run alone, not {alone}")
    if len(questions) < settings.questions:
        raise ValueError(f"a step has {settings.questions} questions, and there are {len(questions)}")
    draws = Mixture([(questions, 1.0)])
    stage = ReinforcementStage(draws, cooper.sequencer, settings)
    trainer = Trainer(cooper.model, stage, Optimisation(1, lr=0.0, warmup=1), folder, workers=0)
    batch = list(enumerate(questions[: settings.questions]))
    on_progress("warming up")
    stage.roll_out(cooper.model, batch[:1])
    on_progress(f"{len(batch)} questions, {settings.rollouts} rollouts each")
    began = time.perf_counter()
    groups = stage.roll_out(cooper.model, batch)
    rolled = time.perf_counter()
    _learn(trainer, stage, groups)
    together = {"rollout_seconds": rolled - began, "update_seconds": time.perf_counter() - rolled}
    on_progress(f"{alone} rollouts, one at a time")
    single = ReinforcementStage(draws, cooper.sequencer, replace(settings, rollouts=1, together=1))
    times = {"rollout_seconds": 0.0, "update_seconds": 0.0}
    for k in range(alone):
        began = time.perf_counter()
        asked = batch[k // settings.rollouts][1]
        (rollouts,) = single.sample(cooper.model, [(k, asked)])
        rolled = time.perf_counter()
        # alone there is nothing to compare it with: an advantage of one
        _learn(trainer, single, [Group(asked, rollouts, [], torch.ones(1), True)])
        times["rollout_seconds"] += rolled - began
        times["update_seconds"] += time.perf_counter() - rolled
    number = len(batch) * settings.rollouts
    step, each = sum(together.values()), sum(times.values()) / alone
    made = [r for g in groups for r in g.rollouts]
    return {
        "machine": describe(), "model": cooper.name, "questions": len(batch), "rollouts": number,
        "time_points": (settings.flow or cooper.model.config.flow).time_points, "step_seconds": round(step, 2),
        **{name: round(value, 2) for name, value in together.items()},
        "rollouts_per_second": round(number / together["rollout_seconds"], 2),
        "maps": sum(len(r.trace.drawings) for r in made), "tokens": sum(r.tokens for r in made),
        "groups_dropped": sum(not g.spread for g in groups),
        "alone": {"rollouts": alone, **{name: round(value, 2) for name, value in times.items()}},
        "speedup": round(each / (step / number), 2),
    }  # fmt: skip


def _learn(trainer: Trainer, stage: ReinforcementStage, groups: Sequence[Group]) -> None:
    """An update on rollouts that have been made."""
    _, norm = trainer.gradients(stage.losses(trainer.compute, [g for g in groups if g.spread], {}))
    trainer.descend(norm)
