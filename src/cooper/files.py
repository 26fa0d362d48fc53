"""Files and folders that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from cooper.signals import uninterrupted

if TYPE_CHECKING:
    import numpy as np


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Atomic write: yields a temporary path that replaces `path` (links resolved) at the end, and is deleted after an
    error."""
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # a short name: `path` may have one as long as names can be
    temporary = path.with_name(f".{os.getpid()}.{threading.get_ident()}.tmp{path.suffix[:20]}")
    try:
        with named(path):
            yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def held(lock: Path, why: str) -> Iterator[None]:
    """Holds an exclusive lock file, and makes its folder if need be; the file is removed afterwards. Raises ValueError
    with the message `why` if another process holds the lock."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    file = FileLock(lock, blocking=False)
    try:
        file.acquire()
    except Timeout:
        raise ValueError(why) from None
    try:
        yield
    finally:
        with suppress(OSError):  # some systems do not remove what is open
            lock.unlink()
        file.release()


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Adds the path to errors of the system that name no file, such as that there is no space left."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextmanager
def new_folder(path: Path, instead_of: Iterable[str] = ()) -> Iterator[Path]:
    """A folder to write files to, renamed to `path` at the end; after an error nothing is left.

    If `path` is there already, the files are moved into it, over those of the same names. Old files
    that match a pattern of `instead_of` and have no new version are then deleted: they belong to what is replaced.
    """
    temporary = path / f".{os.getpid()}.tmp" if path.is_dir() else path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed, and had the same number elsewhere
    temporary.mkdir(parents=True)
    try:
        with named(path):
            yield temporary
        if path.is_dir():
            # weights first: new ones beside old settings are detected when loaded, old ones beside new settings are not
            new = [file.name for file in temporary.iterdir()]
            new.sort(key=lambda name: not name.endswith(".safetensors"))
            with uninterrupted():
                for name in new:
                    (temporary / name).replace(path / name)
                for file in [file for pattern in instead_of for file in path.glob(pattern)]:
                    if file.name not in new and file.is_file():
                        file.unlink()
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_array(path: Path, values: np.ndarray) -> None:
    """An .npy file. (`np.save` writes by itself, and if the disk is full it tells neither that nor which file.)"""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, values)
    with named(path):
        path.write_bytes(buffer.getbuffer())


def remove_unfinished(folder: Path) -> None:
    """Removes what processes left in a folder that were killed while they wrote; none may be writing there."""
    for left_over in folder.glob(".*.tmp*"):
        if left_over.is_dir():
            shutil.rmtree(left_over)
        else:
            left_over.unlink()


SHIPPED = ("tiny",)


def shipped(name: str) -> Path | None:
    """The folder of a model that comes with the library; None: none is called that."""
    return Path(str(resources.files("cooper") / "assets" / name)) if name in SHIPPED else None
