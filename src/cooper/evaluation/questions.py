"""The questions of a benchmark in a user's file: read, checked and counted before a model is asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from cooper.data.fields import given
from cooper.data.pictures import picture_of
from cooper.data.tables import BadRow, open_table
from cooper.evaluation.benchmarks import Benchmark
from cooper.evaluation.items import Item, Place, grouped

#: Fields that name a question, of which benchmarks have one each.
INDEX = ("index", "idx", "id", "question_id", "qid")


class Questions:
    """The questions in a table, of which pictures are read only when they are asked for.

    What is wrong with rows that cannot be used is in `broken`, a line each; with `strict` the first raises `BadRow`.
    With a `limit`, `items` has only the first so many questions, and all that are of a group with one of them; `total`
    counts all, and each broken row as one. Raises ValueError if there is no table, or no question in it.
    """

    def __init__(self, benchmark: Benchmark, path: Path, limit: int | None = None, strict: bool = False):
        self.benchmark, self.path, self.strict = benchmark, path, strict
        self.table = open_table(path)
        self.broken: list[str] = []
        self.others = 0
        """Rows that are none of this benchmark's questions."""
        self._lost: Counter[str] = Counter()
        items = grouped(benchmark.expand(self._read()), self._lost)
        if not items:
            none = f"none of its {len(self.table)} rows is one of {benchmark.name}"
            why = self.broken[0] if self.broken else none if len(self.table) else "it is empty"
            raise ValueError(f"{path} holds no question that can be asked; {why}")
        self.total = len(items) + len(self.broken)
        self.numbers = {item.index: k for k, item in enumerate(items)}
        """Of every question, by its index: the same whatever the limit."""
        chosen = {item.group for item in items[:limit]}
        self.items = [item for item in items if item.group in chosen]

    def _read(self) -> list[Item]:
        items: list[Item] = []
        place: dict[str, int] = {}
        """Of each index, where its item is among these."""
        unnamed: set[str] = set()
        """Those that are only the numbers of rows which have no index."""
        for number in range(len(self.table)):
            group = ""
            try:
                row = self.table[number]
                group = self.benchmark.group(row)
                item = self.benchmark.read(row, Place(number + 1, Path(self.table.file(number)).stem))
                if item is None:
                    self.others += 1
                    continue
                named = any(given(row.get(name)) for name in INDEX)
                if item.index in place and named and item.index in unnamed:
                    earlier = items[place[item.index]]
                    items[place[item.index]] = replace(earlier, index=f"row {earlier.row + 1}")
                    unnamed.remove(item.index)
                elif item.index in place and not named:
                    item = replace(item, index=f"row {number + 1}")
                elif item.index in place:
                    raise ValueError(f"its index {item.index} is that of an earlier row")
            except ValueError as error:
                self.skip(error if isinstance(error, BadRow) else BadRow(self.table.where(number), error))
                self._lost[group] += 1
                continue
            place[item.index] = len(items)
            if not named:
                unnamed.add(item.index)
            items.append(replace(item, row=number, group=item.group or group))
        return items

    def skip(self, error: BadRow) -> None:
        """The row is broken: counts it, or raises the error if that is wanted."""
        if self.strict:
            raise error
        self.broken.append(str(error))

    def picture(self, item: Item) -> np.ndarray:
        """The item's picture, uint8 RGB (height, width, 3). Raises `BadRow` if it cannot be read."""
        try:
            value = self.benchmark.picture(self.table[item.row])
            if (row := self.table.referred(item.row, value)) is not None:
                value = self.benchmark.picture(row)
            return picture_of(value, self.table.folder)
        except ValueError as error:
            raise error if isinstance(error, BadRow) else BadRow(self.table.where(item.row), error) from None
