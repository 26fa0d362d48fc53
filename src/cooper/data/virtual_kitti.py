"""Virtual KITTI 2: five drives of KITTI, rendered in several lights and weathers, with depth everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cooper.data.examples import MapExample
from cooper.data.kitti import CROP, OUTDOORS
from cooper.data.maps import Pairs, depth_example, listed, picture_at, read_bytes, stored_depth

_PER_METRE = 100
#: The sky, and all that is further away than can be written.
_FAR = 65535


class VirtualKitti(Pairs):
    """Every picture in a folder, in the layout of the release; cropped as KITTI is."""

    modality = OUTDOORS

    def __init__(self, root: str | Path):
        pictures = listed(root, "Scene*/*/frames/rgb/Camera_[01]/rgb_*.jpg")
        super().__init__((picture, _depth(picture)) for picture in pictures)

    def _read(self, picture: Path, truth: Path) -> MapExample:
        stored = stored_depth(read_bytes(truth, picture), truth)
        metres = np.where(stored == _FAR, 0, stored / _PER_METRE)
        return depth_example(picture_at(picture), metres, self.modality, picture, CROP)


def _depth(picture: Path) -> Path:
    camera, frames = picture.parent.name, picture.parents[2]
    return frames / "depth" / camera / f"{picture.stem.replace('rgb_', 'depth_')}.png"
