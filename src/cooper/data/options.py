"""Options of multiple-choice questions: where rows have them, and letters that stand for them."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from cooper.data.fields import given
from cooper.data.tables import Row

LETTERS = "ABCDEFGH"


def lettered(options: Sequence[str]) -> list[str]:
    """A line for each: "A. red ball"."""
    return [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]


def options_of(row: Row, *names: str) -> tuple[str, ...]:
    """The options in the first of these fields that has any, or in the fields A, B, C ... up to an empty one.

    Raises ValueError for a field that holds no list of them, and if there are more than `LETTERS`, beyond which nothing
    could be answered.
    """
    listed = next((_list_in(row[name], name) for name in names if given(row.get(name))), None)
    if listed is None:
        fields = itertools.takewhile(lambda letter: given(row.get(letter)), ascii_uppercase)
        listed = [row[letter] for letter in fields]
    if len(listed) > len(LETTERS):
        raise ValueError(f"it has {len(listed)} options; up to {len(LETTERS)} can be told apart")
    return tuple(str(option).strip() for option in listed)


def _list_in(value: Any, name: str) -> Sequence[Any]:
    """Options as a list, as a list in text, which is how CSV files hold one, or as text that marks them by letters."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value.strip())  # also most of what JSON is
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            value = options_in(value)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"its {name} are no list; write them as [\"chair\", \"table\"]")
    return value


def letter_of(answer: str) -> str:
    """ "B" of an answer's field: "B", "b", "(B)" or "B. box". Raises ValueError for anything else."""
    found = re.fullmatch(r"\(?([A-Ha-h])(?:\)|[.:)].*)?", answer, re.DOTALL)
    if not found:
        raise ValueError(f"its answer {answer!r} is no letter of an option")
    return found[1].upper()


def letter_among(options: Sequence[str], answer: str) -> str:
    """The letter of the option that an answer's field names, by its letter or by itself. Raises ValueError for anything
    else, also for letters of none of the options, if there are any."""
    letter = LETTERS[options.index(answer)] if answer in options else letter_of(answer)
    if letter not in LETTERS[: len(options) or None]:
        raise ValueError(f"its answer {answer!r} is none of its {len(options)} options")
    return letter


_MARK = re.compile(r"(?:^|(?<=\s))\(?([A-H])[.):]\)?\s*(?=\S)")


def options_in(question: str) -> tuple[str, ...]:
    """The options that a question's text ends with, "A. chair B. table", each up to the end of its line; () if none."""
    marks = list(_MARK.finditer(question))
    last = max((k for k, mark in enumerate(marks) if mark[1] == "A"), default=len(marks))
    run = [mark for letter, mark in zip(LETTERS, marks[last:], strict=False) if mark[1] == letter]
    if len(run) < 2 or len(run) != len(marks) - last:
        return ()
    ends = [*(mark.start() for mark in run[1:]), len(question)]
    texts = [question[mark.end() : end].strip().partition("\n")[0] for mark, end in zip(run, ends, strict=True)]
    return tuple(text.strip(" ,;") for text in texts)
