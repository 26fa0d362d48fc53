"""Classes for evaluation harnesses, which are not installed for tests; where they are, they are used."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers import random_model, tokenizer

from cooper import Cooper
from cooper.checkpoints.native import save_native
from cooper.integrations.answering import Answerer, known_options

QUESTIONS = ("How many?", "How far is the red ball?", "Is there a cone?")


@pytest.fixture
def model(tmp_path: Path) -> str:
    save_native(random_model(), tokenizer(), tmp_path / "model", torch.float32)
    return str(tmp_path / "model")


def picture(k: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(k).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def own_answers(model: str) -> list[str]:
    """What is asked without a harness."""
    cooper = Cooper.load(model)
    made = [cooper.ask(picture(k), q, mode="text") for k, q in enumerate(QUESTIONS)]
    return [a.answer or a.trace.turns[-1] for a in made]


def test_what_harnesses_ask_is_answered_as_usual(model: str) -> None:
    given = {"model": model, "mode": "text", "seed": "0", "device": "cpu", "batch_size": 1}
    answerer = Answerer(**known_options(given))
    assert answerer.answers([([picture(k)], q) for k, q in enumerate(QUESTIONS)]) == own_answers(model)
    long = " ".join(["Look.", *["It may be longer than a person would ask."] * 60, QUESTIONS[0]])
    assert len(answerer.answers([([picture(0)], long), ([picture(1)], QUESTIONS[1])])) == 2 and len(long) > 2000
    with pytest.raises(ValueError, match="'How many[?]' has 2 pictures; only questions about one"):
        answerer.answers([([picture(0), picture(1)], "How many?")])


def test_lmms_eval(model: str) -> None:
    pytest.importorskip("lmms_eval")
    (entry,) = entry_points(group="lmms_eval.models", name="cooper")
    manifest = entry.load()
    from cooper.integrations.lmms_eval import CooperModel

    assert manifest.simple_class_path == f"{CooperModel.__module__}.{CooperModel.__qualname__}"
    made = CooperModel.create_from_arg_string(f"model={model},mode=text", {"batch_size": 2, "device": None})
    made.task_dict = {"task": {"test": {k: {"k": k} for k in range(len(QUESTIONS))}}}
    requests = [
        SimpleNamespace(args=(q, {}, lambda doc: [picture(doc["k"])], k, "task", "test"))
        for k, q in enumerate(QUESTIONS)
    ]  # fmt: skip
    assert made.generate_until(requests) == own_answers(model)


def test_vlmevalkit(model: str, tmp_path: Path) -> None:
    pytest.importorskip("vlmeval.vlm.base")
    from cooper.integrations.vlmevalkit import CooperModel

    made = CooperModel(model=model, mode="text")
    picture(0).save(tmp_path / "a.png")
    message = [{"type": "image", "value": str(tmp_path / "a.png")}, {"type": "text", "value": QUESTIONS[0]}]
    assert made.generate(message) == own_answers(model)[0]
