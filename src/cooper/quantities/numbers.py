"""Numbers and lengths as they stand in a text."""

from __future__ import annotations

import math
import re

from cooper.quantities.normal import normalised, plain_text
from cooper.quantities.writing import ANY_UNIT, BIG, DIGITS, FINER, METRES, MINUS, SMALL, TENS, UNIT, WORDS

# an inch, but not that of "a bit of an inch"
_WITH_UNIT = rf"(?P<number>{DIGITS}|{WORDS}|(?<!of )\ban?\b)(?:\s*[-(\[]?\s*|\s+an?\s+|\s+of\s+an?\s+)(?:{UNIT})"

# "24 m^2", "24 square metres", "258 sq ft"
AREA = re.compile(
    rf"(?P<number>{DIGITS}|{WORDS})[\s-]*(?:\bsq(?:uare|\.)?[\s-]*(?:{UNIT})"
    r"|(?P<short>km|cm|mm|m|ft)(?:\s*(?:\^\s*2|\u00b2)|2|\s+squared\b)(?!\w)|\b(?P<sqm>sqm)\b)"
)
LENGTH = re.compile(_WITH_UNIT)
# a full stop only behind what is short: "1 m. 20 cm.", not "1 metre. 20 cm are free."
_THEN = r"(?:\s*-|(?:(?<=[\s\dkcdm]m)\.|(?<=ft|yd|mi)\.)?,?\s*(?:and\s+)?)"
_GOES_ON = re.compile(rf"{_THEN}(?:{_WITH_UNIT})")
# "5 ft 10", "five foot ten", "5'10 tall"
_BARE_INCHES = re.compile(rf"{_THEN}(\d+(?:\.\d+)?|{WORDS})(?=[.,;]?\s*$|\s+(?:tall|high|long|wide|deep)\b)")
# "1 m 80", "one metre eighty"
_BARE_CENTIMETRES = re.compile(rf"\s+(\d\d|{WORDS})(?=[.,;]?\s*$|\s+(?:tall|high|long|wide|deep)\b)")
_AND_A_HALF = re.compile(r"\s+and\s+a\s+half\b")
NUMBER = re.compile(rf"(?P<digits>{DIGITS})(?![\w\u00b2]|[.,]\d|\s*\^\s*[\w(])")
IN_WORDS = re.compile(WORDS)


def parse_number(text: str) -> tuple[float, str | None] | None:
    """The (value, unit) a text states: "about 180 cm" -> (180.0, "cm"), "three" -> (3.0, None). None without a number.

    Units are those of `METRES`, by name or abbreviation; the value stays in its unit. The first number with a unit wins
    over numbers without one, digits win over words. A length in several units, feet and inches or metres and
    centimetres, is one length in the first of them.
    """
    value, unit = first_number(normalised(text))
    return (value, unit) if math.isfinite(value) else None


def whole_quantity(text: str) -> tuple[float, str | None] | None:
    """The (value, unit) that a text is and says nothing besides, but for the name of what is counted ("4 chairs", "four
    chairs"); None for other texts ("one way", "half open", "1/0")."""
    found = whole_count(text)
    return found and found[:2]


def whole_count(text: str) -> tuple[float, str | None, str] | None:
    """`whole_quantity` and the name of what is counted, "" if there is none."""
    text = normalised(text).rstrip(". ")
    if match := LENGTH.match(text):
        value, unit, end = _length(match, text)
        return (value, unit, "") if end == len(text) and math.isfinite(value) else None
    for pattern, name in ((NUMBER, r"[^\W\d]+"), (IN_WORDS, r"[^\W\d]+s")):
        if (match := pattern.match(text)) and re.fullmatch(rf"(?:\s*{name})?", text[match.end() :]):
            value = value_of(match[0])
            return (value, None, text[match.end() :].strip()) if math.isfinite(value) else None
    return None


_UNIT_FIRST = re.compile(rf"[\s-]*[(\[]?\s*((?:{ANY_UNIT}))")


def unit_after(text: str) -> str | None:
    """The unit that a text begins with, as it is written there: " inches wide" -> "inches"."""
    found = _UNIT_FIRST.match(f"1{plain_text(text).lower()}", 1)
    return None if found is None else found[1]


def square_metres(text: str) -> float | None:
    """The one area that a text states: "24 square feet" is about 2.2. None if it states none, or several; where others
    say nearly the same ("25 sq m, about 270 sq ft"), the first is meant."""
    found = [area_of(match) for match in AREA.finditer(normalised(text))]
    if not all(math.isfinite(area) and math.isclose(area, found[0], rel_tol=0.05) for area in found):
        return None
    return found[0] if found else None


def without_areas(text: str) -> str:
    """A text without the areas that it states, which are no lengths; as it is if it states none."""
    plain = normalised(text)
    return AREA.sub(" ", plain) if AREA.search(plain) else text


def area_of(match: re.Match[str]) -> float:
    unit = "m" if match["sqm"] else match["short"] or unit_of(match)
    return value_of(match["number"]) * METRES[unit] ** 2


def first_number(text: str) -> tuple[float, str | None]:
    if match := LENGTH.search(text):
        return _length(match, text)[:2]
    if match := NUMBER.search(text):
        return value_of(match["digits"]), None
    if match := IN_WORDS.search(text):
        return value_of(match[0]), None
    return math.nan, None


def _length(match: re.Match[str], text: str) -> tuple[float, str, int]:
    """The length that begins with a match of `LENGTH`, in the unit of that, and where it ends."""
    value, unit, end = value_of(match["number"]), unit_of(match), match.end()
    if half := _AND_A_HALF.match(text, end):
        return value + 0.5, unit, half.end()
    last = unit
    while (more := _GOES_ON.match(text, end)) and unit_of(more) in FINER.get(last, ()):
        part = value_of(more["number"]) * METRES[unit_of(more)]
        if not 0 <= part < METRES[last]:
            break  # another length
        value, last, end = value + part / METRES[unit], unit_of(more), more.end()
    if last == "ft" and (inches := _BARE_INCHES.match(text, end)) and 0 <= value_of(inches[1]) < 12:
        value, end = value + value_of(inches[1]) * METRES["in"] / METRES[unit], inches.end()
    if last == unit == "m" and value.is_integer() and (bare := _BARE_CENTIMETRES.match(text, end)):
        if 10 <= (centimetres := value_of(bare[1])) < 100:
            value, end = value + centimetres / 100, bare.end()
    return value, unit, end


def unit_of(match: re.Match[str]) -> str:
    return next(name for name in METRES if match[name])


def to_metres(value: float, unit: str | None) -> float:
    """`value` of a unit of `METRES` in metres. Without a unit it already is."""
    return value * METRES[unit] if unit is not None else value


def value_of(number: str) -> float:
    if minus := re.match(MINUS, number):
        return -value_of(number[minus.end() :])
    if number[0].isalpha():
        return _value_of_words(number)
    number, (several, _, many) = number.replace("\u2212", "-"), number.rpartition(" ")
    if many in BIG:
        return value_of(several.rstrip()) * BIG[many]
    if "/" in number:
        *whole, over, under = re.split(r"[\s/]+", number)
        return float(whole[0] if whole else 0) + float(over) / float(under) if float(under) else math.nan
    thousands = re.fullmatch(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?(?:e[-+]?\d+)?", number)
    number = number.replace(" ", "").replace(",", "" if thousands else ".")
    try:
        return float(number)
    except ValueError:  # "0,123,456"
        return math.nan


def _value_of_words(words: str) -> float:
    total, part, decimals = 0.0, 0.0, 0
    for word in re.split(r"[\s-]+", words):
        if word == "point":
            decimals = 1
        elif word in BIG:
            part = (part or 1) * BIG[word]
            if BIG[word] >= 1000:
                total, part = total + part, 0.0
        elif word == "half":
            part += 0.5
        elif word in SMALL or word in TENS:
            value = SMALL.get(word, TENS.get(word, 0))
            part += value / 10**decimals
            decimals += decimals > 0
        elif words in ("a", "an"):
            return 1.0
    return total + part
