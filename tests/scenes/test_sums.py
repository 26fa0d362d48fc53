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
    kinds = {"flat": 0, "up": 0, "none": 0, "some": 0}
    for _ in range(600):
        known, follows = some_sum(rng)
        assert count_tokens(follows) < MAX_TOKENS
        if known.startswith("How many"):
            asked, listed = known.removesuffix(".").split("? From left to right: ")
            word = asked.removeprefix("How many ").removesuffix(" objects")
            singular = "box" if word == "boxes" else word.removesuffix("s") if " objects" not in asked else word
            n = sum(singular in thing.split() for thing in listed.split(", "))
            assert follows.startswith(f"{n} of them" if n else "None of them") and (n or follows.endswith("so 0."))
            kinds["some" if n else "none"] += 1
            continue
        (ax, ay), (bx, by) = ((float(x), float(y)) for x, y in PLACE.findall(known))
        found = APART.fullmatch(follows)
        assert found is not None, follows
        across, deep, up, far = found.groups()
        assert abs(abs(ax - bx) - float(across)) < 0.01 and abs(abs(ay - by) - float(deep)) < 0.01
        assert abs(hypot(ax - bx, ay - by, float(up or 0)) - float(far)) < 0.051
        kinds["up" if up else "flat"] += 1
    assert min(kinds.values()) > 20, kinds
