"""Controls: other maps are shown, calls are forbidden or demanded."""

from __future__ import annotations

import numpy as np
import pytest

from cooper import Cooper
from cooper.evaluation.controls import Control
from cooper.evaluation.scenes import load_scenes
from cooper.inference.engine import Engine, Rollout, Settings
from cooper.modalities import modality
from cooper.policy import POLICIES
from cooper.scenes.render import View
from cooper.scenes.targets import class_map
from cooper.scenes.world import SPLITS, Scene
from cooper.trace import Picture, Text, Trace, calls_of

pytest.importorskip("mujoco")
FAR, COLOUR = "How far is the nearest object from the camera?", "What colour is the largest object?"


@pytest.fixture(scope="module")
def cooper() -> Cooper:
    return Cooper.load("tiny")


@pytest.fixture(scope="module")
def scenes() -> list[tuple[Scene, View]]:
    return load_scenes(range(SPLITS["validation"].start, SPLITS["validation"].start + 2), 128)


def run(cooper: Cooper, scenes: list[tuple[Scene, View]], question: str, control: Control) -> list[Rollout]:
    engine = Engine(cooper.model, cooper.sequencer, Settings(banned=control.banned(cooper.sequencer)))
    prompts = [Trace((Picture(view.rgb), Text(question))) for _, view in scenes]
    return engine.run(prompts, POLICIES["interleaved"], shown=control.shown(scenes, [0, 1]))


def test_a_map_is_replaced_before_it_is_looked_at(cooper: Cooper, scenes: list[tuple[Scene, View]]) -> None:
    images = {}
    for maps in ("drawn", "blank", "other", "truth"):
        rollouts = run(cooper, scenes, FAR, Control(maps))  # type: ignore[arg-type]
        assert all(r.trace.drawings for r in rollouts)
        images[maps] = [(r.trace.drawings[0].modality, r.trace.drawings[0].image) for r in rollouts]
    for (scene, view), (name, image) in zip(scenes, images["truth"], strict=True):
        values = view.depth if name == "depth" else class_map(scene, view.labels)
        assert np.array_equal(image, modality(name).to_rgb(values))
    assert all((image == 128).all() for _, image in images["blank"])
    (first, one), (second, two) = images["other"]
    if first == second:
        assert np.array_equal(one, images["truth"][1][1]) and np.array_equal(two, images["truth"][0][1])
    assert not np.array_equal(images["drawn"][0][1], images["truth"][0][1])


def test_the_turns_after_another_map_are_others(cooper: Cooper, scenes: list[tuple[Scene, View]]) -> None:
    drawn, blank = (run(cooper, scenes, FAR, Control(maps)) for maps in ("drawn", "blank"))  # type: ignore[arg-type]
    assert [r.trace.turns[0] for r in drawn] == [r.trace.turns[0] for r in blank]
    assert [r.trace.turns[1:] for r in drawn] != [r.trace.turns[1:] for r in blank]


def test_calls_may_be_forbidden_and_demanded(cooper: Cooper, scenes: list[tuple[Scene, View]]) -> None:
    assert all(r.trace.drawings for r in run(cooper, scenes, FAR, Control()))
    for r in run(cooper, scenes, FAR, Control(calls="never")):
        assert not r.trace.drawings and not any(calls_of(turn) for turn in r.trace.turns)
    assert not any(r.trace.drawings for r in run(cooper, scenes, COLOUR, Control()))
    for r in run(cooper, scenes, COLOUR, Control(calls="always")):
        assert "<answer>" not in r.trace.turns[0]
