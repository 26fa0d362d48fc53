"""Fields of rows, which people name differently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cooper.data.maps import read_bytes
from cooper.data.pictures import picture_of, stored_file
from cooper.data.tables import BadRow, Row
from cooper.images import ImageError

#: Names of the field that holds a row's picture.
PICTURE = ("image", "images", "image_path", "image_bytes", "image_link")


def given(value: Any) -> bool:
    """Whether a field holds anything: tables write "nothing" as None, as an empty text or as NaN."""
    return value is not None and value == value and value != ""


def field(row: Row, names: Sequence[str], where: str) -> Any:
    """What the first of these fields that is not empty holds."""
    for name in names:
        if given(row.get(name)):
            return row[name]
    raise BadRow(where, f"it has no {' or '.join(names)}; its fields are {', '.join(row)}")


def picture_in(row: Row, names: Sequence[str], folder: Path, where: str) -> np.ndarray:
    """The row's picture, uint8 RGB (height, width, 3). Paths are relative to `folder`; of a link, the file's name is
    looked for there."""
    value = field(row, names, where)
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        value = value.rsplit("/", 1)[-1]
    try:
        return picture_of(value, folder)
    except ImageError as error:
        raise BadRow(where, error) from None


def content_in(value: Any, folder: Path, where: str) -> tuple[bytes, str]:
    """A file that a field holds, by its path, its bytes, or `{"bytes": ..., "path": ...}` as `datasets` stores them,
    and what it is called for people."""
    if isinstance(value, dict):
        value = stored_file(value)
    if isinstance(value, bytes):
        return value, where
    if not isinstance(value, str):
        raise BadRow(where, f"a map's file is given by its path or its bytes, not as {type(value).__name__}")
    return read_bytes(folder / value, where), f"{where}: {folder / value}"
