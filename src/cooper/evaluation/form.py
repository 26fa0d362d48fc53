"""Whether turns have the form that they are taught (docs/method.md, section 4). Pure functions of text: a reward as
well as a figure of the evaluation. Strict, where `cooper.turns` reads what it can."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

# Nothing that looks like a tag may stand inside a tag, and a tag may not be blank.
_INSIDE = r"\s*(?!\s|</?[a-z])(?:(?!</?[a-z]).)+"
_THOUGHT = re.compile(rf"\s*<think>{_INSIDE}</think>\s*", re.DOTALL)
_CALL = re.compile(rf"\s*<(?P<tag>[a-z][a-z0-9-]*)>{_INSIDE}</(?P=tag)>\s*", re.DOTALL)
_ANSWER = re.compile(rf"\s*<answer>{_INSIDE}</answer>\s*", re.DOTALL)
_NO_CALLS = ("think", "answer")


def calls_well(text: str, tags: Collection[str]) -> bool:
    """Whether a turn is exactly a thought and one call with one of `tags`. White space between them does not matter."""
    thought = _THOUGHT.match(text)
    call = _CALL.fullmatch(text, thought.end()) if thought else None
    return call is not None and call["tag"] in tags and call["tag"] not in _NO_CALLS


def answers_well(text: str, thinks: bool | None = True) -> bool:
    """Whether a turn is exactly a thought and an answer; an answer alone if `thinks` is False, either if it is None."""
    thought = _THOUGHT.match(text)
    if thinks is not None and thinks != bool(thought):
        return False
    return _ANSWER.fullmatch(text, thought.end() if thought else 0) is not None


def well_formed(turns: Sequence[str], tags: Collection[str], thinks: bool | None = True) -> tuple[bool, ...]:
    """For each turn of a trace whether it has its form: all but the last call a map, the last answers.

    `tags` are the tags that may be called (`Modality.tag`); `thinks` is as in `answers_well`. A trace that ends with a
    call, or whose last turn was cut off before its answer ended, has a last turn without form.
    """
    return (*(calls_well(text, tags) for text in turns[:-1]), *(answers_well(text, thinks) for text in turns[-1:]))
