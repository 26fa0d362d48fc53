"""Scores against cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cooper.evaluation.extraction import answer_in
from cooper.evaluation.grading import grade
from cooper.evaluation.scores import bootstrap_interval, mean_interval, mra, score_answer, score_interval, wilson
from cooper.quantities import parse_number, square_metres, to_metres, whole_quantity

# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("predicted", "score"),
    [
        (2.0, 1.0),
        (2.09, 1.0),  # 4.5 % off: below all ten thresholds
        (2.1, 0.9),  # 5 %: not below the last
        (1.9, 0.9),
        (2.2, 0.8),
        (1.8, 0.8),
        (2.5, 0.5),  # 25 %: below 0.50, 0.45, 0.40, 0.35, 0.30
        (1.02, 0.1),
        (1.0, 0.0),
        (3.0, 0.0),
        (-2.0, 0.0),
        (math.inf, 0.0),
        (math.nan, 0.0),
        (None, 0.0),
    ],
)
def test_mra(predicted: float | None, score: float) -> None:
    assert mra(predicted, 2.0) == score


def test_mra_of_zero() -> None:
    assert mra(0.0, 0.0) == 1.0 and mra(0.01, 0.0) == 0.0


@given(true=st.floats(0.01, 100), error=st.floats(0, 1), scale=st.floats(0.01, 100))
def test_mra_knows_no_scale(true: float, error: float, scale: float) -> None:
    if abs(error * 20 - round(error * 20)) > 1e-6:
        assert mra(true * (1 + error), true) == mra(true * (1 - error), true) == mra(scale * (1 + error), scale)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.8 m", (1.8, "m")),
        ("1.8m.", (1.8, "m")),
        ("1,8 m", (1.8, "m")),
        ("0,125 m", (0.125, "m")),
        ("1,200 mm", (1200, "mm")),
        ("about 180 cm", (180, "cm")),
        ("It is 2 metres away.", (2, "m")),
        ("2 Meters", (2, "m")),
        (".5 m", (0.5, "m")),
        ("1 1/2 m", (1.5, "m")),
        ("5 ft", (5, "ft")),
        ("one foot", (1, "ft")),
        ("5 ft 6 in", (5.5, "ft")),
        ("5'6\"", (5.5, "ft")),
        ("12 in", (12, "in")),
        ("12 in tall", (12, "in")),
        ("3 in total", (3, None)),
        ("an inch", (1, "in")),
        ("half a metre", (0.5, "m")),
        ("one-half metre", (0.5, "m")),
        ("a metre and a half", (1.5, "m")),
        ("one and a half metres", (1.5, "m")),
        ("two point five metres", (2.5, "m")),
        ("zero point zero five m", (0.05, "m")),
        ("two hundred and fifty cm", (250, "cm")),
        ("three", (3, None)),
        ("Twenty-one balls", (21, None)),
        ("none", (0, None)),
        ("1.8", (1.8, None)),
        ("-2", (-2, None)),
        ("2 balls, 1.8 m apart", (1.8, "m")),
        ("the red one is 2 m away", (2, "m")),
        ("the third one: 4", (4, None)),
        ("$1.8 \\text{ m}$", (1.8, "m")),
        ("\\boxed{1.8\\,m}", (1.8, "m")),
        ("**1.8 m**", (1.8, "m")),
        ("1.5 km", (1.5, "km")),
        ("2 yards", (2, "yd")),
        ("3 miles", (3, "mi")),
        ("1 m 20 cm", (1.2, "m")),
        ("one metre and twenty centimetres", (1.2, "m")),
        ("2 km 300 m", (2.3, "km")),
        ("1 m and 150 cm", (1, "m")),
        ("5 feet, 6 inches", (5.5, "ft")),
        ("5 ft 6", (5.5, "ft")),
        ("1 200 m", (1200, "m")),
        ("1\u2009200.5 m", (1200.5, "m")),
        ("12\\,300", (12300, None)),
        ("\\frac{3}{4}", (0.75, None)),
        ("$\\dfrac{3}{4}\\text{ m}$", (0.75, "m")),
        ("1\\frac{1}{2} m", (1.5, "m")),
        ("-\\frac{1}{2}", (-0.5, None)),
        # ' and " straight after a digit, but not as the end of a quotation
        ('"5"', (5, None)),
        ("The answer is '4'.", (4, None)),
        ("There are 2 'exit' signs", (2, None)),
        ('a "6" that is 5" tall', (5, "in")),
        ("He said \"5'6\"\"", (5.5, "ft")),
        ("6' 2\"", (6 + 1 / 6, "ft")),
        ("in the 90's", (90, None)),
        ("3 in 2 rows", (3, None)),
        ("", None),
        ("the red ball", None),
        ("the red one", None),
        ("in 3D", None),
        ("3/0 m", None),
        ("9" * 400 + " m", None),
    ],
)
def test_parse_number(text: str, expected: tuple[float, str | None] | None) -> None:
    parsed = parse_number(text)
    if expected is None:
        assert parsed is None
    else:
        assert parsed is not None and parsed[1] == expected[1] and parsed[0] == pytest.approx(expected[0])


@pytest.mark.parametrize("text", ["1/0", "1e999", "0/0 m", "1/0 sqm", "1e400 m^2"])
def test_what_is_infinite_is_no_quantity(text: str) -> None:
    assert whole_quantity(text) is None and square_metres(text) is None
    assert grade("number", answer_in("number", text), "3 m") == 0


@given(st.text(alphabet="0123456789 .,/-'\"aefhimnort\\{}$", max_size=60))
def test_parse_number_takes_any_text(text: str) -> None:
    parsed = parse_number(text)
    assert parsed is None or math.isfinite(parsed[0])
    for number in ((whole_quantity(text) or (0.0,))[0], square_metres(text) or 0.0):
        assert math.isfinite(number)


def test_to_metres() -> None:
    assert to_metres(180, "cm") == pytest.approx(1.8)
    assert to_metres(1800, "mm") == pytest.approx(1.8)
    assert to_metres(6, "ft") == pytest.approx(1.8288)
    assert to_metres(10, "in") == pytest.approx(0.254)
    assert to_metres(1.8, "m") == to_metres(1.8, None) == 1.8


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("kind", "predicted", "true", "value", "score"),
    [
        ("metres", "1.8 m", "1.8 m", 1.84, 1.0),
        ("metres", "180 cm", "1.8 m", 1.84, 1.0),
        ("metres", "1.8", "1.8 m", 1.84, 1.0),
        ("metres", "about six feet", "1.8 m", 1.84, 1.0),
        ("metres", "2.3 m", "1.8 m", 1.84, 0.5),  # 25 % of the exact value
        ("metres", "1.8 m", "1.8 m", None, 1.0),
        ("metres", "far away", "1.8 m", 1.84, 0.0),
        ("metres", "", "1.8 m", 1.84, 0.0),
        ("metres", None, "1.8 m", 1.84, 0.0),
        ("count", "3", "3", None, 1.0),
        ("count", "Three balls.", "3", 3.0, 1.0),
        ("count", "three", "3", None, 1.0),
        ("count", "none", "0", 0.0, 1.0),
        ("count", "4", "3", None, 0.0),
        ("count", "3 m", "3", None, 0.0),
        ("count", "many", "3", None, 0.0),
        ("count", None, "3", None, 0.0),
        ("word", "red", "red", None, 1.0),
        ("word", " The Red Ball. ", "red ball", None, 1.0),
        ("word", "a red ball", "the red ball", None, 1.0),
        ("word", "**Yes**!", "yes", None, 1.0),
        ("word", "\\text{left}", "left", None, 1.0),
        ("word", "red box", "red ball", None, 0.0),
        ("word", "yes, it is", "yes", None, 0.0),
        ("word", "red or blue", "red", None, 0.0),
        ("word", "  ", "red", None, 0.0),
        ("word", None, "red", None, 0.0),
    ],
)
def test_score_answer(kind: str, predicted: str | None, true: str, value: float | None, score: float) -> None:
    assert score_answer(kind, predicted, true, value) == score  # type: ignore[arg-type]


def test_score_answer_refuses() -> None:
    with pytest.raises(ValueError, match='"metres", "count" or "word"'):
        score_answer("metre", "1 m", "1 m")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no number; give true_value"):
        score_answer("metres", "1 m", "far")


# ---------------------------------------------------------------- intervals


def test_bootstrap_interval() -> None:
    scores = np.arange(400) % 2
    low, high = bootstrap_interval(scores)
    # Mean 0.5, standard error 0.5 / 20 = 0.025.
    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.006)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.006)
    assert bootstrap_interval(scores) == (low, high)
    spread = np.linspace(0, 1, 50)
    assert bootstrap_interval(spread, seed=0) != bootstrap_interval(spread, seed=1)
    assert bootstrap_interval([0.25] * 9) == (0.25, 0.25)
    assert bootstrap_interval([1.0]) == (1.0, 1.0)
    narrow = bootstrap_interval(scores, confidence=0.5)
    assert low < narrow[0] < 0.5 < narrow[1] < high


def test_what_resampling_cannot_tell_has_no_interval() -> None:
    assert mean_interval([0.25] * 9) is mean_interval([0.7]) is score_interval([0.8, 0.8]) is None
    assert mean_interval([0.25, 0.5, 0.5]) == bootstrap_interval([0.25, 0.5, 0.5]) == score_interval([0.25, 0.5, 0.5])
    assert score_interval([1.0]) == wilson(1.0, 1) and score_interval([0, 0]) == wilson(0.0, 2)
    assert score_interval([0, 1, 1]) == bootstrap_interval([0, 1, 1])


def test_bootstrap_interval_covers() -> None:
    generator = np.random.default_rng(0)
    intervals = [bootstrap_interval(generator.random(60) < 0.7, resamples=300, seed=i) for i in range(200)]
    assert 0.88 < np.mean([low <= 0.7 <= high for low, high in intervals]) < 0.99


@pytest.mark.parametrize("scores", [[], [math.nan], [[1.0]]])
def test_bootstrap_interval_refuses(scores: list) -> None:
    with pytest.raises(ValueError, match="at least one finite score"):
        bootstrap_interval(scores)
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_interval([1.0], confidence=95)
