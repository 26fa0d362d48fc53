"""Drawn maps against what is known of an example: readings, sizes, crops, colours, and what cannot be scored."""

from __future__ import annotations

import numpy as np
import pytest

from cooper.data.examples import MapExample
from cooper.data.maps import coloured_example, depth_example, labels_example
from cooper.data.nyu import INDOORS
from cooper.data.palette import numbered
from cooper.data.tables import BadRow
from cooper.evaluation.drawn_maps import summarise
from cooper.evaluation.map_scores import DepthScoring, SegmentationScoring, nearest_labels
from cooper.modalities import Depth, Segmentation

CODE = Depth()
LINEAR = Depth(0.0, 1.0, "linear")


def photo(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def of_depth(metres: np.ndarray) -> MapExample:
    return depth_example(photo(*metres.shape), metres, INDOORS, "a room")


def of_labels(labels: np.ndarray, zero_known: bool = True) -> MapExample:
    return labels_example(photo(*labels.shape), labels.astype(np.uint8), numbered(150), "a room", zero_known)


def grey(unit: np.ndarray) -> np.ndarray:
    return np.repeat(unit[..., None], 3, axis=-1).astype(np.float32)


# ---------------------------------------------------------------- depth


def test_depth_is_read_in_metres_and_up_to_scale_and_shift() -> None:
    metres = np.random.default_rng(0).uniform(1, 9, (6, 8))
    example = of_depth(metres)
    exact = DepthScoring(CODE).score(grey(CODE.to_unit(metres)), example)
    assert exact["none"]["abs_rel"] == pytest.approx(0, abs=1e-5) and exact["none"]["delta1"] == 1
    relative = DepthScoring(LINEAR).score(grey(metres / 20 + 0.1), example)  # linear over a range that nobody knows
    assert list(relative) == ["none", "scale_shift"]
    assert relative["scale_shift"]["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert relative["none"]["abs_rel"] > 0.5 and relative["none"]["delta1"] == 0
    wrong = DepthScoring(CODE).score(grey(metres / 20 + 0.1), example)
    assert wrong["scale_shift"]["abs_rel"] > 0.01, "a linear drawing is no logarithmic one"
    for align in ("none", "scale_shift"):
        assert DepthScoring(LINEAR, align).score(grey(metres / 20 + 0.1), example) == {align: relative[align]}


def test_only_aligned_depth_is_clamped_unless_that_is_wanted() -> None:
    example = of_depth(np.full((4, 4), 20.0))
    drawn = grey(np.full((4, 4), 0.5))  # of 0 .. 80 m: 40 m
    code = Depth(0.0, 80.0, "linear")
    free = DepthScoring(code).score(drawn, example)
    assert free["none"]["rmse"] == pytest.approx(20) and free["scale_shift"]["rmse"] == pytest.approx(10)
    wide = DepthScoring(code, clamp=(1e-3, 25.0)).score(drawn, example)
    assert wide["none"]["rmse"] == pytest.approx(5) and wide["scale_shift"]["rmse"] == pytest.approx(0, abs=1e-5)


def test_depth_is_brought_to_the_size_of_the_truth_and_unknown_pixels_do_not_count() -> None:
    metres = np.repeat(np.linspace(1, 2, 16)[None], 8, axis=0)
    drawn = grey(CODE.to_unit(metres))[::2, ::2]
    metres[:, :8] = 0
    figures = DepthScoring(CODE, "none").score(drawn, of_depth(metres))
    assert figures["none"]["abs_rel"] == pytest.approx(0, abs=0.03)  # half a pixel of the smaller map
    assert DepthScoring(CODE, "none").score(drawn[:, ::-1], of_depth(metres))["none"]["abs_rel"] > 0.2


def test_the_crop_of_nyu() -> None:
    metres = np.full((480, 640), 5.0)
    metres[45:471, 41:601] = 2.0
    scoring = DepthScoring(CODE, "none", crop="eigen")
    example = scoring.usable(of_depth(metres))
    assert example.valid.sum() == 426 * 560
    drawn = grey(np.full((480, 640), CODE.to_unit(np.array(2.0))))
    assert scoring.score(drawn, example)["none"]["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert DepthScoring(CODE, "none").score(drawn, of_depth(metres))["none"]["abs_rel"] > 0.1
    metres[45:471, 41:601] = 0
    with pytest.raises(BadRow, match="a room: of no pixel that counts is the truth known"):
        scoring.usable(of_depth(metres))
    with pytest.raises(BadRow, match="it has 8 x 6 pixels; the crop is one of 640 x 480"):
        scoring.usable(of_depth(np.ones((6, 8))))


# ---------------------------------------------------------------- segmentation

ROOM = np.kron(np.array([[0, 1, 1], [2, 2, 9]]), np.ones((8, 8), int))


def segmented(example: MapExample, drawn: np.ndarray) -> dict[str, float | None]:
    scoring = SegmentationScoring(Segmentation())
    return dict(scoring.score(drawn, scoring.usable(example))["nearest"])


@pytest.mark.parametrize("coloured", [False, True])
def test_a_pixel_is_of_the_nearest_colour_that_the_truth_has(coloured: bool) -> None:
    example = of_labels(ROOM)
    if coloured:
        example = coloured_example(photo(*ROOM.shape), numbered(150).to_rgb(ROOM) // 2 + 60, "a room")
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, example.target.shape)
    drawn = (example.target / 255 + noise).clip(0, 1).astype(np.float32)
    assert segmented(example, drawn) == {"miou": 1, "ari": 1, "boundary_f1": 1}
    assert np.array_equal(nearest_labels(drawn, example), example.values)
    assert nearest_labels(drawn, example).dtype == np.int32
    # two things in each other's colours: who is who does not matter, what belongs together does
    swapped = np.where(ROOM == 1, 2, np.where(ROOM == 2, 1, ROOM))
    figures = segmented(of_labels(ROOM), numbered(150).to_rgb(swapped).astype(np.float32) / 255)
    assert figures == {"miou": 1, "ari": 1, "boundary_f1": 1}


def test_colours_that_the_truth_lacks_are_not_chosen() -> None:
    red, dark, green = numbered(150).palette[[1, 8, 2]]
    example = of_labels(np.array([[1, 1, 2, 2]] * 4))
    drawn = np.array([[red, dark, green, green]] * 4, np.float32) / 255
    assert nearest_labels(drawn, example).tolist() == [[1, 1, 2, 2]] * 4


def test_a_blank_drawing() -> None:
    figures = segmented(of_labels(ROOM), np.zeros((48, 6, 3), np.float32))  # and of another size
    assert figures == {"miou": 0, "ari": 0, "boundary_f1": 0}


def test_unlabelled_pixels_do_not_count() -> None:
    example = of_labels(ROOM, zero_known=False)
    drawn = example.target.astype(np.float32) / 255
    drawn[:8, :8] = numbered(150).palette[2] / 255  # where nobody said what is there
    assert segmented(example, drawn) == {"miou": 1, "ari": 1, "boundary_f1": 1}
    assert segmented(of_labels(ROOM), drawn)["miou"] < 1  # type: ignore[operator]


def test_the_classes_of_the_model() -> None:
    own = Segmentation()
    labels = np.zeros((24, 24), np.int32)
    labels[2:12, 2:12], labels[14:23, 5:20] = own.number("red ball"), own.number("green cone")
    example = coloured_example(photo(24, 24), own.to_rgb(labels), "a scene")
    drawn = own.to_rgb(labels).astype(np.float32) / 255
    scoring = SegmentationScoring(own, "classes")
    assert scoring.score(drawn, example) == {"classes": {"miou": 1, "ari": 1, "boundary_f1": 1}}
    drawn[2:12, 14:23] = own.palette[own.number("blue box")] / 255  # a thing that is not there
    seen, forced = scoring.score(drawn, example)["classes"], segmented(example, drawn)
    assert seen["miou"] == 1 and seen["ari"] < 1, "its colour is nobody's"  # type: ignore[operator]
    assert forced["miou"] == pytest.approx((1 + 135 / (135 + 90)) / 2), "of the three colours, the cone's is nearest"
    nothing = coloured_example(photo(24, 24), photo(24, 24), "an empty scene")
    figures = scoring.score(drawn, scoring.usable(nothing))["classes"]
    assert figures == {"miou": None, "ari": 0, "boundary_f1": 0}


def test_what_cannot_be_scored() -> None:
    scoring = SegmentationScoring(Segmentation())
    with pytest.raises(BadRow, match="a room: it is of one class only"):
        scoring.usable(of_labels(np.full((4, 4), 3)))
    with pytest.raises(BadRow, match="a room: of no pixel that counts"):
        scoring.usable(of_labels(np.zeros((4, 4)), zero_known=False))
    with pytest.raises(BadRow, match="its map is one of depth, not of segmentation"):
        scoring.usable(of_depth(np.ones((4, 4))))
    with pytest.raises(BadRow, match="its map is one of segmentation, not of depth"):
        DepthScoring(CODE).usable(of_labels(ROOM))


# ---------------------------------------------------------------- means


def test_means_leave_out_what_is_not_defined() -> None:
    values: list[tuple[float | None, float | None]] = [(0.5, None), (None, None), (1.0, None)]
    rows = [{"figures": {"nearest": {"miou": a, "ari": b}}} for a, b in values]
    figures = summarise(rows)["nearest"]
    assert (figures["miou"]["mean"], figures["miou"]["n"]) == (0.75, 2)
    low, high = figures["miou"]["interval"]
    assert 0.5 <= low <= 0.75 <= high <= 1
    assert figures["ari"] == {"mean": None, "interval": None, "n": 0}
