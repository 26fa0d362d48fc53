"""A turn while it is written: thoughts as they come, calls and answers once they are whole."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

#: a call and an answer with their tags, a thought without, and whatever else there is
Kind: TypeAlias = Literal["thought", "call", "answer", "other"]

_TAG = re.compile(r"<(/?)([a-z][a-z0-9-]*)>")
_BEGUN = re.compile(r"</?[a-z0-9-]*")


@dataclass
class TurnReader:
    """Splits a growing text into parts."""

    _text: str = ""
    _done: int = 0
    _thinking: bool = False
    _parts: list[tuple[Kind, str]] = field(default_factory=list)

    def read(self, text: str, final: bool = False) -> list[tuple[Kind, str]]:
        """What is new in `text`, the turn so far. What may still become a tag is held back, until it is `final`."""
        self._text, self._parts = text, []
        while self._done < len(text) and self._step(final):
            pass
        return self._parts

    def _step(self, final: bool) -> bool:
        """Take the next part; False if more text is needed to know it."""
        rest = self._text[self._done :]
        kind: Kind = "thought" if self._thinking else "other"
        before = len(rest) if "<" not in rest else rest.index("<")
        if before:
            return self._take(kind, rest[:before])
        tag = _TAG.match(rest)
        if tag is None:
            return False if not final and _BEGUN.fullmatch(rest) else self._take(kind, "<")
        if tag[2] == "think":
            self._thinking = not tag[1]
            self._done += len(tag[0])
            return True
        if self._thinking or tag[1]:
            return self._take(kind, tag[0])
        end = rest.find(f"</{tag[2]}>")
        if end < 0:
            return False if not final else self._take(kind, tag[0])
        return self._take("answer" if tag[2] == "answer" else "call", rest[: end + len(tag[2]) + 3])

    def _take(self, kind: Kind, text: str) -> bool:
        self._parts.append((kind, text))
        self._done += len(text)
        return True
