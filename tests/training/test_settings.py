"""Settings of a stage are changed by name, and what cannot be set is told in a line."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cooper.commands.train import Train
from cooper.inference.flow import FlowSettings
from cooper.training.grpo import Objective
from cooper.training.recipe import TINY
from cooper.training.rewards import Weights
from cooper.training.settings import with_changes


def test_a_setting_is_changed_by_its_name() -> None:
    was = TINY.reinforced["reinforcement"]
    asked = ("objective.clip=0.2,0.28", "objective.aggregation=dr_grpo", "weights.exploration=0", "updates=2",
             "mask_truncated=True", "turn_tokens=None", "tolerance=0.1", "flow.time_points=4")  # fmt: skip
    now = with_changes(was, asked)
    assert now == replace(
        was, objective=Objective(clip=(0.2, 0.28), aggregation="dr_grpo"), weights=Weights(exploration=0.0), updates=2,
        mask_truncated=True, turn_tokens=None, tolerance=0.1, flow=FlowSettings(time_points=4),
    )  # fmt: skip
    assert with_changes(now, ["flow=None"]).flow is None
    mix = with_changes(TINY.unified["interleaved"], ["mix.modes=interleaved,0.6,direct,0.4"]).mix
    assert mix.modes == (("interleaved", 0.6), ("direct", 0.4))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("updates", "write NAME=VALUE"), ("objectiv.kl=1", "there is no 'objectiv' among optimisation, questions,"),
        ("objective.beta=1", "there is no 'beta' among clip, kl,"), ("updates=2.5", "'2.5' is no int"),
        ("updates=", "'' is no int"), ("objective.clip=0.2", "'0.2' is no tuple[float, float]"),
        ("objective.aggregation=mean", "'mean' is no Literal['tokens', 'sequences', 'dr_grpo']"),
        ("weights=2", "give one of weights.answer, weights.form,"), ("updates.x=2", "nothing is in it"),
        ("sampling.temperature=0", "rollouts are sampled at a temperature above 0"), ("objective.kl=-1", "not below"),
    ],
)  # fmt: skip
def test_settings_that_there_are_not(change: str, why: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as told:
        with_changes(TINY.reinforced["reinforcement"], [change])
    assert str(told.value).startswith(repr(change))
    assert capfd.readouterr() == ("", "")


def test_settings_of_the_last_stage_are_changed() -> None:
    asked = Train("reinforcement", Path("run"), changes=("view_dropout=0.5",))
    recipe = asked.changing(TINY, "reinforcement")
    changed = {name for name in TINY.reinforced if recipe.reinforced[name] != TINY.reinforced[name]}
    assert changed == {"reinforcement"} and recipe.reinforced["reinforcement"].view_dropout == 0.5
    assert recipe.unified == TINY.unified
    with pytest.raises(ValueError, match="vision comes before"):
        asked.changing(TINY, "vision")
