"""Tables as people publish them, whole and broken."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cooper.data.mixture import Mixture
from cooper.data.pictures import picture_of
from cooper.data.question_rows import QuestionRows
from cooper.data.tables import BadRow, open_table
from cooper.images import ImageError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ROWS = [{"n": "one", "text": 'with "quotes"\tand\na second line'}, {"n": "two", "text": ""}, {"n": "drei", "text": "ü"}]


def write(path: Path, rows: list[dict] = ROWS) -> Path:
    if path.suffix in (".jsonl", ".JSONL", ".ndjson"):
        path.write_text("\n\n".join(json.dumps(row) for row in rows))  # a line between, and none at the end
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:  # as spreadsheets save it
            writer = csv.DictWriter(file, rows[0].keys(), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def test_a_carriage_return_costs_no_table(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"n\ttext\r\none\ta\rb\r\ntwo\tc\r\n")
    assert list(open_table(path)) == [{"n": "one", "text": "a b"}, {"n": "two", "text": "c"}]


@pytest.mark.parametrize("kind", ["jsonl", "ndjson", "JSONL", "json", "tsv", "TSV", "csv", "parquet"])
def test_every_kind_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    table = open_table(write(tmp_path / f"rows.{kind}"))
    assert len(table) == 3 and list(table) == ROWS and table[2] == table[-1] == ROWS[2] and table[1:] == ROWS[1:]
    assert table.folder == tmp_path and table.where(1) == f"{tmp_path}/rows.{kind}, row 2"
    with pytest.raises(IndexError):
        table[3]


@pytest.mark.parametrize("kind", ["jsonl", "json", "tsv", "parquet", ""])
def test_workers_get_tables_of_every_kind(tmp_path: Path, kind: str) -> None:
    """Workers that are spawned, as those of several training processes are, get their tables pickled."""
    if kind:
        path = write(tmp_path / f"rows.{kind}")
    else:  # a folder
        path = tmp_path
        write(path / "a.parquet"), write(path / "b.parquet"), write(path / "c.jsonl")
    table = open_table(path)
    assert table[1] == ROWS[1]
    sent = pickle.dumps(table)
    assert len(sent) < 10_000 and list(pickle.loads(sent)) == list(table)


def test_a_quotation_mark_that_is_not_closed_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('n\ttext\none\ta\ntwo\t"What is\nthree\tb\nfour\tc\n')
    table = open_table(tmp_path / "t.tsv")
    with pytest.raises(BadRow, match="row 2: it runs over 3 lines, is a quotation mark not closed?"):
        table[1]
    (tmp_path / "t.tsv").write_text('n\ttext\none\ta\ntwo\t"What is\nthis?"\n')
    assert open_table(tmp_path / "t.tsv")[1]["text"] == "What is\nthis?"
    (tmp_path / "t.tsv").write_text('n\ttext\tmore\none\ta\tx\ntwo\t"What is\ty\nthree\tb\tz\n')
    with pytest.raises(BadRow, match="row 2: it runs over 2 lines, is a quotation mark"):
        open_table(tmp_path / "t.tsv")[1]


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
    ("name", "broken", "why"),
    [
        ("rows.csv", b'2,"M\xfcller"', "it is not UTF-8 .*; save the table as UTF-8"),
        ("rows.csv", b'2,"two\nl\xefnes"', "it is not UTF-8"), ("rows.tsv", b"2\tM\xfcller", "it is not UTF-8"),
        ("rows.jsonl", b'{"n": "2", "text": "M\xfcller"}', "this is not JSON"),
        ("rows.jsonl", b'{"n": "2", "text": ' + b"[" * 100_000, "this is not JSON .*recursion"),
        ("rows.jsonl", b'{"n": "2", "text": "half a smile: \\ud83d"}', "no text can be made of"),
        ("rows.json", b'{"n": "2", "text": "half a smile: \\ud83d"}', "no text can be made of"),
    ],
)  # fmt: skip
def test_what_no_text_can_be_made_of_costs_its_row_alone(tmp_path: Path, name: str, broken: bytes, why: str) -> None:
    whole = [{"n": "1", "text": "ü"}, {"n": "2", "text": "here"}, {"n": "3", "text": "so"}]
    path = write(tmp_path / name, whole)
    (line,) = (line for line in path.read_bytes().splitlines() if b"here" in line)
    line = line[line.index(b', {"n": "2"') + 2 : line.index(b', {"n": "3"')] if name == "rows.json" else line
    path.write_bytes(path.read_bytes().replace(line, broken))
    table = open_table(path)
    assert len(table) == 3 and [table[0], table[2]] == [whole[0], whole[2]]
    with pytest.raises(BadRow, match=f"{name}, row 2: .*{why}") as caught:
        table[1]
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.tsv"])
def test_a_table_that_goes_while_it_is_read(tmp_path: Path, name: str) -> None:
    """Of the other kinds what is needed stays open, or in memory."""
    table = open_table(write(tmp_path / name))
    table.path.write_bytes(table.path.read_bytes()[:10])
    with pytest.raises(BadRow, match=f"{name}, row 3"):
        table[2]
    table.path.unlink()
    with pytest.raises(BadRow, match=f"{name}, row 1: the file cannot be read .No such file"):
        table[0]


def test_a_bad_row_can_be_written_down_whatever_it_names() -> None:
    assert str(BadRow(Path(os.fsdecode(b"caf\xe9.jpg")), "it\nis \ud83d")) == r"caf\udce9.jpg: it is \ud83d"


# ---------------------------------------------------------------- Parquet


def groups(path: Path, number: int, rows: int = 4, size: int = 1000, **written: Any) -> list[dict]:
    """Writes so many row groups of so many rows of so many random letters."""
    content = np.random.default_rng(0).integers(97, 123, (number * rows, size), dtype=np.uint8)
    made = [{"n": i, "text": bytes(row).decode()} for i, row in enumerate(content)]
    pq.write_table(pa.Table.from_pylist(made), path, row_group_size=rows, **written)
    return made


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups that have been decoded, one after the other."""
    numbers: list[int] = []
    read = pq.ParquetFile.read_row_group

    def counted(self: Any, k: int) -> Any:
        numbers.append(k)
        return read(self, k)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    return numbers


def test_shuffled_rows_do_not_decode_a_group_each(tmp_path: Path, decoded: list[int]) -> None:
    whole = groups(tmp_path / "a.parquet", 5) + groups(tmp_path / "b.parquet", 3)
    table, order = open_table(tmp_path), np.random.default_rng(0)
    for _ in range(3):
        for i in order.permutation(len(table)):
            assert table[int(i)] == whole[i]
    assert sorted(decoded) == [0, 0, 1, 1, 2, 2, 3, 4]


def test_decoded_groups_are_kept_within_a_budget(
    tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group has four rows of a thousand letters; of three at most two fit, in one file or several."""
    whole = groups(tmp_path / "a.parquet", 2) + groups(tmp_path / "b.parquet", 1)
    monkeypatch.setattr("cooper.data.tables._KEPT", 10_000)
    table = open_table(tmp_path)
    for asked, known in (((0, 4, 1, 5), [0, 1]), ((8,), [0, 1, 0]), ((4, 7, 9), [0, 1, 0]), ((0,), [0, 1, 0, 0])):
        assert [table[i] for i in asked] == [whole[i] for i in asked] and decoded == known, asked
    monkeypatch.setattr("cooper.data.tables._KEPT", 0)
    table, before = open_table(tmp_path), len(decoded)
    assert list(table) == whole and len(decoded) == before + 3, "the last one is always kept"


def test_a_file_larger_than_what_is_kept_is_decoded_once_an_epoch(
    tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = groups(tmp_path / "a.parquet", 8) + groups(tmp_path / "b.parquet", 5)
    monkeypatch.setattr("cooper.data.tables._KEPT", 10_000)
    size = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).total_byte_size
    monkeypatch.setattr("cooper.data.tables._MIXED", 2 * size + 100)
    table, n = open_table(tmp_path), len(whole)
    mixture = Mixture([(table, 1.0)])
    epochs = [[mixture.place(k)[1] for k in range(first, first + n)] for first in (0, n)]
    for order in epochs:
        assert sorted(order) == list(range(n)) and [table[i] for i in order] == [whole[i] for i in order]
        mixed = [len({i // 4 for i in order[at : at + 8]}) for at in range(0, n - 8, 8)]
        assert max(mixed) == 2, "rows of as many groups as fit"
        assert sum(a // 4 != b // 4 for a, b in zip(order, order[1:], strict=False)) > 13, "and not one after the other"
    assert epochs[0] != epochs[1] and len(decoded) <= 2 * 13
    (tmp_path / "c.jsonl").write_text('{"n": 1}\n' * 60)
    alone = np.flatnonzero(open_table(tmp_path).order(np.random.default_rng(0)) >= n)
    assert len(alone) == 60 and np.diff(alone, prepend=-1, append=n + 60).max() < 20, "other rows come all the time"
    rows, table = QuestionRows(tmp_path), open_table(tmp_path)
    assert np.array_equal(rows.order(np.random.default_rng(3)), table.order(np.random.default_rng(3)))


def test_a_damaged_part_of_a_parquet_file_costs_its_rows_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    whole = groups(path, 3, compression="zstd")
    content = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(1).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(content)
    table = open_table(path)
    assert table[:4] + table[8:] == whole[:4] + whole[8:]
    for i in range(4, 8):
        with pytest.raises(BadRow, match=f"rows.parquet, row {i + 1}: it cannot be decoded"):
            table[i]
    table = open_table(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadRow, match="rows.parquet, row 12: it cannot be decoded"):
        table[11]


def test_text_in_parquet_that_is_not_utf8_costs_its_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    text = pa.array([b"one", b"M\xfcller", "drei ü".encode()], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": text}), path)
    table = open_table(path)
    assert [table[0], table[2]] == [{"text": "one"}, {"text": "drei ü"}]
    with pytest.raises(BadRow, match="rows.parquet, row 2: it cannot be decoded .*utf-8"):
        table[1]


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_empty_lines_are_no_rows_and_no_heading(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n\na\n1\n\n2\n")
    table = open_table(tmp_path / name)
    assert [table[i] for i in range(len(table))] == [{"a": "1"}, {"a": "2"}]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("rows.json", b'{"a": 1}', "not a list of rows"), ("rows.json", b"[", "not JSON"),
        ("rows.json", b"[" * 100_000, "not JSON"), ("rows.json", b'[{"a": "\xff"}]', "not JSON"),
        ("rows.csv", b"a,b,a\n1,2,3\n", "names the field 'a' twice"),
        ("rows.csv", b"", "is empty"), ("rows.tsv", "a\tb\n1\t2\n".encode("utf-16"), "not a table"),
        ("rows.parquet", b"PAR1 and no more", "not a Parquet file"), ("rows.xlsx", b"", "no table that can be read"),
    ],
)  # fmt: skip
def test_what_is_no_table(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=why):
        len(open_table(tmp_path / name))
    (tmp_path / "marked.json").write_bytes(b'\xef\xbb\xbf[{"a": 1}]')
    assert open_table(tmp_path / "marked.json")[0] == {"a": 1}, "as Windows begins a file"
    for missing in ("missing.csv", "missing.xlsx", "missing"):
        with pytest.raises(ValueError, match=f"{missing} does not exist; check the path"):
            open_table(tmp_path / missing)
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
        (b"text", "not a picture"), (f"data:image/png;base64,{coded}ü", "broken base64"),
        (f"{coded[:12]}ü", "does not exist"),
    ):  # fmt: skip
        with pytest.raises(ImageError, match=why):
            picture_of(wrong, tmp_path)
