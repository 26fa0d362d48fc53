"""Controls: other maps are shown, calls are forbidden or demanded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cooper import Cooper
from cooper.evaluation.controls import Control
from cooper.evaluation.form import well_formed
from cooper.evaluation.scenes import evaluate_scenes
from cooper.inference.engine import Engine, Settings
from cooper.inference.rollout import Rollout
from cooper.modalities import MapCodes, modality
from cooper.modalities.codes import RELEASED
from cooper.policy import POLICIES
from cooper.scenes.render import View
from cooper.scenes.scene_set import SceneSet
from cooper.scenes.targets import class_map
from cooper.scenes.world import Scene
from cooper.trace import Drawing, Picture, Text, Trace
from cooper.turns import calls_of

pytest.importorskip("mujoco")
TAGS = ("depth-estimation", "segmentation")
FAR, COLOUR = "How far is the nearest object from the camera?", "What colour is the largest object?"


@pytest.fixture(scope="module")
def cooper() -> Cooper:
    return Cooper.load("tiny")


@pytest.fixture(scope="module")
def scenes() -> list[tuple[Scene, View]]:
    return SceneSet(2, "validation").load()


def run(cooper: Cooper, scenes: list[tuple[Scene, View]], question: str, control: Control) -> list[Rollout]:
    way = POLICIES["interleaved"]
    engine = Engine(cooper.model, cooper.sequencer, control.settings(cooper.sequencer, way, Settings()))
    prompts = [Trace((Picture(view.rgb), Text(question))) for _, view in scenes]
    return engine.run(prompts, way, shown=control.shown(cooper.model.config.codes, scenes, [0, 1]))


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
    assert first == second == "depth"
    assert np.array_equal(one, images["truth"][1][1]) and np.array_equal(two, images["truth"][0][1])
    assert not np.array_equal(images["drawn"][0][1], images["truth"][0][1])


@pytest.mark.parametrize("codes", [MapCodes(), MapCodes((0.1, 10.0), linear=True), replace(RELEASED, depth=(0.5, 9.0))])
def test_true_maps_are_shown_as_the_model_looks_at_its_own(codes: MapCodes, scenes: list[tuple[Scene, View]]) -> None:
    view = scenes[1][1]
    for name in ("depth", "segmentation"):
        mine = Drawing(name, np.full((64, 64, 3), 90, np.uint8))
        show = Control("other").shown(codes, scenes, [0, 1])
        assert show is not None
        (shown,) = [show(0, codes.looked_at(mine))]
        grey = (shown.image == shown.image[..., :1]).all()
        assert grey == (name == "depth" and not codes.coloured)
        if name == "depth":
            read = codes.modality(name).to_values(shown.as_drawn)
            assert np.abs(read - np.clip(view.depth, *codes.depth)).max() < 0.05  # type: ignore[misc]
    with pytest.raises(ValueError, match="can be shown no true depth"):
        Control("truth").shown(RELEASED, scenes, [0])(0, Drawing("depth", mine.image))  # type: ignore[misc]


def test_the_turns_after_another_map_are_others(cooper: Cooper, scenes: list[tuple[Scene, View]]) -> None:
    drawn, blank = (run(cooper, scenes, FAR, Control(maps)) for maps in ("drawn", "blank"))  # type: ignore[arg-type]
    assert [r.trace.turns[0] for r in drawn] == [r.trace.turns[0] for r in blank]
    assert [r.trace.turns[1:] for r in drawn] != [r.trace.turns[1:] for r in blank]


def test_calls_may_be_forbidden_and_demanded(cooper: Cooper, scenes: list[tuple[Scene, View]]) -> None:
    assert all(r.trace.drawings for r in run(cooper, scenes, FAR, Control()))
    for r in run(cooper, scenes, FAR, Control(calls="never")):
        assert not r.trace.drawings and not any(calls_of(turn) for turn in r.trace.turns)
    for question in (COLOUR, "Is the largest object to the left of the nearest object?"):
        assert not any(r.trace.drawings for r in run(cooper, scenes, question, Control()))
        for r in run(cooper, scenes, question, Control(calls="always")):
            assert r.trace.drawings and r.reason == "answered" and all(well_formed(r.trace.turns, TAGS))


def test_a_demand_is_met_in_its_place(cooper: Cooper, scenes: list[tuple[Scene, View]]) -> None:
    """Whoever calls anyway writes what it would have written; whoever would not writes the same up to its answer."""
    free, forced = (run(cooper, scenes, FAR, Control(calls=calls)) for calls in ("free", "always"))  # type: ignore[arg-type]
    assert [r.trace.turns for r in free] == [r.trace.turns for r in forced]
    free, forced = (run(cooper, scenes, COLOUR, Control(calls=calls)) for calls in ("free", "always"))  # type: ignore[arg-type]
    for a, b in zip(free, forced, strict=True):
        turn = b.trace.turns[0]
        assert a.trace.turns[0].split("<answer>")[0] == turn[: calls_of(turn)[0].start]


@pytest.mark.parametrize(
    ("mode", "control", "n", "said"),
    [("direct", Control(calls="always"), 2, "nothing is drawn in mode direct"),
     ("text", Control("blank"), 2, "nothing is drawn in mode text"),
     ("interleaved", Control("other"), 1, "ask about at least 2")],
)  # fmt: skip
def test_controls_that_would_change_nothing(cooper: Cooper, mode: str, control: Control, n: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        evaluate_scenes(cooper, mode, SceneSet(n), control=control)
