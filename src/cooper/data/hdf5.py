"""Arrays in HDF5 files, which need the extra `data`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np

from cooper.data.tables import BadRow


def need_h5py() -> ModuleType:
    """The library. Raises `ImportError` without the extra."""
    try:
        import h5py
    except ImportError:
        raise ImportError("HDF5 needs an extra: pip install 'cooper-spatial[data]'") from None
    return h5py


def shape_of(path: Path, key: str) -> tuple[int, ...]:
    """The shape of an array in a file that is being opened. Raises ValueError if it is not there."""
    try:
        with need_h5py().File(path) as file:
            return file[key].shape
    except (OSError, KeyError, AttributeError):
        raise ValueError(f"{path} is no HDF5 file with an array {key!r}; check the path") from None


def read_array(path: Path, key: str, where: object, row: int | None = None) -> np.ndarray:
    """An array of numbers in a file, or its row of that number."""
    h5py = need_h5py()
    try:
        with h5py.File(path) as file:
            array = np.asarray(file[key][() if row is None else row])
    except FileNotFoundError:
        raise BadRow(where, f"{path} does not exist; check the path") from None
    except Exception as error:  # damaged files are met with all kinds of exceptions
        raise BadRow(where, f"{key!r} of {path} cannot be read ({error}); download it again") from None
    if array.dtype.kind not in "fiu":
        raise BadRow(where, f"{key!r} of {path} holds {array.dtype}, not numbers; download it again")
    return array
