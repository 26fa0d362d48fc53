"""A vote on answers: those that say the same count together, however they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cooper.quantities import parse_number, plain_text, to_metres, whole_count


@dataclass(frozen=True)
class Vote:
    """What came of a vote."""

    answer: str
    """In the words in which it was given first; empty if nothing was answered."""
    chosen: int
    """The number of one of the answers that say this."""
    votes: dict[str, int]
    """Each answer, in the words in which it was given first, and how often it was given."""


def vote(answers: Sequence[str | None]) -> Vote:
    """The most frequent answer; of numbers that are equally frequent, the middle one. None and "" are no answers."""
    said = [plain_text(answer or "") for answer in answers]
    meant = [_meant(text) for text in said]
    counts = Counter(key for key, text in zip(meant, said, strict=True) if text)
    most = max(counts.values(), default=0)
    tied = [i for i, key in enumerate(meant) if counts[key] == most]
    tied.sort(key=lambda i: (_metres(said[i]), i))
    chosen = tied[(len(tied) - 1) // 2]
    votes = {said[meant.index(key)]: number for key, number in counts.items()}
    return Vote(said[meant.index(meant[chosen])], chosen, votes)


def _meant(answer: str) -> tuple[str | float, bool, str]:
    """What answers that say the same have in common: "2 m" and "2.0 meters", "4 chairs" and "four chairs", "Yes" and
    "yes."."""
    found = whole_count(answer)
    if found is None:
        return answer.casefold().rstrip("."), False, ""
    value, unit, counted = found
    return round(to_metres(value, unit), 9), unit is not None, counted


def _metres(answer: str) -> float:
    parsed = parse_number(answer)
    return 0.0 if parsed is None else to_metres(*parsed)
