"""How to measure on a machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cooper.hardware import threads
from cooper.model.config import Precision

_PEAK_SIZE = 1024


def matmul_peak(precision: Precision, seconds: float = 0.2) -> float:
    """The best GFLOP/s of products of 1024 x 1024 matrices within about `seconds`, on the current threads, in the dtype
    of most of a precision's products."""
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    a = torch.randn(_PEAK_SIZE, _PEAK_SIZE).to(dtype)
    b = torch.randn(_PEAK_SIZE, _PEAK_SIZE).to(dtype)
    a @ b
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        best = min(best, timed(lambda: a @ b))
    return 2 * _PEAK_SIZE**3 / best / 1e9


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def peak_gib() -> float:
    """The most memory that this process has had: of its own where Linux tells, else as the system counts it."""
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` counts what the process had that started this one, too
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 2**20
    import resource  # not there on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def _product(x: torch.Size, w: object, *_: object, out_shape: torch.Size, **__: object) -> int:
    """Operations of x (n, inputs) by quantised weights."""
    return 2 * x[0] * x[1] * out_shape[-1]


#: What PyTorch's counter does not know; not every release has them.
_QUANTISED = {
    getattr(torch.ops.aten, name): _product
    for name in ("_weight_int8pack_mm", "_weight_int4pack_mm_for_cpu") if hasattr(torch.ops.aten, name)
}  # fmt: skip


def gflop(run: Callable[[], object]) -> float:
    """GFLOP of the matrix products and convolutions of a call (two per multiplication with addition)."""
    counter = FlopCounterMode(display=False, custom_mapping=_QUANTISED)
    with threads(1), counter:  # it counts in its own thread only
        run()
    return counter.get_total_flops() / 1e9


def randomised(model: nn.Module, seed: int = 0) -> None:
    """Give weights that are zero before training small random numbers, so that nothing in a measurement is idle."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1 and not p.any():
                p.normal_(0, p[0].numel() ** -0.5, generator=generator)
