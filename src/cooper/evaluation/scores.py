"""How an answer is scored, and how sure a mean of scores is. Pure functions of numbers and text."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Literal

import numpy as np

from cooper.quantities import parse_number, plain_text, quantity, to_metres

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
    predicted = quantity(predicted_text)
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


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval (low, high) of a share (0..1) of n >= 1. Unlike a bootstrap it tells how little a few say
    that are all alike."""
    z = 1.959964
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    off = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # rounding may leave the share outside
    return min(share, max(middle - off, 0.0)), max(share, min(middle + off, 1.0))


def mean_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float] | None:
    """As `bootstrap_interval`; None where all are alike, or there is but one: every resample is the same, and tells
    nothing."""
    return None if len({*map(float, values)}) == 1 else bootstrap_interval(values)


def score_interval(scores: Sequence[float]) -> tuple[float, float] | None:
    """The interval of the mean of scores (n,) in 0..1, n >= 1: Wilson's where all are right, or all wrong, or else
    `mean_interval`'s."""
    right = {*scores} <= {0, 1} and len({*scores}) == 1
    return wilson(scores[0], len(scores)) if right else mean_interval(scores)
