"""What tokens say, while they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cooper.inference.engine import Event, TokenWritten


class Spelling:
    """Gives tokens the text that each adds to its turn. A character of several tokens comes with the last of them: it
    is not whole before."""

    def __init__(self, detokenise: Callable[[list[int]], str]):
        self._detokenise = detokenise
        self._turns: dict[int, tuple[list[int], str]] = {}

    def __call__(self, event: Event) -> Event:
        """The event, with its text if it is a token. Every rollout's events come in their order."""
        if not isinstance(event, TokenWritten):
            self._turns.pop(event.number, None)  # its turn is over
            return event
        ids, told = self._turns.get(event.number, ([], ""))
        ids.append(event.token)
        text = self._detokenise(ids).rstrip("\N{REPLACEMENT CHARACTER}")
        self._turns[event.number] = ids, text
        return replace(event, text=text[len(told) :])
