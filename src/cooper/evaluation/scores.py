"""How an answer, a depth map and a segmentation are scored. Pure functions of numbers, text and arrays."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from cooper.evaluation.quantities import parse_number, plain_text, to_metres

#: Depth predictions are kept in this range, in metres, where a protocol clamps them.
DEPTH_RANGE = (1e-3, 10.0)
_ARTICLES = ("a", "an", "the")


def mra(predicted: float | None, true: float) -> float:
    """Mean relative accuracy: the share of the thresholds 0.50, 0.45 .. 0.05 that the relative error is below.

    1.0 for an error under 5 %, 0.0 from 50 % on, and for a missing, infinite or NaN prediction. A `true` of zero is
    matched by zero alone.
    """
    if predicted is None or not math.isfinite(predicted):
        return 0.0
    if true == 0:
        return float(predicted == 0)
    error = abs(predicted - true) / abs(true)
    # An error that is exactly at a threshold misses it; without the tolerance rounding would decide.
    return sum(error < k / 20 - 1e-9 for k in range(1, 11)) / 10


def score_answer(
    question_kind: Literal["metres", "count", "word"],
    predicted_text: str | None,
    true_text: str,
    true_value: float | None = None,
) -> float:
    """0..1 for one answer; no answer is 0.

    "metres": `mra` of the length in the answer (metres if it names no unit) against `true_value`, or against the
    length in `true_text` if that is None. "count": 1 if the number is the same and is not a length. "word": 1 if the
    texts are the same apart from case, articles and punctuation at the ends.
    """
    if predicted_text is None or not predicted_text.strip():
        return 0.0
    if question_kind == "word":
        return float(_normalised(predicted_text) == _normalised(true_text))
    if question_kind not in ("metres", "count"):
        raise ValueError(f'the kind of a question is "metres", "count" or "word", not {question_kind!r}')
    if true_value is None:
        true_number = parse_number(true_text)
        if true_number is None:
            raise ValueError(f"the true answer {true_text!r} has no number; give true_value")
        true_value = to_metres(*true_number)
    predicted = parse_number(predicted_text)
    if predicted is None:
        return 0.0
    if question_kind == "metres":
        return mra(to_metres(*predicted), true_value)
    value, unit = predicted
    return float(unit is None and value == true_value)


def _normalised(text: str) -> str:
    words = plain_text(text).casefold().strip(string.punctuation + string.whitespace).split()
    return " ".join(word for word in words if word not in _ARTICLES)


def bootstrap_interval(
    scores: Sequence[float] | np.ndarray, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of the mean of `scores` (n,), n >= 1. The same seed gives the same."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"an interval needs a list of at least one finite score, not {values.shape} scores")
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"confidence is between 0 and 1, resamples at least 1; got {confidence} and {resamples}")
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, 4_000_000 // values.size)  # keeps the drawn indices within 32 MB
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        means[start : start + rows] = values[generator.integers(0, values.size, (rows, values.size))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def depth_metrics(
    predicted: np.ndarray,
    true: np.ndarray,
    valid: np.ndarray | None = None,
    align: Literal["none", "scale_shift"] = "none",
    clamp: tuple[float, float] | None = None,
) -> dict[str, float]:
    """The usual depth errors over the valid pixels of one picture: predicted, true, valid are (height, width), metres.

    Pixels whose true depth is not positive and finite are never valid. "scale_shift" first fits a * predicted + b to
    the true depth by least squares; `clamp` (`DEPTH_RANGE` in the published protocol) then limits the prediction.
    Without it only what is under 1 mm is raised to 1 mm, since logarithms are taken.

    abs_rel, sq_rel (metres), rmse (metres), rmse_log and log10 as usual; silog is 100 times the standard deviation
    of the difference of natural logarithms; delta1..3 are the shares of pixels off by less than a factor 1.25,
    1.25^2, 1.25^3.
    Raises ValueError if shapes differ, no pixel is valid or a prediction is not finite.
    """
    usable = np.isfinite(true) & (true > 0)
    if valid is not None:
        _check_shapes("valid", valid, true)
        usable &= valid.astype(bool)
    _check_shapes("predicted", predicted, true)
    if not usable.any():
        raise ValueError("no pixel has a valid true depth; leave this picture out")
    p, t = predicted[usable].astype(np.float64), true[usable].astype(np.float64)
    if not np.isfinite(p).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(p))} predicted depths are not finite; mark them as not valid")
    if align == "scale_shift":
        (scale, shift), *_ = np.linalg.lstsq(np.stack([p, np.ones_like(p)], axis=1), t, rcond=None)
        p = scale * p + shift
    elif align != "none":
        raise ValueError(f'align is "none" or "scale_shift", not {align!r}')
    p = np.clip(p, *clamp) if clamp is not None else np.maximum(p, DEPTH_RANGE[0])

    error, log_error = p - t, np.log(p) - np.log(t)
    ratio = np.maximum(p / t, t / p)
    return {
        "abs_rel": float(np.mean(np.abs(error) / t)),
        "sq_rel": float(np.mean(error**2 / t)),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "rmse_log": float(np.sqrt(np.mean(log_error**2))),
        "log10": float(np.mean(np.abs(log_error)) / math.log(10)),
        "silog": float(100 * np.std(log_error)),
        "delta1": float(np.mean(ratio < 1.25)),
        "delta2": float(np.mean(ratio < 1.25**2)),
        "delta3": float(np.mean(ratio < 1.25**3)),
    }


def segmentation_iou(predicted_labels: np.ndarray, true_labels: np.ndarray, min_pixels: int = 1) -> float:
    """Mean IoU of the true objects of one picture, under the one-to-one assignment that makes it largest.

    Both maps are integers (height, width); 0 is background and is no object, the other numbers need not agree
    between the maps. A true object left without a prediction counts 0. True objects of fewer than `min_pixels` pixels
    are not scored (their pixels still count as wrong for a prediction that covers them). NaN if none is left.
    """
    _check_shapes("predicted_labels", predicted_labels, true_labels)
    true_names, true_index, true_sizes = np.unique(true_labels.ravel(), return_inverse=True, return_counts=True)
    names, index, sizes = np.unique(predicted_labels.ravel(), return_inverse=True, return_counts=True)
    overlap = np.bincount(true_index * len(names) + index, minlength=len(true_names) * len(names))
    overlap = overlap.reshape(len(true_names), len(names))
    iou = overlap / (true_sizes[:, None] + sizes[None, :] - overlap)
    iou = iou[(true_names != 0) & (true_sizes >= min_pixels)][:, names != 0]
    if not len(iou):
        return math.nan
    return float(iou[linear_sum_assignment(iou, maximize=True)].sum() / len(iou))


def _check_shapes(name: str, array: np.ndarray, true: np.ndarray) -> None:
    if array.shape != true.shape:
        raise ValueError(f"{name} has the shape {array.shape}, the truth {true.shape}; resize one to the other")
