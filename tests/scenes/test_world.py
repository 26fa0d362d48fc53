from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from cooper.scenes import shards as shards_module
from cooper.scenes.render import Renderer, View
from cooper.scenes.shards import FIELDS, decode_depth, encode_depth, make_shards, open_shards
from cooper.scenes.world import (
    COLORS,
    LARGEST,
    SHAPES,
    SMALLEST,
    SPLITS,
    Scene,
    Thing,
    rotation_z,
    sample_scene,
    split_of,
)

SEEDS = [*range(150), *range(10_000_000, 10_000_025), *range(20_000_000, 20_000_025)]


def cast(scene: Scene, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The oracle: a ray through the middle of every pixel.

    Returns the depth of the room and of each thing alone, float64 (1 + things, height, width), inf where the ray misses
    it, and the labels, (height, width).
    """
    matrix = scene.camera.intrinsics(width, height)
    row, column = np.mgrid[:height, :width] + 0.5
    # The rays have length one along the optical axis, so the parameter of a hit is its depth.
    rays = np.stack(
        [(column - matrix[0, 2]) / matrix[0, 0], (row - matrix[1, 2]) / matrix[1, 1], np.ones_like(row)], -1
    )
    rays[rays == 0] = 1e-12  # a ray along an axis never meets the planes beside it
    rays, eye = rays @ scene.camera.pose[:3, :3].T, scene.camera.pose[:3, 3]
    room = scene.room
    low, high = np.array([room.left, room.back, 0.0]), np.array([room.right, room.front, room.height])
    with np.errstate(all="ignore"):
        layers = [np.where(rays > 0, (high - eye) / rays, (low - eye) / rays).min(-1)]
        layers += [_hit(thing, eye, rays) for thing in scene.things]
    depth = np.stack(layers)
    return depth, depth.argmin(0)


def _hit(thing: Thing, eye: np.ndarray, rays: np.ndarray) -> np.ndarray:
    # In coordinates where the thing fills the cube from -1 to 1.
    turn, half = rotation_z(thing.yaw), np.asarray(thing.size) / 2
    o, d = (eye - np.asarray(thing.position)) @ turn / half, rays @ turn / half
    if thing.shape == "box":
        a, b = (-1 - o) / d, (1 - o) / d
        enter, leave = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
        return np.where(enter < leave, enter, np.inf)
    if thing.shape == "ball":
        a, b, c = (d * d).sum(-1), (d * o).sum(-1), (o * o).sum() - 1
        return np.where(b * b > a * c, (-b - np.sqrt(b * b - a * c)) / a, np.inf)
    # Its radius at height z is 1 (cylinder) or (1 - z) / 2 (cone).
    slope = 0.5 if thing.shape == "cone" else 0.0
    rim = 1 - o[2] if thing.shape == "cone" else 0.0
    a = d[..., 0] ** 2 + d[..., 1] ** 2 - (slope * d[..., 2]) ** 2
    b = d[..., 0] * o[0] + d[..., 1] * o[1] + slope**2 * rim * d[..., 2]
    c = o[0] ** 2 + o[1] ** 2 - ((slope * rim) ** 2 if thing.shape == "cone" else 1)
    hits = []
    for sign in (-1, 1):
        t = (-b + sign * np.sqrt(b * b - a * c)) / a
        hits.append(np.where((b * b > a * c) & (np.abs(o[2] + t * d[..., 2]) <= 1) & (t > 0), t, np.inf))
    for end in (-1,) if thing.shape == "cone" else (-1, 1):
        t = (end - o[2]) / d[..., 2]
        x, y = o[0] + t * d[..., 0], o[1] + t * d[..., 1]
        hits.append(np.where((x * x + y * y <= 1) & (t > 0), t, np.inf))
    return np.minimum.reduce(hits)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(96) as renderer:
        yield renderer


@pytest.fixture(scope="module")
def drawn(scenes: list[Scene], renderer: Renderer) -> list[tuple[Scene, View]]:
    return [(scene, renderer.render(scene)) for scene in scenes[:30]]


def test_a_scene_is_a_pure_function_of_its_seed(scenes: list[Scene]) -> None:
    assert scenes[:20] == [sample_scene(seed) for seed in SEEDS[:20]]
    assert len({scene.things for scene in scenes}) == len(scenes)


def test_splits_do_not_overlap() -> None:
    ranges = sorted(SPLITS.values(), key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in zip(ranges, ranges[1:], strict=False))
    assert [split_of(s) for s in (0, 9_999_999, 10_000_000, 20_000_000)] == ["train", "train", "validation", "test"]
    for seed in (-1, 30_000_000):
        with pytest.raises(ValueError, match="scene seeds are 0 to 29999999"):
            sample_scene(seed)


def test_what_a_scene_promises(scenes: list[Scene]) -> None:
    for scene in scenes:
        camera, room = scene.camera, scene.room
        assert 1.0 <= camera.height <= 1.8 and 8 <= camera.pitch <= 25 and 50 <= camera.fov <= 65
        assert 2 <= len(scene.things) <= 7
        assert [t.id for t in scene.things] == list(range(1, len(scene.things) + 1))
        assert len({(t.shape, t.color) for t in scene.things}) == len(scene.things)
        for thing in scene.things:
            assert thing.shape in SHAPES and thing.color in COLORS
            assert SMALLEST <= min(thing.size) and max(thing.size) <= LARGEST
            below = scene.thing(thing.on).size[2] if thing.on else 0.0
            assert thing.position[2] == pytest.approx(below + thing.size[2] / 2)
            x, y, _ = thing.position
            assert room.left < x - thing.radius and x + thing.radius < room.right and y + thing.radius < room.front
            if thing.on:
                support = scene.thing(thing.on)
                assert support.shape in ("box", "cylinder") and support.on is None
                off = np.hypot(*(np.subtract(thing.position, support.position)[:2]))
                assert off + thing.radius <= min(support.size[:2]) / 2 + 2e-4


def test_nothing_interpenetrates(scenes: list[Scene]) -> None:
    for scene in scenes:
        floor = [t for t in scene.things if t.on is None]
        for i, a in enumerate(floor):
            for b in floor[:i]:
                assert np.hypot(*np.subtract(a.position, b.position)[:2]) > a.radius + b.radius
        on = [t.on for t in scene.things if t.on]
        assert len(on) == len(set(on))


def test_every_shape_and_colour_comes_up(scenes: list[Scene]) -> None:
    things = [t for scene in scenes for t in scene.things]
    assert {t.shape for t in things} == set(SHAPES) and {t.color for t in things} == set(COLORS)
    assert any(t.on for t in things)


def test_camera_coordinates(scenes: list[Scene]) -> None:
    scene = scenes[0]
    pose = scene.camera.pose
    assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3)) and np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    assert np.allclose(scene.camera.to_camera(pose[:3, 3]), 0)
    ahead = pose[:3, 3] + 2 * pose[:3, 2] + 0.5 * np.array([1, 0, 0])
    assert np.allclose(scene.camera.to_camera(ahead), [0.5, 0, 2])
    assert scene.camera.to_camera((0.0, 3.0, 0.0))[1] > scene.camera.to_camera((0.0, 3.0, 1.0))[1]  # y is down


def test_depth_and_labels_agree_with_rays(drawn: list[tuple[Scene, View]]) -> None:
    wrong, errors, flat = 0, [], 0.0
    for scene, view in drawn:
        depth, labels = cast(scene, *view.labels.shape)
        same = labels == view.labels
        wrong += int((~same).sum())
        error = np.abs(depth.min(0) - view.depth)
        errors.append(error[same])
        boxes = [t.id for t in scene.things if t.shape == "box"]
        flat = max(flat, float(error[same & np.isin(labels, [0, *boxes])].max()))
    assert wrong < 3e-4 * 96 * 96 * len(drawn)  # outlines of facets
    assert flat < 3e-5
    assert np.percentile(np.concatenate(errors), 99.9) < 5e-3 and np.concatenate(errors).mean() < 1e-4


def test_the_nearest_point_of_a_ball(drawn: list[tuple[Scene, View]]) -> None:
    found = 0
    for scene, view in drawn:
        depth, labels = cast(scene, *view.labels.shape)
        for thing in scene.things:
            mine = (labels == thing.id) & (view.labels == thing.id)
            if thing.shape == "ball" and mine.sum() > 60 and view.visible[thing.id] == 1:
                at = np.unravel_index(np.where(mine, depth[thing.id], np.inf).argmin(), mine.shape)
                nearest = scene.camera.to_camera(thing.position)[2] - thing.size[0] / 2
                assert view.depth[at] == pytest.approx(nearest, abs=0.01)
                assert view.depth[at] == pytest.approx(depth[(thing.id, *at)], abs=0.002)
                found += 1
    assert found > 5


def test_labels_and_depth_are_not_blended(drawn: list[tuple[Scene, View]]) -> None:
    for scene, view in drawn:
        assert set(np.unique(view.labels)) <= {0, *(t.id for t in scene.things)}
        assert view.depth.dtype == np.float32 and view.rgb.dtype == view.labels.dtype == np.uint8
        assert 0.6 < view.depth.min() and view.depth.max() < 10


def test_visible_shares(drawn: list[tuple[Scene, View]]) -> None:
    partly = 0
    for scene, view in drawn:
        assert list(view.visible) == [t.id for t in scene.things]
        depth, labels = cast(scene, *view.labels.shape)
        for thing in scene.things:
            alone = np.isfinite(depth[thing.id])
            at_border = alone[0].any() or alone[-1].any() or alone[:, 0].any() or alone[:, -1].any()
            share = float((labels == thing.id).sum() / alone.sum())
            if at_border:  # the oracle does not see what lies outside
                assert view.visible[thing.id] <= share + 0.05
            else:
                assert view.visible[thing.id] == pytest.approx(share, abs=0.06)
                partly += share < 0.95
    assert partly > 3


def test_the_same_scene_gives_the_same_bytes(scenes: list[Scene], renderer: Renderer) -> None:
    first = renderer.render(scenes[3])
    renderer.render(scenes[4])
    with Renderer((96, 96)) as other:
        for again in (renderer.render(scenes[3]), other.render(scenes[3])):
            assert all((getattr(again, f) == getattr(first, f)).all() for f in ("rgb", "depth", "labels"))
            assert again.visible == first.visible


def test_any_size(scenes: list[Scene]) -> None:
    with Renderer((60, 101)) as wide:
        view = wide.render(scenes[0])
    assert view.rgb.shape == (60, 101, 3)
    depth, labels = cast(scenes[0], 60, 101)
    assert (labels == view.labels).mean() > 0.998
    assert np.abs(depth.min(0) - view.depth)[labels == view.labels].mean() < 2e-4
    with pytest.raises(ValueError, match="closed"):
        wide.render(scenes[0])
    with pytest.raises(ValueError, match="8 to 4096 pixels"):
        Renderer(0)


def test_missing_mujoco_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"cooper-spatial\[scenes\].*make setup-scenes.*No module") as caught:
        Renderer(32)
    assert "\n" not in str(caught.value)


def test_depth_in_shards_is_off_by_less_than_a_fifth_of_a_millimetre() -> None:
    metres = np.linspace(0.3, 16, 100_001).astype(np.float32)
    assert np.abs(decode_depth(encode_depth(metres)).astype(float) - metres).max() < 2e-4
    with pytest.raises(ValueError, match="up to 16.38 m"):
        encode_depth(np.array([17.0]))


def test_shards(tmp_path: Path) -> None:
    paths = make_shards(tmp_path / "two", 5, 7, size=32, workers=2, per_shard=3, quiet=True)
    assert [p.name for p in paths] == ["scenes-00000005-3.npz", "scenes-00000008-3.npz", "scenes-00000011-1.npz"]
    alone = make_shards(tmp_path / "one", 5, 7, size=32, workers=1, per_shard=3, quiet=True)
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in alone]

    # Interrupted: what is there stays, what is missing is made again.
    paths[1].unlink()
    before = paths[0].stat().st_mtime_ns
    make_shards(tmp_path / "two", 5, 7, size=32, workers=1, per_shard=3, quiet=True)
    assert paths[0].stat().st_mtime_ns == before and paths[1].read_bytes() == alone[1].read_bytes()
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == [p.name for p in paths]

    shards = open_shards(tmp_path / "two")
    assert len(shards) == 7 and shards.seeds[:].tolist() == list(range(5, 12))
    assert shards.rgb.shape == (7, 32, 32, 3) and (shards.rgb[[6, 0]][1] == shards.rgb[0]).all()
    assert isinstance(shards.rgb[0].base, np.memmap) or isinstance(shards.rgb[0], np.memmap)
    with Renderer(32) as renderer:
        for i in (0, 4, -1):
            scene, view = shards[i]
            fresh = renderer.render(sample_scene(int(shards.seeds[i])))
            assert (
                scene.seed == shards.seeds[i] and (view.rgb == fresh.rgb).all() and (view.labels == fresh.labels).all()
            )
            assert np.abs(view.depth - fresh.depth).max() < 2e-4
            assert view.visible == pytest.approx(fresh.visible)
    with pytest.raises(IndexError):
        shards.rgb[7]
    with np.load(paths[0]) as plain:
        assert set(plain.files) == set(FIELDS)


def test_a_folder_of_shards_grows(tmp_path: Path) -> None:
    """Whatever it was made of; what is between and behind is made, nothing twice."""
    grown = [make_shards(tmp_path, start, n, size=16, workers=1, per_shard=4, quiet=True)
             for start, n in ((0, 3), (6, 1), (0, 9), (2, 2))]  # fmt: skip
    assert [[p.stem.removeprefix("scenes-000") for p in paths] for paths in grown] == [
        ["00000-3"], ["00006-1"], ["00000-3", "00003-1", "00004-2", "00006-1", "00007-1", "00008-1"],
        ["00000-3", "00003-1"],
    ]  # fmt: skip
    assert open_shards(tmp_path).seeds[:].tolist() == list(range(9))


def test_a_full_disk_leaves_no_part_of_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: IO[bytes], **arrays: np.ndarray) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        make_shards(tmp_path, 0, 1, size=16, workers=1, quiet=True)
    assert not list(tmp_path.iterdir())


def test_mistakes_with_shards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cross from train into validation"):
        make_shards(tmp_path, 9_999_999, 2, quiet=True)
    with pytest.raises(ValueError, match="at least 1"):
        make_shards(tmp_path, 0, 0, quiet=True)
    with pytest.raises(ValueError, match="holds no shards"):
        open_shards(tmp_path / "nowhere")
    path = make_shards(tmp_path, 0, 2, size=16, workers=1, per_shard=2, quiet=True)[0]
    with pytest.raises(ValueError, match="pictures of 16 pixels, not 24"):
        make_shards(tmp_path, 0, 2, size=24, workers=1, per_shard=2, quiet=True)
    shutil.copy(path, tmp_path / "scenes-00000001-2.npz")
    with pytest.raises(ValueError, match="repeats scenes"):
        open_shards(tmp_path)
    with pytest.raises(ValueError, match="cannot be made a folder"):
        make_shards(path, 0, 2, quiet=True)
    (tmp_path / "scenes-00000001-2.npz").unlink()
    arrays = dict(np.load(path))
    for name, other in (("rgb", arrays["rgb"].astype(object)), ("depth", arrays["depth"][:1]), ("labels", None)):
        np.savez(path, **{k: (other if k == name else v) for k, v in arrays.items() if k != name or other is not None})
        with pytest.raises(ValueError, match="not a whole shard"):
            open_shards(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a whole shard"):
        open_shards(tmp_path)


def test_a_renderer_that_dies_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "_alone_on_a_core", os.abort)  # how every worker begins
    with pytest.raises(ValueError, match="renderers died 3 times; run this again"):
        make_shards(tmp_path, 5, 4, size=32, workers=2, per_shard=2, quiet=True)
    # the first worker dies, once
    once = f"test -e {tmp_path}/dead || {{ touch {tmp_path}/dead; kill -9 $PPID; }}"
    monkeypatch.setattr(shards_module, "_alone_on_a_core", partial(subprocess.run, ["sh", "-c", once]))
    assert len(make_shards(tmp_path, 5, 4, size=32, workers=2, per_shard=2, quiet=True)) == 2
    assert (tmp_path / "dead").exists() and len(open_shards(tmp_path)) == 4
