"""Traces to learn from: the released form, a JSON row each, and folders that `Trace.save` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cooper.data.examples import TraceExample
from cooper.data.maps import listed
from cooper.data.pictures import picture_of
from cooper.data.reader import Reader
from cooper.data.tables import BadRow, TableReader, open_table
from cooper.modalities import by_tag
from cooper.trace import Drawing, Picture, Segment, Text, Trace
from cooper.turns import calls_of

FIELD = "interleaved_reason"


class TraceRows(TableReader[TraceExample]):
    """A table whose rows hold `interleaved_reason`, a list of `{"type": "text" | "image", "value": ..., "need_loss":
    "true" | "false"}`.

    Text with loss is what the model writes. Images before it are pictures; those after are drawings, of the kind that
    the model's last text calls, and are shown. Text without loss is a reflection if it follows a drawing, else the
    user's. `modalities` names the kinds of maps that can be called.
    """

    def __init__(self, path: str | Path, modalities: tuple[str, ...] = ("depth", "segmentation")):
        self.table = open_table(path)
        self.modalities = modalities

    def _at(self, i: int) -> TraceExample:
        row, where = self.table[i], self.table.where(i)
        parts = row.get(FIELD)
        if not isinstance(parts, list):
            raise BadRow(where, f"it has no list {FIELD!r}; its fields are {', '.join(row)}")
        trace = Trace()
        for number, part in enumerate(parts, 1):
            try:
                trace += self._segment(part, trace)
            except ValueError as error:
                raise BadRow(where, f"part {number}: {error}") from None
        if not trace.turns:
            raise BadRow(where, "no part of it is text with loss; there is nothing to learn from it")
        return TraceExample(trace, where)

    def _segment(self, part: Any, before: Trace) -> Segment:
        if not isinstance(part, dict) or part.get("type") not in ("text", "image"):
            raise ValueError('it is not an object whose type is "text" or "image"')
        value = part.get("value")
        if part["type"] == "image":
            image = picture_of(value, self.table.folder)
            return Drawing(self._called(before), image) if before.turns else Picture(image)
        learnt = str(part.get("need_loss")).lower()
        if not isinstance(value, str) or learnt not in ("true", "false"):
            raise ValueError('a text has a string as value, and need_loss "true" or "false"')
        if learnt == "true":
            return Text(value, "model")
        return Text(value, "reflection" if before.segments and isinstance(before.segments[-1], Drawing) else "user")

    def _called(self, before: Trace) -> str:
        """The kind of map that the model's last text calls."""
        known = [m.name for call in calls_of(before.turns[-1]) if (m := by_tag(call.tag, self.modalities))]
        if not known:
            raise ValueError(f"an image follows text that calls no map of {' or '.join(self.modalities)}")
        return known[-1]


class SavedTraces(Reader[TraceExample]):
    """Every trace that `Trace.save` wrote to a folder or one below it."""

    def __init__(self, root: str | Path):
        self.folders = [path.parent for path in listed(root, "**/trace.json")]

    def __len__(self) -> int:
        return len(self.folders)

    def _at(self, i: int) -> TraceExample:
        folder = self.folders[i]
        try:
            return TraceExample(Trace.load(folder), str(folder))
        except ValueError as error:
            raise BadRow(folder, str(error).removeprefix(str(folder))) from None
        except Exception as error:  # decoders meet damaged files with all kinds of exceptions
            raise BadRow(folder, f"does not hold a trace ({error}); save or download it again") from None
