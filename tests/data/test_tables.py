"""Tables as people publish them, whole and broken."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cooper.data.pictures import picture_of
from cooper.data.tables import BadRow, open_table
from cooper.images import ImageError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ROWS = [{"n": "one", "text": 'with "quotes"\tand\na second line'}, {"n": "two", "text": ""}, {"n": "drei", "text": "ü"}]


def write(path: Path, rows: list[dict] = ROWS) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n\n".join(json.dumps(row) for row in rows))  # a line between, and none at the end
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:  # as spreadsheets save it
            writer = csv.DictWriter(file, rows[0].keys(), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "json", "tsv", "csv", "parquet"])
def test_every_kind_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    table = open_table(write(tmp_path / f"rows.{kind}"))
    assert len(table) == 3 and list(table) == ROWS and table[2] == table[-1] == ROWS[2] and table[1:] == ROWS[1:]
    assert table.folder == tmp_path and table.where(1) == f"{tmp_path}/rows.{kind}, row 2"
    with pytest.raises(IndexError):
        table[3]


def test_a_folder_is_one_table(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl")
    write(tmp_path / "a.parquet", ROWS[:2])
    (tmp_path / "notes.txt").write_text("no table")
    table = open_table(tmp_path)
    assert list(table) == ROWS[:2] + ROWS and table.where(2) == f"{tmp_path}/b.jsonl, row 1"
    (tmp_path / "a.parquet").unlink()
    assert len(open_table(tmp_path)) == 3


def test_a_broken_row_is_told_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": \n[1, 2]\n{"a": 4}\n')
    table = open_table(path)
    assert [table[0], table[3]] == [{"a": 1}, {"a": 4}]
    with pytest.raises(BadRow, match=r"rows.jsonl, row 2: this is not JSON"):
        table[1]
    with pytest.raises(BadRow, match="row 3: this is not an object with named fields"):
        table[2]
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(BadRow, match="row 2: it has 1 fields, the first line names 2"):
        open_table(path)[1]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("rows.json", b'{"a": 1}', "not a list of rows"), ("rows.json", b"[", "not JSON"),
        ("rows.csv", b"", "is empty"), ("rows.tsv", b"a\tb\n\xff\xfe\n", "not a table"),
        ("rows.parquet", b"PAR1 and no more", "not a Parquet file"), ("rows.xlsx", b"", "no table that can be read"),
    ],
)  # fmt: skip
def test_what_is_no_table(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=why):
        len(open_table(tmp_path / name))
    with pytest.raises(ValueError, match="does not exist"):
        open_table(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match="holds no table"):
        open_table((tmp_path / "empty").mkdir() or tmp_path / "empty")


def test_pictures_in_every_way(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    raw = buffer.getvalue()
    (tmp_path / "a.png").write_bytes(raw)
    coded = base64.b64encode(raw).decode()
    ways = ["a.png", str(tmp_path / "a.png"), coded, f"data:image/png;base64,{coded}", raw, {"bytes": raw, "path": "x"},
            {"bytes": None, "path": "a.png"}, ["a.png"]]  # fmt: skip
    for way in ways:
        assert np.array_equal(picture_of(way, tmp_path), image), way
    for wrong, why in (
        (["a.png", "a.png"], "2 pictures"), (None, "NoneType"), ("", "give a path"), ("b.png", "does not exist"),
        (f"data:image/png;base64,{coded[:-7]}?", "broken base64"), (coded[: len(coded) // 8 * 4], "damaged"),
        (b"text", "not a picture"),
    ):  # fmt: skip
        with pytest.raises(ImageError, match=why):
            picture_of(wrong, tmp_path)
