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


THOUSANDS = "million two hundred thirty four thousand five hundred sixty seven"


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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("two-and-a-half feet", (2.5, "ft")), ("The gap is one-and-a-half metres wide", (1.5, "m")),
        ("half-a-metre", (0.5, "m")), ("three and a quarter metres", (3.25, "m")), ("three-quarter metre", (0.75, "m")),
        ("three eighths of an inch", (0.375, "in")), ("two fifths of a metre", (0.4, "m")),
        ("quarter of a metre", (0.25, "m")), ("seven-eighths inch", (0.875, "in")), ("a bit of an inch", None),
        ("nought point five m", (0.5, "m")), ("point five metres", (0.5, "m")),
        ("1'000 m", (1000.0, "m")), ("2\u2019500 mm", (2500.0, "mm")), ("5'10 tall", (5 + 10 / 12, "ft")),
        ("one metre eighty", (1.8, "m")), ("1 m 80", (1.8, "m")), ("1m80", (1.8, "m")), ("2m50cm", (2.5, "m")),
        ("1m5cm", (1.05, "m")), ("1m5", None),
        ("5 m 20 people wide", (5.0, "m")), ("24 m 5", (24.0, "m")),
        ("one hundred and five m", (105.0, "m")), ("five and ten feet", (10.0, "ft")),
        ("between two and three metres", (2.5, "m")), ("one to two and a half feet", (1.75, "ft")),
        ("one and a half to two metres", (1.75, "m")), ("ten-fifteen feet", (12.5, "ft")),
        ("It is a red one.", None), (f"one {THOUSANDS} m", (1_234_567.0, "m")),
        ("a good one hundred metres", (100.0, "m")),
    ],
)  # fmt: skip
def test_lengths_as_they_are_spoken(text: str, found: Found) -> None:
    read(text, found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10^3 mm", (1000.0, "mm")), ("1.5\\times10^{3}\\text{ mm}", (1500.0, "mm")), ("2^3", (8.0, None)),
        ("2.5 \\cdot 10^2 cm", (250.0, "cm")), ("10\u00b3 mm", (1000.0, "mm")), ("10\u00b2", (100.0, None)),
        ("1.5 \u00d7 10\u207b\u00b3 km", (0.0015, "km")), ("10^{-2} m", (0.01, "m")), ("2 m^3", (2.0, "m")),
        ("2{,}500 mm", (2500.0, "mm")), ("3\\sqrt{2}\\text{ m}", (3 * 2**0.5, "m")), ("\\sqrt{5} m", (5**0.5, "m")),
        ("\u221a4", (2.0, None)), ("sqrt(2) m", (2**0.5, "m")), ("2\\pi", (6.283185307, None)),
        ("20^\\circ", (20.0, None)), ("1\u20442 m", (0.5, "m")), ("1 \u215b in", (1.125, "in")),
        ("1-3/4\"", (1.75, "in")),
        ("minus 5", (-5.0, None)), ("negative 3 m", (-3.0, "m")), ("minus five", (-5.0, None)),
        ("5 minus 3 = 2", (2.0, None)),
        ("two dozen", (24.0, None)), ("half a dozen", (6.0, None)), ("a dozen chairs", (12.0, None)),
        ("2 dozen", (24.0, None)),
        ("1.5 million", (1.5e6, None)), ("two hundred thousand", (2e5, None)), ("2 thousand m", (2000.0, "m")),
        ("one thousand two hundred", (1200.0, None)), ("\\frac52", (2.5, None)), ("\\frac{1.5}{2} m", (0.75, "m")),
        # what is not understood is no number, least of all a part of it
        ("\\sqrt{2+3} m", None), ("\\frac{\\sqrt{3}}{2} m", None), ("\\frac{1}{\\sqrt{2}}", None),
        ("\\sqrt[3]{8} m", None),
        ("10^x", None), ("\\frac{\\pi}{2}", None), ("0^{-1}", None), ("10^{999} m", None), ("2\\pi^2", None),
    ],
)  # fmt: skip
def test_powers_roots_and_multiples(text: str, found: Found) -> None:
    read(text, found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\uff11\uff0e\uff15 m", (1.5, "m")), ("\uff11\uff0e\uff15\uff4d", (1.5, "m")),
        ("\u0661\u066b\u0665", (1.5, None)),
        ("1\u066b5 m", (1.5, "m")), ("1\u066c200 mm", (1200.0, "mm")), ("\uff13\u3002", (3.0, None)),
        ("10\u00b2", (100.0, None)),
    ],
)  # fmt: skip
def test_digits_of_other_widths_and_scripts(text: str, found: Found) -> None:
    read(text, found)


@pytest.mark.parametrize(
    ("text", "feet"),
    [
        ("5 ft. 10 in.", 70), ("5ft.10in.", 70), ("5-foot-10", 70), ("5-foot-10-inch", 70), ("5 ft-10 in", 70),
        ("5'10 tall", 70),
        ("5\u2032 10\u2032\u2032", 70), ("5\u2019 10\u2019\u2019", 70), ("six foot two", 74), ("six-foot-two", 74),
        ("5 ' 10 \"", 70),
        ("5'10.", 70), ("6 ft 2 tall", 74), ("6 ft., 2 in.", 74), ("5\\'10\\\"", 70),
        ("5^\\prime 10^{\\prime\\prime}", 70),
        ("5 ft 10\u00bd in", 70.5), ("5' 10 1/2\"", 70.5), ("6 ft, 2 chairs", 72), ("5 ft 20", 60),
        ("6 ft. 2 people fit", 72),
        ("5'-6'", 66), ("5 ft-10 ft", 90), ("5'-6\"", 66), ("2-1/2 feet", 30), ("3 ft 4-1/2 in", 40.5),
        ("5 ft 10-1/2 in", 70.5), ("2\u20131/2 ft", 30),
    ],
)  # fmt: skip
def test_feet_and_inches(text: str, feet: float) -> None:
    read(text, (feet / 12, "ft"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3~4 m", (3.5, "m")), ("3 ~ 4 m", (3.5, "m")), ("3m~4m", (3.5, "m")), ("3 \\sim 4 m", (3.5, "m")),
        ("3\uff5e4 m", (3.5, "m")),
        ("~3 m", (3.0, "m")), ("120~\\text{cm}", (120.0, "cm")), ("5~ft~10~in", (5 + 10 / 12, "ft")),
        ("~~2~~ 3 m", (3.0, "m")),
        # as uncertain as a range
        ("3 or 4 m", (3.5, "m")), ("3 m or 4 m", (3.5, "m")), ("two or three", (2.5, None)), ("3 m or so", (3.0, "m")),
        ("5 feet or 1.5 m", (5.0, "ft")), ("1.5 m or about 5 feet", (1.5, "m")), ("0.8 m or 2.6 ft", (0.8, "m")),
        ("2-3-inch", (2.5, "in")), ("5-foot-3-inch", (5.25, "ft")),
        ("3 or more", (3.0, None)), ("2 chairs or 3 stools", (2.0, None)),
        ("1 m. 20 cm.", (1.2, "m")), ("It is one metre. 20 cm are free.", (1.0, "m")),
    ],
)  # fmt: skip
def test_ranges_and_choices(text: str, found: Found) -> None:
    read(text, found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Distance (cm): 150", (150.0, "cm")), ("The distance is 150. Unit: cm", (150.0, "cm")),
        ("In centimeters: 150", (150.0, "cm")),
        ("in inches, it is about 30", (30.0, "in")), ("Height [ft]: 6.5.", (6.5, "ft")),
        ("Distance (cm): 1.5 m", (1.5, "m")),
        ("Estimate (in meters) = 2", (2.0, "m")), ("scalar: 150, unit: cm", (150.0, "cm")), ("The box (m): red", None),
    ],
)  # fmt: skip
def test_units_in_headings(text: str, found: Found) -> None:
    read(text, found)


@pytest.mark.parametrize("kind", ["number", "choice", "yes_no"])
@pytest.mark.parametrize(
    "part",
    [
        "1", "1,", "no\n",
        "1-", "1 to ", "twenty-", "a-", "2 - 1 ", "1/0 2-1 ", "1 or ", "1~", "\n", "distance 1 ", "! if 1 ", "1'",
        "answer: A ", "the answer is A. wait, ", "not 2 but ", "actually 3 ", "\\sqrt{2}", "(cm): ", "\\boxed{ ",
    ],
)  # fmt: skip
def test_reading_takes_no_longer_than_the_text(part: str, kind: Kind) -> None:
    begun = time.process_time()
    answer_in(kind, final_text([f"The answer is {part * (10_000 // len(part))} ."]), ("chair", "2 m"))
    assert time.process_time() - begun < 0.6


def test_an_area_may_be_stated_in_two_units() -> None:
    assert square_metres("25 square meters (about 270 square feet)") == 25
    assert square_metres("25 square meters and 30 square meters") is None
