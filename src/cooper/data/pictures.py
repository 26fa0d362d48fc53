"""A picture in a row of a table, in any of the ways in which people put it there."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np

from cooper.images import ImageError, load_image

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,")
#: The first characters in base64 of PNG, JPEG, WebP, GIF, BMP and TIFF files.
_BASE64 = ("iVBORw0KGgo", "/9j/", "UklGR", "R0lGOD", "Qk", "SUkq", "TU0A")


def stored_file(value: dict[str, Any]) -> Any:
    """The bytes, or else the path, of `{"bytes": ..., "path": ...}`, as `datasets` stores a file in Parquet."""
    content = value.get("bytes")
    return value.get("path") if content is None else content


def picture_of(value: Any, folder: Path) -> np.ndarray:
    """uint8 RGB (height, width, 3) of what a field of a row holds.

    That is the path of a file (relative to `folder`), the file itself in base64 or as bytes, `{"bytes": ..., "path":
    ...}` as `datasets` stores pictures in Parquet, or a list of one of these. Raises `ImageError` for anything else,
    and for pictures that cannot be read.
    """
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise ImageError(f"the row has {len(value)} pictures; only rows of one can be used")
        return picture_of(value[0], folder)
    if isinstance(value, dict):
        return picture_of(stored_file(value), folder)
    if isinstance(value, bytes):
        return load_image(value)
    if not isinstance(value, str) or not value:
        raise ImageError(f"the row's picture is {type(value).__name__}; give a path, base64 or bytes")
    prefix = _DATA_URI.match(value)
    if prefix or value.startswith(_BASE64):
        try:
            content = base64.b64decode(value[prefix.end() if prefix else 0 :], validate=True)
        except ValueError as error:
            if prefix or len(value) > 255:
                raise ImageError(f"the row's picture is broken base64 ({error})") from None
        else:
            return load_image(content)
    return load_image(folder / value)
