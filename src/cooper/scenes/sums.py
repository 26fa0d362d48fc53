"""The last steps of worked traces by themselves, with made-up numbers: how far places are apart, how many of a list,
which of two is closer or taller.

A worked trace holds one such step among sixty tokens, and questions of other kinds have none: some thousands of traces
were not enough to learn a table of differences from. These steps cost a row without a picture.
"""

from __future__ import annotations

from math import hypot

import numpy as np

from cooper.scenes.questions import metres, pick
from cooper.scenes.seen import GRID
from cooper.scenes.worked import apart, closer, counted, on_plan, taller, tally
from cooper.scenes.world import COLORS, SHAPES


def some_sum(rng: np.random.Generator) -> tuple[str, str]:
    """What is known, and what follows. A pure function of the generator."""
    dice = rng.random()
    return _distance(rng) if dice < 0.5 else _count(rng) if dice < 0.75 else _comparison(rng)


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
    n = int(rng.integers(2, 8))
    things = [(pick(rng, tuple(COLORS)), pick(rng, tuple(SHAPES))) for _ in range(n)]
    columns = sorted(int(c) for c in rng.permutation(GRID)[:n])
    # of the list's own colours and shapes, or of any
    color, shape = pick(rng, things) if rng.random() < 0.8 else (pick(rng, tuple(COLORS)), pick(rng, tuple(SHAPES)))
    wanted = (color, None) if rng.random() < 0.5 else (None, shape)
    what = counted(*wanted)
    listed = [(f"{color} {shape}", column) for (color, shape), column in zip(things, columns, strict=True)]
    found = [one for thing, one in zip(things, listed, strict=True) if wanted[0] == thing[0] or wanted[1] == thing[1]]
    known = f"How many {what}? {', '.join(f'{name} {column}' for name, column in listed)}."
    return known, f"{tally(found, what)}, so {len(found)}."


def _comparison(rng: np.random.Generator) -> tuple[str, str]:
    """Both numbers are in what follows, as in traces, where they are read from the picture; so they are told before."""
    a, b = _name(rng), _name(rng)
    far, deep = (int(x) / 10 for x in rng.choice(np.arange(9, 80), 2, replace=False))
    if rng.random() < 0.5:
        return f"Which is closer? {a} {far:.1f}, {b} {deep:.1f}.", closer((a, far), (b, deep))
    low, high = (int(x) / 10 for x in rng.choice(np.arange(2, 12), 2, replace=False))
    known = f"Which is taller? {a} {far:.1f} and {low:.1f}, {b} {deep:.1f} and {high:.1f}."
    return known, taller((a, far, low), (b, deep, high))


def _name(rng: np.random.Generator) -> str:
    return f"{pick(rng, tuple(COLORS))} {pick(rng, tuple(SHAPES))}"
