"""How right an answer is, once it has been read. Pure functions: an answer and the truth give 0..1."""

from __future__ import annotations

import re
from typing import Literal

from cooper.evaluation.items import Kind
from cooper.evaluation.scores import mra, score_answer
from cooper.quantities import METRES, parse_number, to_metres, whole_quantity


def grade(kind: Kind, answer: str | None, truth: str) -> float:
    """0..1 for an answer as `answer_in` reads it; no answer is 0.

    Choices, yes or no, counts and words are right or wrong. A number gets its mean relative accuracy; it is compared
    in the truth's unit, and taken to be in it if it names none. A length is right within a factor of two.
    """
    if answer is None:
        return 0.0
    if kind in ("choice", "yes_no"):
        return float(answer == truth)
    if kind == "number":
        return mra(*_comparable(answer, truth))
    if kind == "length":
        return within(2.0, answer, truth)
    if kind in ("count", "word"):
        return score_answer("count" if kind == "count" else "word", answer, truth)
    raise ValueError("an open answer needs a judge")


def kind_of(answer: str) -> tuple[Literal["choice", "yes_no", "count", "number", "word"], str]:
    """What a true answer of which nothing else is known is, and itself as it can be compared."""
    bare = answer.strip().rstrip(".")
    if bare.lower() in ("yes", "no"):
        return "yes_no", bare.lower()
    if re.fullmatch(r"\(?[A-H]\)?", bare):
        return "choice", bare.strip("()")
    found = whole_quantity(bare)
    if found is None:
        return "word", answer
    value, unit = found
    # 2.0 stands among 1.9 and 2.1
    counted = unit is None and value == int(value) and not re.search(r"\.\d", bare)
    return ("count" if counted else "number"), bare


def within(factor: float, answer: str | None, truth: str) -> float:
    """1 if the length answered is less than `factor` times the true one, and more than its `factor`-th part.

    Without a unit it is metres.
    """
    if answer is None:
        return 0.0
    given, true = (to_metres(*_quantity(text)) for text in (answer, truth))
    return float(given > 0 and max(given / true, true / given) < factor)


def check_number(truth: str, positive: bool = False) -> str:
    """A true number as it can be compared. Raises ValueError if there is none in it, or it is not `positive`."""
    found = parse_number(truth)
    if found is None or (positive and found[0] <= 0):
        raise ValueError(f"its answer {truth!r} is no {'positive ' if positive else ''}number")
    return truth


#: Whole names only: "in" is mostly a preposition.
_ASKED = re.compile(
    r"\b(?:in|measured in|units?(?: is|:| of)?)\s+\(?"
    r"((?:(?:centi|deci|milli|kilo)?met(?:er|re)s?|inch(?:es)?|feet|foot|yards?|miles?))\b",
    re.IGNORECASE,
)


def with_unit(truth: str, question: str) -> str:
    """A true number with the unit that its question asks for ("in centimeters"), if it has none itself."""
    found, asked = parse_number(truth), _ASKED.findall(question)
    return f"{truth} {asked[-1]}" if found is not None and found[1] is None and asked else truth


def _comparable(answer: str, truth: str) -> tuple[float, float]:
    (given, unit), (true, true_unit) = _quantity(answer), _quantity(truth)
    if unit is not None and true_unit is not None:
        given *= METRES[unit] / METRES[true_unit]
    return given, true


def _quantity(text: str) -> tuple[float, str | None]:
    found = parse_number(text)
    assert found is not None, "answers and truths have been read before they are compared"
    return found
