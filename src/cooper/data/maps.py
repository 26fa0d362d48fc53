"""From files to `MapExample`s: what the readers of depth and segmentation sets share."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy
from PIL import Image

from cooper.data.examples import MapExample
from cooper.data.reader import Reader
from cooper.data.tables import BadRow
from cooper.images import ImageError, load_image
from cooper.modalities import Depth, Segmentation


class Pairs(Reader[MapExample]):
    """A set whose pictures and maps are pairs of files."""

    def __init__(self, pairs: Iterable[tuple[Path, Path]]):
        self.pairs = tuple(pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def _at(self, i: int) -> MapExample:
        return self._read(*self.pairs[i])

    @abstractmethod
    def _read(self, picture: Path, truth: Path) -> MapExample: ...


def listed(root: str | Path, pattern: str) -> list[Path]:
    """The files under `root` that match, by name. Raises ValueError, naming the pattern, if there are none."""
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; give the folder that holds {pattern}")
    found = sorted(root.glob(pattern))
    if not found:
        raise ValueError(f"{root} holds nothing of that set; looked for {pattern}")
    return found


def picture_at(path: Path) -> np.ndarray:
    """uint8 RGB (height, width, 3)."""
    try:
        return load_image(path)
    except ImageError as error:
        raise BadRow(path, str(error).removeprefix(str(path))) from None


def read_bytes(path: Path, where: object) -> bytes:
    """The content of a file."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path that cannot be one
        raise BadRow(where, f"{path} cannot be read ({getattr(error, 'strerror', error)}); check the path") from None


def check_png(content: bytes, where: object) -> None:
    """Raises `BadRow` if a PNG is not as it was written: decoders pass over many changes, and give other truth."""
    with _decoding(where):
        Image.open(io.BytesIO(content), formats=("PNG",)).verify()  # its checksums


def stored_png(content: bytes, where: object) -> np.ndarray:
    """What a PNG stores: uint16 or uint8 (height, width), of 1, 2 or 4 bits, too; of a coloured one uint8 (height,
    width, 3)."""
    check_png(content, where)
    with _decoding(where):
        image = Image.open(io.BytesIO(content), formats=("PNG",))
        image.load()
    bits, colour = content[24:26]  # of the header, which comes first
    if colour == 0 and bits < 8:
        return np.array(image.convert("L")) // (255 // (2**bits - 1))  # Pillow spreads them over 0..255
    if image.mode in ("L", "P"):
        return np.array(image)
    if image.mode.startswith("I"):  # how Pillow holds 16 bits; some versions in 32
        return np.array(image).astype(np.uint16)
    return np.array(image.convert("RGB"))


@contextmanager
def _decoding(where: object) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # decoders meet damaged files with all kinds of exceptions
        raise BadRow(where, f"this is not a whole PNG ({error}); save or download it again") from None


def stored_depth(content: bytes, where: object) -> np.ndarray:
    """uint16 (height, width), in whatever unit the set has, of a 16-bit PNG."""
    stored = stored_png(content, where)
    if stored.dtype != np.uint16:
        raise BadRow(where, "depth must be a grey PNG of 16 bits; this one has 8, or colours")
    return stored


def depth_example(
    picture: np.ndarray, metres: np.ndarray, modality: Depth, name: object, crop: tuple[int, int] | None = None
) -> MapExample:
    """An example from metres (height, width), which are known where they are finite and above 0. Of both, the `crop`
    (height, width) at the bottom, in the middle from left to right."""
    _check_size(picture, metres, name)
    if crop is not None:
        picture, metres = _bottom_centre(picture, *crop, name), _bottom_centre(metres, *crop, name)
    with np.errstate(over="ignore"):
        metres = metres.astype(np.float32)  # beyond its range nothing is known
    valid = np.isfinite(metres) & (metres > 0)
    if not valid.any():
        raise BadRow(name, "no pixel has a depth; leave it out")
    values = np.where(valid, metres, np.float32(0))
    return MapExample(picture, modality.name, values, valid, modality.to_rgb(_filled(values, valid)), str(name))


def labels_example(
    picture: np.ndarray, labels: np.ndarray, modality: Segmentation, name: object, zero_known: bool = True
) -> MapExample:
    """An example from whole numbers (height, width): 0 is the background or, unless `zero_known`, not known."""
    _check_size(picture, labels, name)
    if labels.ndim != 2:
        raise BadRow(name, "its labels are colours; a grey PNG of their numbers is needed")
    if labels.max() > len(modality.classes):
        raise BadRow(name, f"it has the label {labels.max()}; the last class is {len(modality.classes)}")
    values = labels.astype(np.int32)
    valid = np.ones(values.shape, dtype=bool) if zero_known else values > 0
    return MapExample(picture, modality.name, values, valid, modality.to_rgb(_filled(values, valid)), str(name))


def coloured_example(picture: np.ndarray, colours: np.ndarray, name: object) -> MapExample:
    """An example from a label image uint8 (height, width, 3), which is itself what is to be drawn. Black is 0, and its
    other colours are numbered."""
    _check_size(picture, colours, name)
    codes = colours.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    values = np.searchsorted(np.unique(np.append(codes, 0)), codes).astype(np.int32)
    return MapExample(picture, "segmentation", values, np.ones(values.shape, dtype=bool), colours, str(name))


def _filled(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Values (height, width) with the nearest known one wherever nothing is known.

    A drawing token stands for many pixels and counts by the share of them that is known: black among them would be
    learned with the rest, and of sparse truth nearly all is unknown.
    """
    if valid.all() or not valid.any():
        return values
    rows, columns = scipy.ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return values[rows, columns]


def _bottom_centre(array: np.ndarray, height: int, width: int, name: object) -> np.ndarray:
    rows, columns = array.shape[:2]
    if rows < height or columns < width:
        raise BadRow(name, f"it has {columns} x {rows} pixels; a crop of {width} x {height} needs more")
    left = (columns - width) // 2
    return array[rows - height :, left : left + width]


def _check_size(picture: np.ndarray, truth: np.ndarray, name: object) -> None:
    (rows, columns), (height, width) = picture.shape[:2], truth.shape[:2]
    if (rows, columns) != (height, width):
        raise BadRow(name, f"the picture has {columns} x {rows} pixels, its map {width} x {height}; they must agree")
