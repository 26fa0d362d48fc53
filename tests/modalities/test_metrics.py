"""Figures of maps against cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cooper.modalities.metrics import DEPTH_RANGE, depth_metrics, segmentation_iou

# ---------------------------------------------------------------- depth


def test_depth_metrics_by_hand() -> None:
    true = np.array([[1.0, 2.0], [4.0, 8.0]])
    predicted = np.array([[1.0, 3.0], [4.0, 4.0]])  # off by 0, +1, 0, -4
    metrics = depth_metrics(predicted, true, np.ones((2, 2), bool))
    assert metrics["abs_rel"] == pytest.approx((0.5 + 0.5) / 4)
    assert metrics["sq_rel"] == pytest.approx((1 / 2 + 16 / 8) / 4)
    assert metrics["rmse"] == pytest.approx(math.sqrt(17 / 4))
    a, b = math.log(1.5), math.log(0.5)
    assert metrics["rmse_log"] == pytest.approx(math.sqrt((a**2 + b**2) / 4))
    assert metrics["log10"] == pytest.approx((math.log10(1.5) + math.log10(2)) / 4)
    assert metrics["silog"] == pytest.approx(100 * math.sqrt((a**2 + b**2) / 4 - ((a + b) / 4) ** 2))
    # Ratios 1, 1.5, 1, 2 against 1.25, 1.5625, 1.953.
    assert (metrics["delta1"], metrics["delta2"], metrics["delta3"]) == (0.5, 0.75, 0.75)


def test_depth_metrics_of_a_perfect_map() -> None:
    true = np.random.default_rng(0).uniform(0.5, 9, (8, 8)).astype(np.float32)
    perfect = {"delta1": 1.0, "delta2": 1.0, "delta3": 1.0}
    for metrics in (depth_metrics(true, true), depth_metrics(true * 0.1 - 3, true, align="scale_shift")):
        for name, value in metrics.items():
            assert value == pytest.approx(perfect.get(name, 0.0), abs=1e-4)


def test_alignment_is_least_squares_over_valid_pixels() -> None:
    predicted = np.array([0.0, 1.0, 2.0, 50.0])[None]
    true = np.array([1.0, 4.0, 4.0, 1.0])[None]
    valid = np.array([True, True, True, False])[None]
    # Line through (0, 1), (1, 4), (2, 4): slope 1.5, at 0 it is 1.5; residuals 0.5, -1, 0.5.
    metrics = depth_metrics(predicted, true, valid, align="scale_shift")
    assert metrics["rmse"] == pytest.approx(math.sqrt(1.5 / 3))
    flat = depth_metrics(np.full((1, 3), 7.0), np.array([[1.0, 2.0, 3.0]]), align="scale_shift")
    assert flat["rmse"] == pytest.approx(math.sqrt(2 / 3))


def test_clamping() -> None:
    true, predicted = np.array([[10.0, 1.0]]), np.array([[40.0, -5.0]])
    clamped = depth_metrics(predicted, true, clamp=DEPTH_RANGE)
    assert clamped["abs_rel"] == pytest.approx((0 + 0.999) / 2)
    assert depth_metrics(predicted, true)["abs_rel"] == pytest.approx((3 + 0.999) / 2)


def test_pixels_without_truth_do_not_count() -> None:
    true = np.array([[0.0, np.nan, np.inf, -1.0, 2.0]])
    predicted = np.array([[np.nan, 1.0, 1.0, 1.0, 2.0]])
    assert depth_metrics(predicted, true)["abs_rel"] == 0


def test_depth_metrics_refuses() -> None:
    ones = np.ones((2, 2))
    with pytest.raises(ValueError, match="no pixel has a valid true depth"):
        depth_metrics(ones, ones, np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="1 predicted depths are not finite"):
        depth_metrics(np.array([[np.nan, 1], [1, 1]]), ones)
    with pytest.raises(ValueError, match=r"predicted has the shape \(2, 3\), the truth \(2, 2\)"):
        depth_metrics(np.ones((2, 3)), ones)
    with pytest.raises(ValueError, match="align is"):
        depth_metrics(ones, ones, align="scale")  # type: ignore[arg-type]


# ---------------------------------------------------------------- segmentation


def test_segmentation_iou_by_hand() -> None:
    true = np.array([[1, 1, 1, 1], [2, 2, 0, 0]])
    assert segmentation_iou(true, true) == 1.0
    assert segmentation_iou(np.array([[7, 7, 7, 7], [4, 4, 0, 0]]), true) == 1.0  # names do not matter
    assert segmentation_iou(np.zeros_like(true), true) == 0.0
    assert segmentation_iou(np.ones_like(true), true) == 0.25  # one prediction, 4 of 8; the other object has none
    # 5 covers three of object 1 and one of object 2: 3/5 and 1/5; 6 covers one of 1 and one of 2: 1/5 and 1/3.
    assert segmentation_iou(np.array([[5, 5, 5, 6], [5, 6, 0, 0]]), true) == pytest.approx((3 / 5 + 1 / 3) / 2)


def test_the_assignment_is_the_best_one_not_a_greedy_one() -> None:
    # Rows: true 1 (10 pixels) and 2 (10 pixels). Prediction 8 overlaps 1 by 6 and 2 by 5; 9 overlaps 1 by 4 only.
    true = np.repeat([1, 2, 0], [10, 10, 5])[None]
    predicted = np.array([8] * 6 + [9] * 4 + [8] * 5 + [0] * 10)[None]
    # Greedy: 8-1 (6/15 = 0.4), 2 without: 0.4. Best: 9-1 (4/10 = 0.4) and 8-2 (5/16).
    assert segmentation_iou(predicted, true) == pytest.approx((4 / 10 + 5 / 16) / 2)


def test_small_objects_can_be_left_out() -> None:
    true = np.array([[1, 1, 1, 1], [2, 0, 0, 0]])
    predicted = np.array([[3, 3, 3, 3], [3, 0, 0, 0]])
    assert segmentation_iou(predicted, true) == pytest.approx((4 / 5) / 2)
    assert segmentation_iou(predicted, true, min_pixels=2) == pytest.approx(4 / 5)
    assert math.isnan(segmentation_iou(predicted, true, min_pixels=5))
    assert math.isnan(segmentation_iou(predicted, np.zeros_like(true)))


def test_segmentation_iou_refuses() -> None:
    with pytest.raises(ValueError, match="resize one to the other"):
        segmentation_iou(np.ones((2, 2), int), np.ones((2, 3), int))


@given(st.integers(0, 1000))
def test_segmentation_iou_is_between_zero_and_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    true, predicted = generator.integers(0, 5, (2, 6, 6))
    value = segmentation_iou(predicted, true)
    assert 0 <= value <= 1
    names = generator.permutation(np.arange(1, 5))
    assert segmentation_iou(np.concatenate([[0], names])[predicted], true) == pytest.approx(value)
