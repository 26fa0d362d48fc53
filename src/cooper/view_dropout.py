"""View dropout (arXiv 2605.27310, docs/method.md, section 9): after a map, words do not see all of the picture.

What is written after a map then has to be read from it, and the map is used; a model that sees the whole picture all
the time learns to ignore it. The map itself is drawn with open eyes. The same pieces are trained on and rolled out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cooper.layout import Clean, Piece, Seen, Words
from cooper.model.config import ModelConfig

#: A picture is hidden by the cells of a grid of so many a side, whatever its size.
SIDE = 16


def hidden_view(
    picture: Sequence[Piece], share: float, config: ModelConfig, rng: np.random.Generator
) -> list[Piece]:
    """A picture's pieces with about this share of its places hidden, the same ones for both branches."""
    field = rng.random((SIDE, SIDE)) < share
    out: list[Piece] = []
    for piece in picture:
        assert isinstance(piece, Clean | Seen)
        rows, columns = (
            piece.grid if isinstance(piece, Clean)
            else (side // config.vision.patch for side in piece.image.shape[-2:])
        )  # fmt: skip
        places = np.ix_(np.arange(rows) * SIDE // rows, np.arange(columns) * SIDE // columns)
        out.append(replace(piece, hidden=field[places].ravel()))
    return out


def blinded(pieces: Sequence[Piece]) -> list[Piece]:
    """A trace's pieces, its words after the first map blind."""
    wrote = next((i for i, p in enumerate(pieces) if isinstance(p, Words) and p.loss), len(pieces))
    drew = next((i for i in range(wrote, len(pieces)) if isinstance(pieces[i], Seen)), len(pieces))
    return [replace(p, blind=True) if i > drew and isinstance(p, Words) else p for i, p in enumerate(pieces)]


def seeded(seed: int) -> np.random.Generator:
    """What hides the picture of the rollouts of a question whose first one has this seed."""
    return np.random.default_rng((SIDE, seed))
