"""Reading a number, and its unit of length, out of an answer in words."""

from __future__ import annotations

import math
import re

#: Metres in one of each unit that is understood.
METRES = {
    "km": 1000.0, "m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "mi": 1609.344, "yd": 0.9144, "ft": 0.3048,
    "in": 0.0254,
}  # fmt: skip
#: The units that may go on with a length: 1 m 20 cm, 5 ft 6 in.
_FINER = {
    "km": ("m",), "m": ("dm", "cm", "mm"), "dm": ("cm", "mm"), "cm": ("mm",), "mi": ("yd", "ft"), "yd": ("ft", "in"),
    "ft": ("in",),
}  # fmt: skip

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
_BIG = {"dozen": 12, "hundred": 100, "thousand": 1e3, "million": 1e6}

_WORD = "|".join((*_SMALL, *_TENS, *_BIG, "half"))
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
_ANY_UNIT = "|".join(_UNITS.values())
_UNIT = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _UNITS.items())
_MINUS = r"(?:minus|negative)\s+"
_DIGITS = (  # 1,200.5  or  1 200.5  or  1 1/2  or  1.8 (also 1,8)  or  3  or  .5
    rf"(?<![\w.,/^])(?:{_MINUS}|[-+\u2212])?"
    r"(?:\d+(?:,\d{3})+(?!\d)(?:\.\d+)?|[1-9]\d{0,2}(?: \d{3})+(?![\d/])(?:[.,]\d+)?"
    r"|(?:\d+\s+)?\d+(?:\.\d+)?/\d+(?:\.\d+)?|\d+[.,]\d+|\d+|\.\d+)(?:e[-+]?\d+)?"
    rf"(?:\s+(?:{'|'.join(_BIG)})\b)?"
)
_WORDS = rf"\b(?:{_MINUS})?(?:{_WORD})(?:(?:\s+and\s+(?:an?\s+)?|\s+an?\s+|[\s-]+(?:point\s+)?)(?:{_WORD})){{0,8}}\b"
_WITH_UNIT = rf"(?P<number>{_DIGITS}|{_WORDS}|\ban?\b)(?:\s*[-(\[]?\s*|\s+an?\s+|\s+of\s+an?\s+)(?:{_UNIT})"

# "24 m^2", "24 square metres", "258 sq ft"
_AREA = re.compile(
    rf"(?P<number>{_DIGITS}|{_WORDS})[\s-]*(?:\bsq(?:uare|\.)?[\s-]*(?:{_UNIT})"
    r"|(?P<short>km|cm|mm|m|ft)(?:\s*(?:\^\s*2|\u00b2)|2|\s+squared\b)(?!\w)|\b(?P<sqm>sqm)\b)"
)
_LENGTH = re.compile(_WITH_UNIT)
# a full stop only behind what is short: "1 m. 20 cm.", not "1 metre. 20 cm are free."
_THEN = r"(?:(?:(?<=[\s\dkcdm]m)\.|(?<=ft|yd|mi)\.)?,?\s*(?:and\s+)?|\s*-)"
_GOES_ON = re.compile(rf"{_THEN}(?:{_WITH_UNIT})")
# "5 ft 10", "five foot ten", "5'10 tall"
_BARE_INCHES = re.compile(rf"{_THEN}(\d+(?:\.\d+)?|{_WORDS})(?=[.,;]?\s*$|\s+(?:tall|high|long|wide|deep)\b)")
_AND_A_HALF = re.compile(r"\s+and\s+a\s+half\b")
_NUMBER = re.compile(rf"(?P<digits>{_DIGITS})(?![\w\u00b2]|[.,]\d|\s*\^\s*[\w(])")
_IN_WORDS = re.compile(_WORDS)

#: What only shapes text in LaTeX.
FORMATTING = (
    r"\\(?:(?:text|math)[a-z]*|boxed|fbox|displaystyle|left|right|q?quad|approx|scalar|distance_unit)(?![a-z])"
    r"|\\[,;:! ()\[\]]"
)
_FRACTION = re.compile(r"\\[cdt]?frac\s*(?:\{\s*([^{}]*?)\s*\}\s*\{\s*([^{}]*?)\s*\}|(\d)\s*(\d))")
_MARKUP = re.compile(rf"{FORMATTING}|[{{}}$*~`\\]")
# What means something, as one character; "\u207f" stands for what is no number that is read here.
_SYMBOLS = [
    (re.compile(pattern), symbol)
    for pattern, symbol in (
        (r"\\(?:times|cdot|ast)(?![a-z])", "\u00d7"), (r"\\pm(?![a-z])", "\u00b1"), (r"\\sim(?![a-z])", "~"),
        (r"\\pi(?![a-z])", "\u03c0"), (r"(?:\^\s*)?\{?\\circ(?![a-z])\}?", "\u00b0"),
        (r"\^?\{?\\prime(?![a-z])", "\u2032"),
        (r"\\sqrt\s*\[[^\]]*\]\s*\{[^{}]*\}", "\u207f"), (r"(?:\\sqrt|\bsqrt(?=\s*\())(?![a-z])", "\u221a"),
        (r"\u221a\s*\{([^{}]*)\}", "\u221a(\\1)"), (r"(?<=\d)\{,\}(?=\d)", ","),
    )
]  # fmt: skip
# "3 ~ 4 m", "3 m~4 m"; elsewhere a tilde is "about", or a space
_TILDE = re.compile(rf"(\d\s?(?:(?:{_ANY_UNIT})\.?\s?)?)~(?=\s?\d)", re.IGNORECASE)
_RAISED = re.compile(r"(?<=\d)[\u2070\u00b9\u00b2\u00b3\u2074-\u207b]+")
_LOWERED = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b", "0123456789+-")
_PLAIN = r"\d+(?:\.\d+)?"
# "3 √2", "2π", "√(a + b)"
_ROOT = re.compile(
    rf"(?P<over>(?<![\d.,])[\d.,]+\s*/\s*)?(?P<times>(?<![\w.,/]){_PLAIN})?\s*\u00d7?\s*"
    rf"(?:\u221a\s*(?:\(\s*(?P<inner>{_PLAIN})\s*\)|(?P<bare>{_PLAIN})|\([^()]*\))?|(?<![^\W\d])\u03c0)"
    r"(?P<more>\s*[/^+*\u00d7]|[\w(])?"
)
_POWER = re.compile(rf"(?<![\w.,/])({_PLAIN})\s*\^\s*(?:\(\s*)?([-+]?\d+)(?:\s*\))?")
_QUOTED = [re.compile(rf"(?<!\w){mark}(?=\S)(.{{1,200}}?){mark}(?![\w{mark}])") for mark in "\"'"]
_ONE_HALF = re.compile(r"\bone[\s-]half\b")
# "2½ m", "three quarters of a metre", "2 and a half m", "1.5 ± 0.2 m", "distance: 30; unit: inches", 5’10”
_SPELLED: tuple[tuple[str, str], ...] = (
    ("\u00bd", " 1/2"), ("\u00bc", " 1/4"), ("\u00be", " 3/4"), ("\u2153", " 1/3"), ("\u2154", " 2/3"),
    (r"\b(?:an?|one)[\s-]quarter\b", "1/4"), (r"\bthree[\s-]quarters\b", "3/4"),
    (r"\b(?:a|one)[\s-]third\b", "1/3"), (r"\btwo[\s-]thirds\b", "2/3"), (r"(?<=\d and )(?:a|one) half\b", "1/2"),
    *((rf"\b{word} and (?=\d/\d)", f"{value} and ") for word, value in _SMALL.items()),
    # 5.2 x 10^1, 5ft6in
    (r"(?<=\d)\s*(?:[\u00d7\u00b7\u22c5x*]|\btimes\b)\s*10\s*\^\s*\(?\s*([-+]?\d+)\s*\)?", r"e\1"),
    (r"(?<=\d)(\s?(?:ft|feet))\.?(?=\d)", r"\1 "),
    (r"(?<=\d) and (?=\d/\d)", " "), (r"\s*(?:\u00b1|\+/?-)\s*\d+(?:\.\d+)?", ""),
    (r"(?<=\d)\s*(?:''|\u2032\u2032|\u2019\u2019|[\u201d\u2033])", '"'), (r"(?<=\d)\s*[\u2019\u2032](?![a-z])", "'"),
    (r"(?<=\d)\s?'\s?(\d[\d./ ]{0,9}?)\s?\"", "' \\1\""),
)  # fmt: skip
# "Distance (cm): 150", "in centimetres: 150", "150. Unit: cm"
_HEADED = re.compile(
    rf"(?:[(\[]\s*(?:in\s+)?(?P<bracketed>{_ANY_UNIT})\s*[)\]]\s*[:=]|\bin\s+(?P<named>{_ANY_UNIT})\s*[:,])"
    rf"(?:\s*(?:it|this|that|is|about|approximately|roughly)\b)*\s*(?P<value>{_DIGITS})(?![\w]|[.,]\d|\s*(?:{_ANY_UNIT}))"
)
_UNIT_BEHIND = re.compile(r"(?<=\d)[.;,]?\s*\bunits?\s*[:=]\s*|[;,]?\s*\bunits?\s*[:=]\s*")
# "the red one" is no number
_PRONOUN = re.compile(rf"\b(?:the(?: [a-z]+)?|that|this|each|every|which) one\b(?!\s*-?\s*(?:{_ANY_UNIT}))")


# full-width forms, Arabic commas, full stops and tildes of Asia; not all that NFKC does: 10\u00b2 is not 102
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    ord(wide): plain for wide, plain in zip("\u066b\u066c\u3002\u3001\u301c\u223c\u3000", ".,.,~~ ", strict=True)
}
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")


def narrow(text: str) -> str:
    """A text with ASCII's forms of letters, digits and punctuation that are the same in other widths and scripts."""
    return _OTHER_DIGIT.sub(lambda digit: str(int(digit[0])), text.translate(_NARROW))


def tidy(text: str) -> str:
    """The lines of a text that are not empty, with one space wherever there is white space: rules that look over white
    space would take long over much of it."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def plain_text(text: str) -> str:
    """`text` without the marks of LaTeX and Markdown that models put around short answers; fractions are 3/4."""
    text = tidy(narrow(text))
    for pattern, symbol in _SYMBOLS:
        text = pattern.sub(symbol, text)
    apart = re.sub(r"(?<=\w)\\", r" \\", text)
    apart = _TILDE.sub(r"\1-", apart)
    return " ".join(_MARKUP.sub(" ", _FRACTION.sub(r"\1\3/\2\4 ", apart)).split())


def parse_number(text: str) -> tuple[float, str | None] | None:
    """The (value, unit) a text states: "about 180 cm" -> (180.0, "cm"), "three" -> (3.0, None). None without a number.

    Units are those of `METRES`, by name or abbreviation; the value stays in its unit. The first number with a unit wins
    over numbers without one, digits win over words. A length in several units, feet and inches or metres and
    centimetres, is one length in the first of them.
    """
    value, unit = _first_number(_normal(text))
    return (value, unit) if math.isfinite(value) else None


def whole_quantity(text: str) -> tuple[float, str | None] | None:
    """The (value, unit) that a text is and says nothing besides, but for the name of what is counted ("4 chairs", "four
    chairs"); None for other texts ("one way", "half open", "1/0")."""
    text = _normal(text).rstrip(". ")
    if match := _LENGTH.match(text):
        value, unit, end = _length(match, text)
        return (value, unit) if end == len(text) and math.isfinite(value) else None
    for pattern, name in ((_NUMBER, r"[^\W\d]+"), (_IN_WORDS, r"[^\W\d]+s")):
        if (match := pattern.match(text)) and re.fullmatch(rf"(?:\s*{name})?", text[match.end() :]):
            value = _value(match[0])
            return (value, None) if math.isfinite(value) else None
    return None


_UNIT_FIRST = re.compile(rf"[\s-]*[(\[]?\s*((?:{_ANY_UNIT}))")


def unit_after(text: str) -> str | None:
    """The unit that a text begins with, as it is written there: " inches wide" -> "inches"."""
    found = _UNIT_FIRST.match(f"1{plain_text(text).lower()}", 1)
    return None if found is None else found[1]


def square_metres(text: str) -> float | None:
    """The one area that a text states: "24 square feet" is about 2.2. None if it states none, or several."""
    found = {round(_area(match), 6) for match in _AREA.finditer(_normal(text))}
    area = found.pop() if len(found) == 1 else math.nan
    return area if math.isfinite(area) else None


def without_areas(text: str) -> str:
    """A text without the areas that it states, which are no lengths; as it is if it states none."""
    plain = _normal(text)
    return _AREA.sub(" ", plain) if _AREA.search(plain) else text


def _area(match: re.Match[str]) -> float:
    unit = "m" if match["sqm"] else match["short"] or _unit(match)
    return _value(match["number"]) * METRES[unit] ** 2


def _normal(text: str) -> str:
    """Lower-case words without marks, quotation marks, and the "one" that is no number; fractions are 3/4."""
    text = _RAISED.sub(lambda raised: f"^({raised[0].translate(_LOWERED)})", plain_text(text).lower())
    for spelled, digits in _SPELLED:
        text = re.sub(spelled, digits, text)
    text = " ".join(_ROOT.sub(_root, _POWER.sub(_power, text)).split())
    text = _HEADED.sub(lambda m: f" {m['value']} {m['bracketed'] or m['named']}", _UNIT_BEHIND.sub(" ", text))
    for quoted in _QUOTED:
        text = quoted.sub(r" \1 ", text)
    return _PRONOUN.sub(" ", _ONE_HALF.sub("half", text))


def _power(match: re.Match[str]) -> str:
    try:
        return f"{float(match[1]) ** float(match[2]):.12g}"
    except ArithmeticError:
        return "\u207f"


def _root(match: re.Match[str]) -> str:
    """A multiple of a root or of pi as a number; what is more than that is none."""
    under = match["inner"] or match["bare"]
    if match["over"] or match["more"] or ("\u221a" in match[0] and under is None):
        return f" \u207f{match['more'] or ''}"
    return f" {float(match['times'] or 1) * (math.pi if under is None else math.sqrt(float(under))):.12g} "


def _first_number(text: str) -> tuple[float, str | None]:
    if match := _LENGTH.search(text):
        return _length(match, text)[:2]
    if match := _NUMBER.search(text):
        return _value(match["digits"]), None
    if match := _IN_WORDS.search(text):
        return _value(match[0]), None
    return math.nan, None


def _length(match: re.Match[str], text: str) -> tuple[float, str, int]:
    """The length that begins with a match of `_LENGTH`, in the unit of that, and where it ends."""
    value, unit, end = _value(match["number"]), _unit(match), match.end()
    if half := _AND_A_HALF.match(text, end):
        return value + 0.5, unit, half.end()
    last = unit
    while (more := _GOES_ON.match(text, end)) and _unit(more) in _FINER.get(last, ()):
        part = _value(more["number"]) * METRES[_unit(more)]
        if not 0 <= part < METRES[last]:
            break  # another length
        value, last, end = value + part / METRES[unit], _unit(more), more.end()
    if last == "ft" and (inches := _BARE_INCHES.match(text, end)) and 0 <= _value(inches[1]) < 12:
        value, end = value + _value(inches[1]) * METRES["in"] / METRES[unit], inches.end()
    return value, unit, end


def _unit(match: re.Match[str]) -> str:
    return next(name for name in METRES if match[name])


def to_metres(value: float, unit: str | None) -> float:
    """`value` of a unit of `METRES` in metres. Without a unit it already is."""
    return value * METRES[unit] if unit is not None else value


def _value(number: str) -> float:
    if minus := re.match(_MINUS, number):
        return -_value(number[minus.end() :])
    if number[0].isalpha():
        return _value_of_words(number)
    number, (several, _, many) = number.replace("\u2212", "-"), number.rpartition(" ")
    if many in _BIG:
        return _value(several.rstrip()) * _BIG[many]
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
        elif word in _BIG:
            part = (part or 1) * _BIG[word]
            if _BIG[word] >= 1000:
                total, part = total + part, 0.0
        elif word == "half":
            part += 0.5
        elif word in _SMALL or word in _TENS:
            value = _SMALL.get(word, _TENS.get(word, 0))
            part += value / 10**decimals
            decimals += decimals > 0
        elif words in ("a", "an"):
            return 1.0
    return total + part


_SAID = re.compile(r"\banswer\b\s*(?:is|:|=)\s*")
_ANY = rf"(?:{_DIGITS}|{_WORDS})"
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
    r"|^no\s+(?!(?:idea|clue|way|answer|number|information)\b)[a-z]"
)

_AMOUNT = r"(?:\d+(?:[.,]\d+)?(?![.,]?\d)|[a-z]+\b)"
_END = rf"(?:(?:{_ANY_UNIT})\.?)?"
_SIDES = (
    rf"(?P<low>\b{_AMOUNT})\s*(?P<first>{_END})\s*(?:%s|(?P<or>or\b))\s*"
    rf"(?P<high>{_AMOUNT})\s*(?P<second>{_END})(?!\s*=)"
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
    text = _normal(_LISTED.sub("", tidy(narrow(text))))
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
    plain = _normal(text)
    for said in (_SAID, _STATED):
        if ends := [match.end() for match in said.finditer(plain)]:
            begins = _ROUGHLY.match(plain, ends[-1])
            at = begins.end() if begins else ends[-1]
            if area := _AREA.match(plain, at):
                return _area(area)
            if (length := _LENGTH.match(plain, at)) and not _TIMES.match(plain, length.end()):
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
    """As `parse_number`, or the middle of a range, of a text that is `_normal`."""
    if (found := _range(text)) is not None:
        return found
    value, unit = _first_number(text)
    return (value, unit) if math.isfinite(value) else None


def _range(text: str) -> tuple[float, str | None] | None:
    """The middle of a range, if that is the first quantity of the text."""
    for pattern in _RANGES:
        for match in pattern.finditer(text):
            (a, unit), (b, other) = (_first_number(match[side]) for side in ("low", "high"))
            if math.isnan(a) or math.isnan(b):
                continue
            if any(number.search(text, 0, match.start()) for number in (_LENGTH, _NUMBER, _IN_WORDS)):
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
    found = _LENGTH.match(f"1{name}")
    return None if found is None else _unit(found)
