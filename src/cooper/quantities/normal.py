"""Texts in which numbers and lengths are written in one way only."""

from __future__ import annotations

import math
import re

from cooper.quantities.writing import ANY_UNIT, BIG, DIGITS, SMALL

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
_TILDE = re.compile(rf"(\d\s?(?:(?:{ANY_UNIT})\.?\s?)?)~(?=\s?\d)", re.IGNORECASE)
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
_AND_A = re.compile(r"-and-(?:an?-)?(?=(?:half|quarter|third)\b)")
_ONE_HALF = re.compile(r"\bone[\s-]half\b")
_PARTS = {"third": 3, "quarter": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
# "a third" and "three quarters", but neither "a fifth chair" nor "two third places"
_PARTS_OF_ONE = re.compile(
    rf"\b(?:(?:an?|one)[\s-](?P<large>third|quarter)|one[\s-](?P<small>{'|'.join(_PARTS)})"
    rf"|(?P<several>{'|'.join(list(SMALL)[2:10])})[\s-](?:(?P<parts>{'|'.join(_PARTS)})s|(?P<quarter>quarter)))\b"
)
# "2½ m", "three quarters of a metre", "2 and a half m", "1.5 ± 0.2 m", "distance: 30; unit: inches", 5’10”
_SPELLED: tuple[tuple[str, str], ...] = (
    ("\u00bd", " 1/2"), ("\u00bc", " 1/4"), ("\u00be", " 3/4"), ("\u2153", " 1/3"), ("\u2154", " 2/3"),
    ("\u215b", " 1/8"), ("\u215c", " 3/8"), ("\u215d", " 5/8"), ("\u215e", " 7/8"),
    (r"(?<![\w./,])(\d+)[-\u2013](?=\d{1,2}/\d{1,2}(?![\d/]))", r"\1 "),  # 2-1/2
    (r"\bhalf-(an?)-", r"half \1 "), (r"\bquarter of (?=an? )", "1/4 of "), (r"(?<=\d and )(?:a|one) half\b", "1/2"),
    *((rf"\b{word} and (?=\d/\d)", f"{value} and ") for word, value in SMALL.items()),
    (r"\b(?:nought|naught) point\b|^point(?= [a-z])", "zero point"),
    (r"(?<=\d)['\u2019](?=\d{3}(?!\d))", ""),  # thousands in Switzerland
    # 5.2 x 10^1, 5ft6in, 1m80, 1m5cm
    (r"(?<=\d)\s*(?:[\u00d7\u00b7\u22c5x*]|\btimes\b)\s*10\s*\^\s*\(?\s*([-+]?\d+)\s*\)?", r"e\1"),
    (r"(?<=\d)(\s?(?:ft|feet))\.?(?=\d)", r"\1 "), (r"(?<=\d)(\s?m)(?=\d\d|\d\s?cm)", r"\1 "),
    (r"(?<=\d) and (?=\d/\d)", " "), (r"\s*(?:\u00b1|\+/?-)\s*\d+(?:\.\d+)?", ""),
    (r"(?<=\d)\s*(?:''|\u2032\u2032|\u2019\u2019|[\u201d\u2033])", '"'), (r"(?<=\d)\s*[\u2019\u2032](?![a-z])", "'"),
    (r"(?<=\d)\s?'\s?(\d[\d./ ]{0,9}?)\s?\"", "' \\1\""),
)  # fmt: skip
# "Distance (cm): 150", "in centimetres: 150", "150. Unit: cm"
_HEADED = re.compile(
    rf"(?:[(\[]\s*(?:in\s+)?(?P<bracketed>{ANY_UNIT})\s*[)\]]\s*[:=]|\bin\s+(?P<named>{ANY_UNIT})\s*[:,])"
    rf"(?:\s*(?:it|this|that|is|about|approximately|roughly)\b)*\s*(?P<value>{DIGITS})(?![\w]|[.,]\d|\s*(?:{ANY_UNIT}))"
)
_UNIT_BEHIND = re.compile(r"(?<=\d)[.;,]?\s*\bunits?\s*[:=]\s*|[;,]?\s*\bunits?\s*[:=]\s*")
# "the red one" is no number
_PRONOUN = re.compile(
    rf"\b(?:the(?: [a-z]+)?|an? [a-z]+|that|this|each|every|which) one\b"
    rf"(?!\s*-?\s*(?:{ANY_UNIT}|(?:point|and|{'|'.join(BIG)})\b))"
)


# full-width forms, Arabic commas, full stops and tildes of Asia, the slash of fractions; not all that NFKC does:
# 10\u00b2 is not 102
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    ord(wide): plain for wide, plain in zip("\u066b\u066c\u3002\u3001\u301c\u223c\u3000\u2044", ".,.,~~ /", strict=True)
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


def normalised(text: str) -> str:
    """Lower-case words without marks, quotation marks, and the "one" that is no number; fractions are 3/4."""
    text = _RAISED.sub(lambda raised: f"^({raised[0].translate(_LOWERED)})", plain_text(text).lower())
    text = _PARTS_OF_ONE.sub(_part, _AND_A.sub(" and a ", text))
    for spelled, digits in _SPELLED:
        text = re.sub(spelled, digits, text)
    text = " ".join(_ROOT.sub(_root, _POWER.sub(_power, text)).split())
    text = _HEADED.sub(lambda m: f" {m['value']} {m['bracketed'] or m['named']}", _UNIT_BEHIND.sub(" ", text))
    for quoted in _QUOTED:
        text = quoted.sub(r" \1 ", text)
    return _PRONOUN.sub(" ", _ONE_HALF.sub("half", text))


def _part(match: re.Match[str]) -> str:
    """A third, three quarters, as 1/3 and 3/4."""
    part = match["large"] or match["small"] or match["parts"] or match["quarter"]
    return f"{SMALL[match['several']] if match['several'] else 1}/{_PARTS[part]}"


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
