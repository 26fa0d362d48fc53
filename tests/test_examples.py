"""The programs in `examples/` make what the documents say of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from cooper.data.examples import QuestionExample
from cooper.data.sets import open_set

EXAMPLES = Path(__file__).parents[1] / "examples"


def imported(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_own_questions(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    own = imported("own_questions")
    own.write(tmp_path, "train", first=900_000, rows=4)
    rows = list(open_set("questions", tmp_path / "train.jsonl"))
    assert len(rows) == 4 and all(isinstance(row, QuestionExample) and row.question == own.QUESTION for row in rows)
    assert all(row.picture.shape == (128, 128, 3) and len(row.answer.split()) == 2 for row in rows)
    assert len({row.answer for row in rows}) > 1


def test_random_chains() -> None:
    pytest.importorskip("mujoco")
    html = imported("random_chains").page(7)
    assert html.count("<article>") == html.count("<dt>true answer</dt>") == 4
    assert html.count('<p class="number">') == 4 and "<section class=\"asked\">" in html
