"""What a model answers, read out of its words by rules. Pure functions of text; None is "no answer".

A rule that could be wrong about what was meant does not apply: a judge may still understand the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cooper.evaluation.items import LETTERS, Kind
from cooper.evaluation.quantities import parse_number, plain_text, to_metres

_THOUGHT = re.compile(r"<think>.*?(?:</think>|$)", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)
_CALL = re.compile(r"<([a-z][a-z0-9-]*)>[^<]*</\1>")
_MARKS = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\b|[*_`$]")


def final_text(turns: Sequence[str]) -> str:
    r"""What the last turn says in the end: in its last `<answer>`, or outside its thoughts and calls; of that, what is
    in the last `\boxed{}` if there is one."""
    visible = _THOUGHT.sub("", turns[-1]) if turns else ""
    answers = _ANSWER.findall(visible)
    text = answers[-1] if answers else _CALL.sub("", visible)
    boxed = _boxed(text)
    return (text if boxed is None else boxed).strip()


def _boxed(text: str) -> str | None:
    """The inside of the last box, which may hold braces."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start, depth = start + len("\\boxed{"), 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if not depth:
            return text[start:end]
    return text[start:]


def answer_in(kind: Kind, text: str, options: Sequence[str] = ()) -> str | None:
    """The answer that a final text gives: a letter, yes or no, "1.5 m", or the text itself, as the kind asks."""
    if kind == "choice":
        return letter(text, options)
    if kind == "yes_no":
        return yes_no(text)
    if kind in ("number", "count", "length"):
        found = quantity(text)
        return None if found is None else f"{found[0]:.10g}{f' {found[1]}' if found[1] else ''}"
    return text or None


# An option's letter where it can be nothing else: not the A of "A ball" or "A-frame", nor the E of "E.g.".
_AFTER = r"(?=\s*(?:$|[):\n]|\.(?!\w\.))|\s+[-\u2013]\s|\s+(?:is|because|since|as)\b%s)"
_NAMED = rf"\(?(?P<letter>[A-H]){_AFTER}|\((?P<small>[a-h])\)"
_FIRST = re.compile(r"[\s\"']*(?:" + _NAMED % "" + r")(?!\W{1,3}(?:or|and)\b)")
_OF_CUE = _NAMED % r"|\s*[,;!?\"']|\s+(?:or|and)\b|(?<!A)\s" + r"|(?P<last>[a-h])\W*$"
_IS = r"(?i:\s+(?:is|was|would be|should be|must be)\b)?\s*[:=]?\s*"
_CHOSEN = re.compile(
    rf"(?i:\b(?:answer|choose|chose|pick|select|go with)\b){_IS}(?i:(?:the\s+)?(?:option|choice|letter)\b)?"
    rf"[\s\"']*(?:{_OF_CUE})"
)
_MENTIONED = re.compile(rf"(?i:\b(?:option|choice)\b){_IS}[\s\"']*(?:{_OF_CUE})")
_ALONE = re.compile(r"[\W_]*([A-Ha-h])[\W_]*")
_LISTED = re.compile(r"^\s*\(?([A-H])[.):]", re.MULTILINE)
_BRACKETED = re.compile(r"\(([A-Ha-h])\)")
_DOUBT = re.compile(r"\b(?:not|cannot|unable|unsure|neither|nor|unclear|unknown)\b|n['\u2019]t\b", re.IGNORECASE)


def letter(text: str, options: Sequence[str] = ()) -> str | None:
    """The letter of the option that a text chooses by its letter or in its words.

    Without known `options` every letter of `LETTERS` may be meant, and words cannot be.
    """
    text = _MARKS.sub(" ", text).replace("{", " ").replace("}", " ").strip()
    known = LETTERS[: len(options)] if options else LETTERS
    found = _letter_named(text)
    if found is None and options:
        found = _letter_of_words(text, options)
    return found if found is not None and found in known else None


def _letter_named(text: str) -> str | None:
    if alone := _ALONE.fullmatch(text):
        return alone[1].upper()
    if chosen := [_name(match) for match in _CHOSEN.finditer(text)]:
        return chosen[-1]  # models change their minds
    first = _FIRST.match(text)
    if first and len(set(_LISTED.findall(text))) < 2:  # several at the starts of lines repeat the question
        return _name(first)
    for found in (
        {_name(match) for match in _MENTIONED.finditer(text)}, {found.upper() for found in _BRACKETED.findall(text)}
    ):  # fmt: skip
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _name(match: re.Match[str]) -> str:
    return next(name for name in match.groupdict().values() if name).upper()


def _letter_of_words(text: str, options: Sequence[str]) -> str | None:
    """The one option that the text is, or that it names."""
    said, names = _words(text), [_words(option) for option in options]
    if names.count(said) == 1:
        return LETTERS[names.index(said)]
    if _DOUBT.search(text):
        return None
    inside = [k for k, name in enumerate(names) if name and f" {name} " in f" {said} "]
    # "left" is not meant where "front left" is said
    inside = [k for k in inside if not any(k != j and f" {names[k]} " in f" {names[j]} " for j in inside)]
    if not inside:
        quantities, found = [parse_number(option) for option in options], quantity(text)
        inside = [k for k, option in enumerate(quantities) if option == found] if None not in quantities else []
    return LETTERS[inside[0]] if len(inside) == 1 else None


def _words(text: str) -> str:
    """Lower-case words without articles and punctuation, a space between two."""
    words = re.findall(r"[^\W_]+(?:[.'\u2019][^\W_]+)*", plain_text(text).casefold())
    return " ".join(word for word in words if word not in ("a", "an", "the"))


_YES_NO = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_OPENS = re.compile(
    r"\W*(?:(yes|true)\b|(no|false)\b(?=\s*(?:$|[^\w\s])|[ \t]*\n|\s+(?:it|there|they|the|this|that|he|she)\b))"
)
_ENDS = re.compile(r"(?:[\s:,](yes|no)|\banswer\s*(?:is|:)\s*(true|false))\W*$")


def yes_no(text: str) -> str | None:
    """ "yes" or "no", from a text that begins or ends with it; "no idea" and "no balls are there" are neither."""
    text = _MARKS.sub(" ", text).strip().lower()
    if opens := _OPENS.match(text):
        return _YES_NO[opens[1] or opens[2]]
    ends = _ENDS.search(text)
    return _YES_NO[ends[1] or ends[2]] if ends else None


_AMOUNT = r"(?:\d+(?:[.,]\d+)?(?![.,]?\d)|[a-z]+\b)"
_UNIT = r"(?:mm|cm|m|ft|feet|foot|inch(?:es)?|(?:centi|milli)?met(?:er|re)s?)\b\.?"
_SIDES = rf"(?P<low>\b{_AMOUNT})\s*(?P<first>{_UNIT})?\s*(?:%s)\s*(?P<high>{_AMOUNT})\s*(?P<second>{_UNIT})?(?!\s*=)"
_RANGES = (
    re.compile(r"\bbetween\s+" + _SIDES % "and"),
    re.compile(_SIDES % "to\\b|-|\u2013|\u2014"),
)
_SAID = re.compile(r"\banswer\b\s*(?:is|:|=)\s*", re.IGNORECASE)


def quantity(text: str) -> tuple[float, str | None] | None:
    """The (value, unit) that a text gives, as `parse_number` reads it; of a range ("2 to 3 m") its middle.

    What stands after the last "answer is" counts, if a number does.
    """
    *_, said = _SAID.split(text)
    for part in (said, text):
        lower = plain_text(part).lower()
        found = _range(lower) or parse_number(lower)
        if found is not None:
            return found
    return None


def _range(text: str) -> tuple[float, str | None] | None:
    """The middle of a range, if that is the first quantity of the text."""
    for pattern in _RANGES:
        for match in pattern.finditer(text):
            low, high = parse_number(match["low"]), parse_number(match["high"])
            if low is None or high is None or parse_number(text[: match.start()]) is not None:
                continue
            first, second = match["first"] or match["second"] or "", match["second"] or match["first"] or ""
            ends = parse_number(f"{match['low']} {first}"), parse_number(f"{match['high']} {second}")
            (a, unit), (b, other) = (end for end in ends if end is not None)
            if unit != other:
                a, b, unit = to_metres(a, unit), to_metres(b, other), "m"
            if a < b:
                return (a + b) / 2, unit
    return None
