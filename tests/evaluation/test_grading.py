"""Scores of single answers, and intervals of means, by hand."""

from __future__ import annotations

import pytest

from cooper.evaluation.clusters import mean_of_means
from cooper.evaluation.grading import check_number, grade, within


@pytest.mark.parametrize(
    ("kind", "answer", "truth", "score"),
    [
        ("choice", "B", "B", 1), ("choice", "A", "B", 0), ("yes_no", "no", "no", 1), ("yes_no", "yes", "no", 0),
        ("count", "3", "3", 1), ("count", "3.5", "3", 0), ("count", "3 m", "3", 0), ("word", "The Ball.", "ball", 1),
        # 10 % off: below the thresholds .5 .. .15, which are 8 of 10
        ("number", "11", "10", 0.8), ("number", "10", "10", 1), ("number", "16", "10", 0),
        ("number", "110 cm", "1 m", 0.8), ("number", "1.1", "1 m", 0.8), ("number", "11 m", "10", 0.8),
        ("length", "1.9 m", "100 cm", 1), ("length", "2 m", "100 cm", 0), ("length", "51 cm", "1 m", 1),
        ("length", "50 cm", "1 m", 0), ("length", "0.9", "100 cm", 1), ("length", "-1 m", "1 m", 0),
        ("length", "0", "1 m", 0), ("length", "1 ft", "12 in", 1),
    ],
)  # fmt: skip
def test_scores(kind: str, answer: str, truth: str, score: float) -> None:
    assert grade(kind, answer, truth) == score  # type: ignore[arg-type]


def test_no_answer_is_wrong() -> None:
    assert grade("choice", None, "B") == grade("number", None, "3") == grade("word", None, "ball") == 0
    assert within(1.5, None, "1 m") == 0
    with pytest.raises(ValueError, match="needs a judge"):
        grade("open", "a cat", "a cat")


def test_factors() -> None:
    assert [within(1.5, answer, "1 m") for answer in ("1.49 m", "1.5 m", "0.67 m", "0.66 m")] == [1, 0, 1, 0]


def test_true_numbers() -> None:
    assert check_number("3 m") == "3 m"
    for wrong, positive in (("many", False), ("0 m", True), ("-2", True)):
        with pytest.raises(ValueError, match="number"):
            check_number(wrong, positive)


def test_means_of_means() -> None:
    # 2D: ADE 1, COCO (0 + 1) / 2; 3D: 0
    scores = [1.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    paths = [("2D", "ADE"), ("2D", "ADE"), ("2D", "ADE"), ("2D", "COCO"), ("2D", "COCO"), ("3D", "Omni")]
    mean, low, high = mean_of_means(scores, paths, range(6))
    assert mean == pytest.approx((0.75 + 0) / 2) and low <= mean <= high
    assert mean_of_means(scores, [()] * 6, range(6))[0] == pytest.approx(4 / 6)
    uneven = [("a",), ("d", "easy"), ("d", "hard"), ("d", "hard")]
    assert mean_of_means([1.0, 1.0, 0.0, 0.0], uneven, range(4))[0] == pytest.approx((1 + 0.5) / 2)


def test_what_belongs_together_is_resampled_together() -> None:
    scores = [1.0, 1.0, 0.0, 0.0] * 25
    _, low, high = mean_of_means([k % 2 for k in range(400)], [()] * 400, range(400))
    assert (low, high) == pytest.approx((0.451, 0.549), abs=0.006), "95 %, by the binomial; 90 % would be 0.459"
    alone = mean_of_means(scores, [()] * 100, range(100))
    pairs = mean_of_means(scores, [()] * 100, [k // 2 for k in range(100)])
    assert alone[0] == pairs[0] == 0.5
    # 50 independent pairs of equal scores say as much as 50 scores: wider by the root of two
    assert (pairs[2] - pairs[1]) / (alone[2] - alone[1]) == pytest.approx(2**0.5, rel=0.1)
    assert mean_of_means(scores, [()] * 100, ["one"] * 100) == (0.5, 0.5, 0.5)
    assert mean_of_means(scores, [()] * 100, range(100)) == alone, "the same every time"
    others = [(scores[k], k) for k in reversed(range(100))]
    told = mean_of_means([score for score, _ in others], [()] * 100, [k for _, k in others])
    assert told == pytest.approx(alone), "in whatever order they come"
