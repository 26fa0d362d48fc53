"""What tokens say, while they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from cooper.inference.engine import Event, TokenWritten


def spelled(events: Iterable[Event], detokenise: Callable[[list[int]], str]) -> Iterator[Event]:
    """The events, with the text that each token adds to its turn. A character of several tokens comes with the last of
    them: it is not whole before."""
    turns: dict[int, tuple[list[int], str]] = {}
    for event in events:
        if isinstance(event, TokenWritten):
            ids, told = turns.get(event.number, ([], ""))
            ids.append(event.token)
            text = detokenise(ids).rstrip("\N{REPLACEMENT CHARACTER}")
            turns[event.number] = ids, text
            yield replace(event, text=text[len(told) :])
        else:  # its turn is over
            turns.pop(event.number, None)
            yield event
