"""Settings of a stage are changed by name, and what cannot be set is told in a line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cooper.commands.train import Train
from cooper.inference.flow import FlowSettings
from cooper.reproduction.variants import FULL
from cooper.training.grpo import Objective
from cooper.training.recipe import BAGEL_7B, TINY
from cooper.training.rewards import Weights
from cooper.training.settings import LATER, noted, with_changes


@dataclass(frozen=True)
class Before:
    rate: float = 0.5
    names: tuple[str, ...] = ("a",)


def test_a_field_that_came_later_is_noted_when_it_is_used() -> None:
    """Otherwise notes and names are what they were before it came, as they are of all that there is today."""

    @dataclass(frozen=True)
    class Since(Before):
        share: float = field(default=0.0, metadata=LATER)

    Since.__qualname__ = "Before"
    for settings in (TINY, BAGEL_7B, FULL, {"a": (FULL, [1], None)}, Before()):
        came_later = r", ((by_eye|edited)=0\.0|batch=\w+|against='[^']*')"
        assert noted(settings) == re.sub(came_later, "", repr(settings))
    assert ", by_eye=0.5" in noted(TINY) and ", edited=0.15" in noted(TINY) and "edited" not in noted(FULL)
    assert noted({"b": Since()}) == repr({"b": Before()}) and noted(Since(share=0.0, rate=1)) == repr(Before(1))
    stage = TINY.unified["base"]
    assert noted(replace(stage, checkpointing=True, sheet_every=7)) == noted(stage), "nothing that is learned"
    assert noted((Since(share=0.5),)) == "(Before(rate=0.5, names=('a',), share=0.5),)"


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
        ("sampling.temperature=0", "a temperature above 0"), ("sampling.temperature=1e-7", "a temperature above 0"),
        ("objective.kl=-1", "kl must be from 0 on"),
        ("objective.clip=0,1", "clip must be above 0"), ("rollouts=0", "must be from 1 on, and finite, not 0"),
        ("view_dropout=2", "from 0 to 1, not 2"), ("optimisation.ema=1.5", "ema must be from 0 to 1"),
        ("optimisation.lr=nan", "finite, not nan"), ("optimisation.clip=0", "clip must be above 0, or nothing is"),
        ("mode=perception", "mode perception forces its last turn to answer"), ("weights.form=inf", "form must be"),
        ("turn_tokens=0", "turn_tokens must be from 1 on"), ("mode=x", "choose from direct"),
        ("optimisation.lr=--help", "'--help' is no float"),
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
    few = Train("base", Path("run"), changes=("optimisation.steps=50",)).changing(TINY, "base").unified["base"]
    assert (few.optimisation.steps, few.optimisation.warmup) == (50, 5), "of few, few are for warming up"
    both = ("optimisation.steps=50", "optimisation.warmup=40")
    assert Train("base", Path("run"), changes=both).changing(TINY, "base").unified["base"].optimisation.warmup == 40
    with pytest.raises(ValueError, match="--set rollouts to 2 or more"):
        Train("reinforcement", Path("run"), changes=("rollouts=1",)).changing(TINY, "reinforcement")
    with pytest.raises(ValueError, match="vision comes before"):
        asked.changing(TINY, "vision")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("rows=0", "rows must be from 1"), ("mix.caption=1.2", "caption must be from 0 to 1"),
        ("mix.told=0.95", "told and sums are shares of the same rows"),
        ("mix.modes=direct,0", "one with a share above 0"), ("mix.modes=text,-1,direct,2", "share of text"),
        ("mix.modes=guess,1", "choose from direct"), ("mix.tokens=0", "tokens must be"),
    ],
)  # fmt: skip
def test_settings_of_supervised_stages_that_there_are_not(change: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        with_changes(TINY.unified["interleaved"], [change])
