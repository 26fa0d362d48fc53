"""Linear layers whose weights are kept in 8 or 4 bits. Activations are not quantised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: PyTorch's kernels for a CPU. They are private: one that is gone is done without.
_INT8 = getattr(torch, "_weight_int8pack_mm", None)
_INT4 = getattr(torch, "_weight_int4pack_mm_for_cpu", None)
_INT4_PACK = getattr(torch, "_convert_weight_to_int4pack_for_cpu", None)


class Int8Linear(nn.Module):
    """Weights rounded to 8 bits, with a scale an output (0.7 % off, for normal weights).

    On a CPU tokens, unless they are many, are multiplied by the 8 bits themselves, in bf16; otherwise by what the 8
    bits stand for.
    """

    FEW = 64
    """Tokens up to which PyTorch's kernel, which takes time for each, is faster."""
    LANES = 32
    """PyTorch's kernel reads so many inputs at a time, and past the end if they are no multiple of it (2.13)."""
    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weights, scales = zip(*map(self._rounded, _blocks(linear)), strict=True)
        self.register_buffer("weight", torch.cat(weights))
        self.register_buffer("scale", torch.cat(scales))
        self.bias = linear.bias

    @staticmethod
    def _rounded(exact: Tensor) -> tuple[Tensor, Tensor]:
        # in bf16, as the kernel takes it; the weights are rounded to multiples of that
        scale = (exact.abs().amax(dim=1).clamp(min=1e-12) / 127).bfloat16()
        return (exact / scale[:, None].float()).round().clamp(-127, 127).to(torch.int8), scale

    def forward(self, x: Tensor) -> Tensor:
        """x (..., inputs) to (..., outputs)."""
        few = x.shape[:-1].numel() <= self.FEW and x.shape[-1] % self.LANES == 0
        if not few or x.device.type != "cpu" or _INT8 is None:
            parts = zip(_some(self.weight, x), _some(self.scale, x), strict=True)
            return _by_parts(x, (w.to(x.dtype).mul_(s[:, None].to(x.dtype)) for w, s in parts), self.bias)
        rows = x.reshape(-1, x.shape[-1]).bfloat16()
        y = _INT8(rows, self.weight, self.scale).to(x.dtype)
        return (y if self.bias is None else y + self.bias).view(*x.shape[:-1], -1)


class Int4Linear(nn.Module):
    """Weights in 4 bits: of each output, every `GROUP` inputs share a scale and an offset (7 % off, for normal ones).

    On a CPU PyTorch multiplies by the 4 bits themselves, in bf16; elsewhere by what they stand for.
    """

    GROUP = 32
    ROWS = 16
    """The kernel takes outputs by so many."""
    packed: Tensor
    scales: Tensor

    @classmethod
    def fits(cls, linear: nn.Linear) -> bool:
        """Whether a layer has sizes that this one can have."""
        return linear.in_features % cls.GROUP == 0 and linear.out_features % cls.ROWS == 0

    def __init__(self, linear: nn.Linear):
        super().__init__()
        assert self.fits(linear)
        packed, scales = zip(*map(self._rounded, _blocks(linear)), strict=True)
        self.register_buffer("packed", torch.cat(packed))
        self.register_buffer("scales", torch.cat(scales, dim=1))
        self.bias = linear.bias

    @classmethod
    def _rounded(cls, exact: Tensor) -> tuple[Tensor, Tensor]:
        exact = exact.unflatten(1, (-1, cls.GROUP))
        low, high = exact.amin(dim=2), exact.amax(dim=2)
        # in bf16, as the kernel takes them, and before the levels are chosen, so that rounding them costs nothing
        scale = ((high - low) / 15).clamp(min=1e-12).bfloat16()
        offset = (low + 8 * scale).bfloat16()  # what level 8 stands for
        levels = (exact - offset[..., None].float()) / scale[..., None].float() + 8
        levels = levels.round().clamp(0, 15).flatten(1).to(torch.int32)
        packed = _pack(levels) if _INT4 is None or _INT4_PACK is None or not levels.is_cpu else _INT4_PACK(levels, 1)
        return packed, torch.stack([scale, offset], dim=2).transpose(0, 1).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """x (..., inputs) to (..., outputs)."""
        if x.is_cpu and _INT4 is not None and _INT4_PACK is not None:
            rows = x.reshape(-1, x.shape[-1]).bfloat16()
            y = _INT4(rows, self.packed, self.GROUP, self.scales).to(x.dtype)
            return (y if self.bias is None else y + self.bias).view(*x.shape[:-1], -1)
        parts = zip(_some(self.packed, x), _some(self.scales, x, dim=1), strict=True)
        return _by_parts(x, (dequantised(_unpack(p), s).to(x.dtype) for p, s in parts), self.bias)


def _blocks(linear: nn.Linear) -> Iterator[Tensor]:
    """The weights in fp32, some outputs at a time: the 7B's head as a whole would take gigabytes a step of rounding."""
    return (rows.float() for rows in linear.weight.detach().split(_outputs(linear.in_features)))


def _some(x: Tensor, inputs: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """x in parts of some outputs each, for inputs (..., width)."""
    return x.split(_outputs(inputs.shape[-1]), dim=dim)


def _by_parts(x: Tensor, weights: Iterable[Tensor], bias: Tensor | None) -> Tensor:
    """`F.linear` of weights that come part by part: what the bits of the 7B's head stand for takes gigabytes."""
    parts = [F.linear(x, weight) for weight in weights]
    y = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
    return y if bias is None else y + bias


def _outputs(inputs: int) -> int:
    """How many outputs are worked on at a time: a multiple of 64, by which int4's kernel lays them out."""
    return max(64, (1 << 22) // inputs // 64 * 64)


def dequantised(levels: Tensor, scales: Tensor) -> Tensor:
    """Levels 0..15 (outputs, inputs) and scales (groups, outputs, scale and offset) to weights (outputs, inputs)."""
    scale, offset = scales.transpose(0, 1).unbind(dim=2)
    return ((levels.unflatten(1, (scale.shape[1], -1)) - 8) * scale[..., None] + offset[..., None]).flatten(1)


def _pack(levels: Tensor) -> Tensor:
    """Two levels a byte: (outputs, inputs / 2) uint8."""
    return (levels[:, ::2] | levels[:, 1::2] << 4).to(torch.uint8)


def _unpack(packed: Tensor) -> Tensor:
    return torch.stack([packed & 15, packed >> 4], dim=2).flatten(1).to(torch.int8)  # levels are subtracted from
