"""What maps mean to a model that has learned a user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cooper.data.codes import codes_after
from cooper.data.map_rows import MapRows
from cooper.modalities import Depth, MapCodes

DEPTH, CLASSES = {"image": "a.png", "depth": "d.png"}, {"image": "a.png", "segmentation": "s.png"}
BOTH = {"image": "a.png", "depth": "d.png", "segmentation": "s.png"}


@pytest.mark.parametrize(
    ("rows", "depth", "colours"),
    [
        ([DEPTH], True, False), ([CLASSES], False, True), ([CLASSES, DEPTH], True, True),
        ([DEPTH, CLASSES], True, True), ([DEPTH] * 300 + [CLASSES], True, True), ([BOTH, CLASSES], True, True),
        ([{"image": "a.png"}, DEPTH], True, False),
    ],
)  # fmt: skip
def test_a_table_may_hold_both_maps(tmp_path: Path, rows: list[dict], depth: bool, colours: bool) -> None:
    path = tmp_path / "maps.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no JSON\n")
    before = MapCodes()
    after = codes_after([MapRows(path, Depth(near=0.001, far=10.0, code="linear"))], before)
    assert (after.depth, after.linear) == (((0.001, 10.0), True) if depth else (before.depth, before.linear))
    assert after.named != colours
