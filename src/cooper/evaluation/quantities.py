"""Reading a number, and its unit of length, out of an answer in words."""

from __future__ import annotations

import math
import re

#: Metres in one of each unit that is understood.
METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048, "in": 0.0254}

_SMALL = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split()
    )
} | {"none": 0}
_TENS = {
    word: 20 + 10 * i for i, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())
}  # fmt: skip
_BIG = {"hundred": 100, "thousand": 1000}

_WORD = "|".join((*_SMALL, *_TENS, *_BIG, "half"))
_UNITS = {
    "mm": r"mm\b|millimet(?:re|er)s?\b",
    "cm": r"cms?\b|centimet(?:re|er)s?\b",
    "m": r"m\b|met(?:re|er)s?\b",
    "ft": r"ft\b|foot\b|feet\b|['\u2032](?!['\u2032])",
    # "in" is mostly a preposition: alone it is a unit only at the end of a phrase or before what lengths are said of.
    "in": r"inch(?:es)?\b|[\"\u2033]|''"
    r"|in\b(?!\s+[a-z])|in\b(?=\s+(?:tall|high|long|wide|deep|away|apart|from|or|and)\b)",
}
_UNIT = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _UNITS.items())
_DIGITS = (  # 1,200.5  or  1 1/2  or  1.8 (also 1,8)  or  3  or  .5
    r"(?<![\w.,/])[-+\u2212]?"
    r"(?:\d+(?:,\d{3})+(?!\d)(?:\.\d+)?|(?:\d+\s+)?\d+/\d+|\d+[.,]\d+|\d+|\.\d+)(?:e[-+]?\d+)?"
)
_WORDS = rf"\b(?:{_WORD})(?:(?:\s+and\s+(?:an?\s+)?|\s+an?\s+|[\s-]+(?:point\s+)?)(?:{_WORD})){{0,8}}\b"

_FEET_AND_INCHES = re.compile(
    rf"(?P<feet>{_DIGITS})\s*-?\s*(?:{_UNITS['ft']}),?\s*(?:and\s+)?(?P<inches>\d+(?:\.\d+)?)\s*(?:{_UNITS['in']}|$)"
)
_LENGTH = re.compile(rf"(?P<number>{_DIGITS}|{_WORDS}|\ban?\b)(?:\s*-?\s*|\s+an?\s+|\s+of\s+an?\s+)(?:{_UNIT})")
_ONE_HALF = re.compile(r"\bone[\s-]half\b")
_AND_A_HALF = re.compile(r"\s+and\s+a\s+half\b")
_NUMBER = re.compile(rf"(?P<digits>{_DIGITS})(?!\w)")
_IN_WORDS = re.compile(_WORDS)
_MARKUP = re.compile(r"\\(?:text|mathrm|boxed|approx|sim|[,;:! ])|[{}$*~`\\]")


def plain_text(text: str) -> str:
    """`text` without the marks of LaTeX and Markdown that models put around short answers."""
    return " ".join(_MARKUP.sub(" ", text).split())


def parse_number(text: str) -> tuple[float, str | None] | None:
    """The (value, unit) a text states: "about 180 cm" -> (180.0, "cm"), "three" -> (3.0, None). None without a number.

    Units are those of `METRES`, by name or abbreviation; the value stays in its unit. The first number with a unit wins
    over numbers without one, digits win over words. Feet and inches together are one length in feet.
    """
    value, unit = _first_number(_ONE_HALF.sub("half", plain_text(text).lower()))
    return (value, unit) if math.isfinite(value) else None


def _first_number(text: str) -> tuple[float, str | None]:
    if match := _FEET_AND_INCHES.search(text):
        return _value(match["feet"]) + float(match["inches"]) / 12, "ft"
    if match := _LENGTH.search(text):
        unit = next(name for name in METRES if match[name])
        half = 0.5 if _AND_A_HALF.match(text, match.end()) else 0.0
        return _value(match["number"]) + half, unit
    if match := _NUMBER.search(text):
        return _value(match["digits"]), None
    if match := _IN_WORDS.search(text):
        return _value(match[0]), None
    return math.nan, None


def to_metres(value: float, unit: str | None) -> float:
    """`value` of a unit of `METRES` in metres. Without a unit it already is."""
    return value * METRES[unit] if unit is not None else value


def _value(number: str) -> float:
    if number[0].isalpha():
        return _value_of_words(number)
    number = number.replace("\u2212", "-")
    if "/" in number:
        *whole, over, under = re.split(r"[\s/]+", number)
        return float(whole[0] if whole else 0) + float(over) / float(under) if float(under) else math.nan
    if re.fullmatch(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", number):
        return float(number.replace(",", ""))
    return float(number.replace(",", "."))


def _value_of_words(words: str) -> float:
    total, decimals = 0.0, 0
    for word in re.split(r"[\s-]+", words):
        if word == "point":
            decimals = 1
        elif word in _BIG:
            total = max(total, 1) * _BIG[word]
        elif word == "half":
            total += 0.5
        elif word in _SMALL or word in _TENS:
            value = _SMALL.get(word, _TENS.get(word, 0))
            total += value / 10**decimals
            decimals += decimals > 0
        elif words in ("a", "an"):
            return 1.0
    return total
