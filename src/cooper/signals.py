"""Interruptions (Ctrl-C, and SIGTERM, which commands take for the same), and what must not be left half done."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """An interruption that comes inside is held until the end. For what takes a moment and must not be left half done.

    Nothing is held outside the main thread, where no interruption arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # what is ignored is held, too: processes that are started inside would go on ignoring it
    before = {number: handler for number in ENDING if (handler := signal.getsignal(number)) is not None}
    came: list[int] = []
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def interrupt_once() -> None:
    """From now on this process is interrupted by either signal, once: a second one would spoil what is being kept."""

    def interrupted(*_: object) -> None:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ENDING:
        signal.signal(number, interrupted)


def end_without_fault(*_: object) -> None:
    """Make this process exit with status 0 on SIGTERM. For data-loading workers: when all are told to end, the parent
    is saving a checkpoint, and must not be interrupted by the news of a killed worker."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def end_with_parent() -> None:
    """End this process when the one that started it does, even if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
