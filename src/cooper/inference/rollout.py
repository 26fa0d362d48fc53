"""A finished trace, and the events that are told on the way to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cooper.inference.session import Written
from cooper.trace import Drawing, Trace

#: why a trace ended: it answered; a turn neither answered nor called a map it may call; a turn or the whole trace ran
#: out of tokens; the last turn called for another map
Reason: TypeAlias = Literal["answered", "malformed", "length", "turns"]


@dataclass
class Rollout:
    """A finished trace and what was recorded on the way."""

    trace: Trace
    reason: Reason
    seed: int
    turns: list[Written]
    """Token ids and log-probabilities of every turn the model wrote."""
    seconds: float = 0.0
    """From the start of its batch to its end."""

    @property
    def tokens(self) -> int:
        return sum(len(turn.ids) for turn in self.turns)


@dataclass(frozen=True)
class TokenWritten:
    """A rollout, by its number, got one more token."""

    number: int
    token: int
    text: str = ""
    """What it adds to the turn, as `Cooper` tells of it (`cooper.inference.spelling`); the engine leaves it empty."""


@dataclass(frozen=True)
class FlowStep:
    """The map that a rollout is drawing is `step` of `steps` flow steps along."""

    number: int
    modality: str
    step: int
    steps: int


@dataclass(frozen=True)
class MapDrawn:
    """A rollout's map is finished."""

    number: int
    drawing: Drawing


@dataclass(frozen=True)
class Finished:
    """A rollout is finished."""

    number: int
    rollout: Rollout


Event: TypeAlias = TokenWritten | FlowStep | MapDrawn | Finished
#: told of an event as soon as it happens, perhaps in another thread
OnEvent: TypeAlias = Callable[[Event], None]
#: the number of a rollout and the map it drew, to the map that it is shown instead
Shown: TypeAlias = Callable[[int, Drawing], Drawing]
