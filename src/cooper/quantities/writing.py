"""How numbers and units of length are written: patterns that the other files here are made of."""

from __future__ import annotations

#: Metres in one of each unit that is understood.
METRES = {
    "km": 1000.0, "m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "mi": 1609.344, "yd": 0.9144, "ft": 0.3048,
    "in": 0.0254,
}  # fmt: skip
#: The units that may go on with a length: 1 m 20 cm, 5 ft 6 in.
FINER = {
    "km": ("m",), "m": ("dm", "cm", "mm"), "dm": ("cm", "mm"), "cm": ("mm",), "mi": ("yd", "ft"), "yd": ("ft", "in"),
    "ft": ("in",),
}  # fmt: skip

SMALL = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split()
    )
} | {"none": 0}
TENS = {
    word: 20 + 10 * i for i, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())
}  # fmt: skip
BIG = {"dozen": 12, "hundred": 100, "thousand": 1e3, "million": 1e6}

_WORD = "|".join((*SMALL, *TENS, *BIG, "half"))
_UNITS = {
    "km": r"kms?\b|kilomet(?:re|er)s?\b",
    "mm": r"mm\b|millimet(?:re|er)s?\b",
    "cm": r"cms?\b|centimet(?:re|er)s?\b",
    "dm": r"dm\b|decimet(?:re|er)s?\b",
    "m": r"m\b|met(?:re|er)s?\b",
    "mi": r"mi\b|miles?\b",
    "yd": r"yds?\b|yards?\b",
    # Elsewhere than straight after a digit, ' and " are no units.
    "ft": r"ft\b|foot\b|feet\b|(?<=\d)['\u2032](?!['\u2032a-z])",
    # "in" is mostly a preposition: alone it is a unit only at the end of a phrase or before what lengths are said of.
    "in": r"inch(?:es)?\b|(?<=\d)(?:[\"\u2033]|'')"
    r"|in\b(?!\s+\w)|in\b(?=\s+(?:tall|high|long|wide|deep|away|apart|from|or|and)\b)",
}
ANY_UNIT = "|".join(_UNITS.values())
UNIT = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _UNITS.items())
MINUS = r"(?:minus|negative)\s+"
DIGITS = (  # 1,200.5  or  1 200.5  or  1 1/2  or  1.8 (also 1,8)  or  3  or  .5
    rf"(?<![\w.,/^])(?:{MINUS}|[-+\u2212])?"
    r"(?:\d+(?:,\d{3})+(?!\d)(?:\.\d+)?|[1-9]\d{0,2}(?: \d{3})+(?![\d/])(?:[.,]\d+)?"
    r"|(?:\d+\s+)?\d+(?:\.\d+)?/\d+(?:\.\d+)?|\d+[.,]\d+|\d+|\.\d+)(?:e[-+]?\d+)?"
    rf"(?:\s+(?:{'|'.join(BIG)})\b)?"
)
# "a hundred and five", "two and a half"; "one and two" are two numbers
_AND = r"(?:(?<=hundred)|(?<=thousand)|(?<=million))\s+and\s+|\s+and\s+(?:an?\s+)?(?=half\b)"
WORDS = rf"\b(?:{MINUS})?(?:{_WORD})(?:(?:{_AND}|\s+an?\s+|[\s-]+(?:point\s+)?)(?:{_WORD})){{0,20}}\b"
