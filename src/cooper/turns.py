"""What a turn says: its thoughts, its calls and its answer. Pure functions of the text of one turn.

Models make mistakes, and everybody who reads a turn reads the same into it. A thought that is never closed ends where
an answer begins, or before a call that ends the turn. What stands inside of a thought is neither called nor answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cooper.quantities import quantity, unit_after

_TAGS = r"<(?P<tag>[a-z][a-z0-9-]*)>(?P<instruction>[^<]*)</(?P=tag)>"
_CALL = re.compile(_TAGS)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_THOUGHT = re.compile(rf"<think>(?:(?P<closed>.*?)</think>|(?P<open>.*?)(?=<answer>|{_TAGS}\s*\Z|\Z))", re.DOTALL)
_NOT_CALLS = ("think", "answer")


@dataclass(frozen=True)
class Part:
    """A part of a turn: what is inside of its tags, and where it begins and ends with them."""

    inside: str
    start: int
    end: int


@dataclass(frozen=True)
class Call:
    """A well-formed tool call inside a turn: tag name, instruction, and where in the text the tag begins."""

    tag: str
    instruction: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(f"<{self.tag}>{self.instruction}</{self.tag}>")


def thoughts_of(text: str) -> tuple[Part, ...]:
    """Every thought of a turn, in order."""
    return tuple(Part(m["closed"] or m["open"] or "", *m.span()) for m in _THOUGHT.finditer(text))


def without(text: str, parts: Iterable[Part | Call]) -> str:
    """What is left of a text when these parts of it, in their order, are taken out."""
    left, at = [], 0
    for part in parts:
        left.append(text[at : part.start])
        at = part.end
    return "".join([*left, text[at:]])


def _said(text: str, instead: str) -> str:
    """The turn with every character of its thoughts replaced by `instead`, so that offsets stay the same."""
    return _THOUGHT.sub(lambda m: instead * len(m[0]), text)


def calls_of(text: str) -> tuple[Call, ...]:
    """Every well-formed `<tag>instruction</tag>` of a turn outside its thoughts, in order; unknown tags included. As
    with any other tag, an instruction does not reach over a thought."""
    found = _CALL.finditer(_said(text, "<"))
    return tuple(Call(m["tag"], m["instruction"], m.start()) for m in found if m["tag"] not in _NOT_CALLS)


def answers_of(text: str) -> tuple[Part, ...]:
    """Every `<answer>` of a turn outside its thoughts, in order."""
    return tuple(Part(m[1], *m.span()) for m in _ANSWER.finditer(_said(text, " ")))


def answer_of(text: str) -> str | None:
    """What a turn answers: the inside of its last `\\boxed{}`, else of its last `<answer>`, else None. An
    unclosed `<answer>` is no answer: its end, such as a unit, may be missing."""
    found = answers_of(text)
    if not found:
        return None
    boxed = boxed_in(found[-1].inside)
    return (found[-1].inside if boxed is None else boxed).strip()


_BOX = re.compile(r"\\boxed\s*\{")


def boxed_in(text: str) -> str | None:
    """The inside of the last `\\boxed{}`, which may hold braces, or all that follows if it is never closed. To a number
    in it belongs the unit that is written right after it."""
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    start, depth = boxes[-1].end(), 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if not depth:
            inside = text[start:end]
            found = quantity(inside)
            unit = unit_after(text[end + 1 :]) if found is not None and found[1] is None else None
            return f"{inside}{' ' * unit[0].isalpha()}{unit}" if unit else inside
    return text[start:]
