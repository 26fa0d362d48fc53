"""Small tables of questions with pictures, written as benchmarks publish them, and predictions."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cooper.evaluation.predictions import Row


def png(seed: int, side: int = 32) -> bytes:
    """A picture of noise, as a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def coded(seed: int) -> str:
    return base64.b64encode(png(seed)).decode()


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """TSV, CSV, JSON Lines or Parquet, by the name's end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        names = list(dict.fromkeys(name for row in rows for name in row))
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def answered(benchmark: str, said: str, **fields: Any) -> Row:
    """A row of predictions, in which a model said that in its last turn."""
    row = {
        "index": "1", "category": ["c"], "prompt": "Which?", "truth": "A", "options": ["ball", "box"], "kind": "choice",
        "group": "1", "size": 1, "turns": [said], "answer": None, "calls": [], "reason": "answered", "seed": 0,
        "seconds": 0.1, "benchmark": benchmark, "data": "data.tsv", "questions": "9", "mode": "direct", "model": "m",
        "weights": "w", "settings": "s",
    }  # fmt: skip
    assert fields.keys() <= row.keys()
    return {**row, **fields}


def write_predictions(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
