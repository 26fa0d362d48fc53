"""Arrays over the scenes of a folder that are computed once and kept: latents, maps that a model drew."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import Progress

from cooper.files import new_file
from cooper.training.processes import Share, wait


class DiskCache(ABC):
    """For each kind of image an array with a row for each of `length` scenes, in a file of its own in `folder`."""

    #: What it is that is kept, for the progress bar.
    name: str
    #: After so many batches it is noted how many are done.
    note_every = 50

    def __init__(self, folder: Path, length: int, shape: tuple[int, ...], dtype: type):
        self.folder, self.shape, self.dtype = folder, (length, *shape), dtype
        self._open: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        # whoever gets it maps the files by itself
        return {**self.__dict__, "_open": {}}

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def compute(self, kind: str, rows: range) -> np.ndarray:
        """The array's rows for these scenes."""

    def path(self, kind: str) -> Path:
        return self.folder / f"{kind}.npy"

    def make(self, kind: str, batch: int = 32, quiet: bool = False) -> None:
        """Compute what is missing of a kind; of several processes that train together each does its share. Interrupted,
        it goes on where it stopped. What another run is making in that folder is waited for."""
        share, lock = Share.mine(), FileLock(self.folder / f".{kind}.lock")
        try:
            if share.rank == 0 and not self._fits(self.path(kind)):
                self.folder.mkdir(parents=True, exist_ok=True)
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    if not quiet:
                        waiting = f"{self.folder}: another run is making {self.name} of {kind}; waiting for it"
                        print(waiting, file=sys.stderr)
                    lock.acquire()
            wait()
            self._make(kind, share, batch, quiet)
        finally:
            lock.release()

    def _make(self, kind: str, share: Share, batch: int, quiet: bool) -> None:
        done_already = self._fits(self.path(kind))
        wait()
        if done_already:
            return
        unfinished, done_file = self.folder / f"{kind}.part.npy", self._done(kind, share, batch)
        if share.rank == 0 and not self._fits(unfinished):
            for old in self.folder.glob(f"{kind}.*of*.done"):
                old.unlink()
            self._reserve(unfinished)
        wait()
        out = np.lib.format.open_memmap(unfinished, mode="r+")  # type: ignore[no-untyped-call]
        mine = range(share.rank * batch, len(self), share.world * batch)
        told = done_file.read_text() if done_file.exists() else ""
        done = int(told) if told.isdecimal() else 0
        with Progress(console=Console(stderr=True), disable=quiet) as progress, torch.no_grad():
            bar = progress.add_task(f"{self.name} of {kind}", total=len(mine), completed=done)
            for k, first in enumerate(mine[done:], done + 1):
                rows = range(first, min(first + batch, len(self)))
                out[first : first + len(rows)] = self.compute(kind, rows)
                if k % self.note_every == 0:
                    out.flush()
                    with new_file(done_file) as file:
                        file.write_text(str(k))
                progress.update(bar, completed=k)
        out.flush()
        wait()
        if share.rank == 0:
            unfinished.rename(self.path(kind))
            for old in self.folder.glob(f"{kind}.*of*.done"):
                old.unlink()
        wait()

    def _reserve(self, path: Path) -> None:
        """An empty array that has its room on the disk already: later, a full one would end the process."""
        try:
            np.lib.format.open_memmap(path, mode="w+", dtype=self.dtype, shape=self.shape)  # type: ignore[no-untyped-call]
            if hasattr(os, "posix_fallocate"):  # Linux
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def _fits(self, path: Path) -> bool:
        """Whether the file is there, and of as many scenes: a folder may have grown since."""
        if not path.exists():
            return False
        try:
            kept = np.load(path, mmap_mode="r")
        except OSError:
            raise
        except Exception:  # damaged headers are met with all kinds of exceptions; it is made again
            return False
        return bool(kept.shape == self.shape and kept.dtype == self.dtype)

    def _done(self, kind: str, share: Share, batch: int) -> Path:
        """Holds how many batches of its share a process has done. Other processes or batches begin anew."""
        return self.folder / f"{kind}.{share.rank}of{share.world}by{batch}.done"

    def row(self, i: int, kind: str) -> np.ndarray:
        if kind not in self._open:
            self._open[kind] = np.load(self.path(kind), mmap_mode="r")
        return self._open[kind][i]
