"""Convolutions of large images strip by strip, so that only what goes in and what comes out is there as a whole.

The numbers are those of the whole image: the statistics of group norms are taken over all of it first, and a strip sees
the rows beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Pixels of a feature map from which on it is worked on in strips of about so many.
LARGE = 512 * 512


def normed(norm: nn.GroupNorm, conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`conv(silu(norm(x)))` (B, C, H, W) for a 3 x 3 convolution with a padding of 1."""
    if _small(x):
        return conv(F.silu(norm(x)))
    groups = x.unflatten(1, (norm.num_groups, -1)).flatten(2).float()
    variance, mean = torch.var_mean(groups, dim=2, correction=0)
    each = x.shape[1] // norm.num_groups
    scale = norm.weight * (variance + norm.eps).rsqrt().repeat_interleave(each, dim=1)
    shift = norm.bias - mean.repeat_interleave(each, dim=1) * scale
    scale, shift = (t[..., None, None].to(x.dtype) for t in (scale, shift))
    return _strips(conv, x, lambda rows: F.silu(torch.addcmul(shift, rows, scale)))


def enlarged(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`conv` of x (B, C, H, W) at twice its size."""
    if _small(x, 4):
        return conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    return _strips(conv, x, lambda rows: F.interpolate(rows, scale_factor=2.0, mode="nearest"), 2)


def _small(x: Tensor, times: int = 1) -> bool:
    return torch.is_grad_enabled() or x.shape[-2] * x.shape[-1] * times <= LARGE


def _strips(conv: nn.Conv2d, x: Tensor, before: Callable[[Tensor], Tensor], times: int = 1) -> Tensor:
    """`conv(before(x))`, where `before` treats every pixel by itself and makes it `times` pixels a side."""
    height, width = x.shape[-2:]
    rows = max(1, LARGE // (width * times**2))
    out: Tensor | None = None
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        above, below = int(top > 0), int(bottom < height)
        part = before(x[..., top - above : bottom + below, :])
        # of a neighbouring row only the nearest row that it becomes is seen; beyond the image there are zeros
        part = part[..., above * (times - 1) : part.shape[-2] - below * (times - 1), :]
        part = F.pad(part, (1, 1, 1 - above, 1 - below))
        made = F.conv2d(part, conv.weight, conv.bias)
        if out is None:
            out = made.new_empty(*made.shape[:2], height * times, width * times)
        out[..., top * times : bottom * times, :] = made
    assert out is not None
    return out
