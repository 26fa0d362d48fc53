"""The programs in `examples/` make what the documents say of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from cooper.data.examples import QuestionExample
from cooper.data.sets import open_set

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_own_questions(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    spec = importlib.util.spec_from_file_location("own_questions", EXAMPLES / "own_questions.py")
    assert spec is not None and spec.loader is not None
    own = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own)
    own.write(tmp_path, "train", first=900_000, rows=4)
    rows = list(open_set("questions", tmp_path / "train.jsonl"))
    assert len(rows) == 4 and all(isinstance(row, QuestionExample) and row.question == own.QUESTION for row in rows)
    assert all(row.picture.shape == (128, 128, 3) and len(row.answer.split()) == 2 for row in rows)
    assert len({row.answer for row in rows}) > 1
