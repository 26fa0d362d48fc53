"""What a model answers, read out of its words by rules. Pure functions of text; None is "no answer".

A rule that could be wrong about what was meant does not apply: a judge may still understand the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cooper.data.options import LETTERS
from cooper.evaluation.items import NUMBERS, Kind
from cooper.quantities import (
    FORMATTING,
    area_given,
    narrow,
    parse_number,
    plain_text,
    quantity,
    tidy,
    without_areas,
)
from cooper.turns import boxed_in, calls_of, thoughts_of, without

# scorers of benchmarks read an answer that was cut off, too
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)
_MARKS = re.compile(FORMATTING + r"|[*_`${}]")
# what asks for and names answers in Chinese and Japanese, where no space stands before a letter
_CUES_ELSEWHERE = {
    "\u7b54\u6848": " answer ", "\u7b54\u3048": " answer ", "\u9009\u9879": " option ", "\u9078\u9805": " option ",
    "\u9009": " choose ", "\u9078": " choose ",
}  # fmt: skip
_IS_ELSEWHERE = re.compile("(?<=\u7b54\u6848)[\u662f\u4e3a\u70ba]|(?<=\u7b54\u3048)\u306f")
_ELSEWHERE = re.compile("|".join(_CUES_ELSEWHERE))
_WIDE = r"[\u3040-\u30ff\u4e00-\u9fff]"
_BESIDE = re.compile(rf"(?<={_WIDE})(?=[A-Za-z])|(?<=[A-Za-z])(?={_WIDE})")


def _unmarked(text: str) -> str:
    """A text without marks, with a space between letters of its own and others."""
    text = _IS_ELSEWHERE.sub(" is ", _MARKS.sub(" ", narrow(text)))
    return tidy(_BESIDE.sub(" ", _ELSEWHERE.sub(lambda cue: _CUES_ELSEWHERE[cue[0]], text)))


def final_text(turns: Sequence[str]) -> str:
    r"""What the last turn says in the end: in its last `<answer>`, or outside its thoughts and calls; of that, what is
    in the last `\boxed{}` if there is one."""
    last = turns[-1] if turns else ""
    # where a thought begins may have been part of the prompt
    visible = without(last, thoughts_of(last)).rpartition("</think>")[2]
    answers = _ANSWER.findall(visible)
    text = answers[-1] if answers else without(visible, calls_of(visible))
    boxed = boxed_in(text)
    return (text if boxed is None else boxed).strip()


def answer_in(kind: Kind, text: str, options: Sequence[str] = (), truth: str = "") -> str | None:
    """The answer that a final text gives: a letter, yes or no, "1.5 m", or the text itself, as the kind asks. Where the
    `truth` has a unit of length, areas are passed over."""
    if kind == "choice":
        return letter(text, options)
    if kind == "yes_no":
        return yes_no(text)
    if kind in NUMBERS:
        is_length = kind != "number" or (parse_number(without_areas(truth)) or (0, None))[1] is not None
        area = None if is_length else area_given(text)
        found = quantity(without_areas(text)) if area is None else (area, None)
        return None if found is None else f"{found[0]:.10g}{f' {found[1]}' if found[1] else ''}"
    return text or None


_DOUBT = re.compile(r"\b(?:not|cannot|unable|unsure|neither|nor|unclear|unknown)\b|n['\u2019]t\b", re.IGNORECASE)
# Up to what is named: "I don't think" B, "I cannot say" yes, "I thought" A.
_DENIED = re.compile(
    rf"(?:{_DOUBT.pattern}|\b(?:thought|assumed|tempting)\b)(?:[ ]+(?!(?:and|but|so)\b)[\w'\u2019]+){{0,3}}[ ]*$",
    re.IGNORECASE,
)


def _denied(match: re.Match[str]) -> bool:
    """Whether what stands before a match denies it. Those few words are near it, which keeps the search short."""
    return _DENIED.search(match.string, max(0, match.start() - 100), match.start()) is not None


_RIGHT = r"\s+(?:is|was|must be)\s+(?:(?:the|my)\s+)?(?:correct|right|best|answer|choice)\b"
# An option's letter where it can be nothing else: not the A of "A ball" or "A-frame", nor the E of "E.g.".
_AFTER = rf"(?=\s*(?:$|[):\n]|\.(?!\w\.))|\s+[-\u2013]\s|\s+(?:because|since|as)\b|{_RIGHT}%s)"
_NAMED = rf"\(?(?P<letter>[A-H]){_AFTER}|\((?P<small>[a-h])\)"
_SURELY = r"(?i:(?:(?:most|very)\s+)?(?!unlikely\b|hardly\b)[a-z]+ly\b[\s,]*)?"
_FIRST = re.compile(
    rf"[\s\"']*{_SURELY}(?:" + _NAMED % r"|\s*[,;]|\s+is\b(?!.*\b[A-H]\b)" + r")(?!\W{1,3}(?:or|and)\b)", re.DOTALL
)
_OF_CUE = _NAMED % r"|\s*[,;!?\"']|\s+(?:or|and)\b|(?<!A)\s%s" + r"|(?P<last>[a-h])\W*$"
_IS = rf"(?i:\s+(?:is|was|would be|should be|must be)\b)?\s*[:=]?\s*{_SURELY}"
_OPTION = r"(?i:(?:the\s+)?(?:option|choice|letter)\b)?[\s\"']*"
# "I think C is far", "option C is far": something is said of C
_NOT_OF = r"(?!is\b|was\b|looks\b|seems\b)"
#: What says which letter is chosen, the plainest first: the last of the plainest counts, models change their minds.
_CUES = (
    re.compile(
        rf"(?i:\b(?:answer|ans|solution)\b|\b(?:correct|right|best)(?:\s+(?:one|option|choice|letter))?(?=\s+is\b|\s*:)){_IS}{_OPTION}"
        rf"(?:{_OF_CUE % ''})|\b(?P<subject>[A-H]){_RIGHT}"
    ),
    re.compile(rf"(?i:\b(?:choose|chose|pick|select|go(?:ing)? (?:with|for))\b){_IS}{_OPTION}(?:{_OF_CUE % ''})"),
    re.compile(
        rf"(?i:\b(?:think|believe|guess|say)(?:\s+(?:it|that))?\b){_IS}{_OPTION}(?:{_OF_CUE % _NOT_OF})"
    ),
    re.compile(
        r"(?i:\bis|\bmust be|\bit['\u2019]s|\b(?:so|thus|therefore|hence|final|result)\b)"
        rf"[\s:,]*{_SURELY}\(?(?P<end>[A-H])\)?[.!\s]*$"
    ),
)
# "The answer is A. Wait, no, it's B."
_AGAIN = re.compile(
    r"\b(?:wait|actually|correction|scratch that|on second thought)\b"
    r"|(?<=[.?!,;])\s*no\b(?=[,.]?\s+(?:it|the answer)\b|[,.]?\s+(?-i:[A-H])\b)",
    re.IGNORECASE,
)
_MENTIONED = re.compile(rf"(?i:\b(?:option|choice)\b){_IS}[\s\"']*(?:{_OF_CUE % _NOT_OF})")
_ALONE = re.compile(r"[\W_]*([A-Ha-h])[\W_]*")
_LISTED = re.compile(r"^\s*\(?([A-H])(?:[.):]|\s+[-\u2013]\s)", re.MULTILINE)
_ENUMERATED = re.compile(r"(?:^|(?<=[\s.;,]))\(?([A-H])\)(?=\s+\w)")
_BRACKETED = re.compile(r"\((?P<letter>[A-Ha-h])\)")
# After a letter: "A or B", "A, B and C"; and what says that it is not the one.
_ANOTHER = re.compile(
    r"[\s)\"']*(?:[,;/&]|[,;]?\s*\b(?:or|and)\b)\s*(?i:(?:option|choice)\s+)?"
    r"(?:[\"'(]*[A-H]\b(?!\s+(?:is|was)\b)|\([a-h]\))"
)
_REFUSED = re.compile(
    r"[)\"']*\s+(?:(?:is|was|seems|looks)\s+(?:not|wrong|incorrect|false|too)\b|cannot\b|\w+n['\u2019]t\b)"
)
_NOT_BUT = re.compile(r"\b[Nn]ot (?:option )?\(?[A-H]\)?,? but (?:rather )?(?=(?:option )?\(?[A-H]\b)")
_UNCLEAR = "?"
_BEFORE_WORDS = re.compile(r"\A\W*([A-H])\b|\(?\b([A-H])\b\s*[).:,;]")


def letter(text: str, options: Sequence[str] = ()) -> str | None:
    """The letter of the option that a text chooses by its letter or in its words.

    Without known `options` every letter of `LETTERS` may be meant, and words cannot be.
    """
    text = _NOT_BUT.sub("", _unmarked(text))
    known = LETTERS[: len(options)] if options else LETTERS
    found = _letter_before_its_words(text, options) or _letter_named(text, options)
    if found is None and options:
        found = _letter_of_words(text, options)
    return found if found is not None and found in known else None


def _letter_before_its_words(text: str, options: Sequence[str]) -> str | None:
    """The first letter of a text, if all that follows are the words of its option, whatever they say: "cannot be
    determined", "A chair"."""
    match = _BEFORE_WORDS.search(text)
    if match is None or _denied(match):
        return None
    name = match[1] or match[2]
    said = _words(text[match.end() :])
    return name if said and said == _words("".join(options[LETTERS.index(name) :][:1])) else None


def _letter_named(text: str, options: Sequence[str]) -> str | None:
    """The letter that is chosen; `_UNCLEAR` if letters are named and none is, None if none is named."""
    if alone := _ALONE.fullmatch(text):
        return alone[1].upper()
    denied = False
    for cue in _CUES:
        chosen = list(cue.finditer(text))
        if names := _names(chosen):
            again = _AGAIN.search(text, chosen[-1].end())
            later = _letter_named(text[again.end() :], options) if again else None
            return names[-1] if later in (None, _UNCLEAR) else later
        denied |= bool(chosen)
    if denied:
        return _UNCLEAR
    first = _FIRST.match(text)
    # several at the starts of lines, or "A) no. B) yes.", repeat the question
    if first and max(len(set(each.findall(text))) for each in (_LISTED, _ENUMERATED)) < 2:
        if found := _names([first]):
            return found[0]
    for pattern in (_MENTIONED, _BRACKETED):
        if mentioned := list(pattern.finditer(text)):
            names = list(dict.fromkeys(_names(mentioned)))
            if len(names) == 1 and pattern is _BRACKETED and _others_named(text, names[0], options):
                return _UNCLEAR  # "what is in front of the chair (A) is the table"
            return names[0] if len(names) == 1 else _UNCLEAR if not names else None
    return None


def _others_named(text: str, letter: str, options: Sequence[str]) -> bool:
    """Whether another option than the letter's is there in words."""
    said, names = f" {_words(text)} ", dict(zip(LETTERS, map(_words, options), strict=False))
    return any(words and f" {words} " in said for name, words in names.items() if name != letter)


def _names(matches: Sequence[re.Match[str]]) -> list[str]:
    """The letters of matches, `_UNCLEAR` where it goes on with another one; without those that are denied."""
    names = []
    for match in matches:
        text, end = match.string, match.end()
        if not _denied(match) and not _REFUSED.match(text, end):
            name = next(name for name in match.groupdict().values() if name).upper()
            names.append(_UNCLEAR if _ANOTHER.match(text, end) else name)
    return names


def _letter_of_words(text: str, options: Sequence[str]) -> str | None:
    """The one option that the text is, or that it names."""
    said, names = _words(text), [_words(option) for option in options]
    if names.count(said) == 1:
        return LETTERS[names.index(said)]
    if len(names) == 2 and {"yes", "no"} == {_YES_NO.get(name) for name in names}:
        answer = yes_no(text)
        return None if answer is None else LETTERS[[_YES_NO[name] for name in names].index(answer)]
    said = f" {said} "
    inside = [k for k, name in enumerate(names) if name and f" {name} " in said]
    # "left" is not meant where "front left" is said
    inside = [k for k in inside if not any(k != j and f" {names[k]} " in f" {names[j]} " for j in inside)]
    if inside and re.search(rf"\bno (?:such )?{re.escape(names[inside[0]])}\b", said):
        return None  # "there is no lamp"
    # the doubt of the option "not open" is none
    if _DOUBT.search(said.replace(f" {names[inside[0]]} ", " ") if inside else said):
        return None
    if not inside:
        quantities, found = [parse_number(option) for option in options], quantity(text)
        units = {None if option is None else option[1] for option in quantities}
        if found is not None and found[1] is None and len(units) == 1:
            found = found[0], units.pop()  # "1.2" of "1.2 m"
        inside = [k for k, option in enumerate(quantities) if option == found] if None not in quantities else []
    return LETTERS[inside[0]] if len(inside) == 1 else None


def _words(text: str) -> str:
    """Lower-case words without articles and punctuation, a space between two."""
    words = re.findall(r"[^\W_]+(?:[.'\u2019][^\W_]+)*", plain_text(text).casefold())
    return " ".join(word for word in words if word not in ("a", "an", "the"))


_YES_NO = {"yes": "yes", "yep": "yes", "yeah": "yes", "true": "yes", "no": "no", "false": "no"}
# "no idea" and "no balls are there" are no answers
_PLAINLY = (
    r"(?:(yes|yep|yeah|true)\b|(no|false)\b"
    r"(?=\s*(?:$|[^\w\s])|[ \t]*\n|\s+(?:it|there|they|the|this|that|he|she|because|since|as)\b))"
)
_EITHER = re.compile(r"\b(?:yes|no|true|false)\s*(?:/|,?\s*\b(?:or|and|nor)\b)\s*(?:yes|no|true|false)\b")
_ANSWERED = re.compile(rf"\banswer\b{_IS}[\s\"']*{_PLAINLY}")
_OPENS = re.compile(rf"\W*{_PLAINLY}")
_HOLDS = re.compile(
    r"(?<!if )(?<!whether )\b(?:it|that|this|statement|claim|description) (?:is|seems) (true|false)\b(?!\s*\?)"
)
_HARDLY = re.compile(
    r"\W*(?:not really|not at all|nope|of course not|(?:probably|certainly|definitely|absolutely|apparently) not)"
    r"\b(?!\s+\w)"
)
_ASIDE = re.compile(r"(?<=[,.;:!?\n])\s*(yes|no)(?=\s*(?:$|[,.;:!\n]))|\s(yes|no)(?=[^\w?]*$)")


# at the start of a clause: not in "I wouldn't actually say yes"
_CORRECTED = re.compile(
    r"(?:^|(?<=[.?!,;:\u2026\n-]))\s*(?:(?:oh|no|hmm|but|or|ah),?\s+){0,2}"
    r"(?:wait|actually|correction|scratch that|on second thoughts?|i mean|rather)\b[\s,.:]*"
)


def yes_no(text: str) -> str | None:
    """ "yes" or "no", from a text that says what the answer is, or begins or ends with it, or has it between commas;
    of what is corrected ("Yes. Wait, no.") the last."""
    said = _CORRECTED.split(_EITHER.sub(" ", _unmarked(text).lower()))
    return next((answer for part in reversed(said) if (answer := _yes_no(part.strip())) is not None), None)


def _yes_no(text: str) -> str | None:
    answers = [match for match in _ANSWERED.finditer(text) if not _denied(match)]
    if opens := answers[-1] if answers else _OPENS.match(text):
        return _YES_NO[opens[1] or opens[2]]
    if _HARDLY.match(text):
        return "no"
    if holds := [m for m in _HOLDS.finditer(text) if not _denied(m)]:
        return _YES_NO[holds[-1][1]]
    said = {match[1] or match[2] for match in _ASIDE.finditer(text) if not _denied(match)}
    return said.pop() if len(said) == 1 else None
