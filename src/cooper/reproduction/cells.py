"""Tables of the report in Markdown, and what stands in their cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from cooper.modalities import names
from cooper.reproduction.claims import (
    Answers,
    Figure,
    difference,
    numbered,
    of_shared_seeds,
    score,
    share_calling,
    shown,
)
from cooper.reproduction.logs import Mean
from cooper.reproduction.results import SeedResults
from cooper.scenes.question import TASKS


def fewer(there: Mapping[int, Any], seeds: Sequence[SeedResults]) -> str:
    """ "; seeds 0, 1" of what not all seeds have yet, by seed."""
    return "" if len(there) == len(seeds) else f"; {numbered(there)}"


def minus(a: Answers, b: Answers, tasks: Sequence[str]) -> str:
    a, b = of_shared_seeds(a, b)
    return shown(difference(a, b, tasks)) if a else "-"


def of_seeds(figures: Sequence[Mapping[str, Any]], path: Sequence[str]) -> str:
    """Mean over seeds, which share no scene: what they are off by adds up as of independent means."""
    ones = [measured(of, path) for of in figures]
    middle, n = sum(one.mean for one in ones) / len(ones), len(ones)
    low, high = (math.hypot(*(one.mean - end for one, end in zip(ones, ends, strict=True))) / n
                 for ends in ([one.low for one in ones], [one.high for one in ones]))
    return mean(Mean(middle, middle - low, middle + high))


def measured(figures: Mapping[str, Any], path: Sequence[str]) -> Mean:
    """A figure of maps with its interval; NaN where one scene cannot tell."""
    low, high = at(figures, (*path[:-1], "intervals", path[-1])) or (math.nan, math.nan)
    return Mean(at(figures, path), low, high)


def at(figures: Mapping[str, Any], path: Sequence[str]) -> Any:
    return reduce(lambda found, name: found[name], path, figures)


def mean(of: Mean, sign: str = "") -> str:
    told = f"{of.mean:{sign}.3f}"
    if math.isnan(of.low):
        return told
    between = " to " if sign else "-"
    return f"{told} ({of.low:{sign}.3f}{between}{of.high:{sign}.3f})"


def tasks(columns: Mapping[str, Answers], cell: Callable[[Answers, str], str]) -> list[str]:
    """A table with a row for each task, and columns by their titles."""

    def told(of: Answers, task: str) -> str:
        asked = {seed: rows for seed, rows in of.items() if any(row["task"] == task for row in rows)}
        return cell(asked, task) if asked else "-"  # a few scenes may offer none of a kind

    return table(
        ("task", *columns),
        [(task.replace("_", " "), *(told(of, task) for of in columns.values())) for task in TASKS],
    )


def prose(text: str) -> str:
    """A paragraph as a line: its breaks are the source's."""
    return " ".join(text.split())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def brackets(figure: Figure) -> str:
    return f"{figure.points:.1f} ({figure.low:.1f} to {figure.high:.1f})"


def of_task(answers: Answers, task: str) -> str:
    found = score(answers, (task,))
    return f"{found.points:.1f} ({found.low:.0f}-{found.high:.0f})"


def drawn(answers: Answers, task: str) -> str:
    shares = [share_calling(answers, (task,), call) for call in names()]
    # all or none is told once for all
    intervals = [f" ({s.low:.0f}-{s.high:.0f})" if 0 < s.points < 100 else "" for s in shares]
    return " / ".join(f"{s.points:.0f}%{interval}" for s, interval in zip(shares, intervals, strict=True))


def from_to(counts: Sequence[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{low}" if low == high else f"{low} to {high}"


def listed(of: Sequence[str]) -> str:
    return ", ".join(task.replace("_", " ") for task in of)
