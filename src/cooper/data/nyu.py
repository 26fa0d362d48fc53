"""NYU Depth V2: pictures and depth of real rooms from a Kinect, as pairs of files or as the labelled MATLAB file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cooper.data.examples import MapExample
from cooper.data.hdf5 import read_array, shape_of
from cooper.data.maps import Pairs, depth_example, labels_example, listed, picture_at, read_bytes, stored_depth
from cooper.data.palette import numbered
from cooper.data.reader import Reader
from cooper.data.tables import BadRow
from cooper.modalities import Depth

#: Metres that depth in rooms is drawn in.
INDOORS = Depth(1e-3, 10.0, "linear")

_PER_METRE = 1000


class Nyu(Pairs):
    """`rgb/NAME.jpg` (or .png) with `depth/NAME.png`, 16 bits, in millimetres; 0 is unknown."""

    modality = INDOORS

    def __init__(self, root: str | Path):
        pictures = listed(root, "rgb/*.[jp][pn]g")
        super().__init__((picture, Path(root) / "depth" / f"{picture.stem}.png") for picture in pictures)

    def _read(self, picture: Path, truth: Path) -> MapExample:
        stored = stored_depth(read_bytes(truth, picture), truth)
        return depth_example(picture_at(picture), stored / _PER_METRE, self.modality, picture)


class _Labelled(Reader[MapExample]):
    """`nyu_depth_v2_labeled.mat`. MATLAB counts from the other end: its (height, width, 3, number) is
    (number, 3, width, height) here."""

    truth: str

    def __init__(self, path: str | Path):
        self.path = Path(path)
        images, truths = shape_of(self.path, "images"), shape_of(self.path, self.truth)
        if len(images) != 4 or images[1] != 3 or truths != (images[0], *images[2:]):
            raise ValueError(
                f"{path} is not NYU's labelled file: 'images' has the shape {images}, {self.truth!r} {truths}, "
                "where (number, 3, width, height) and (number, width, height) were looked for"
            )
        self._number = images[0]

    def __len__(self) -> int:
        return self._number

    def _arrays(self, i: int) -> tuple[np.ndarray, np.ndarray, str]:
        """Picture, truth, and name."""
        name = f"{self.path}, picture {i + 1}"
        picture, truth = (read_array(self.path, key, name, i) for key in ("images", self.truth))
        if picture.dtype != np.uint8:
            raise BadRow(name, f"its pictures are {picture.dtype}, not uint8; download the file again")
        return np.ascontiguousarray(picture.transpose(2, 1, 0)), truth.T, name


class NyuDepths(_Labelled):
    """Depth of the labelled file, in metres, its holes filled by the publishers."""

    modality = INDOORS
    truth = "depths"

    def _at(self, i: int) -> MapExample:
        picture, metres, name = self._arrays(i)
        return depth_example(picture, metres, self.modality, name)


class NyuLabels(_Labelled):
    """Classes of the labelled file; 0 is unlabelled."""

    modality = numbered(894)
    truth = "labels"

    def _at(self, i: int) -> MapExample:
        picture, labels, name = self._arrays(i)
        return labels_example(picture, labels, self.modality, name, zero_known=False)
