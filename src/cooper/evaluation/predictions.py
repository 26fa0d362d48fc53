"""What was answered, question by question, in a JSON Lines file, so that an interrupted evaluation goes on."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from cooper.files import held, named, new_file

if TYPE_CHECKING:
    from torch import nn

Row: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[int, str, str]  # scene seed, task, question


def key_of(row: Row) -> Key:
    return row["seed"], row["task"], row["question"]


class Predictions:
    """Rows that have been answered, in memory and, with a `path`, in a file that grows with every `add`.

    `run` says what the answers come from (mode, model, weights ...) and is part of every row. Raises ValueError if the
    file is not such a file or holds rows of another run, and if somebody else is writing it: until this is closed, or
    gone, it is held. A last line that was cut off is dropped, if it can have been a row. `key` tells which question a
    row answers.
    """

    def __init__(self, path: Path | None, run: dict[str, str], key: Callable[[Row], Hashable] = key_of):
        self.path, self.run, self._key = path, run, key
        self.rows: dict[Hashable, Row] = {}
        self._lock = threading.Lock()
        self._held = ExitStack()
        if path is None:
            return
        # a short name: the file may have one as long as names can be
        lock = path.with_name(f".{hashlib.blake2b(os.fsencode(path.name), digest_size=6).hexdigest()}.lock")
        why = f"{path} is being written by another process; wait for it, or choose another file"
        self._held.enter_context(held(lock, why))
        try:
            self._load(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets others write the file."""
        self._held.close()

    def __enter__(self) -> Predictions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        lines = whole_lines(text)
        if not lines and text and not text.startswith('{"'):
            lines = [text]  # no beginning of a row: the file is something else
        for number, line in enumerate(lines, 1):
            self._take(line, number)
        whole = "".join(f"{line}\n" for line in lines)
        if whole != text:
            with new_file(path) as file:
                file.write_text(whole, encoding="utf-8")

    def _take(self, line: str, number: int) -> None:
        try:
            row = json.loads(line)
            self.rows[self._key(row)] = row
            found = {name: row[name] for name in self.run}
            line.encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(f"{self.path}, line {number}, is not an answer; choose another file") from None
        for name, value in self.run.items():
            if found[name] != value:
                raise ValueError(
                    f"{self.path} is of {name} {found[name]!r}, not {value!r}; choose another file, or delete this one"
                )

    def of(self, row: Row) -> Row | None:
        """The row that answers the question that `row` is about, if there is one."""
        return self.rows.get(self._key(row))

    def add(self, rows: Sequence[Row]) -> None:
        assert not any(self.run.keys() & row.keys() for row in rows), "what a run is called must not hide a row's own"
        rows = [{**row, **self.run} for row in rows]
        with self._lock:  # answers come from several threads
            self.rows |= {self._key(row): row for row in rows}
            if self.path is not None:
                with named(self.path), self.path.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def whole_lines(text: str) -> list[str]:
    """The lines of a JSON Lines file, without a last one that was cut off: one that does not end and is not JSON, or
    that ends inside of a letter (where bytes were decoded with "surrogateescape")."""
    *lines, last = text.split("\n")
    try:
        last.encode()
        json.loads(last)
    except ValueError:
        return lines
    return [*lines, last]


def fingerprint(model: nn.Module) -> str:
    """A short name of a model's weights: the same for the same numbers, whatever folder they came from."""
    import torch  # late: predictions are read without it

    digest = hashlib.blake2b(digest_size=6)
    for name, p in model.state_dict().items():  # weights of few bits are no parameters
        digest.update(name.encode())
        digest.update(p.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
