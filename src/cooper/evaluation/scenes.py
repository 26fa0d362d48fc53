"""How well a model answers questions about scenes it has never seen, and how good its maps of them are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cooper.evaluation.answering import told
from cooper.evaluation.controls import Control
from cooper.evaluation.form import well_formed
from cooper.evaluation.maps import evaluate_maps
from cooper.evaluation.predictions import Predictions, Row, fingerprint, key_of
from cooper.evaluation.scores import score_answer, score_interval
from cooper.inference.engine import Engine, Settings
from cooper.inference.rollout import Rollout
from cooper.inference.sampler import Sampling
from cooper.modalities import modality, names
from cooper.policy import Policy, policy
from cooper.policy import told as policy_told
from cooper.progress import OnProgress
from cooper.scenes.chosen import Asked, choose_questions
from cooper.scenes.question import GENERAL, SPATIAL, TASKS
from cooper.scenes.scene_set import SceneSet
from cooper.trace import Picture, Text, Trace

if TYPE_CHECKING:
    from cooper.api import Cooper


def evaluate_scenes(
    cooper: Cooper,
    mode: str | Policy,
    which: SceneSet,
    on_progress: OnProgress = lambda *_: None,
    *,
    questions: int = 3,
    batch: int = 64,
    maps: bool = True,
    predictions: str | Path | None = None,
    control: Control | None = None,
    temperature: float = 0.0,
) -> dict[str, Any]:
    """Answer questions about scenes, and draw them.

    At most `questions` questions a scene, of different tasks, so that all tasks are asked about equally often as far as
    the scenes allow. Answers are greedy, or sampled at a `temperature`; all random numbers, those of maps' noise among
    them, come from the scene's seed. A `control` changes what is answered, not the maps that are measured. With a file
    of `predictions`, every answer is kept in it, and those that it already holds are not asked for again. Scores are in
    0..1; "seconds" is the time of this call.

    Raises ValueError for an unknown mode and shards that lack a scene.
    """
    began = time.perf_counter()
    asked_by = cooper.policy(mode)
    if batch < 1 or questions < 1:
        raise ValueError(f"batch and questions are at least 1; got {batch} and {questions}")
    control = control or Control()
    control.check(asked_by, which.n)
    settings = control.settings(cooper.sequencer, asked_by, Settings(Sampling(temperature), batch=batch))
    changed = f"maps {control.maps}, calls {control.calls}"
    engine = Engine(cooper.model, cooper.sequencer, settings)
    run = {
        "mode": policy_told(mode), "model": cooper.name, "weights": fingerprint(cooper.model), "control": changed,
        "size": str(which.pixels), "temperature": f"{temperature:g}", "settings": told(engine),
    }  # fmt: skip
    with Predictions(None if predictions is None else Path(predictions), run) as answers:
        scenes = which.load(on_progress)
        asked = choose_questions(scenes, questions)
        open_questions = [a for a in asked if (a.seed, a.question.task, a.question.text) not in answers.rows]
        done = len(asked) - len(open_questions)
        for first in range(0, len(open_questions), batch):
            part = open_questions[first : first + batch]
            prompts = [Trace((Picture(scenes[a.index][1].rgb), Text(a.question.text))) for a in part]
            shown = control.shown(cooper.model.config.codes, scenes, [a.index for a in part])
            rollouts = engine.run(prompts, asked_by, seeds=[a.seed for a in part], shown=shown)
            answers.add([row_of(a, rollout) for a, rollout in zip(part, rollouts, strict=True)])
            on_progress("questions", done + first + len(part), len(asked))
        keys = {(a.seed, a.question.task, a.question.text) for a in asked}
        rows = [row for row in answers.rows.values() if key_of(row) in keys]
        result = {"mode": policy_told(mode), "n": which.n, "control": changed, **summarise(rows, mode)}
        if maps:
            result |= evaluate_maps(engine, scenes, on_progress)
    return {**result, "model": cooper.name, "split": which.split, "seconds": time.perf_counter() - began}


def row_of(asked: Asked, rollout: Rollout) -> Row:
    """What a line of a file of predictions holds."""
    question, answer = asked.question, rollout.trace.answer
    return {
        "seed": asked.seed, "task": question.task, "question": question.text, "truth": question.answer,
        "value": question.value, "turns": list(rollout.trace.turns), "answer": answer,
        "score": score_answer(question.kind, answer, question.answer, question.value),
        "calls": [d.modality for d in rollout.trace.drawings], "reason": rollout.reason,
        "seconds": round(rollout.seconds, 3),
    }  # fmt: skip


def summarise(rows: Sequence[Row], mode: str | Policy) -> dict[str, Any]:
    """Scores by task with 95 % intervals, the share of answers for which each map was drawn, and the means.

    "spatial", "general" and "mean" are means over tasks, each counting the same; None where there is no task.
    "well_formed" is the share of all turns that have their form.
    """
    ours = policy(mode)
    tasks: dict[str, Any] = {}
    for task in TASKS:
        of_task = [row for row in rows if row["task"] == task]
        if not of_task:
            continue
        scores = [row["score"] for row in of_task]
        calls = {name: float(np.mean([name in row["calls"] for row in of_task])) for name in names()}
        tasks[task] = {
            "score": float(np.mean(scores)), "n": len(of_task), "interval": score_interval(scores),
            "calls": calls,
        }  # fmt: skip
    tags = [modality(name).tag for name in ours.calls]
    formed = [ok for row in rows for ok in well_formed(row["turns"], tags, ours.thinks)]
    groups = {"spatial": SPATIAL, "general": GENERAL, "mean": TASKS}
    means = {name: _mean([tasks[t]["score"] for t in group if t in tasks]) for name, group in groups.items()}
    return {"tasks": tasks, **means, "well_formed": _mean(formed)}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
