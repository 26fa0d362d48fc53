"""Modalities: what is drawn can be read back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cooper.modalities import Depth, MapCodes, Segmentation, by_tag, modality
from cooper.modalities.base import at_size


@pytest.mark.parametrize("code", ["log", "linear"])
def test_depth_survives_its_picture(code: str) -> None:
    depth = Depth(code=code)  # type: ignore[arg-type]
    true = np.linspace(depth.near, depth.far, 4096, dtype=np.float32).reshape(64, 64)
    back = depth.to_values(depth.to_rgb(true))
    step = (depth.far - depth.near) / 255 if code == "linear" else 0.0
    assert np.all(np.abs(back - true) <= 0.5 * step + 0.0065 * true + 1e-5)


def test_a_log_code_has_the_same_relative_error_everywhere() -> None:
    depth = Depth()
    for metres in (0.6, 2.0, 11.0):
        a, b = depth.to_values(np.full((1, 1, 3), depth.to_unit(np.array(metres)) + np.array([0.0]))), metres
        assert a[0, 0] == pytest.approx(b, rel=1e-4)


def test_near_is_dark_and_outside_is_clipped() -> None:
    depth = Depth()
    rgb = depth.to_rgb(np.array([[0.1, 0.5, 3.0, 12.0, 50.0]]))[0, :, 0]
    assert list(rgb[[0, 1, 3, 4]]) == [0, 0, 255, 255] and 0 < rgb[2] < 255


def test_depth_is_shown_red_where_it_is_near() -> None:
    view = Depth().view(Depth().to_rgb(np.array([[1.0, 6.0]])))
    near, far = view.image[0].astype(int)
    assert near[0] > near[2] and far[2] > far[0]
    assert view.bar is not None and view.bar[0][0] == pytest.approx(1.0, rel=0.01) and view.unit == "m"


@given(seed=st.integers(0, 1000), noise=st.integers(0, 28))
def test_segmentation_survives_its_picture_and_some_noise(seed: int, noise: int) -> None:
    segmentation = Segmentation()
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, len(segmentation.classes) + 1, (4, 4)), np.ones((3, 3), dtype=int))
    rgb = segmentation.to_rgb(labels).astype(int) + rng.integers(-noise, noise + 1, (12, 12, 3))
    assert np.array_equal(segmentation.to_values(rgb.clip(0, 255).astype(np.uint8)), labels)


def test_thin_things_survive_and_blurred_edges_are_no_things() -> None:
    """Half red is a cylinder's colour; a line of it around a red ball is blur, unless it is that very colour."""
    segmentation = Segmentation()
    ball, cylinder = (segmentation.number(f"red {shape}") for shape in ("ball", "cylinder"))
    labels = np.zeros((20, 20), dtype=int)
    labels[5:15, 5:15] = ball
    rgb = segmentation.to_rgb(labels)
    rgb[4, 4:16] = rgb[15, 4:16] = (150, 20, 10)
    blurred = segmentation.to_values(rgb)
    assert set(np.unique(blurred)) == {0, ball} and (blurred[5:15, 5:15] == ball).all()
    labels[2, 3:18] = cylinder
    assert np.array_equal(segmentation.to_values(segmentation.to_rgb(labels)), labels)


def test_a_thing_between_two_shades_is_one_thing() -> None:
    """Half of a red thing is nearer to a box's shade, half to a ball's; two real things that touch stay two."""
    segmentation = Segmentation()
    ball, box, cone = (segmentation.number(f"red {shape}") for shape in ("ball", "box", "cone"))
    shade = dict(zip(("ball", "box"), segmentation.palette[[ball, box]].astype(float), strict=True))
    rgb = np.zeros((20, 20, 3))
    rgb[4:16, 4:11] = 0.6 * shade["ball"] + 0.4 * shade["box"]
    rgb[4:16, 11:16] = 0.4 * shade["ball"] + 0.6 * shade["box"]
    assert set(np.unique(segmentation.to_values(rgb.astype(np.uint8)))) == {0, ball}, "the larger half decides"
    labels = np.zeros((20, 20), dtype=int)
    labels[4:16, 4:11], labels[4:16, 11:16], labels[0:3, 0:3] = ball, box, cone
    rgb = segmentation.to_rgb(labels) * 0.95  # a little dull
    assert np.array_equal(segmentation.to_values(rgb.astype(np.uint8)), labels)


def test_stray_pixels_go_with_those_around_them() -> None:
    segmentation = Segmentation()
    labels = np.zeros((12, 12), dtype=int)
    labels[2:10, 2:10] = ball = segmentation.number("red ball")
    rgb = segmentation.to_rgb(labels)
    rgb[5, 5] = (100, 30, 30)  # nearer to black
    assert np.array_equal(segmentation.to_values(rgb), labels) and ball in labels
    rgb[5, 5] = (10, 0, 0)  # a hole, surely
    assert segmentation.to_values(rgb)[5, 5] == 0


def test_specks_become_background() -> None:
    segmentation = Segmentation(smallest=8)
    labels = np.zeros((10, 10), dtype=int)
    labels[0, :7], labels[5:8, 5:8] = 3, 4
    back = segmentation.to_values(segmentation.to_rgb(labels))
    assert set(np.unique(back)) == {0, 4}


def test_legend_names_what_is_there() -> None:
    segmentation = Segmentation()
    labels = np.full((8, 8), segmentation.number("red ball"))
    view = segmentation.view(segmentation.to_rgb(labels))
    assert view.legend is not None and [name for name, _ in view.legend] == ["red ball"]
    with pytest.raises(ValueError, match="no class"):
        segmentation.number("red sofa")
    assert segmentation.name_of(segmentation.number("red ball")) == "red ball"
    assert segmentation.name_of(0) == segmentation.coded(MapCodes(named=False)).name_of(0) == "background"


def test_a_map_at_another_size_may_be_written_to() -> None:
    for values in (np.ones((4, 4), np.float32), np.ones((4, 4), np.int32)):
        at_size(values, 6, 8)[0, 0] = 2


def test_the_registry_knows_tags_and_names() -> None:
    assert modality("depth").call == "<depth-estimation>draw the depth</depth-estimation>"
    assert by_tag("segmentation", ("depth", "segmentation")) is modality("segmentation")
    assert by_tag("segmentation", ("depth",)) is None
    with pytest.raises(ValueError, match="known: depth, segmentation"):
        modality("normals")
