"""Answers of `cooper eval scenes`, as answers to a benchmark: to be compared with those of another model."""

from __future__ import annotations

from typing import Any

from cooper.evaluation.benchmarks import Reading
from cooper.evaluation.predictions import Row
from cooper.scenes.question import GENERAL, SPATIAL

NAME = "scenes"
#: Each task counts the same, as in `evaluation.scenes`; scores are in the rows.
READINGS = (
    Reading("mean of tasks", levels=1),
    Reading("spatial tasks", levels=1, counts=lambda row: row["category"][0] in SPATIAL),
    Reading("general tasks", levels=1, counts=lambda row: row["category"][0] in GENERAL),
    Reading("per question"),
)


def is_of_scenes(row: Any) -> bool:
    return isinstance(row, dict) and {"seed", "task", "score"} <= row.keys()


def benchmark_row(row: Row) -> Row:
    """A row in the form of a benchmark's, with its score. Raises KeyError or ValueError if it is none that
    `evaluate_scenes` wrote. How many questions there are, it cannot tell."""
    score = row["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"{score!r} is no score")
    how = f"control: {row['control']}, temperature {row['temperature']}, pictures of {row['size']}, {row['settings']}"
    return {
        "index": f"{row['seed']} {row['task']} {row['question']}", "category": [row["task"]], "prompt": row["question"],
        "truth": row["truth"], "options": [], "kind": "open", "group": str(row["seed"]), "size": 1,
        "turns": row["turns"], "answer": row["answer"], "score": float(score), "benchmark": NAME, "data": NAME,
        "questions": "0", "mode": row["mode"], "model": row["model"], "weights": row["weights"], "settings": how,
    }  # fmt: skip
