"""Sets of pictures whose depth or labels are known, to measure what a model draws of them.

Of KITTI and ADE20K it is the part that is not trained on; of the others, all that lies there (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cooper.data.ade20k import AdeColours, AdeLabels
from cooper.data.examples import MapExample
from cooper.data.hypersim import Hypersim
from cooper.data.kitti import Kitti, KittiSplit
from cooper.data.map_rows import MapRows
from cooper.data.nyu import Nyu, NyuDepths, NyuLabels
from cooper.data.sets import named
from cooper.data.virtual_kitti import VirtualKitti

#: By the kind of map, readers by the names that `cooper.data.sets` has for them.
_SETS: dict[str, dict[str, Callable[[Path], Sequence[MapExample]]]] = {
    "depth": {
        "hypersim": Hypersim,
        "virtual_kitti": VirtualKitti,
        "kitti": partial(Kitti, split="val"),
        "kitti_split": KittiSplit,
        "nyu": Nyu,
        "nyu_depths": NyuDepths,
        "maps": MapRows,
    },
    "segmentation": {
        "nyu_labels": NyuLabels,
        "ade20k": partial(AdeLabels, split="validation"),
        "ade20k_full": lambda root: AdeColours(root / "images" / "ADE" / "validation"),
        "ade20k_colours": lambda root: AdeColours(root / "images", root / "labels"),
        "maps": MapRows,
    },
}


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
        if name not in _SETS[kind]:
            raise ValueError(f"{name!r} is no set with {kind}; choose NAME=PATH from {', '.join(_SETS[kind])}")
        examples = _SETS[kind][name](Path(path))
        if not len(examples):
            raise ValueError(f"{path} lists no examples; check the path")
        return cls(name, Path(path), examples)

    def chosen(self, n: int | None, seed: int) -> list[int]:
        """The numbers of `n` examples drawn by lot (None: of all), in order; with a larger `n` come more of them."""
        drawn = np.random.default_rng(seed).permutation(len(self.examples))[:n]
        return sorted(drawn.tolist())
