"""Hypersim: rendered rooms, with the distance of every pixel along its ray."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from cooper.data.examples import MapExample
from cooper.data.hdf5 import need_h5py, read_array
from cooper.data.maps import Pairs, depth_example, listed, picture_at
from cooper.data.tables import BadRow
from cooper.modalities import Depth

#: All cameras see 60 degrees from left to right, with square pixels and the axis through the middle.
_FIELD_OF_VIEW = math.pi / 3


def planar_depth(distances: np.ndarray) -> np.ndarray:
    """Depth along the optical axis from distances along the rays, (height, width); float64, the same unit.

    The focal length is 886.81 pixels at the published width of 1024.
    """
    height, width = distances.shape
    focal = width / 2 / math.tan(_FIELD_OF_VIEW / 2)
    x = np.arange(width) + 0.5 - width / 2
    y = np.arange(height)[:, None] + 0.5 - height / 2
    return distances * (focal / np.sqrt(x**2 + y**2 + focal**2))


class Hypersim(Pairs):
    """Every scene in a folder, in the layout of the release. Pixels that see nothing are NaN there."""

    modality = Depth(1e-5, 65.0, "linear")

    def __init__(self, root: str | Path):
        need_h5py()
        pictures = listed(root, "*/images/scene_cam_*_final_preview/frame.*.tonemap.jpg")
        super().__init__((picture, _distances(picture)) for picture in pictures)

    def _read(self, picture: Path, truth: Path) -> MapExample:
        distances = read_array(truth, "dataset", picture)
        if distances.ndim != 2:
            raise BadRow(picture, f"{truth} holds an array of shape {distances.shape}; depth has two axes")
        return depth_example(picture_at(picture), planar_depth(distances), self.modality, picture)


def _distances(picture: Path) -> Path:
    folder = picture.parent.with_name(picture.parent.name.replace("_final_preview", "_geometry_hdf5"))
    return folder / picture.name.replace(".tonemap.jpg", ".depth_meters.hdf5")
