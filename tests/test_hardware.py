"""Threads: tasks that run side by side share those that there are."""

from __future__ import annotations

import threading

import torch

from cooper.hardware import side_by_side, threads


def test_tasks_share_the_threads() -> None:
    """From their first operation on: were each to take all threads, they would wait for each other."""
    with threads(4):
        assert side_by_side([torch.get_num_threads] * 2) == [2, 2]
        assert side_by_side([torch.get_num_threads] * 4) == [1] * 4
        assert side_by_side([torch.get_num_threads]) == [4]


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
