"""Sets of pictures whose depth or labels are known, to measure what a model draws of them.

Of KITTI and ADE20K it is the part that is not trained on; of the others, all that lies there (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cooper.data.examples import MapExample
from cooper.data.sets import MAP_SETS, named


@dataclass(frozen=True)
class MapSet:
    """A set that has been opened."""

    name: str
    path: Path
    examples: Sequence[MapExample]

    @classmethod
    def open(cls, where: str, kind: str) -> MapSet:
        """The set at `[NAME=]PATH` of which the truth is a map of that kind.

        Raises ValueError if it is none, or is not there.
        """
        name, path = named(where)
        known = {name: reader.held_out for name, reader in MAP_SETS.items() if kind in reader.kinds}
        if name not in known:
            raise ValueError(f"{name!r} is no set with {kind}; choose NAME=PATH from {', '.join(known)}")
        examples = known[name](Path(path))
        if not len(examples):
            raise ValueError(f"{path} lists no examples; check the path")
        return cls(name, Path(path), examples)

    def chosen(self, n: int | None, seed: int) -> list[int]:
        """The numbers of `n` examples drawn by lot (None: of all), in order; with a larger `n` come more of them."""
        drawn = np.random.default_rng(seed).permutation(len(self.examples))[:n]
        return sorted(drawn.tolist())
