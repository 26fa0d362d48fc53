"""Arrays over the scenes of a folder that are computed once and kept: latents, maps that a model drew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress


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
        """Compute what is missing of a kind. Interrupted, it goes on where it stopped."""
        if self.path(kind).exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished, done_file = self.folder / f"{kind}.part.npy", self.folder / f"{kind}.done"
        done = int(done_file.read_text()) if done_file.exists() and unfinished.exists() else 0
        out = np.lib.format.open_memmap(
            unfinished, mode="r+" if done else "w+", dtype=self.dtype, shape=None if done else self.shape
        )  # type: ignore[no-untyped-call]
        with Progress(disable=quiet) as progress, torch.no_grad():
            bar = progress.add_task(f"{self.name} of {kind}", total=len(self), completed=done)
            for i in range(done, len(self), batch):
                rows = range(i, min(i + batch, len(self)))
                out[i : i + batch] = self.compute(kind, rows)
                if (i // batch) % 50 == 49:
                    out.flush()
                    done_file.write_text(str(i + len(rows)))
                progress.update(bar, completed=i + len(rows))
        out.flush()
        unfinished.rename(self.path(kind))
        done_file.unlink(missing_ok=True)

    def row(self, i: int, kind: str) -> np.ndarray:
        if kind not in self._open:
            self._open[kind] = np.load(self.path(kind), mmap_mode="r")
        return self._open[kind][i]
