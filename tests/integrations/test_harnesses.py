"""Classes for evaluation harnesses, which are not installed for tests; where they are, they are used.

Of what they need of each there is a stand-in, too.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers import random_model, tokenizer

from cooper import Cooper
from cooper.checkpoints.native import save_native
from cooper.integrations.answering import Answerer, known_options
from cooper.policy import Mode

QUESTIONS = ("How many?", "How far is the red ball?", "Is there a cone?")


@pytest.fixture
def model(tmp_path: Path) -> str:
    save_native(random_model(turn_tokens=24), tokenizer(), tmp_path / "model", torch.float32)
    return str(tmp_path / "model")


def picture(k: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(k).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def own_answers(model: str, mode: Mode = "text") -> list[str]:
    """What is asked without a harness."""
    cooper = Cooper.load(model)
    made = [cooper.ask(picture(k), q, mode=mode) for k, q in enumerate(QUESTIONS)]
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
    check_lmms_eval(CooperModel, model)


class Lmms(ABC):
    """What `lmms_eval.api.model.lmms` promises those who derive from it, as far as a model that writes meets it."""

    def __init__(self) -> None:
        self._rank, self._world_size = 0, 1
        self.task_dict: dict[str, Any] = {}

    @abstractmethod
    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]: ...

    @abstractmethod
    def generate_until(self, requests: list[Any]) -> list[str]: ...

    @abstractmethod
    def generate_until_multi_round(self, requests: list[Any]) -> list[str]: ...

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional: dict[str, Any]) -> Any:
        given = dict(part.split("=") for part in arg_string.split(","))
        return cls(**given, **{name: value for name, value in additional.items() if value is not None})


def test_lmms_eval_by_its_interface(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    for name in ("", ".api", ".api.model", ".models", ".models.registry_v2"):
        monkeypatch.setitem(sys.modules, f"lmms_eval{name}", ModuleType(f"lmms_eval{name}"))
    sys.modules["lmms_eval.api.model"].lmms = Lmms  # type: ignore[attr-defined]
    registry = sys.modules["lmms_eval.models.registry_v2"]
    registry.ModelManifest = lambda name, simple_class_path: SimpleNamespace(  # type: ignore[attr-defined]
        model_id=name, simple_class_path=simple_class_path
    )
    monkeypatch.delitem(sys.modules, "cooper.integrations.lmms_eval", raising=False)
    (entry,) = entry_points(group="lmms_eval.models", name="cooper")
    manifest = entry.load()
    module, _, name = manifest.simple_class_path.rpartition(".")
    made = getattr(importlib.import_module(module), name)
    try:
        check_lmms_eval(made, model)
        with pytest.raises(NotImplementedError, match="several rounds"):
            made(model=model).generate_until_multi_round([])
        with pytest.raises(NotImplementedError, match="not chosen by their likelihood"):
            made(model=model).loglikelihood([])
    finally:
        sys.modules.pop("cooper.integrations.lmms_eval", None)


def check_lmms_eval(kind: Any, model: str) -> None:
    """A model of this class is made and asked as lmms-eval does it."""
    made = kind.create_from_arg_string(f"model={model},mode=text", {"batch_size": 2, "device": None})
    made.task_dict = {"task": {"test": {k: {"k": k} for k in range(len(QUESTIONS))}}}
    requests = [
        SimpleNamespace(args=(q, {}, lambda doc: [picture(doc["k"])], k, "task", "test"))
        for k, q in enumerate(QUESTIONS)
    ]  # fmt: skip
    assert made.generate_until(requests) == own_answers(model)


def asked(folder: Path) -> list[dict[str, str]]:
    """A message as VLMEvalKit makes them."""
    picture(0).save(folder / "a.png")
    return [{"type": "image", "value": str(folder / "a.png")}, {"type": "text", "value": QUESTIONS[0]}]


def test_vlmevalkit(model: str, tmp_path: Path) -> None:
    pytest.importorskip("vlmeval.vlm.base")
    from cooper.integrations.vlmevalkit import CooperModel

    assert CooperModel(model=model, mode="text").generate(asked(tmp_path)) == own_answers(model)[0]


class BaseModel(ABC):
    """What `vlmeval.vlm.base.BaseModel` promises those who derive from it, as far as a model of pictures meets it."""

    INTERLEAVE = False
    allowed_types = ["text", "image", "video"]

    def __init__(self) -> None:
        self.dump_image_func = None

    def use_custom_prompt(self, dataset: str | None) -> bool:
        return False

    def set_dump_image(self, dump_image_func: Any) -> None:
        self.dump_image_func = dump_image_func

    @abstractmethod
    def generate_inner(self, message: list[dict[str, str]], dataset: str | None = None) -> str: ...

    def generate(self, message: Any, dataset: str | None = None) -> str:
        """A text, a list of texts and paths, or parts with "type" and "value": the last is what the model is given."""
        parts = []
        for part in [message] if isinstance(message, (str, dict)) else message:
            kind = "image" if isinstance(part, str) and Path(part).suffix in (".png", ".jpg") else "text"
            parts.append(part if isinstance(part, dict) else {"type": kind, "value": part})
        assert all(part["type"] in self.allowed_types for part in parts)
        return self.generate_inner(parts, dataset)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The class for VLMEvalKit, on a stand-in for that package's base class."""
    for name in ("vlmeval", "vlmeval.vlm", "vlmeval.vlm.base"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["vlmeval.vlm.base"].BaseModel = BaseModel  # type: ignore[attr-defined]
    name = "cooper.integrations.vlmevalkit"
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module(name).CooperModel
    sys.modules.pop(name, None)


def test_vlmevalkit_by_its_interface(stand_in: Any, tmp_path: Path) -> None:
    made = stand_in(model="tiny", mode="direct")
    assert isinstance(made, BaseModel) and made.dump_image_func is None, "the base class was made, too"
    assert not made.use_custom_prompt("MMBench") and not made.INTERLEAVE
    message, (expected, *_) = asked(tmp_path), own_answers("tiny", "direct")
    assert expected and made.generate(message) == made.generate(message=message, dataset="MMBench") == expected
    assert made.generate([part["value"] for part in message]) == expected
    lines = [*message, {"type": "text", "value": QUESTIONS[1]}]
    both = Cooper.load("tiny").ask(picture(0), f"{QUESTIONS[0]}\n{QUESTIONS[1]}", mode="direct")
    assert made.generate(lines) == both.text, "texts are lines of one question"
    with pytest.raises(ValueError, match="'How many[?]' has 2 pictures; only questions about one"):
        made.generate([message[0], *message])
