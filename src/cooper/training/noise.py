"""The noise of targets that are learned to be drawn."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cooper.layout import Noised


def noised(
    tokens: Tensor, grid: tuple[int, int], rng: np.random.Generator, spread: float, time_shift: float,
    weight: Tensor | None,
) -> Noised:  # fmt: skip
    """Drawing tokens at a noise time whose logit is N(0, spread^2), moved towards noise by `time_shift`."""
    t = 1 / (1 + np.exp(-spread * rng.standard_normal()))
    t = time_shift * t / (1 + (time_shift - 1) * t)
    noise = torch.from_numpy(rng.standard_normal(tuple(tokens.shape), dtype=np.float32))
    return Noised(tokens, grid, float(t), noise, weight)
