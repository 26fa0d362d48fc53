"""What is known of a question apart from its picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cooper.data.examples import Flag


@dataclass(frozen=True)
class Record:
    """A question, its true answer, and how answers to it are compared."""

    question: str
    answer: str
    kind: Literal["metres", "count", "word", "choice", "yes_no", "number", "judged"]
    """As in the synthetic world: "metres", "count", "word". As in benchmarks (`cooper.evaluation.grading`): "choice",
    "yes_no", "number". "judged": by another model, not by rules."""
    value: float | None = None
    """The exact number, for lengths."""
    flag: Flag = "boundary"
    task: str = ""
    row: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """All fields of the row that it comes from, but for the picture, for rewards of one's own."""
