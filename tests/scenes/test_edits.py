"""Pictures drawn changed, as an order says."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cooper.scenes.edits import MIRROR, closer, edit, recolored
from cooper.scenes.render import Renderer, View
from cooper.scenes.seen import look
from cooper.scenes.world import COLORS, Scene, sample_scene

pytest.importorskip("mujoco")


@pytest.fixture(scope="module")
def seen() -> tuple[Scene, View]:
    scene = sample_scene(2)  # a blue ball, which is whole, and others
    with Renderer(128) as renderer:
        return scene, renderer.render(scene)


def test_every_kind_of_order_comes_and_is_followed(seen: tuple[Scene, View]) -> None:
    scene, view = seen
    named = {s.name: s for s in look(scene, view).named}
    kinds = set()
    for k in range(40):
        order, image = edit(scene, view, np.random.default_rng(k))
        again = edit(scene, view, np.random.default_rng(k))
        assert order == again[0] and np.array_equal(image, again[1])
        assert image.shape == view.rgb.shape and image.dtype == np.uint8 and not np.array_equal(image, view.rgb)
        if order == MIRROR:
            expected = view.rgb[:, ::-1]
        else:
            name, how = re.fullmatch(r"Draw the (\w+ \w+) (\w+)\.", order).groups()  # type: ignore[union-attr]
            assert how == "closer" or how in COLORS and how != name.split()[0]
            expected = closer(view.rgb, named[name]) if how == "closer" else recolored(view, named[name], how)
        assert np.array_equal(image, expected)
        kinds.add("mirrored" if order == MIRROR else "closer" if "closer" in order else "recolored")
    assert kinds == {"mirrored", "closer", "recolored"}


def test_a_recolored_thing_looks_as_if_it_had_been_rendered_so(seen: tuple[Scene, View]) -> None:
    scene, view = seen
    ball = next(s for s in look(scene, view).named if s.thing.shape == "ball")
    things = tuple(replace(t, color="red") if t.id == ball.id else t for t in scene.things)
    with Renderer(128) as renderer:
        true = renderer.render(replace(scene, things=things)).rgb.astype(int)
    made = recolored(view, ball, "red").astype(int)
    shows = view.labels == ball.id
    assert np.array_equal(made[~shows], view.rgb[~shows]), "nothing else changes"
    error, before = (np.abs(image[shows] - true[shows]).mean() for image in (made, view.rgb.astype(int)))
    assert error < 12 < 60 < before


def test_what_is_drawn_closer_is_in_the_middle_and_larger(seen: tuple[Scene, View]) -> None:
    scene, view = seen
    ball = next(s for s in look(scene, view).named if s.thing.shape == "ball")
    near = closer(view.rgb, ball)
    blue = (near[..., 2] > 100) & (near[..., 0] < 90) & (near[..., 1] < 110)
    assert blue.sum() > 2 * ball.area * 128**2
    assert np.argwhere(blue).mean(axis=0) == pytest.approx([64, 64], abs=24)  # it stands near the border


@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.9, 0.95)])
def test_closer_stays_within_the_picture(corner: tuple[float, float]) -> None:
    left, top = corner
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    part = closer(image, SimpleNamespace(left=left, right=left + 0.1, top=top, bottom=top + 0.05))  # type: ignore[arg-type]
    assert part.shape == image.shape


def test_where_nothing_can_be_named_all_is_mirrored(seen: tuple[Scene, View]) -> None:
    scene, view = seen
    bare = replace(scene, things=()), replace(view, labels=np.zeros_like(view.labels), visible={})
    assert all(edit(*bare, np.random.default_rng(k))[0] == MIRROR for k in range(8))
