"""Arrays over the scenes of a folder that are computed once and kept: latents, maps that a model drew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from cooper.training.processes import Share, wait


class Kept(ABC):
    """For each kind of image an array with a row for each of `length` scenes, in a file of its own in `folder`."""

    #: What it is that is kept, for the progress bar.
    name: str

    def __init__(self, folder: Path, length: int, shape: tuple[int, ...], dtype: type):
        self.folder, self.shape, self.dtype = folder, (length, *shape), dtype
        self._open: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def compute(self, kind: str, rows: range) -> np.ndarray:
        """The array's rows for these scenes."""

    def path(self, kind: str) -> Path:
        return self.folder / f"{kind}.npy"

    def make(self, kind: str, batch: int = 32, quiet: bool = False) -> None:
        """Compute what is missing of a kind; of several processes that train together each does its share. Interrupted,
        it goes on where it stopped."""
        share, done_already = Share.mine(), self._fits(self.path(kind))
        wait()
        if done_already:
            return
        unfinished, done_file = self.folder / f"{kind}.part.npy", self._done(kind, share, batch)
        if share.rank == 0 and not self._fits(unfinished):
            self.folder.mkdir(parents=True, exist_ok=True)
            for old in self.folder.glob(f"{kind}.*of*.done"):
                old.unlink()
            np.lib.format.open_memmap(unfinished, mode="w+", dtype=self.dtype, shape=self.shape)  # type: ignore[no-untyped-call]
        wait()
        out = np.lib.format.open_memmap(unfinished, mode="r+")  # type: ignore[no-untyped-call]
        mine = range(share.rank * batch, len(self), share.world * batch)
        done = int(done_file.read_text()) if done_file.exists() else 0
        with Progress(disable=quiet) as progress, torch.no_grad():
            bar = progress.add_task(f"{self.name} of {kind}", total=len(mine), completed=done)
            for k, first in enumerate(mine[done:], done + 1):
                rows = range(first, min(first + batch, len(self)))
                out[first : first + len(rows)] = self.compute(kind, rows)
                if k % 50 == 0:
                    out.flush()
                    done_file.write_text(str(k))
                progress.update(bar, completed=k)
        out.flush()
        wait()
        if share.rank == 0:
            unfinished.rename(self.path(kind))
            for old in self.folder.glob(f"{kind}.*of*.done"):
                old.unlink()
        wait()

    def _fits(self, path: Path) -> bool:
        """Whether the file is there, and of as many scenes: a folder may have grown since."""
        return path.exists() and np.load(path, mmap_mode="r").shape == self.shape

    def _done(self, kind: str, share: Share, batch: int) -> Path:
        """Holds how many batches of its share a process has done. Other processes or batches begin anew."""
        return self.folder / f"{kind}.{share.rank}of{share.world}by{batch}.done"

    def row(self, i: int, kind: str) -> np.ndarray:
        if kind not in self._open:
            self._open[kind] = np.load(self.path(kind), mmap_mode="r")
        return self._open[kind][i]
