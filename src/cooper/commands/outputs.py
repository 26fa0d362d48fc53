"""Where results go, checked before the work begins. (`cooper.files` writes them.)"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def check_folder(path: Path, option: str = "--out") -> None:
    """Raises ValueError unless `path` is a folder that can be written to, or can be made."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; {option} names a folder")
    _check_writable(path, option)


def check_file(path: Path, option: str = "--out", reads: str | Path | None = None) -> None:
    """Raises ValueError unless a file can be written at `path`, and that file is not the one that is read."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; {option} names a file")
    # /dev/stdout may be a link to an ordinary file
    system = path.absolute().parent in (Path("/dev"), Path("/dev/fd")) or path.absolute().is_relative_to("/proc")
    if system or (path.exists() and not path.is_file()):
        raise ValueError(f"{path} is not an ordinary file; {option} names one to write")
    written = Path(os.path.realpath(path))  # where a link leads, and what new/../file names, though there is no "new"
    if reads and written.exists() and os.path.exists(reads) and written.samefile(reads):
        raise ValueError(f"{option} {path} would overwrite what is read; give another name")
    _check_writable(written.parent, option)


def check_apart(path: Path, data: str | Path) -> None:
    """Raises ValueError if a file to write is, or lies in, the data: its tables are read again when work goes on."""
    if path.resolve().is_relative_to(Path(data).resolve()):
        raise ValueError(f"{path} is, or lies in, the --data that is read; give another --out")


def _check_writable(folder: Path, option: str) -> None:
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not there.is_dir():
        raise ValueError(f"{there} is a file, not a folder; {option} cannot lie in it")
    try:
        tempfile.TemporaryFile(dir=there).close()  # permissions alone do not tell: disks are full or read-only
    except OSError as error:
        raise ValueError(f"{there} cannot be written to ({error.strerror}); choose another {option}") from None
