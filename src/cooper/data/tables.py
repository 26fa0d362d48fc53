"""Tables of rows as people publish them: JSON Lines, JSON, TSV, CSV and Parquet files, or a folder of several.

A table is opened by finding where its rows begin; a row is read when it is asked for. So a file may be larger than
memory, rows can be dealt out to processes by number, and one that is broken can be told by its number and passed over.
"""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from cooper.data.reader import E, Reader

Row: TypeAlias = dict[str, Any]

csv.field_size_limit(1 << 30)  # pictures in base64 are long fields

#: Bytes of decoded Parquet that are kept, of a file or a folder of them.
_KEPT = 256 << 20
#: Bytes of row groups whose rows are mixed in random order; what files say of their groups' size is before decoding.
_MIXED = _KEPT // 2


class BadRow(ValueError):
    """A row (or file of a data set) that cannot be used: where it is, and why, in one line."""

    def __init__(self, where: object, why: object):
        text = f"{where}: {' '.join(str(why).split())}"
        super().__init__(text.encode("utf-8", "backslashreplace").decode())  # a file's name need not be text


class Table(Reader[Row]):
    """The rows of a file: `table[i]` raises `BadRow` if row i is broken."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def folder(self) -> Path:
        """What paths in rows are relative to."""
        return self.path.parent

    def where(self, i: int) -> str:
        """Which row that is, for a person: rows are counted from 1, and a heading is none."""
        return f"{self.path}, row {i + 1}"

    def file(self, i: int) -> str:
        """The file that row is in."""
        return self.where(i).rpartition(", row ")[0]

    def referred(self, i: int, value: Any) -> Row | None:
        """The row that has the picture of row i, if `value`, what that has as its picture, is the index of another row
        of its file: tables hold a picture once. None if it is no index. Raises `BadRow` if no row has it."""
        if not (isinstance(value, str) and value.isdigit()):
            return None
        if (self.file(i), value) not in self._row_of:
            raise BadRow(self.where(i), f"its picture is that of index {value}, which is not there")
        return self[self._row_of[self.file(i), value]]

    @cached_property
    def _row_of(self) -> dict[tuple[str, str], int]:
        """Of a file and an index in it, the first row: every file may number its rows from the start."""
        found: dict[tuple[str, str], int] = {}
        for i in range(len(self)):
            with suppress(BadRow):
                if (index := self[i].get("index")) is not None:
                    found.setdefault((self.file(i), str(index)), i)
        return found

    def groups(self) -> list[tuple[int, int]]:
        """(rows, bytes) of stretches of rows that are decoded together; 0 bytes where each row is read by itself."""
        return [(len(self), 0)]

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """Every row once, in random order. Where more is decoded together than is kept, the groups are in random order,
        and the rows of as many as are kept at a time: else every row would decode a group. Rows that are read by
        themselves are spread among them."""
        rows, sizes = np.array(self.groups(), dtype=np.int64).reshape(-1, 2).T
        if sizes.sum() <= _MIXED:
            return rng.permutation(len(self))
        stretches = np.split(np.arange(len(self)), np.cumsum(rows)[:-1])
        windows: list[list[np.ndarray]] = []
        room = 0
        for k in rng.permutation(np.flatnonzero(sizes)):
            if sizes[k] > room or not windows:
                windows.append([])
                room = _MIXED
            windows[-1].append(stretches[k])
            room -= sizes[k]
        alone = np.flatnonzero(np.repeat(sizes == 0, rows))
        for window, part in zip(windows, np.array_split(rng.permutation(alone), len(windows)), strict=True):
            window.append(part)
        return np.concatenate([rng.permutation(np.concatenate(window)) for window in windows])


class TableReader(Reader[E]):
    """Examples of which each is made of one row of a table."""

    table: Table

    def __len__(self) -> int:
        return len(self.table)

    def order(self, rng: np.random.Generator) -> np.ndarray:
        return self.table.order(rng)


def tables_in(folder: Path) -> list[Path]:
    """The files of a folder that are tables, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in _KINDS and p.is_file())


def open_table(path: str | Path) -> Table:
    """The table in a file, told by its name's end, or all tables in a folder, one after the other by name.

    Raises ValueError if there is none, or it is not what its name says; `ImportError` for Parquet without the extra.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist; check the path")
    if path.is_dir():
        found = tables_in(path)
        if not found:
            raise ValueError(f"{path} holds no table; looked for files that end in {', '.join(_KINDS)}")
        tables = [_KINDS[p.suffix.lower()](p) for p in found]
        return tables[0] if len(tables) == 1 else _Several(path, tables)
    if path.suffix.lower() not in _KINDS:
        raise ValueError(f"{path} is no table that can be read; give a file that ends in {', '.join(_KINDS)}")
    return _KINDS[path.suffix.lower()](path)


class _Lines(Table):
    """JSON Lines. Lines of white space are no rows."""

    def __init__(self, path: Path):
        super().__init__(path)
        starts, at = [], 0
        with path.open("rb") as file:
            for line in file:
                if not line.isspace():
                    starts.append(at)
                at += len(line)
        self._starts = np.array(starts, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._starts)

    def _at(self, i: int) -> Row:
        (line,) = _read_lines(self, i, int(self._starts[i]))
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadRow(self.where(i), f"this is not JSON that can be read ({error})") from None
        return _checked(self, i, row)


class _List(Table):
    """JSON: one list of objects. Read as a whole, once."""

    @cached_property
    def _rows(self) -> list[Any]:
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{self.path} is not JSON that can be read ({error})") from None
        if not isinstance(rows, list):
            raise ValueError(f"{self.path} is not a list of rows")
        return rows

    def __len__(self) -> int:
        return len(self._rows)

    def _at(self, i: int) -> Row:
        return _checked(self, i, self._rows[i])


class _Separated(Table):
    """TSV or CSV with a heading. A field in quotes may hold line ends."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        starts: list[int] = []
        try:
            with path.open("rb") as file:
                rows = csv.reader(self._text(file, starts), delimiter=self._delimiter)
                self._names = next(filter(None, rows), [])
                self._starts, self._ends = [], []
                begin = len(starts)
                for row in rows:
                    if row:
                        self._starts.append(starts[begin])
                        self._ends.append(len(starts) - begin)
                    begin = len(starts)
        except (csv.Error, UnicodeDecodeError) as error:
            hint = "; save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
            raise ValueError(f"{path} is not a table with fields between {self._delimiter!r} ({error}){hint}") from None
        if not self._names:
            raise ValueError(f"{path} is empty; its first line must name the fields")
        for name in self._names:
            if name and self._names.count(name) > 1:  # which of them would count?
                raise ValueError(f"{path} names the field {name!r} twice in its first line; rename one")

    @staticmethod
    def _text(file: Any, starts: list[int]) -> Iterator[str]:
        """The lines, noting where each begins. Below the first, bytes that are not UTF-8 cost only their row."""
        at = 0
        for line in file:
            starts.append(at)
            yield _one_line(line.decode("utf-8", "surrogateescape") if at else line.decode("utf-8-sig"))
            at += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    def _at(self, i: int) -> Row:
        try:
            lines = [_one_line(line.decode()) for line in _read_lines(self, i, self._starts[i], self._ends[i])]
        except UnicodeDecodeError as error:
            raise BadRow(self.where(i), f"it is not UTF-8 ({error}); save the table as UTF-8") from None
        try:  # a quotation mark that is not closed takes all that follows with it
            fields = next(csv.reader(lines, delimiter=self._delimiter, strict=self._ends[i] > 1))
        except csv.Error as error:
            why = f"it runs over {self._ends[i]} lines, is a quotation mark not closed? ({error})"
            raise BadRow(self.where(i), why) from None
        if len(fields) != len(self._names):
            why = f"it has {len(fields)} fields, the first line names {len(self._names)}"
            if self._ends[i] > 1:  # and what follows it is no row of its own
                why += f"; it runs over {self._ends[i]} lines, is a quotation mark not closed?"
            raise BadRow(self.where(i), why)
        return dict(zip(self._names, fields, strict=True))


class _Parquet(Table):
    def __init__(self, path: Path):
        super().__init__(path)
        self._file = _parquet(path)
        self._ends = np.cumsum([rows for rows, _ in self.groups()], dtype=np.int64)
        self.decoded = _Groups()

    def __getstate__(self) -> dict[str, Any]:
        # an open file cannot be handed to another process, which is how workers get their tables
        return {name: value for name, value in self.__dict__.items() if name != "_file"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._file = _parquet(self.path)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def groups(self) -> list[tuple[int, int]]:
        found = map(self._file.metadata.row_group, range(self._file.num_row_groups))
        return [(group.num_rows, group.total_byte_size) for group in found]

    def _at(self, i: int) -> Row:
        k = bisect_right(self._ends, i)
        first = int(self._ends[k - 1]) if k else 0
        try:
            return self.decoded.read(self.path, self._file, k).slice(i - first, 1).to_pylist()[0]
        except Exception as error:  # damage, and values that Python cannot hold, are met with all kinds of exceptions
            raise BadRow(self.where(i), f"it cannot be decoded ({error}); write or download the file again") from None


def _parquet(path: Path) -> Any:
    """The file, open. Raises ValueError if it is none, and ImportError without the extra."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ImportError("Parquet needs an extra: pip install 'cooper-spatial[data]'") from None
    try:
        return ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file ({error})") from None


class _Groups:
    """Decoded row groups of Parquet files, within `_KEPT` bytes: those asked for last, and always the very last.

    A group is decoded as a whole, and in random order nearly every row is of another than the one before.
    """

    def __init__(self) -> None:
        self._tables: dict[tuple[Path, int], Any] = {}  # in the order in which they were asked for

    def __getstate__(self) -> dict[str, Any]:
        return {"_tables": {}}  # whoever gets it decodes what it needs

    def read(self, path: Path, file: Any, k: int) -> Any:
        """Group k of the file that is open from that path."""
        table = self._tables.pop((path, k), None)
        if table is None:
            table = file.read_row_group(k)
            room = _KEPT - table.nbytes
            for key, other in reversed(list(self._tables.items())):
                room -= other.nbytes
                if room < 0:
                    del self._tables[key]
        self._tables[path, k] = table
        return table


class _Several(Table):
    """Tables one after the other."""

    def __init__(self, path: Path, tables: Sequence[Table]):
        super().__init__(path)
        self._tables = tables
        self._ends = np.cumsum([len(table) for table in tables])
        decoded = _Groups()
        for table in tables:
            if isinstance(table, _Parquet):
                table.decoded = decoded  # a folder may hold hundreds of files

    def groups(self) -> list[tuple[int, int]]:
        return [group for table in self._tables for group in table.groups()]

    @property
    def folder(self) -> Path:
        return self.path

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _place(self, i: int) -> tuple[Table, int]:
        k = bisect_right(self._ends, i)
        return self._tables[k], i - (int(self._ends[k - 1]) if k else 0)

    def where(self, i: int) -> str:
        table, own = self._place(i)
        return table.where(own)

    def _at(self, i: int) -> Row:
        table, own = self._place(i)
        return table[own]


def _one_line(line: str) -> str:
    """Without carriage returns inside of it, at which the csv module gives up the whole table."""
    end = "\r\n" if line.endswith("\r\n") else ""
    return line.removesuffix(end).replace("\r", " ") + end


def _read_lines(table: Table, i: int, start: int, number: int = 1) -> list[bytes]:
    """So many lines from that byte of the file on, which are row i."""
    try:
        with table.path.open("rb") as file:
            file.seek(start)
            return [file.readline() for _ in range(number)]
    except OSError as error:
        raise BadRow(table.where(i), f"the file cannot be read ({error.strerror}); check the path") from None


def _checked(table: Table, i: int, row: Any) -> Row:
    if not isinstance(row, dict):
        raise BadRow(table.where(i), "this is not an object with named fields")
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # JSON can name halves of characters, of which no text is made
        raise BadRow(table.where(i), f"it holds what no text can be made of ({error})") from None
    return row


_KINDS: dict[str, type[Table]] = {
    ".jsonl": _Lines, ".ndjson": _Lines, ".json": _List, ".tsv": _Separated, ".csv": _Separated, ".parquet": _Parquet,
}  # fmt: skip
