"""What this machine is good at, and how its cores are best used."""

from __future__ import annotations

import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def describe() -> dict[str, Any]:
    """Processor, cores this process may use, and versions."""
    return {
        "cpu": _processor(), "cores": _cores(), "torch": torch.__version__, "python": platform.python_version(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fast_dtype(device: torch.device | None = None) -> torch.dtype:
    """bf16 where this device (by default the processor) multiplies it faster than fp32, else fp32."""
    if device is not None and device.type != "cpu":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    elif _agreed is not None:
        return _agreed
    else:
        fast = _may_have_bf16() and multiplies_bf16_faster()
    return torch.bfloat16 if fast else torch.float32


def _may_have_bf16() -> bool:
    """Whether it is worth measuring. What PyTorch says is private: where it says nothing, yes."""
    knows = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return knows is None or bool(knows())


_agreed: torch.dtype | None = None


def agree_on(dtype: torch.dtype) -> None:
    """Fix what `fast_dtype` returns for the CPU, so that processes that train together all use the same dtype."""
    global _agreed
    _agreed = dtype


@cache
def multiplies_bf16_faster() -> bool:
    """Whether this CPU multiplies bf16 matrices faster than fp32, measured in a few hundredths of a second. Instruction
    sets do not tell: with the same one, Zen 4 is twice as fast in bf16, and a Xeon with AMX disabled half as fast."""
    with threads(1), torch.inference_mode():
        matrices = [torch.ones(512, 512, dtype=dtype) for dtype in (torch.bfloat16, torch.float32)]
        times = [[_seconds_of_square(m) for m in matrices] for _ in range(10)]
    bf16, fp32 = (min(column) for column in zip(*times, strict=True))  # what else runs here only makes it slower
    return bf16 < fp32


def _seconds_of_square(matrix: torch.Tensor) -> float:
    began = time.perf_counter()
    matrix @ matrix
    return time.perf_counter() - began


def check_device(name: str) -> torch.device:
    """The device of that name. Raises ValueError if PyTorch knows none, or this machine has none."""
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):  # which lists all that PyTorch can be built for
        raise ValueError(f"there is no device {name!r}; use cpu, or cuda for a GPU") from None
    try:
        torch.empty(0, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # the last is of "meta", which has no numbers
        reason = re.split(r"\n|\. |: ", str(error).strip(), maxsplit=1)[0][:120]  # the rest may be pages
        raise ValueError(f"there is no device {name!r} here ({reason}); use cpu, or cuda if it has a GPU") from None
    return device


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let PyTorch compute on so many threads."""
    if number < 1:
        raise ValueError(f"PyTorch computes on at least 1 thread, not {number}")
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


#: Multiplications of the largest product of a layer, below which one thread is faster than several: waking the others
#: takes as long as the work.
SMALL = 32_000_000


@contextmanager
def threads_for(multiplications: int) -> Iterator[None]:
    """Compute on one thread if each product is small, else on as many as before."""
    with threads(1 if multiplications < SMALL else torch.get_num_threads()):
        yield


def lanes(most: int) -> int:
    """How many threads to split work into that has at most `most` parts: all threads, or else the largest power of two
    that is not more than `most`, as `side_by_side` keeps a pool of threads for each number."""
    there = torch.get_num_threads()
    return there if most >= there else 1 << (max(most, 1).bit_length() - 1)


def side_by_side(tasks: Sequence[Callable[[], T]], multiplications: int = SMALL) -> list[T]:
    """Run tasks, each in a thread of its own whose operations have an equal share of the threads, or one thread if each
    of their products has few `multiplications`."""
    before = torch.get_num_threads()
    each = 1 if multiplications < SMALL else max(1, before // len(tasks))
    if len(tasks) == 1:
        with threads(each):
            return [tasks[0]()]
    with _making:
        pool = _pool(len(tasks), each)
    try:
        return list(pool.map(lambda task: task(), tasks))
    finally:
        torch.set_num_threads(before)  # tasks that set it set it for threads to come, too


_making = threading.Lock()


@cache
def _pool(workers: int, each: int) -> ThreadPoolExecutor:
    before = torch.get_num_threads()
    met = threading.Barrier(workers)

    def begin() -> None:
        torch.get_num_threads()  # or else the first operation would do this, and take whatever number was set last
        torch.set_num_threads(each)
        met.wait()  # so that there are as many threads as workers

    pool = ThreadPoolExecutor(workers, initializer=begin)
    list(pool.map(lambda _: None, range(workers)))
    torch.set_num_threads(before)  # setting it in a thread also sets it for threads to come
    return pool
