"""The same picture of things that are elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from cooper.scenes.captions import listed
from cooper.scenes.moved import FARTHEST, NEAREST, moved
from cooper.scenes.render import Renderer, View
from cooper.scenes.seen import look
from cooper.scenes.world import Scene, sample_scene

pytest.importorskip("mujoco")


@pytest.fixture(scope="module")
def rendered() -> list[tuple[Scene, View]]:
    with Renderer(64) as renderer:
        return [(scene, renderer.render(scene)) for scene in map(sample_scene, range(20))]


def test_one_eye_cannot_tell(rendered: list[tuple[Scene, View]]) -> None:
    """Every point of a thing stays on its line of sight, so that the picture, and where everything is in it, remain."""
    for k, (scene, view) in enumerate(rendered):
        other, seen = moved(scene, view, np.random.default_rng(k))
        assert seen.rgb is view.rgb and seen.labels is view.labels and seen.visible == view.visible
        for thing, before in zip(other.things, scene.things, strict=True):
            assert (thing.name, thing.id, thing.yaw) == (before.name, before.id, before.yaw)
            old, new = ([scene.camera.to_camera(p) for p in t.corners] for t in (before, thing))
            for a, b in zip(old, new, strict=True):
                assert b / np.linalg.norm(b) == pytest.approx(a / np.linalg.norm(a), abs=1e-9)
        a, b = look(scene, view).seen, look(other, seen).seen
        for before, after in zip(a, b, strict=True):
            assert (after.u, after.v, after.area, after.share) == (before.u, before.v, before.area, before.share)
            # as many times as far as it is large
            assert after.depth / before.depth == pytest.approx(after.height / before.height, rel=1e-5)
            assert after.depth / before.depth == pytest.approx(after.width / before.width, rel=1e-5)


def test_depth_alone_tells(rendered: list[tuple[Scene, View]]) -> None:
    before, after = [], []
    for k, (scene, view) in enumerate(rendered):
        other, seen = moved(scene, view, np.random.default_rng(k))
        assert np.array_equal(seen.depth[view.labels == 0], view.depth[view.labels == 0]), "the room stays"
        before += [s.depth for s in look(scene, view).seen]
        after += [s.depth for s in look(other, seen).seen]
    logs = np.log(after)
    assert NEAREST * 0.999 < min(after) and max(after) < FARTHEST * 1.001
    assert logs.mean() == pytest.approx(np.log(NEAREST * FARTHEST) / 2, abs=0.2), "log-uniform"
    assert logs.std() == pytest.approx(np.log(FARTHEST / NEAREST) / 12**0.5, abs=0.1)
    assert abs(np.corrcoef(np.log(before), logs)[0, 1]) < 0.25, "what was true says nothing"


def test_moving_is_a_pure_function(rendered: list[tuple[Scene, View]]) -> None:
    scene, view = rendered[3]
    a, b, c = (moved(scene, view, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert a[0] == b[0] and np.array_equal(a[1].depth, b[1].depth)
    assert a[0] != c[0] and not np.array_equal(a[1].depth, c[1].depth)
    far = next(one for one in listed(*a, np.random.default_rng(0)) if one.question == "How far is everything?")
    assert all(f"{s.depth:.1f}" in far.answer for s in look(*a).named)
