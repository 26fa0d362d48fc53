"""Putting a model into one of the PRECISIONS."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cooper.model.config import PRECISIONS, Precision
from cooper.model.unified import UnifiedModel


class Int8Linear(nn.Module):
    """A linear layer whose weights are rounded to 8 bits, with a scale an output (0.7 % off, for normal weights).

    Few tokens are multiplied by the 8 bits themselves, in bf16; many by what the 8 bits stand for, as usual.
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
        if x.shape[:-1].numel() > self.FEW or x.shape[-1] % self.LANES:
            return F.linear(x, self.weight.to(x.dtype) * self.scale[:, None].to(x.dtype), self.bias)
        few = x.reshape(-1, x.shape[-1]).bfloat16()
        y = torch._weight_int8pack_mm(few, self.weight, self.scale).to(x.dtype)
        return (y if self.bias is None else y + self.bias).view(*x.shape[:-1], -1)


def check_precision(precision: str) -> None:
    """Raises ValueError for an unknown one."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; choose one of {', '.join(PRECISIONS)}")


def put_in(model: UnifiedModel, precision: Precision) -> UnifiedModel:
    """Put a model that is not trained any more into another precision, in place."""
    if precision in ("fp32", "bf16"):
        return model.to(torch.float32 if precision == "fp32" else torch.bfloat16)
    model.draw_in(torch.bfloat16)
    if precision == "int8":
        decoder = model.decoder
        decoder.head = Int8Linear(decoder.head)  # type: ignore[assignment]
        for layer in decoder.layers:
            for name in ("qkv", "out", "gate_up", "down"):
                setattr(layer.und, name, Int8Linear(getattr(layer.und, name)))
    return model
