"""Figures of maps against independent implementations of them: scikit-learn's, and plain loops over pixels."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.metrics import (
    accuracy_score,
    adjusted_rand_score,
    jaccard_score,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)  # fmt: skip

from cooper.modalities.metrics import adjusted_rand, boundary_f1, depth_metrics, segmentation_iou

SEEDS = st.integers(0, 10_000)

# ---------------------------------------------------------------- depth


@given(SEEDS, st.booleans())
def test_depth_errors_pixel_by_pixel(seed: int, aligned: bool) -> None:
    random = np.random.default_rng(seed)
    true, drawn = random.uniform(0.4, 11, (5, 7)), random.uniform(-0.2, 14, (5, 7))
    valid = random.random((5, 7)) < 0.7
    true[0, 0], valid[0, 0], valid[0, 1:3] = 0, True, True  # said to be known, and is not
    known = [(float(p), float(t)) for p, t, v in zip(drawn.flat, true.flat, valid.flat, strict=True) if v and t > 0]
    n = len(known)
    if aligned:  # the normal equations of a line
        sp, st_ = sum(p for p, _ in known), sum(t for _, t in known)
        spp, spt = sum(p * p for p, _ in known), sum(p * t for p, t in known)
        scale = (n * spt - sp * st_) / (n * spp - sp * sp)
        known = [(scale * p + (st_ - scale * sp) / n, t) for p, t in known]
    known = [(min(max(p, 1e-3), 10.0), t) for p, t in known]
    logs = [math.log(p) - math.log(t) for p, t in known]
    expected = {
        "abs_rel": sum(abs(p - t) / t for p, t in known) / n,
        "sq_rel": sum((p - t) ** 2 / t for p, t in known) / n,
        "rmse": math.sqrt(sum((p - t) ** 2 for p, t in known) / n),
        "rmse_log": math.sqrt(sum(d * d for d in logs) / n),
        "log10": sum(abs(math.log10(p) - math.log10(t)) for p, t in known) / n,
        "silog": 100 * math.sqrt(max(sum(d * d for d in logs) / n - (sum(logs) / n) ** 2, 0)),
        **{f"delta{k}": sum(max(p / t, t / p) < 1.25**k for p, t in known) / n for k in (1, 2, 3)},
    }
    found = depth_metrics(drawn, true, valid, "scale_shift" if aligned else "none", (1e-3, 10.0))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(SEEDS, st.booleans())
def test_depth_errors_against_sklearn(seed: int, aligned: bool) -> None:
    random = np.random.default_rng(seed)
    t, p = random.uniform(0.4, 9, 40), random.uniform(0.2, 9, 40)
    found = depth_metrics(p[None], t[None], None, "scale_shift" if aligned else "none")
    if aligned:
        p = np.maximum(LinearRegression().fit(p[:, None], t).predict(p[:, None]), 1e-3)
    difference = np.log(t) - np.log(p)
    # what of the logarithms' differences a constant does not explain
    residual = (1 - r2_score(difference, np.zeros(40), force_finite=False)) * np.var(difference)
    expected = {
        "abs_rel": mean_absolute_percentage_error(t, p),
        "sq_rel": mean_squared_error(t, p, sample_weight=1 / t) * np.mean(1 / t),
        "rmse": root_mean_squared_error(t, p),
        "rmse_log": root_mean_squared_error(np.log(t), np.log(p)),
        "log10": mean_absolute_error(np.log10(t), np.log10(p)),
        "silog": 100 * math.sqrt(residual - np.mean(difference) ** 2),
        **{f"delta{k}": accuracy_score(np.ones(40), np.maximum(p / t, t / p) < 1.25**k) for k in (1, 2, 3)},
    }
    assert found == pytest.approx(expected, rel=1e-6)


# ---------------------------------------------------------------- labels


def two_labellings(seed: int, size: int, kinds: int, same: float) -> tuple[np.ndarray, np.ndarray]:
    """True labels, and others that agree with them on about that share of the pixels."""
    random = np.random.default_rng(seed)
    true, noise = random.integers(0, kinds, (2, size, size))
    return true, np.where(random.random((size, size)) < same, true, noise)


@given(SEEDS, st.integers(1, 9), st.integers(1, 6), st.sampled_from([0.0, 0.5, 0.95]))
def test_rand_index_against_sklearn(seed: int, size: int, kinds: int, same: float) -> None:
    true, predicted = two_labellings(seed, size, kinds, same)
    assert adjusted_rand(predicted, true) == pytest.approx(adjusted_rand_score(true.ravel(), predicted.ravel()))
    assert adjusted_rand(predicted * -7 + 3, true) == pytest.approx(adjusted_rand(predicted, true))


def test_rand_index_of_a_large_picture() -> None:
    true, predicted = two_labellings(0, 400, 3, 0.8)  # products of its pairs have more than 64 bits
    value = adjusted_rand(predicted, true)
    assert value == pytest.approx(adjusted_rand_score(true.ravel(), predicted.ravel())) and 0.5 < value < 0.9


def test_rand_index_at_its_ends() -> None:
    one, two = np.zeros((4, 4), int), np.repeat([[5, 9]], 8, axis=0).reshape(4, 4)
    assert adjusted_rand(one, one) == adjusted_rand(two, two) == adjusted_rand(one[:1, :1], two[:1, :1]) == 1
    assert adjusted_rand(one, two) == adjusted_rand(two, one) == 0  # nothing but one label tells nothing
    every = np.arange(16).reshape(4, 4)
    assert adjusted_rand(every, every + 1) == 1 and adjusted_rand(every, two) == 0
    assert adjusted_rand(np.array([1, 1, 2, 2]), np.array([1, 2, 1, 2])) == pytest.approx(-0.5)
    with pytest.raises(ValueError, match="resize one to the other"):
        adjusted_rand(one, one[:2])


@given(SEEDS, st.integers(2, 6))
def test_iou_of_labels_that_have_the_same_names_against_sklearn(seed: int, kinds: int) -> None:
    true, predicted = two_labellings(seed, 24, kinds, 0.9)  # so alike that equal names are the best assignment
    things = list(range(1, kinds))
    expected = jaccard_score(true.ravel(), predicted.ravel(), labels=things, average="macro")
    assert segmentation_iou(predicted, true) == pytest.approx(expected)


@settings(max_examples=20)
@given(SEEDS, st.integers(2, 4), st.integers(2, 3))
def test_iou_of_the_best_names_against_sklearn(seed: int, kinds: int, more: int) -> None:
    """Of all ways to name the drawn objects after true ones, or after none of them."""
    true, predicted = two_labellings(seed, 12, kinds, 0.6)
    predicted = np.where(np.random.default_rng(seed + 1).random(true.shape) < 0.7, predicted, more)
    things, drawn = [t for t in range(1, kinds) if (true == t).any()], [p for p in np.unique(predicted) if p]
    spare = range(100, 100 + len(drawn))
    best = 0.0
    for names in set(permutations([*things, *spare], len(drawn))):
        named = np.zeros_like(predicted)
        for label, name in zip(drawn, names, strict=True):
            named[predicted == label] = name
        scores = jaccard_score(true.ravel(), named.ravel(), labels=things, average="macro", zero_division=0)
        best = max(best, float(scores))
    assert not things or segmentation_iou(predicted, true) == pytest.approx(best)


# ---------------------------------------------------------------- boundaries


def slow_boundary_f1(predicted: np.ndarray, true: np.ndarray, valid: np.ndarray, tolerance: float) -> float:
    height, width = true.shape

    def boundary(labels: np.ndarray) -> list[tuple[int, int]]:
        found = []
        for r in range(height):
            for c in range(width):
                for a, b in ((r, c + 1), (r + 1, c), (r + 1, c + 1)):
                    if a < height and b < width and valid[r, c] and valid[a, b] and labels[r, c] != labels[a, b]:
                        found.append((r, c))
                        break
        return found

    def near(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        reach = tolerance * math.sqrt(height**2 + width**2) + 1e-9
        return sum(any(math.dist(a, b) <= reach for b in others) for a in some) / len(some)

    a, b = boundary(predicted), boundary(true)
    if not a or not b:
        return float(not a and not b)
    precision, recall = near(a, b), near(b, a)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@given(SEEDS, st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.sampled_from([0.0, 0.0075, 0.1, 0.3]))
def test_boundary_f1_against_brute_force(seed: int, height: int, width: int, kinds: int, tolerance: float) -> None:
    random = np.random.default_rng(seed)
    blocks = random.integers(0, kinds, (2, 3, 3))
    predicted, true = np.kron(blocks, np.ones((1, 4, 4), int))[:, :height, :width]
    valid = random.random((height, width)) < 0.9
    expected = slow_boundary_f1(predicted, true, valid, tolerance)
    assert boundary_f1(predicted, true, valid, tolerance) == pytest.approx(expected)


def test_boundary_f1_by_hand() -> None:
    def split(at: int) -> np.ndarray:
        return (np.arange(640) >= at) * np.ones((480, 1), int)

    assert boundary_f1(split(300), split(300)) == 1
    assert boundary_f1(split(306), split(300)) == 1  # 6 pixels are 0.75 % of the diagonal, 800
    assert boundary_f1(split(307), split(300)) == 0
    both = split(100) + split(300)
    assert boundary_f1(both, split(300)) == pytest.approx(2 / 3)  # precision 1/2, recall 1
    assert boundary_f1(split(0), split(0)) == 1 and boundary_f1(split(0), split(300)) == 0
    assert boundary_f1(split(300), split(0)) == 0
    known = np.ones((480, 640), bool)
    known[:, 90:110] = False  # the boundary that is too much lies where nothing is known
    assert boundary_f1(both, split(300), known) == 1
    with pytest.raises(ValueError, match="resize one to the other"):
        boundary_f1(split(3)[:9], split(3))
    with pytest.raises(ValueError, match="valid has the shape"):
        boundary_f1(split(3), split(3), known[:9])
