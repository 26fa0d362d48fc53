"""A learned scale of the logits (an inverse temperature), beside the model's weights.

All logits are multiplied by it, so it is what dividing them by a temperature undoes. Rollouts have temperature 1, and
there a small model that was taught in few steps loses a tenth of its answers to chance. Of all that a step of
reinforcement learns from, this number stands out of the noise by far (docs/log.md, "Stage 1 in two parts, and sharpness
as a parameter"), but as a part of the weights it moves as slowly as they do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cooper.model.unified import UnifiedModel


class _Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.zeros(()))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.log.exp()


@contextmanager
def learned_sharpness(model: UnifiedModel) -> Iterator[None]:
    """Gives the model a parameter, the logarithm of what its logits are multiplied by, in place. Then it is part of the
    weights of the norm before them."""
    parametrize.register_parametrization(model.decoder.norm_und, "weight", _Scaled())
    try:
        yield
    finally:
        parametrize.remove_parametrizations(model.decoder.norm_und, "weight")


def sharpness(model: UnifiedModel) -> float:
    """What a model's logits are multiplied by, beside its weights."""
    scales = [part for part in model.decoder.norm_und.modules() if isinstance(part, _Scaled)]
    return math.exp(sum(float(scale.log.detach()) for scale in scales))


def relative_sharpness(model: UnifiedModel, other: UnifiedModel) -> float:
    """What a model's logits are multiplied by where another's, from which it was learned, are not: how much longer the
    gain of the norm before them is."""
    gain, before = (one.decoder.norm_und.weight.detach().float().norm() for one in (model, other))
    return float(gain / before)
