"""Threads are shared by tasks that run side by side; of two types the faster is taken."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import nn

from cooper import hardware
from cooper.hardware import SMALL, check_device, fast_dtype, lanes, side_by_side, threads


def test_tasks_share_the_threads() -> None:
    """From their first operation on: were each to take all threads, they would wait for each other."""
    with threads(4):
        assert side_by_side([torch.get_num_threads] * 2) == [2, 2]
        assert side_by_side([torch.get_num_threads] * 4) == [1] * 4
        assert side_by_side([torch.get_num_threads]) == [4]


def test_small_products_take_a_thread_each() -> None:
    """However many there are: waking the others takes as long as the work."""
    with threads(4):
        for tasks in (1, 2, 3):
            assert side_by_side([torch.get_num_threads] * tasks, SMALL - 1) == [1] * tasks
            assert torch.get_num_threads() == 4


def test_there_are_few_numbers_of_threads() -> None:
    """Those of each number are kept."""
    with threads(6):
        assert [lanes(most) for most in range(9)] == [1, 1, 2, 2, 4, 4, 6, 6, 6]


def test_what_tasks_set_stays_among_them() -> None:
    """PyTorch gives a thread to come the number that any thread has set last."""

    def set_and_tell() -> int:
        with threads(1):
            return torch.get_num_threads()

    found: list[int] = []
    with threads(4):
        assert side_by_side([set_and_tell] * 2) == [1, 1]
        assert torch.get_num_threads() == 4
        later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert side_by_side([torch.get_num_threads] * 2) == [2, 2]
    assert found == [4]


def test_the_type_that_multiplies_faster_is_taken() -> None:
    """By a layer's products, as they are in training."""
    layers = [(nn.Linear(256, 768, dtype=t), torch.ones(2048, 256, dtype=t)) for t in (torch.bfloat16, torch.float32)]
    times = []
    with threads(1), torch.inference_mode():
        for _ in range(30):
            times.append([])
            for layer, x in layers:
                began = time.perf_counter()
                layer(x)
                times[-1].append(time.perf_counter() - began)
    bf16, fp32 = (min(column) for column in zip(*times, strict=True))
    if max(bf16, fp32) > 1.3 * min(bf16, fp32):  # about as fast: either will do
        assert fast_dtype() == (torch.bfloat16 if bf16 < fp32 else torch.float32)


def test_what_was_agreed_on_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_agreed", None)
    for dtype in (torch.bfloat16, torch.float32):
        hardware.agree_on(dtype)
        assert fast_dtype() == dtype


def test_instructions_alone_do_not_make_a_type_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    supported = "_is_avx512_bf16_supported"
    monkeypatch.setattr(hardware, "_agreed", None)
    for says in (True, None, False):
        if says is None:  # another PyTorch, which has no such function
            monkeypatch.delattr(torch.cpu, supported)
        else:
            monkeypatch.setattr(torch.cpu, supported, lambda says=says: says, raising=False)
        for seconds, dtype in (({torch.bfloat16: 2.0}, torch.float32), ({torch.bfloat16: 0.5}, torch.bfloat16)):
            monkeypatch.setattr(hardware, "_seconds_of_square", lambda m, seconds=seconds: seconds.get(m.dtype, 1.0))
            hardware.multiplies_bf16_faster.cache_clear()
            assert fast_dtype() == (torch.float32 if says is False else dtype)
    hardware.multiplies_bf16_faster.cache_clear()


@pytest.mark.parametrize("name", ["mps", "cuda", "cuda:99", "meta", "gpu", None])
def test_devices_that_are_not_here_are_told_in_a_line(name: str | None) -> None:
    if name == "cuda" and torch.cuda.is_available() or name == "mps" and torch.backends.mps.is_available():
        pytest.skip("it is here")
    with pytest.raises(ValueError, match=f"there is no device {name!r}") as told:
        check_device(name)  # type: ignore[arg-type]
    assert len(str(told.value)) < 240 and "\n" not in str(told.value)
