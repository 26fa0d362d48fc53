"""Ways of answering, as data: a system prompt, the maps that may be drawn, a turn budget. The engine knows none by
name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

#: the tiny model's ways, in the order of the paper's table: base, RE, PE, COOPER
Mode: TypeAlias = Literal["direct", "text", "perception", "interleaved"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class Policy:
    """How a question is answered."""

    name: str
    system: str | None
    """System prompt, or None for none."""
    calls: tuple[str, ...] = ()
    """Modalities that may be drawn. A call for another one ends the answer as malformed; models that were trained to
    call it do so unless their words say otherwise."""
    max_turns: int = 1
    """Maximum number of turns the model may write; a map can be drawn between two turns."""
    reflection: str = "Look at the map."
    """Text inserted after each map."""
    answers_last: bool = False
    """Whether the last turn is forced to answer: `<answer>` is written where the model would open a thought, call a map
    or end. Only of models whose tags are single tokens; others do as they like."""
    thinks: bool | None = True
    """Whether the turn that answers begins with a thought: it must, must not, or may (None)."""

    def __post_init__(self) -> None:
        if self.max_turns < 1:
            raise ValueError("a policy needs at least one turn, or there is no answer")


#: Each mode, as data.
POLICIES = {
    p.name: p
    for p in (
        Policy("direct", None, thinks=False),
        Policy("text", "Think, then answer."),
        Policy(
            "perception", "Draw the depth, draw the objects, then answer.", ("depth", "segmentation"), max_turns=3,
            answers_last=True, thinks=None,
        ),
        Policy("interleaved", "Draw a map if it helps, think, then answer.", ("depth", "segmentation"), max_turns=3),
    )
}


def policy(mode: str | Policy) -> Policy:
    """The policy of that name, or one's own. Raises ValueError, naming the known ones, if there is none."""
    if isinstance(mode, Policy):
        return mode
    if mode not in POLICIES:
        raise ValueError(f"no mode is called {mode!r}; choose from {', '.join(POLICIES)}")
    return POLICIES[mode]


def told(mode: str | Policy) -> str:
    """What a mode is called where answers are kept. A policy of one's own: its name, and a short name of all that it
    says, as there may be many of that name."""
    if isinstance(mode, str):
        return mode
    return f"{mode.name} {hashlib.blake2b(repr(mode).encode(), digest_size=4).hexdigest()}"
