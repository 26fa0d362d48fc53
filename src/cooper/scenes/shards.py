"""Scenes rendered once and kept: a folder of plain `.npz` shards, made in parallel, resumable, read without copying.

A shard `scenes-<first seed>-<number>.npz` is an uncompressed zip of arrays, one row per scene in order of seed:
seeds int64 (n,), rgb uint8 (n, H, W, 3), depth uint16 (n, H, W) in units of 1/4000 m (so it is off by at most 0.125 mm,
and reaches 16.38 m), labels uint8 (n, H, W), visible float32 (n, 7): column i is thing i + 1, zero where there is none.
Being uncompressed, its arrays are memory-mapped where they lie.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import struct
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeAlias

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cooper.files import new_file
from cooper.signals import end_with_parent

from .render import Renderer, View
from .world import MAX_THINGS, Scene, sample_scene, split_of

DEPTH_UNITS = 4000.0  # per metre
FIELDS = {"seeds": np.int64, "rgb": np.uint8, "depth": np.uint16, "labels": np.uint8, "visible": np.float32}

#: Software renderers crash now and then, once in some ten thousand scenes.
ATTEMPTS = 3

Job: TypeAlias = tuple[Path, int, int, int]  # where to, first seed, number of scenes, size

_renderer: Renderer | None = None  # of a worker process, reused from shard to shard


def encode_depth(metres: np.ndarray) -> np.ndarray:
    """Metres as uint16 in 1/4000 m. Raises ValueError beyond what fits."""
    if metres.max(initial=0.0) * DEPTH_UNITS > 65535:
        raise ValueError(f"a shard holds depths up to 16.38 m; this one reaches {metres.max():.2f} m")
    return np.round(metres * np.float64(DEPTH_UNITS)).astype(np.uint16)


def decode_depth(units: np.ndarray) -> np.ndarray:
    """float32 metres of what a shard holds."""
    return units.astype(np.float32) / np.float32(DEPTH_UNITS)


def make_shards(
    out: str | Path, start: int, n: int, size: int = 128, workers: int = 2, per_shard: int = 1000, quiet: bool = False
) -> list[Path]:
    """Render scenes `start` to `start + n - 1` into shards in `out`; returns their paths, in order.

    Scenes that are already there are kept, so an interrupted run goes on where it stopped, and a folder can grow. The
    bytes do not depend on `workers`. Raises ValueError for seeds that do not lie within one split, numbers below one,
    and a folder that cannot be made or holds shards of another size.
    """
    if min(n, size, workers, per_shard) < 1:
        raise ValueError(f"n, size, workers and per_shard are at least 1; got {n}, {size}, {workers}, {per_shard}")
    last = start + n - 1
    if split_of(start) != split_of(last):
        raise ValueError(f"seeds {start} to {last} cross from {split_of(start)} into {split_of(last)}")
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{out} cannot be made a folder for shards: {error.strerror}") from None
    parts = _parts(out, range(start, start + n), per_shard)
    missing = [(path, seeds.start, len(seeds), size) for path, seeds in parts.items() if not path.exists()]
    _check_alike([path for path in parts if path.exists()], size)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task("scenes", total=n, completed=n - sum(job[2] for job in missing))
        for done in _work(missing, workers):
            progress.advance(bar, done)
    return list(parts)


def _parts(out: Path, wanted: range, per_shard: int) -> dict[Path, range]:
    """The shards that hold these scenes, and the seeds of each: those that are there, and what is to be made of the
    rest."""
    names = ((path, re.fullmatch(r"scenes-(\d+)-(\d+)", path.stem)) for path in sorted(out.glob("scenes-*.npz")))
    there = {path: range(int(m[1]), int(m[1]) + int(m[2])) for path, m in names if m}
    parts: dict[Path, range] = {}
    first = wanted.start
    while first < wanted.stop:
        path = next((path for path, seeds in there.items() if first in seeds), None)
        if path is None:
            end = first + per_shard - (first - wanted.start) % per_shard
            end = min(end, wanted.stop, *(seeds.start for seeds in there.values() if seeds.start > first))
            path, seeds = out / f"scenes-{first:08d}-{end - first}.npz", range(first, end)
        else:
            seeds = there[path]
        parts[path] = seeds
        first = seeds.stop
    return parts


def _work(jobs: list[Job], workers: int) -> Iterator[int]:
    """Do the jobs; yields the number of scenes of each as it is finished."""
    if min(workers, len(jobs)) <= 1:
        try:
            yield from map(_make_shard, jobs)
        finally:
            _close()
        return
    spawn = multiprocessing.get_context("spawn")
    others = {*multiprocessing.active_children()}
    for _ in range(ATTEMPTS):
        with ProcessPoolExecutor(min(workers, len(jobs)), spawn, _alone_on_a_core) as pool:
            futures = {pool.submit(_make_shard, job): job for job in jobs}
            try:
                for future in as_completed(futures):
                    made = future.result()
                    jobs = [job for job in jobs if job != futures[future]]
                    yield made
                return
            except BrokenProcessPool:
                continue
            except KeyboardInterrupt:  # which may have reached this process alone
                for renderer in {*multiprocessing.active_children()} - others:
                    renderer.terminate()
                raise
            finally:
                pool.shutdown(cancel_futures=True)  # after a failure: do not go on to the end first
    raise ValueError(f"renderers died {ATTEMPTS} times; run this again: it goes on with the scenes that are missing")


def _alone_on_a_core() -> None:
    end_with_parent()
    # Mesa's software rasteriser otherwise starts a thread per core in every worker.
    os.environ.setdefault("LP_NUM_THREADS", "1")


def _check_alike(paths: list[Path], size: int) -> None:
    for path in paths:
        arrays = _map(path)
        found, seeds = arrays["rgb"].shape[1], arrays["seeds"]
        if path.stem != f"scenes-{seeds[0]:08d}-{len(seeds)}":
            raise ValueError(f"{path} holds scenes {seeds[0]} to {seeds[-1]}; give it its own name again, or delete it")
        if found != size:
            raise ValueError(f"{path} holds pictures of {found} pixels, not {size}; choose another folder")


def _close() -> None:
    global _renderer
    if _renderer is not None:
        _renderer.close()
    _renderer = None


def _make_shard(job: Job) -> int:
    path, first, n, size = job
    global _renderer
    if _renderer is None or _renderer.height != size:
        _close()
        _renderer = Renderer(size)
    arrays: dict[str, np.ndarray] = {
        "seeds": np.arange(first, first + n, dtype=np.int64),
        "rgb": np.empty((n, size, size, 3), np.uint8),
        "depth": np.empty((n, size, size), np.uint16),
        "labels": np.empty((n, size, size), np.uint8),
        "visible": np.zeros((n, MAX_THINGS), np.float32),
    }
    for i in range(n):
        view = _renderer.render(sample_scene(first + i))
        arrays["rgb"][i], arrays["labels"][i] = view.rgb, view.labels
        arrays["depth"][i] = encode_depth(view.depth)
        for id, share in view.visible.items():
            arrays["visible"][i, id - 1] = share
    with new_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return n


class Rows:
    """One field of all shards as if it were one array: `rows[i]`, `rows[a:b]`, `rows[indices]`. Read-only."""

    def __init__(self, parts: list[np.ndarray]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0] + [len(p) for p in parts])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self._parts[0].dtype

    def __getitem__(self, index: int | slice | np.ndarray | list[int]) -> np.ndarray:
        """A view of one row for a number, a copy of the rows for anything else. Raises IndexError outside."""
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        at = np.asarray(index)
        if ((at < -len(self)) | (at >= len(self))).any():
            raise IndexError(f"there are {len(self)} scenes; {index} is outside")
        at = at % len(self)
        part = np.searchsorted(self._starts, at, side="right") - 1
        if at.ndim == 0:
            return self._parts[int(part)][int(at - self._starts[part])]
        rows = np.empty((*at.shape, *self.shape[1:]), self.dtype)
        for k in np.unique(part):
            rows[part == k] = self._parts[k][at[part == k] - self._starts[k]]
        return rows


class Shards:
    """Rendered scenes, in order of seed. `len`, and `[i]` gives (Scene, View); whole fields as `Rows`:

    seeds int64 (n,), rgb uint8 (n, H, W, 3), depth uint16 (n, H, W; see `decode_depth`), labels uint8 (n, H, W),
    visible float32 (n, 7).
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        mapped = [_map(path) for path in paths]
        shapes = {m["rgb"].shape[1:] for m in mapped}
        if len(shapes) > 1:
            raise ValueError(f"{paths[0].parent} mixes pictures of different sizes; keep them in different folders")
        for before, after, path in zip(mapped, mapped[1:], paths[1:], strict=False):
            if before["seeds"][-1] >= after["seeds"][0]:
                raise ValueError(f"{path} repeats scenes of the shard before it; delete one of them")
        self.seeds, self.rgb, self.depth, self.labels, self.visible = (Rows([m[f] for m in mapped]) for f in FIELDS)

    def __getstate__(self) -> list[Path]:
        # another process maps the files, too: pickled, all that is mapped would be copied into its memory
        return self.paths

    def __setstate__(self, paths: list[Path]) -> None:
        self.__init__(paths)  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def fingerprint(self) -> str:
        """The same for the same scenes."""
        return hashlib.blake2b(self.seeds[:].tobytes(), digest_size=3).hexdigest()

    def scene(self, i: int) -> Scene:
        return sample_scene(int(self.seeds[i]))

    def __getitem__(self, i: int) -> tuple[Scene, View]:
        scene = self.scene(i)
        visible = {thing.id: float(self.visible[i][thing.id - 1]) for thing in scene.things}
        return scene, View(self.rgb[i], decode_depth(self.depth[i]), self.labels[i], visible)


def open_shards(folder: str | Path) -> Shards:
    """The shards of a folder, memory-mapped. Raises ValueError if there are none or one is broken."""
    paths = sorted(Path(folder).glob("scenes-*.npz"))
    if not paths:
        raise ValueError(f"{folder} holds no shards (scenes-*.npz); make some with `cooper scenes make --out {folder}`")
    return Shards(paths)


def _map(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an uncompressed .npz, memory-mapped."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for field, kind in FIELDS.items():
                entry = archive.getinfo(f"{field}.npy")
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"{field} is compressed")
                # The local header of a zip entry is 30 bytes and two strings, whose lengths are its last numbers.
                file.seek(entry.header_offset + 26)
                name, extra = struct.unpack("<HH", file.read(4))
                file.seek(entry.header_offset + 30 + name + extra)
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                if dtype != kind:
                    raise ValueError(f"{field} is {dtype}")
                arrays[field] = np.memmap(path, dtype=dtype, mode="r", offset=file.tell(), shape=shape)
        n, height, width, _ = arrays["rgb"].shape
        shapes = ((n,), (n, height, width, 3), (n, height, width), (n, height, width), (n, MAX_THINGS))
        if tuple(array.shape for array in arrays.values()) != shapes:
            raise ValueError("its arrays are not of the same scenes")
    except Exception as error:  # damaged headers are met with all kinds of exceptions
        raise ValueError(f"{path} is not a whole shard of scenes ({error}); delete it and make it again") from None
    return arrays
