"""Asking a model the questions of a benchmark, in batches, and keeping every answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cooper.data.tables import BadRow
from cooper.evaluation.extraction import answer_in, final_text
from cooper.evaluation.items import Item
from cooper.evaluation.predictions import Predictions, Row, fingerprint
from cooper.evaluation.questions import Questions
from cooper.inference.engine import Engine
from cooper.inference.rollout import Event, Finished, Rollout
from cooper.policy import Policy
from cooper.policy import told as policy_told
from cooper.progress import OnProgress
from cooper.trace import Picture, Text, Trace


def run_of(
    engine: Engine, questions: Questions, mode: str | Policy, model: str, precision: str, seed: int
) -> dict[str, str]:
    """What answers come from: a file of predictions holds those of one run. `model` and `precision` are told."""
    settings = f"seed {seed}, {precision}, {told(engine)}"
    return {
        "benchmark": questions.benchmark.name, "data": questions.path.name, "questions": str(questions.total),
        "mode": policy_told(mode), "model": model, "weights": fingerprint(engine.model), "settings": settings,
    }  # fmt: skip


def told(engine: Engine) -> str:
    """What answers depend on beside weights, questions and mode, for people and to tell runs apart."""
    return (
        f"at most {engine.turn_tokens} tokens a turn and {engine.trace_tokens} in all, "
        f"maps of {engine.flow.told}, "
        f"looked at through {engine.model.config.maps_through}, asked in words {engine.sequencer.prompts.fingerprint}"
    )


def answer_all(
    engine: Engine, questions: Questions, mode: str | Policy, answers: Predictions, seed: int = 0,
    on_progress: OnProgress = lambda *_: None,
) -> list[Row]:  # fmt: skip
    """The rows that answer the questions, in their order; only those that `answers` does not hold yet are asked.

    An answer is kept as soon as it is there. The noise of a question's maps comes from `seed` and its number among all
    of the benchmark's. Questions whose picture cannot be read have no row, and are counted in `questions.broken`.
    Raises ValueError if `answers` holds answers to other questions of the same numbers.
    """
    for item in questions.items:
        row, now = answers.rows.get(item.index), _of_item(item)
        if row and any(row.get(name) != what for name, what in now.items()):
            raise ValueError(f"{answers.path} answers another question {item.index} than this; choose another file")
    policy, batch = engine.sequencer.prompts.policy(mode), engine.settings.batch
    missing = [item for item in questions.items if item.index not in answers.rows]
    done = len(questions.items) - len(missing)
    for first in range(0, len(missing), batch):
        part = missing[first : first + batch]
        prompts: list[Trace] = []
        asked: list[Item] = []
        for item in part:
            try:
                prompts.append(Trace((Picture(questions.picture(item)), Text(item.prompt))))
            except BadRow as error:
                questions.skip(error)
            else:
                asked.append(item)

        def keep(event: Event, asked: Sequence[Item] = asked) -> None:
            if isinstance(event, Finished):
                answers.add([_row(asked[event.number], event.rollout)])

        engine.run(prompts, policy, seeds=[seed + questions.numbers[item.index] for item in asked], on_event=keep)
        done += len(part)
        on_progress("questions", done, len(questions.items))
    return [answers.rows[item.index] for item in questions.items if item.index in answers.rows]


def _of_item(item: Item) -> dict[str, Any]:
    """What a line of a file of predictions holds of its question: all that scoring it takes."""
    return {
        "index": item.index, "category": list(item.category), "prompt": item.prompt, "truth": item.truth,
        "options": list(item.options), "kind": item.kind, "group": item.group, "size": item.size,
    }  # fmt: skip


def _row(item: Item, rollout: Rollout) -> dict[str, Any]:
    """What a line of a file of predictions holds beside its run."""
    turns = list(rollout.trace.turns)
    return {
        **_of_item(item), "turns": turns,
        "answer": answer_in(item.kind, final_text(turns), item.options, item.truth),
        "calls": [drawing.modality for drawing in rollout.trace.drawings], "reason": rollout.reason,
        "seed": rollout.seed, "seconds": round(rollout.seconds, 3),
    }  # fmt: skip
