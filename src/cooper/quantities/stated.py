"""Which of the quantities in a text it gives as its answer: the last of a sum, the middle of a range, what something is
said to be."""

from __future__ import annotations

import math
import re

from cooper.quantities.normal import narrow, normalised, tidy
from cooper.quantities.numbers import (
    AREA,
    IN_WORDS,
    LENGTH,
    NUMBER,
    area_of,
    first_number,
    square_metres,
    to_metres,
    unit_of,
)
from cooper.quantities.writing import ANY_UNIT, DIGITS, WORDS

_SAID = re.compile(r"\banswer\b\s*(?:is|:|=)\s*")
_ANY = rf"(?:{DIGITS}|{WORDS})"
# What a sum comes to: "2 + 3 = 5", "so there are 5", "a total of 5", "5 balls in total"; not the 2 of "5 = 2 + 3", nor
# the 3 of "so it fits a 3 m wall".
_GAP = r"[\s,:=>(]"
_NAME = (
    r"(?:i|we|it|there|that|this|the|a|an|is|are|was|be|must|would|should|comes|to|of|makes|see|count|have|get|about|"
    r"approximately|roughly|around|nearly|total|distance|difference|length|height|width|size|area|number)\b"
)
# "2... no wait, 3", "Actually, it is 3", "2? No, 3"
_CORRECTION = (
    r"(?:^|[.?!,;:\u2026])\s*(?:(?:oh|no|hmm|but|or|ah),?\s+){0,2}"
    r"(?:wait|actually|correction|scratch\s+that|on\s+second\s+thoughts?|i\s+mean)\b\.{0,3}|(?<=[.?!,;])\s*no\b(?=,)"
)
_RESULT = rf"{_ANY}(?![.,]?\d)(?!\s*[+*\u00d7]\s*\d)"
_SUM = re.compile(
    rf"(?P<before>{_RESULT}(?:\s+(?!(?:and|but|or)\b)[a-z][a-z'-]*){{0,4}}?\s+(?:in\s+total|in\s+all|altogether)\b)"
    rf"|(?:=|\b(?:so|total|altogether|making|makes|gives)\b|{_CORRECTION})(?:{_GAP}{{1,3}}{_NAME}){{0,6}}?{_GAP}{{0,3}}(?={_RESULT})"
)
# "not 2 but 3", "first thought 2, but"
_NOT_BUT = re.compile(rf"\b(?:not|thought)\s+(?:it\s+(?:was|is)\s+)?{_ANY}(?:\s*[a-z]+){{0,2}},?\s+but\s+")
# What is said of what was asked for: "the distance between chair 1 and chair 2 is 3 m", "I estimate the gap to be 2 m"
_ABOUT = r"(?:(?:about|approximately|roughly|around|nearly|almost|probably|estimated|likely|to be|at|exactly)\s+)*"
_UP_TO = r"(?:[^.;?!]|\.\d){0,300}?"
_STATED = re.compile(
    rf"\b(?:(?:distance|difference|length|height|width|depth|size|area|gap|number|count|amount)\b{_UP_TO}\b(?:is|are|was|be|equals)\b"
    rf"|estimate\b(?:[^.;?!\d]|\.\d){{0,300}}?\b(?:to be|at|as|is|of|about)\b)[\s:]*{_ABOUT}(?={_ANY})"
)
# What an estimate rests on: "assuming that the door is 2 m tall, ..."
_GIVEN = re.compile(
    r"(?:^|(?<=[.;!?]\s))(?:assuming|based on|given|since|if|because|considering|compared (?:to|with)|taking)\b"
    r"(?:[^,.;]|[.,]\d){0,300},\s"
)
# "1. chair" at the start of a line
_LISTED = re.compile(r"^[ \t]*\d+[.)]\s+(?=[^\W\d])", re.MULTILINE)
_NOTHING = re.compile(
    r"\b(?:there\s+(?:are|were|is)|see|count)\s+no\s+[a-z]"
    r"|\b(?:there\s+(?:are|were|is)(?:n['\u2019]t|\s+not)|(?:do|can)(?:n?['\u2019]t|\s*not)\s+see)\s+any\s+[a-z]+[.!\s]*$"
    r"|^no\s+(?!(?:idea|clue|way|answer|number|information|it|they|this|that|there|i|we|you|not)\b)[a-z]"
)

_AMOUNT = r"(?:\d+(?:[.,]\d+)?(?![.,]?\d)|[a-z]+\b(?: and a half\b)?)"
_END = rf"(?:(?:{ANY_UNIT})\.?)?"
_SIDES = (  # "2-3-inch" is one, "5-foot-10" is none
    rf"(?P<low>\b{_AMOUNT})\s*(?P<first>{_END})\s*(?:%s|(?P<or>or\b))\s*"
    rf"(?P<high>{_AMOUNT})(?:-(?=(?:{ANY_UNIT})\b)|\s*)(?P<second>{_END})(?!\s*=)"
)
_RANGES = (
    re.compile(r"\bbetween\s+" + _SIDES % "and"),
    re.compile(_SIDES % "to\\b|-|\u2013|\u2014"),
)


def quantity(text: str) -> tuple[float, str | None] | None:
    """The (value, unit) that a text gives, as `parse_number` reads it; of a range or a choice ("2 to 3 m", "2 or
    3 m") its middle, of a sum what it comes to. "There are no chairs" gives 0.

    What stands after the last "answer is" counts, if a number does; then what something is said to be, before what that
    rests on.
    """
    text = normalised(_LISTED.sub("", tidy(narrow(text))))
    *_, said = _SAID.split(text)
    for part in dict.fromkeys((said, text)):
        if (found := _given(part)) is not None:
            return found
    return (0.0, None) if _NOTHING.search(text) else None


_ROUGHLY = re.compile(_ABOUT)
_TIMES = re.compile(r"\s*(?:by|x|\u00d7|\*|times)\s")


def area_given(text: str) -> float | None:
    """The area in square metres that a text gives: the one that the answer, or else a size or the like, is said to be,
    or the one that it states. None if it is said to be a length ("The answer is 3 m, as the room has 20 sq m")."""
    plain = normalised(text)
    for said in (_SAID, _STATED):
        if ends := [match.end() for match in said.finditer(plain)]:
            begins = _ROUGHLY.match(plain, ends[-1])
            at = begins.end() if begins else ends[-1]
            if area := AREA.match(plain, at):
                return area_of(area)
            if (length := LENGTH.match(plain, at)) and not _TIMES.match(plain, length.end()):
                return None
    return square_metres(text)


def _given(text: str) -> tuple[float, str | None] | None:
    """What a text comes to, or what it says that something is, or else its first quantity."""
    text = _NOT_BUT.sub(" ", text)
    first = _quantity(text)
    for pattern in (_SUM, _STATED):
        starts = [m.start() if m.groupdict().get("before") else m.end() for m in pattern.finditer(text)]
        found = _quantity(text[starts[-1] :]) if starts else None
        # "5 m, so 2 people could stand there"
        if found is not None and (found[1] is not None or first is None or first[1] is None):
            return found
    return _quantity(_GIVEN.sub("", text)) or first


def _quantity(text: str) -> tuple[float, str | None] | None:
    """As `parse_number`, or the middle of a range, of a text that is `normalised`."""
    if (found := _range(text)) is not None:
        return found
    value, unit = first_number(text)
    return (value, unit) if math.isfinite(value) else None


def _range(text: str) -> tuple[float, str | None] | None:
    """The middle of a range, if that is the first quantity of the text."""
    for pattern in _RANGES:
        for match in pattern.finditer(text):
            (a, unit), (b, other) = (first_number(match[side]) for side in ("low", "high"))
            if math.isnan(a) or math.isnan(b):
                continue
            if any(number.search(text, 0, match.start()) for number in (LENGTH, NUMBER, IN_WORDS)):
                break  # and so it is for all that follow
            first, second = match["first"] or match["second"], match["second"] or match["first"]
            unit, other = _unit_named(first) or unit, _unit_named(second) or other
            if unit != other and match["or"]:
                break  # the same in two units: "5 feet or 1.5 m"
            if unit != other:
                a, b, unit = to_metres(a, unit), to_metres(b, other), "m"
            if a < b:
                return (a + b) / 2, unit
    return None


def _unit_named(name: str) -> str | None:
    found = LENGTH.match(f"1{name}")
    return None if found is None else unit_of(found)
