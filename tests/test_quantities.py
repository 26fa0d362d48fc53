"""Which numbers and lengths rules read in words, and that reading neither fails nor takes long."""

from __future__ import annotations

import time

import pytest

from cooper.evaluation.extraction import answer_in, final_text
from cooper.evaluation.items import Kind
from cooper.quantities import parse_number, quantity, square_metres, whole_quantity

Found = tuple[float, str | None] | None


def read(text: str, found: Found) -> None:
    assert quantity(text) == (found if found is None else (pytest.approx(found[0]), found[1]))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,200.5 \\times 10^{-3} m", (1.2005, "m")), ("1,200e3", (1200e3, None)), ("1,234.5e3 mm", (1234.5e3, "mm")),
        ("1,200e-3 m", (1.2, "m")), ("1,200.5e+1", (12005.0, None)), ("1 200,5 mm", (1200.5, "mm")),
        # no numbers
        ("0,123,456 m", None), ("0,123.5", None), ("1234,567.5e3 mm", None), ("1,234e999", None),
    ],
)  # fmt: skip
def test_thousands_may_have_an_exponent(text: str, found: Found) -> None:
    read(text, found)
    for reading in (parse_number, whole_quantity, square_metres):
        reading(text)
    square_metres(f"{text}^2")


@pytest.mark.parametrize("kind", ["number", "choice", "yes_no"])
@pytest.mark.parametrize(
    "part",
    [
        "1-", "1 to ", "twenty-", "a-", "2 - 1 ", "1/0 2-1 ", "1 or ", "1~", "\n", "distance 1 ", "! if 1 ", "1'",
        "answer: A ", "the answer is A. wait, ", "not 2 but ", "actually 3 ", "\\sqrt{2}", "(cm): ", "\\boxed{ ",
    ],
)  # fmt: skip
def test_reading_takes_no_longer_than_the_text(part: str, kind: Kind) -> None:
    begun = time.process_time()
    answer_in(kind, final_text([f"The answer is {part * (20_000 // len(part))} ."]), ("chair", "2 m"))
    assert time.process_time() - begun < 2
