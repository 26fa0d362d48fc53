"""What is known of a question apart from its picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cooper.data.examples import Flag


@dataclass(frozen=True)
class Record:
    """A question, its true answer, and how answers to it are compared (`cooper.evaluation.scores.score_answer`)."""

    question: str
    answer: str
    kind: Literal["metres", "count", "word", "judged"]
    """"judged": by another model, not by rules."""
    value: float | None = None
    """The exact number, for lengths."""
    flag: Flag = "boundary"
    task: str = ""
