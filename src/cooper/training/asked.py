"""Questions of a user's own, as reinforcement needs them: with a rule by which answers are right or wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cooper.data.examples import Example, Flag, QuestionExample
from cooper.data.mixture import Unbroken
from cooper.quantities import parse_number
from cooper.training.reinforcement import PicturedQuestion
from cooper.training.rewards import Record

#: a number by itself, in digits or in a word, with a unit or the name of what is counted
_QUANTITY = re.compile(r"[-+]?(?:\d+(?:[.,]\d+)*(?:/\d+)?|[a-z]+)(?:\s*(?:[a-z]+|['\"]))?\.?", re.IGNORECASE)


@dataclass(frozen=True)
class AskedRows:
    """Draw k of a mixture of questions."""

    examples: Unbroken[Example]
    judged: bool = False
    """Whether another model judges answers in words; otherwise they have to be the true ones."""

    def example(self, k: int) -> PicturedQuestion:
        """Draw k. Raises ValueError if it is a map or a trace."""
        found = self.examples.example(k)
        if not isinstance(found, QuestionExample):
            raise ValueError(f"{found.name} is no question with an answer, from which alone reinforcement learns")
        return PicturedQuestion(found.picture, record_of(found.question, found.answer, found.flag, self.judged))


def record_of(question: str, answer: str, flag: Flag | None = None, judged: bool = False) -> Record:
    """A question and its true answer, which tells how answers are compared: a letter, yes or no, a count, a number with
    or without a unit, or words. Without a flag, nothing is said about maps."""
    kind, truth = _kind_of(answer)
    if kind == "word" and judged:
        kind = "judged"
    return Record(question, truth, kind, None, flag or "boundary", task=kind)


def _kind_of(answer: str) -> tuple[Literal["choice", "yes_no", "count", "number", "word", "judged"], str]:
    bare = answer.strip().rstrip(".")
    if bare.lower() in ("yes", "no"):
        return "yes_no", bare.lower()
    if re.fullmatch(r"\(?[A-H]\)?", bare):
        return "choice", bare.strip("()")
    found = parse_number(bare) if _QUANTITY.fullmatch(bare) else None
    if found is None:
        return "word", answer
    value, unit = found
    return ("count" if unit is None and value == int(value) else "number"), bare
