"""The last steps of worked traces by themselves, with made-up numbers: how far places are apart, how many of a list.

A worked trace holds one such step among sixty tokens, and questions of other kinds have none: some thousands of traces
were not enough to learn a table of differences from. These steps cost a row without a picture.
"""

from __future__ import annotations

from math import hypot

import numpy as np

from cooper.scenes.questions import metres, pick, plural
from cooper.scenes.worked import apart, how_many, on_plan
from cooper.scenes.world import COLORS, SHAPES


def some_sum(rng: np.random.Generator) -> tuple[str, str]:
    """What is known, and what follows. A pure function of the generator."""
    return _distance(rng) if rng.random() < 0.75 else _count(rng)


def _distance(rng: np.random.Generator) -> tuple[str, str]:
    tenths = [(int(rng.integers(-30, 31)), int(rng.integers(9, 80))) for _ in range(2)]
    rise = [int(rng.integers(2, 13))] if rng.random() < 0.3 else []
    (ax, ay), (bx, by) = tenths
    a, b = ((x / 10, y / 10) for x, y in tenths)
    up = [z / 10 for z in rise]
    told = (f"{_name(rng)} at {on_plan(*a)}", f"{_name(rng)} at {on_plan(*b)}", *(f"{z:.1f} up" for z in up))
    far = hypot(ax - bx, ay - by, *rise) / 10
    return f"{'; '.join(told)}.", f"{apart(a, b, up)} gives {metres(far)}."


def _count(rng: np.random.Generator) -> tuple[str, str]:
    things = [(pick(rng, tuple(COLORS)), pick(rng, tuple(SHAPES))) for _ in range(rng.integers(2, 8))]
    # of the list's own colours and shapes, or of any
    color, shape = pick(rng, things) if rng.random() < 0.8 else (pick(rng, tuple(COLORS)), pick(rng, tuple(SHAPES)))
    wanted = (color, None) if rng.random() < 0.5 else (None, shape)
    n = sum(color == wanted[0] or shape == wanted[1] for color, shape in things)
    asked = f"{wanted[0]} objects" if wanted[0] else plural(shape)
    listed = ", ".join(f"{color} {shape}" for color, shape in things)
    return f"How many {asked}? From left to right: {listed}.", how_many(n, *wanted)


def _name(rng: np.random.Generator) -> str:
    return f"{pick(rng, tuple(COLORS))} {pick(rng, tuple(SHAPES))}"
