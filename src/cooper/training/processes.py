"""Several processes of this machine that train together, and end together."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import re
import signal
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.multiprocessing import ProcessExitedException

from cooper import files
from cooper.hardware import agree_on, fast_dtype
from cooper.signals import interrupt_once, uninterrupted

T = TypeVar("T")

#: how a process exits that was interrupted, as shells tell it of SIGINT
_INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True)
class Share:
    """Which of several processes this is."""

    rank: int = 0
    world: int = 1

    @classmethod
    def mine(cls) -> Share:
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()


def wait() -> None:
    """Until all processes are here."""
    if dist.is_initialized():
        dist.barrier()


def gathered(items: Sequence[T]) -> list[T]:
    """Those of all processes, the first one's first. All have to call it."""
    if not dist.is_initialized():
        return list(items)
    parts: list[list[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, list(items))
    return [item for part in parts for item in part]


def run_in(processes: int, folder: Path, work: Callable[..., object], *args: Any, quiet: bool = False) -> None:
    """`work(*args, quiet)` in so many processes, of which all but the first are quiet; in this one if that is one.

    They meet in `folder`, which is made, and which others are kept out of until they end (ValueError). If this process
    is interrupted, they are, too, and may keep what they have; and so is this one if they are. What is wrong with the
    input, the installation or the disk according to any of them, or to the workers that read their data, is a
    ValueError, ImportError or OSError here, too. One that is killed had too little memory: it is a MemoryError.
    """
    try:
        with held(folder):
            _run(processes, folder, work, *args, quiet=quiet)
    except ProcessExitedException as error:
        if error.signal_name == "SIGKILL":
            raise MemoryError(str(error)) from None
        if error.exit_code == _INTERRUPTED:
            raise KeyboardInterrupt from None
        raise
    except Exception as error:
        if re.search(r"DataLoader worker .* (killed by signal: Killed|exited unexpectedly)", str(error)):
            raise MemoryError(str(error)) from None  # of this process; those of others tell theirs
        # what comes from another process comes with the whole of its traceback, which says at its end what it was
        lines = str(error).strip().splitlines()
        for k in range(len(lines) - 1, 0, -1):
            mistake = re.fullmatch(r"(?:[\w.]+\.)?(\w+): (.+)", lines[k])
            kind = getattr(builtins, mistake[1], ValueError if mistake[1] == "BadRow" else None) if mistake else None
            for plain in (ValueError, ImportError, OSError):
                if mistake and isinstance(kind, type) and issubclass(kind, plain):
                    raise plain(" ".join([mistake[2], *lines[k + 1 :]])) from None
        raise


def held(folder: Path) -> AbstractContextManager[None]:
    """A folder, which is made, and which others are kept out of meanwhile (ValueError)."""
    why = f"another process is training in {folder}; wait for it, stop it, or choose another folder"
    return files.held(folder / ".lock", why)


def _run(processes: int, folder: Path, work: Callable[..., object], *args: Any, quiet: bool) -> None:
    if processes == 1:
        work(*args, quiet)
        return
    for former in folder.glob(".meeting-*"):  # of processes that were killed
        former.unlink()
    meeting = folder.resolve() / f".meeting-{uuid.uuid4().hex}"  # where the processes find each other
    try:
        _spawn(processes, (processes, str(meeting), work, args, quiet))
    finally:
        meeting.unlink(missing_ok=True)


def _spawn(processes: int, args: tuple[Any, ...]) -> None:
    context = None
    try:
        with uninterrupted(), _held_back():  # none must be left that waits for what it is to do
            context = torch.multiprocessing.spawn(_process, args, processes, join=False)
        assert context is not None
        while not context.join():
            pass
    except KeyboardInterrupt:
        started = [] if context is None else context.processes
        for process in started:
            if process.is_alive():
                os.kill(process.pid, signal.SIGINT)
        for process in started:
            process.join()
        raise


@contextmanager
def _held_back() -> Iterator[None]:
    """Processes that are started inside are not interrupted before they allow it: while they import what they need,
    each would tell of it with a traceback."""
    resource_tracker.ensure_running()  # which would let signals through when it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _process(
    rank: int, world: int, meeting: str, work: Callable[..., object], args: tuple[Any, ...], quiet: bool
) -> None:
    # until all have met there is nothing to keep, and no handler of ours runs while one waits for the others. SIGINT is
    # how this process learns that its parent died, too; whoever was started in the background would ignore it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it died while this process was starting, and none was told
        return
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    patience = timedelta(hours=12)  # the first one draws and flags while the others wait
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world, timeout=patience)
    interrupt_once()
    try:
        # one that a mistake ends at once would leave others half connected, and theirs would be told instead
        agree_on(gathered([fast_dtype()])[0])
        work(*args, quiet or rank > 0)
    except KeyboardInterrupt:  # which PyTorch would take for the end of the work
        sys.exit(_INTERRUPTED)
    finally:
        dist.destroy_process_group()
    # a thread of gloo's may hold the last reference to a tensor, and let go of it when Python has gone, which aborts
    # the process (pytorch/pytorch#179291): this one goes before
    with suppress(OSError, ValueError, AttributeError):  # closed, or not there
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)
