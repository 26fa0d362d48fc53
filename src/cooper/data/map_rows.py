"""Pictures and maps as the rows of a table: a user's own data."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from cooper.data.examples import MapExample
from cooper.data.fields import PICTURE, content_in, given, picture_in
from cooper.data.maps import coloured_example, depth_example, labels_example, stored_depth, stored_png
from cooper.data.nyu import INDOORS
from cooper.data.palette import numbered
from cooper.data.tables import BadRow, TableReader, open_table
from cooper.modalities import Depth

#: The fields of a row that may hold a map.
_MAPS = ("depth", "segmentation")
#: So many rows tell which of them a table holds.
_LOOKED_AT = 1000
_NPY = b"\x93NUMPY"
#: As many classes as 8 bits can number.
_SEGMENTATION = numbered(255)


class MapRows(TableReader[MapExample]):
    """A table with a picture in `image` (or another usual name), and a map in either `depth` or `segmentation`.

    Depth is a 16-bit PNG with `per_metre` to the metre, 0 for unknown, or an array of float metres in a .npy file.
    `depth` says what range of it is drawn. A segmentation is a PNG of numbers up to 255, 0 for the background, or of
    colours, which are then what is drawn.
    """

    def __init__(self, path: str | Path, depth: Depth = INDOORS, per_metre: float = 1000.0):
        if per_metre <= 0:
            raise ValueError(f"there are {per_metre:g} units to the metre; give a number above 0")
        self.table = open_table(path)
        self.depth, self.per_metre = depth, per_metre

    def _at(self, i: int) -> MapExample:
        row, where = self.table[i], self.table.where(i)
        maps = [name for name in _MAPS if given(row.get(name))]
        if len(maps) != 1:
            raise BadRow(where, f"it has {' and '.join(maps) or 'no map'}; give it either depth or segmentation")
        picture = picture_in(row, PICTURE, self.table.folder, where)
        content, name = content_in(row[maps[0]], self.table.folder, where)
        if maps[0] == "depth":
            return depth_example(picture, self._metres(content, name), self.depth, where)
        stored = stored_png(content, name)
        if stored.ndim == 3:
            return coloured_example(picture, stored, where)
        return labels_example(picture, stored, _SEGMENTATION, where)

    def kinds(self) -> list[str]:
        """Which of both maps the rows have. Of a large table rows all over it are looked at: a kind that is rarer than
        that has hardly been learned."""
        found: set[str] = set()
        for i in range(0, len(self.table), max(1, len(self.table) // _LOOKED_AT)):
            try:
                row = self.table[i]
            except BadRow:
                continue
            found |= {name for name in _MAPS if given(row.get(name))}
            if len(found) == len(_MAPS):
                break
        return sorted(found)

    def _metres(self, content: bytes, name: str) -> np.ndarray:
        if not content.startswith(_NPY):
            return stored_depth(content, name) / self.per_metre
        try:
            metres = np.load(io.BytesIO(content), allow_pickle=False)
        except Exception as error:  # damaged files are met with all kinds of exceptions
            raise BadRow(name, f"this is not a whole .npy file ({error}); save it again") from None
        if metres.dtype.kind != "f" or metres.ndim != 2:
            raise BadRow(name, f"depth is float metres (height, width); this is {metres.dtype} {metres.shape}")
        return metres
