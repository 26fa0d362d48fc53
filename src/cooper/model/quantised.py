"""Linear layers whose weights are kept in 8 or 4 bits. Activations are not quantised."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Int8Linear(nn.Module):
    """Weights rounded to 8 bits, with a scale an output (0.7 % off, for normal weights).

    On a CPU few tokens are multiplied by the 8 bits themselves, in bf16; otherwise by what the 8 bits stand for.
    """

    FEW = 8
    LANES = 32
    """PyTorch's kernel reads so many inputs at a time, and past the end if they are no multiple of it (2.13)."""
    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        exact = linear.weight.detach()
        # in bf16, as the kernel takes it; the weights are rounded to multiples of that
        scale = (exact.abs().amax(dim=1).clamp(min=1e-12) / 127).bfloat16()
        self.register_buffer("weight", (exact / scale[:, None]).round().clamp(-127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """x (..., inputs) to (..., outputs)."""
        if x.shape[:-1].numel() > self.FEW or x.shape[-1] % self.LANES or x.device.type != "cpu":
            return F.linear(x, self.weight.to(x.dtype) * self.scale[:, None].to(x.dtype), self.bias)
        few = x.reshape(-1, x.shape[-1]).bfloat16()
        y = torch._weight_int8pack_mm(few, self.weight, self.scale).to(x.dtype)
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
        exact = linear.weight.detach().float().unflatten(1, (-1, self.GROUP))
        low, high = exact.amin(dim=2), exact.amax(dim=2)
        # in bf16, as the kernel takes them, and before the levels are chosen, so that rounding them costs nothing
        scale = ((high - low) / 15).clamp(min=1e-12).bfloat16()
        offset = (low + 8 * scale).bfloat16()  # what level 8 stands for
        levels = (exact - offset[..., None].float()) / scale[..., None].float() + 8
        levels = levels.round().clamp(0, 15).flatten(1).to(torch.int32)
        cpu = levels.device.type == "cpu"
        self.register_buffer("packed", torch._convert_weight_to_int4pack_for_cpu(levels, 1) if cpu else _pack(levels))
        self.register_buffer("scales", torch.stack([scale, offset], dim=2).transpose(0, 1).contiguous())
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """x (..., inputs) to (..., outputs)."""
        if x.device.type == "cpu":
            rows = x.reshape(-1, x.shape[-1]).bfloat16()
            y = torch._weight_int4pack_mm_for_cpu(rows, self.packed, self.GROUP, self.scales).to(x.dtype)
            return (y if self.bias is None else y + self.bias).view(*x.shape[:-1], -1)
        return F.linear(x, dequantised(_unpack(self.packed), self.scales).to(x.dtype), self.bias)


def dequantised(levels: Tensor, scales: Tensor) -> Tensor:
    """Levels 0..15 (outputs, inputs) and scales (groups, outputs, scale and offset) to weights (outputs, inputs)."""
    scale, offset = scales.transpose(0, 1).unbind(dim=2)
    return ((levels.unflatten(1, (scale.shape[1], -1)) - 8) * scale[..., None] + offset[..., None]).flatten(1)


def _pack(levels: Tensor) -> Tensor:
    """Two levels a byte: (outputs, inputs / 2) uint8."""
    return (levels[:, ::2] | levels[:, 1::2] << 4).to(torch.uint8)


def _unpack(packed: Tensor) -> Tensor:
    return torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)
