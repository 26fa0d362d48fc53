"""How a question is answered, or a map drawn, as a caller may choose it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

from cooper.policy import Policy


class OptionError(ValueError):
    """An option that nothing can be asked or drawn with: its `name`, and `why` it cannot be, to be said after that."""

    def __init__(self, name: str, why: str):
        super().__init__(name, why)
        self.name, self.why = name, why

    def __str__(self) -> str:
        return f"{self.name} {self.why}"


@dataclass(frozen=True)
class Options:
    """How a question is answered. None keeps the default of the mode or the model.

    Raises `OptionError`, a ValueError, for what nothing can be asked or drawn with.
    """

    mode: str | Policy = "interleaved"
    """direct, text, perception or interleaved, in the words that the model was trained with; or a policy of one's own,
    which is taken as it is."""
    max_turns: int | None = None
    """Maximum number of turns the model may write; a map can be drawn between two turns."""
    flow_steps: int | None = None
    """Calls of the model per map, one fewer than time points: the release's num_timesteps=50 is 49."""
    guidance: tuple[float, float] | None = None
    """Scales of text and image guidance; 1 is none."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Choose among the likeliest tokens that make up this share."""
    seed: int = 0
    samples: int = 1
    """Answers that are sampled and voted on; with more than one, a temperature of 0 becomes 0.7. Theirs are the seeds
    from `seed` on."""
    max_tokens: int | None = None
    """Most tokens the model may write in a turn; one that is cut off before its answer ends has none. Never more than
    its config's `trace_tokens`, which all turns of an answer have together."""
    batch: int = 32
    """Most answers that are written at the same time. Memory grows with it, speed less and less; the answers are the
    same."""

    def __post_init__(self) -> None:
        if not isinstance(self.mode, (str, Policy)):
            raise OptionError("mode", f"must be a name, such as direct, or a Policy, not {self.mode!r}")
        for name, least in (*_AT_LEAST_ONE, ("seed", 0)):
            value = getattr(self, name)
            if value is None and name in _MAY_BE_LEFT_OUT:
                continue
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise OptionError(name, f"must be a whole number, not {value!r}")
            if value < least:
                raise OptionError(name, f"must be at least {least}, not {value}")
            if name in ("samples", "flow_steps") and int(value) > _AT_MOST:
                raise OptionError(name, f"must be at most {_AT_MOST}, not {value}")
            object.__setattr__(self, name, int(value))  # NumPy's are no JSON
        for name in ("temperature", "top_p"):
            if not isinstance(getattr(self, name), Real):
                raise OptionError(name, f"must be a number, not {getattr(self, name)!r}")
        if not 0 <= self.temperature <= _AT_MOST:
            why = f"must be 0 or more, and at most {_AT_MOST}, not {_told(self.temperature)}"
            raise OptionError("temperature", why)
        if not 0 < self.top_p <= 1:
            raise OptionError("top_p", f"lies above 0 and at most at 1, not {_told(self.top_p)}")
        pair = self.guidance
        if pair is None:
            return
        if not (isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(scale, Real) for scale in pair)):
            raise OptionError("guidance", f"must be two numbers, for text and image guidance, not {pair!r}")
        if not all(0 <= scale <= _AT_MOST for scale in pair):
            told = " ".join(map(_told, pair))
            raise OptionError("guidance", f"takes two scales of 0 or more (1 is none, {_AT_MOST} the most), not {told}")


def _told(number: float) -> str:
    """Also a whole number that is too large to be formatted as another."""
    return f"{number:g}" if not isinstance(number, int) else str(number)[:40]


#: More samples or steps are a slip: each is prepared before the first.
_AT_MOST = 1_000_000
_MAY_BE_LEFT_OUT = ("max_turns", "flow_steps", "max_tokens")
_AT_LEAST_ONE = tuple((name, 1) for name in (*_MAY_BE_LEFT_OUT, "samples", "batch"))
