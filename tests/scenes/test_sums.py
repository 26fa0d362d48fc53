"""Steps of reasoning with made-up numbers: what is written follows from what is known."""

from __future__ import annotations

import re
from math import hypot

import numpy as np

from cooper.scenes.sums import some_sum
from cooper.scenes.worked import MAX_TOKENS, count_tokens

PLACE = re.compile(r"at (\d\.\d), (\d\.\d)")
APART = re.compile(r"(\d\.\d) across, (\d\.\d) deep(?:, (\d\.\d) up)? gives (\d+\.\d) m\.")


def test_sums_are_right() -> None:
    rng = np.random.default_rng(0)
    kinds = {"flat": 0, "up": 0, "none": 0, "some": 0, "closer": 0, "taller": 0}
    for _ in range(1200):
        known, follows = some_sum(rng)
        assert count_tokens(follows) < MAX_TOKENS
        if known.startswith("How many"):
            what, listed = known.removeprefix("How many ").removesuffix(".").split("? ")
            word = what.removesuffix(" objects")
            singular = "box" if word == "boxes" else word.removesuffix("s") if " objects" not in what else word
            found = [thing for thing in listed.split(", ") if singular in thing.split()]
            numbered = [f"{i} {thing}" for i, thing in enumerate(found, 1)]
            assert follows == f"{', '.join([*numbered, f'no more {what}'])}, so {len(found)}."
            kinds["some" if found else "none"] += 1
            continue
        if known.startswith("Which is"):
            names, numbers = re.findall(r"[a-z]+ (?:ball|box|cylinder|cone)", known), re.findall(r"\d\.\d", known)
            what = "closer" if len(numbers) == 2 else "taller"
            a, b = numbers if what == "closer" else (numbers[1], numbers[3])
            first = (float(a) < float(b)) == (what == "closer")
            end = f"so the {'first' if first else 'second'}, the {names[not first]}, is {what}."
            assert follows.endswith(f"{a} is {'less' if float(a) < float(b) else 'more'} than {b}, {end}"), follows
            assert known.startswith(f"Which is {what}?") and all(number in follows for number in numbers)
            kinds[what] += 1
            continue
        (ax, ay), (bx, by) = ((float(x), float(y)) for x, y in PLACE.findall(known))
        length = APART.fullmatch(follows)
        assert length is not None, follows
        across, deep, up, far = length.groups()
        assert abs(abs(ax - bx) - float(across)) < 0.01 and abs(abs(ay - by) - float(deep)) < 0.01
        assert abs(hypot(ax - bx, ay - by, float(up or 0)) - float(far)) < 0.051
        kinds["up" if up else "flat"] += 1
    assert min(kinds.values()) > 20, kinds
