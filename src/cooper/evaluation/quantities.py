"""Reading a number, and its unit of length, out of an answer in words."""

from __future__ import annotations

import math
import re

#: Metres in one of each unit that is understood.
METRES = {
    "km": 1000.0, "m": 1.0, "cm": 0.01, "mm": 0.001, "mi": 1609.344, "yd": 0.9144, "ft": 0.3048, "in": 0.0254,
}  # fmt: skip
#: The units that may go on with a length: 1 m 20 cm, 5 ft 6 in.
_FINER = {"km": ("m",), "m": ("cm", "mm"), "cm": ("mm",), "mi": ("yd", "ft"), "yd": ("ft", "in"), "ft": ("in",)}

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
    "km": r"kms?\b|kilomet(?:re|er)s?\b",
    "mm": r"mm\b|millimet(?:re|er)s?\b",
    "cm": r"cms?\b|centimet(?:re|er)s?\b",
    "m": r"m\b|met(?:re|er)s?\b",
    "mi": r"mi\b|miles?\b",
    "yd": r"yds?\b|yards?\b",
    # Elsewhere than straight after a digit, ' and " are no units.
    "ft": r"ft\b|foot\b|feet\b|(?<=\d)['\u2032](?!['\u2032a-z])",
    # "in" is mostly a preposition: alone it is a unit only at the end of a phrase or before what lengths are said of.
    "in": r"inch(?:es)?\b|(?<=\d)(?:[\"\u2033]|'')"
    r"|in\b(?!\s+\w)|in\b(?=\s+(?:tall|high|long|wide|deep|away|apart|from|or|and)\b)",
}
_ANY_UNIT = "|".join(_UNITS.values())
_UNIT = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _UNITS.items())
_DIGITS = (  # 1,200.5  or  1 200.5  or  1 1/2  or  1.8 (also 1,8)  or  3  or  .5
    r"(?<![\w.,/])[-+\u2212]?"
    r"(?:\d+(?:,\d{3})+(?!\d)(?:\.\d+)?|[1-9]\d{0,2}(?: \d{3})+(?![\d/])(?:[.,]\d+)?"
    r"|(?:\d+\s+)?\d+/\d+|\d+[.,]\d+|\d+|\.\d+)(?:e[-+]?\d+)?"
)
_WORDS = rf"\b(?:{_WORD})(?:(?:\s+and\s+(?:an?\s+)?|\s+an?\s+|[\s-]+(?:point\s+)?)(?:{_WORD})){{0,8}}\b"
_WITH_UNIT = rf"(?P<number>{_DIGITS}|{_WORDS}|\ban?\b)(?:\s*-?\s*|\s+an?\s+|\s+of\s+an?\s+)(?:{_UNIT})"

_LENGTH = re.compile(_WITH_UNIT)
_GOES_ON = re.compile(rf",?\s*(?:and\s+)?(?:{_WITH_UNIT})")
_BARE_INCHES = re.compile(r",?\s*(?:and\s+)?(\d+(?:\.\d+)?)\s*$")
_AND_A_HALF = re.compile(r"\s+and\s+a\s+half\b")
_NUMBER = re.compile(rf"(?P<digits>{_DIGITS})(?!\w)")
_IN_WORDS = re.compile(_WORDS)

_FRACTION = re.compile(r"\\[cdt]?frac\s*\{\s*([^{}]*?)\s*\}\s*\{\s*([^{}]*?)\s*\}")
_MARKUP = re.compile(r"\\(?:text|mathrm|boxed|approx|sim|[,;:! ])|[{}$*~`\\]")
_QUOTED = [re.compile(rf"(?<!\w){mark}(?=\S)(.{{1,200}}?){mark}(?![\w{mark}])") for mark in "\"'"]
_ONE_HALF = re.compile(r"\bone[\s-]half\b")
# "the red one" is no number
_PRONOUN = re.compile(rf"\b(?:the(?: [a-z]+)?|that|this|each|every|which) one\b(?!\s*-?\s*(?:{_ANY_UNIT}))")


def plain_text(text: str) -> str:
    """`text` without the marks of LaTeX and Markdown that models put around short answers; fractions are 3/4."""
    apart = re.sub(r"(?<=\w)\\", r" \\", text)
    return " ".join(_MARKUP.sub(" ", _FRACTION.sub(r"\1/\2 ", apart)).split())


def parse_number(text: str) -> tuple[float, str | None] | None:
    """The (value, unit) a text states: "about 180 cm" -> (180.0, "cm"), "three" -> (3.0, None). None without a number.

    Units are those of `METRES`, by name or abbreviation; the value stays in its unit. The first number with a unit wins
    over numbers without one, digits win over words. A length in several units, feet and inches or metres and
    centimetres, is one length in the first of them.
    """
    value, unit = _first_number(_normal(text))
    return (value, unit) if math.isfinite(value) else None


def _normal(text: str) -> str:
    """Lower-case words without marks, quotation marks, and the "one" that is no number."""
    text = plain_text(text).lower()
    for quoted in _QUOTED:
        text = quoted.sub(r" \1 ", text)
    return _PRONOUN.sub(" ", _ONE_HALF.sub("half", text))


def _first_number(text: str) -> tuple[float, str | None]:
    if match := _LENGTH.search(text):
        return _length(match, text)
    if match := _NUMBER.search(text):
        return _value(match["digits"]), None
    if match := _IN_WORDS.search(text):
        return _value(match[0]), None
    return math.nan, None


def _length(match: re.Match[str], text: str) -> tuple[float, str]:
    """The length that begins with a match of `_LENGTH`, in the unit of that."""
    value, unit, end = _value(match["number"]), _unit(match), match.end()
    if _AND_A_HALF.match(text, end):
        return value + 0.5, unit
    last = unit
    while (more := _GOES_ON.match(text, end)) and _unit(more) in _FINER.get(last, ()):
        part = _value(more["number"]) * METRES[_unit(more)]
        if not 0 <= part < METRES[last]:
            break  # another length
        value, last, end = value + part / METRES[unit], _unit(more), more.end()
    if last == "ft" and (inches := _BARE_INCHES.match(text, end)):
        value += float(inches[1]) * METRES["in"] / METRES[unit]
    return value, unit


def _unit(match: re.Match[str]) -> str:
    return next(name for name in METRES if match[name])


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
    return float(number.replace(" ", "").replace(",", "."))


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


_SAID = re.compile(r"\banswer\b\s*(?:is|:|=)\s*")
# What a sum comes to: "2 + 3 = 5", "so there are 5", "a total of 5", "5 balls in total"; not the 2 of "5 = 2 + 3".
_GAP, _NAME = r"[\s,:=>(]", r"[a-z][a-z'-]*"
_RESULT = rf"(?:{_DIGITS}|{_WORDS})(?![.,]?\d)(?!\s*[+*\u00d7]\s*\d)"
_SUM = re.compile(
    rf"(?P<before>{_RESULT}(?:\s+(?!(?:and|but|or)\b){_NAME}){{0,4}}?\s+(?:in\s+total|in\s+all|altogether)\b)"
    rf"|(?:=|\b(?:so|total|altogether)\b)(?:{_GAP}{{1,3}}{_NAME}){{0,4}}?{_GAP}{{0,3}}(?={_RESULT})"
)
_NOTHING = re.compile(r"\b(?:there\s+(?:are|were)|see|count)\s+no\s+[a-z]")

_AMOUNT = r"(?:\d+(?:[.,]\d+)?(?![.,]?\d)|[a-z]+\b)"
_END = rf"(?:(?:{_ANY_UNIT})\.?)?"
_SIDES = rf"(?P<low>\b{_AMOUNT})\s*(?P<first>{_END})\s*(?:%s)\s*(?P<high>{_AMOUNT})\s*(?P<second>{_END})(?!\s*=)"
_RANGES = (
    re.compile(r"\bbetween\s+" + _SIDES % "and"),
    re.compile(_SIDES % "to\\b|-|\u2013|\u2014"),
)


def quantity(text: str) -> tuple[float, str | None] | None:
    """The (value, unit) that a text gives, as `parse_number` reads it; of a range ("2 to 3 m") its middle, of a sum
    what it comes to. "There are no chairs" gives 0.

    What stands after the last "answer is" counts, if a number does.
    """
    text = _normal(text)
    *_, said = _SAID.split(text)
    for part in (said, text):
        starts = [match.start() if match["before"] else match.end() for match in _SUM.finditer(part)]
        part = part[starts[-1] if starts else 0 :]
        found = _range(part) or parse_number(part)
        if found is not None:
            return found
    return (0.0, None) if _NOTHING.search(text) else None


def _range(text: str) -> tuple[float, str | None] | None:
    """The middle of a range, if that is the first quantity of the text."""
    for pattern in _RANGES:
        for match in pattern.finditer(text):
            low, high = parse_number(match["low"]), parse_number(match["high"])
            if low is None or high is None or parse_number(text[: match.start()]) is not None:
                continue
            names = match["first"] or match["second"], match["second"] or match["first"]
            (_, unit), (_, other) = (parse_number(f"1{name}") or low for name in names)
            a, b = low[0], high[0]
            if unit != other:
                a, b, unit = to_metres(a, unit), to_metres(b, other), "m"
            if a < b:
                return (a + b) / 2, unit
    return None
