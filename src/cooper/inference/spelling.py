"""What tokens say, while they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cooper.inference.rollout import Event, TokenWritten

_BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass
class _Turn:
    """The tokens that the next text may depend on: those of the last text told, and, from `told` on, what has come
    since."""

    ids: list[int] = field(default_factory=list)
    told: int = 0


class Spelling:
    """Gives tokens the text that each adds to its turn. A character of several tokens comes with the last of them: it
    is not whole before."""

    def __init__(self, detokenise: Callable[[list[int]], str]):
        self._detokenise = detokenise
        self._turns: dict[int, _Turn] = {}

    def __call__(self, event: Event) -> Event:
        """The event, with its text if it is a token. Every rollout's events come in their order."""
        if not isinstance(event, TokenWritten):
            self._turns.pop(event.number, None)  # its turn is over
            return event
        turn = self._turns.setdefault(event.number, _Turn())
        turn.ids.append(event.token)
        before, text = self._detokenise(turn.ids[: turn.told]), self._detokenise(turn.ids)
        if text.endswith(_BROKEN) or len(text) <= len(before):
            return event
        turn.ids, turn.told = turn.ids[turn.told :], len(turn.ids) - turn.told
        return replace(event, text=text[len(before) :])
