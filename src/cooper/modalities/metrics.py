"""How a depth map and a segmentation are scored. Pure functions of arrays."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy  # its parts are loaded where they are first used: half a second that few commands need

#: Depth predictions are kept in this range, in metres, where a protocol clamps them.
DEPTH_RANGE = (1e-3, 10.0)


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
    overlap, names, true_names = _overlaps(predicted_labels, true_labels)
    true_sizes = overlap.sum(axis=1)
    iou = overlap / (true_sizes[:, None] + overlap.sum(axis=0) - overlap)
    iou = iou[(true_names != 0) & (true_sizes >= min_pixels)][:, names != 0]
    if not len(iou):
        return math.nan
    return float(iou[scipy.optimize.linear_sum_assignment(iou, maximize=True)].sum() / len(iou))


def adjusted_rand(predicted_labels: np.ndarray, true_labels: np.ndarray) -> float:
    """Adjusted Rand index (Hubert and Arabie, 1985): do two labellings agree on which pixels belong together?

    Both are integers of one shape, at least one pixel; their numbers need not agree, and 0 is a label as any other. 1
    if they part the pixels alike, 0 on average for labels given by chance, below 0 for less than that.
    """
    overlap, _, _ = _overlaps(predicted_labels, true_labels)
    together, predicted, true = _pairs(overlap), _pairs(overlap.sum(axis=0)), _pairs(overlap.sum(axis=1))
    everything = _pairs(overlap.sum(keepdims=True))
    if predicted == true and predicted in (0, everything):
        return 1.0  # both have one label only, or another one for every pixel: no chance to differ
    expected = predicted * true / everything
    return (together - expected) / ((predicted + true) / 2 - expected)


def boundary_f1(
    predicted_labels: np.ndarray, true_labels: np.ndarray, valid: np.ndarray | None = None, tolerance: float = 0.0075
) -> float:
    """F1 of the boundaries between labels, whatever the labels: all arrays are (height, width).

    A pixel is on the boundary if that to its right, below it, or right below has another label, and both are valid.
    Precision is the share of the predicted boundary's pixels that are at most `tolerance` of the diagonal away from a
    pixel of the true boundary; recall that of the true boundary's pixels which are as near to the predicted one. 1 if
    neither map has a boundary, 0 if only one of them has.
    """
    _check_shapes("predicted_labels", predicted_labels, true_labels)
    known = np.ones(true_labels.shape, dtype=bool) if valid is None else valid.astype(bool)
    _check_shapes("valid", known, true_labels)
    predicted, true = _boundary(predicted_labels, known), _boundary(true_labels, known)
    if not (predicted.any() and true.any()):
        return float(predicted.any() == true.any())
    reach = tolerance * math.hypot(*true.shape) + 1e-9  # without it rounding would decide at 6 pixels of 640 x 480
    precision = float(np.mean(scipy.ndimage.distance_transform_edt(~true)[predicted] <= reach))
    recall = float(np.mean(scipy.ndimage.distance_transform_edt(~predicted)[true] <= reach))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(labels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """bool (height, width): where labels are about to change."""
    height, width = labels.shape
    found = np.zeros(labels.shape, dtype=bool)
    for down, right in ((0, 1), (1, 0), (1, 1)):
        here, there = np.s_[: height - down, : width - right], np.s_[down:, right:]
        found[here] |= (labels[here] != labels[there]) & valid[here] & valid[there]
    return found


def _overlaps(predicted_labels: np.ndarray, true_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many pixels each true label (rows) shares with each predicted one (columns); the predicted labels, the true.
    """
    _check_shapes("predicted_labels", predicted_labels, true_labels)
    true_names, true_index = np.unique(true_labels.ravel(), return_inverse=True)
    names, index = np.unique(predicted_labels.ravel(), return_inverse=True)
    overlap = np.bincount(true_index * len(names) + index, minlength=len(true_names) * len(names))
    return overlap.reshape(len(true_names), len(names)), names, true_names


def _pairs(sizes: np.ndarray) -> int:
    """Pairs of pixels within groups of these sizes. Python's numbers: products of such overflow 64 bits."""
    return int((sizes * (sizes - 1) // 2).sum())


def _check_shapes(name: str, array: np.ndarray, true: np.ndarray) -> None:
    if array.shape != true.shape:
        raise ValueError(f"{name} has the shape {array.shape}, the truth {true.shape}; resize one to the other")
