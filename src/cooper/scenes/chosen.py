"""Which of the questions that scenes offer are asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cooper.scenes.question import TASKS, Question
from cooper.scenes.questions import ask_all, pick
from cooper.scenes.render import View
from cooper.scenes.world import Scene

#: Keeps the random numbers of questions apart from those that made the scene of the same seed.
_QUESTIONS = 1


@dataclass(frozen=True)
class Asked:
    """A question about the scene with the seed `seed`, which stands at `index`."""

    index: int
    seed: int
    question: Question


def choose_questions(scenes: Sequence[tuple[Scene, View]], at_most: int) -> list[Asked]:
    """`at_most` questions a scene, each of another task: of those that it offers, the tasks asked least often so far.
    Of a task that offers several, any: the first of them is not like the others (what is hidden comes before what is
    not), and answers would not be balanced.

    More scenes leave the questions about the first ones as they are.
    """
    counts: Counter[str] = Counter()
    asked: list[Asked] = []
    for index, (scene, view) in enumerate(scenes):
        rng = np.random.default_rng((_QUESTIONS, scene.seed))
        of_task: dict[str, list[Question]] = {}
        for question in ask_all(scene, view, rng):
            of_task.setdefault(question.task, []).append(question)
        offered = {task: pick(rng, questions) for task, questions in of_task.items()}
        # ties are broken by a turn of the list of tasks, so that no task always comes with the same others
        tasks = sorted(offered, key=lambda task: (counts[task], (TASKS.index(task) - index) % len(TASKS)))[:at_most]
        counts.update(tasks)
        asked += [Asked(index, scene.seed, offered[task]) for task in tasks]
    return asked
