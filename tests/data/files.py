"""Files of training sets as their publishers write them, and what can happen to a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

NOISE = np.random.default_rng(0)

#: Kinds of files that hold nothing by which a change in the middle could be told: decoders show what is left.
_UNCHECKED = (".jpg", ".npy")


def noise(height: int, width: int) -> np.ndarray:
    return NOISE.integers(0, 256, (height, width, 3), dtype=np.uint8)


def depths(height: int, width: int) -> np.ndarray:
    return NOISE.integers(1, 9999, (height, width), dtype=np.uint16)


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".hdf5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            file.create_dataset("dataset", data=array, compression="gzip")
    elif path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)
    return path


def hypersim(root: Path, distances: np.ndarray, frame: int = 0) -> tuple[Path, Path]:
    images = root / "ai_001_001" / "images"
    picture = images / "scene_cam_00_final_preview" / f"frame.{frame:04d}.tonemap.jpg"
    truth = images / "scene_cam_00_geometry_hdf5" / f"frame.{frame:04d}.depth_meters.hdf5"
    return write(picture, noise(*distances.shape)), write(truth, distances)


def walls(root: Path) -> tuple[Path, Path]:
    return hypersim(root, 1 + NOISE.random((48, 64)).astype(np.float16))


def virtual_kitti(root: Path, stored: np.ndarray) -> tuple[Path, Path]:
    frames = root / "Scene01" / "15-deg-left" / "frames"
    picture = write(frames / "rgb" / "Camera_1" / "rgb_00007.jpg", noise(*stored.shape))
    return picture, write(frames / "depth" / "Camera_1" / "depth_00007.png", stored)


def kitti(root: Path, raw: Path, drive: str = "2011_09_26_drive_0001_sync", camera: int = 2) -> tuple[Path, Path]:
    stored = np.zeros((370, 1224), dtype=np.uint16)
    stored[200:, ::2] = 2560
    truth = root / "train" / drive / "proj_depth" / "groundtruth" / f"image_0{camera}" / "0000000005.png"
    picture = raw / drive[:10] / drive / f"image_0{camera}" / "data" / "0000000005.png"
    return write(picture, noise(370, 1224)), write(truth, stored)


def nyu(root: Path) -> tuple[Path, Path]:
    return write(root / "rgb" / "a.jpg", noise(48, 64)), write(root / "depth" / "a.png", depths(48, 64))


def nyu_labelled(path: Path, images: np.ndarray, metres: np.ndarray, labels: np.ndarray, **stored: Any) -> Path:
    """Images (number, height, width, 3), the others (number, height, width)."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:  # MATLAB writes 512 bytes of its own first
        # of arrays (height, width, 3, number) by columns
        file.create_dataset("images", data=images.transpose(0, 3, 2, 1), **stored)
        file.create_dataset("depths", data=metres.transpose(0, 2, 1), **stored)
        file.create_dataset("labels", data=labels.transpose(0, 2, 1), **stored)
    return path


def damages(path: Path) -> Iterator[str]:
    """Makes the file what files are that were not written or sent as a whole, tells of each, and mends it in the end:
    cut off, overwritten, and gone."""
    whole = path.read_bytes()
    n = len(whole)
    states = {
        "cut off near its end": whole[: -n // 8], "cut off in the middle": whole[: n // 2],
        "its first bytes": whole[:4], "empty": b"", "zeros": bytes(n), "zeros first": bytes(min(n, 600)) + whole[600:],
    }  # fmt: skip
    if path.suffix not in _UNCHECKED:
        states["zeros in the middle"] = whole[: n // 3] + bytes(n // 3) + whole[n // 3 * 2 :]
    for state, content in states.items():
        path.write_bytes(content)
        yield state
    path.unlink()
    yield "gone"
    path.write_bytes(whole)
