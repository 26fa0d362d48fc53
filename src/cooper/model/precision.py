"""Putting a model into one of the PRECISIONS, module by module, whether its weights are in memory already or not."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cooper.model.config import PRECISIONS, Precision
from cooper.model.quantised import Int4Linear, Int8Linear
from cooper.model.unified import UnifiedModel, part_of

#: the matrices that are most of a model
_MATRICES = re.compile(r"decoder\.(head|layers\.\d+\.(und|gen)\.(qkv|out|gate_up|down))")


def check_precision(precision: str) -> None:
    """Raises ValueError for an unknown one."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; choose one of {', '.join(PRECISIONS)}")


def put_in(
    model: UnifiedModel, precision: Precision, read: Callable[[str], Tensor] | None = None,
    device: torch.device | None = None,
) -> UnifiedModel:  # fmt: skip
    """Put a model that is not trained any more into a precision, in place, and on a device (None: where values are).

    With `read`, which is given the names of parameters, their values come from there, and the model may be on the meta
    device before: then no more of it is ever in memory than what has been put into the precision, and one module.
    """
    for name in [name for name, _ in model.named_modules()]:  # names: whoever holds modules holds what is replaced
        module = model.get_submodule(name)
        kind = quantised_as(name, module, precision)
        for key, p in list(module.named_parameters(recurse=False)):
            value = (p.detach() if read is None else read(f"{name}.{key}")).to(device)
            if kind is None or key != "weight":  # what is rounded is rounded from what is stored
                value = value.to(dtype_of(name, precision))
            setattr(module, key, nn.Parameter(value, p.requires_grad))
        if kind is not None:
            model.set_submodule(name, kind(module))  # type: ignore[arg-type]
    return model


def dtype_of(module: str, precision: Precision) -> torch.dtype:
    """Of a module's parameters, or, where they are quantised, of what they are multiplied with."""
    if precision in ("fp32", "bf16"):
        return torch.float32 if precision == "fp32" else torch.bfloat16
    return torch.bfloat16 if part_of(module) == "drawing" else torch.float32


def quantised_as(name: str, module: nn.Module, precision: Precision) -> type[Int8Linear] | type[Int4Linear] | None:
    """What a module is replaced by; None: it stays. A layer that 4 bits do not fit stays, too."""
    if not (isinstance(module, nn.Linear) and _MATRICES.fullmatch(name)):
        return None
    if precision == "int8":
        return Int8Linear
    return Int4Linear if precision == "int4" and Int4Linear.fits(module) else None


def quantised(model: UnifiedModel) -> bool:
    """Whether any of its weights are kept in a few bits."""
    return any(isinstance(module, (Int8Linear, Int4Linear)) for module in model.modules())
