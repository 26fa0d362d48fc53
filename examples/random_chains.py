"""Chains of the shipped model about rooms drawn by lot, with the true answers beside them: what it can do, and cannot.

    python examples/random_chains.py 2026 chains.html      # needs the extra scenes

The number decides which rooms of the validation part, and which of their questions, are asked about; another number
gives others.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cooper import Cooper
from cooper.page import traces_page
from cooper.scenes.questions import ask_all
from cooper.scenes.render import Renderer
from cooper.scenes.world import SPLITS, sample_scene
from cooper.trace import Picture, Text, Trace

CHAINS = 4


def page(seed: int) -> str:
    """The chains as HTML."""
    rng = np.random.default_rng(seed)
    prompts, true = [], []
    with Renderer(128) as renderer:
        for number in rng.choice(len(SPLITS["validation"]), CHAINS, replace=False):
            scene = sample_scene(SPLITS["validation"][int(number)])
            view = renderer.render(scene)
            asked = ask_all(scene, view, rng)
            question = asked[int(rng.integers(len(asked)))]
            prompts.append(Trace((Picture(view.rgb), Text(question.text))))
            true.append(question.answer)
    answers = Cooper.load("tiny").answer_many(prompts, mode="interleaved")
    told = [
        Trace(answer.trace.segments, {**answer.trace.meta, "true answer": truth})
        for answer, truth in zip(answers, true, strict=True)
    ]
    return traces_page(((t, a.codes.view) for t, a in zip(told, answers, strict=True)), f"drawn by lot, {seed}")


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(page(int(sys.argv[1])), encoding="utf-8")
