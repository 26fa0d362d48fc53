"""Pictures in: from whatever the user has to uint8 RGB, and from there to what the model's two image branches take."""

from __future__ import annotations

import io
import math
import os
import sys
import threading
import warnings
from typing import BinaryIO, TypeAlias, cast

import numpy as np
from PIL import Image

#: Pictures with more pixels than this are refused before they are decoded.
MAX_PIXELS = 80_000_000
#: No more than this is read from a pipe.
MAX_BYTES = 1 << 30
#: At most this many pixels reach the model, whatever the sides allow.
MODEL_PIXELS = 14 * 14 * 9 * 1024

# Only these: other readers of Pillow start programs (EPS) or are rarely exercised.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_READABLE = "PNG, JPEG, WebP, BMP, TIFF or GIF"
_ORIENTATION = 0x0112

ImageSource: TypeAlias = "str | os.PathLike[str] | BinaryIO | bytes | Image.Image | np.ndarray"


class ImageError(ValueError):
    """A picture that cannot be used: one line that says which one, what is wrong, and what to do."""


def load_image(source: ImageSource) -> np.ndarray:
    """Any picture as uint8 RGB (height, width, 3), upright, its transparent parts over white.

    `source` is a path, "-" (standard input), a binary file object, the bytes of a file, a PIL image, or an array
    (height, width[, 1 | 3 | 4]) that is uint8, uint16, bool, or float in 0..1. Files are PNG, JPEG, WebP, BMP, TIFF or
    GIF (first frame). The result is always a fresh array. Raises `ImageError` for everything else. (Of a PNG of 2, 4 or
    48 bits a pixel with a transparent colour give the file: once loaded, Pillow's image no longer tells which that is.)
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source, "the PIL image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(io.BytesIO(source), "the picture given as bytes")
    if hasattr(source, "read"):
        return _from_file(cast(BinaryIO, source), _one_line(getattr(source, "name", None) or "the file object"))
    if not isinstance(source, (str, os.PathLike)):
        raise ImageError(
            f"a picture cannot be read from a {type(source).__name__}; "
            "give a path, a binary file, bytes, a PIL image or a numpy array"
        )
    path = os.fsdecode(source)
    if path == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise ImageError("standard input has no picture; pipe one in, as in `cat room.png | cooper ask - ...`")
        return _from_file(sys.stdin.buffer, "standard input")
    return _from_path(path)


def _from_path(path: str) -> np.ndarray:
    name = _one_line(path)
    if not path:
        raise ImageError("the path of the picture is empty; give the path of an image file")
    try:
        with open(path, "rb") as file:
            return _from_file(file, name)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"{name} does not exist; check the path") from None
    except IsADirectoryError:
        raise ImageError(f"{name} is a folder; give one image file in it") from None
    except PermissionError:
        raise ImageError(f"{name} may not be read; check the permissions of the file and its folder") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name} cannot be opened ({_reason(error)}); check the path") from None


_ONE_BY_ONE = threading.Lock()


def _from_file(file: BinaryIO, name: str) -> np.ndarray:
    try:
        seekable = hasattr(file, "seekable") and file.seekable()
        if seekable:
            file.seek(0)
        start = file.read(16 if seekable else MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read ({_reason(error)}); give a file that is open for reading") from None
    if not isinstance(start, bytes):
        raise ImageError(f'{name} is open as text; open it in binary mode ("rb")')
    if not start:
        raise ImageError(f"{name} is empty (0 bytes); save or download the picture again")
    if len(start) > MAX_BYTES:
        raise ImageError(f"{name} has more than {MAX_BYTES >> 20} MiB; make the picture smaller")
    stream = file if seekable else io.BytesIO(start)
    stream.seek(0)
    # what is ignored is put back by each for all, so threads that read at the same time could leave it for good
    with _ONE_BY_ONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata and large sizes: what matters becomes an ImageError
        try:
            image = Image.open(stream, formats=_FORMATS)
        except Image.DecompressionBombError:
            raise ImageError(_too_large(name)) from None
        except Exception:  # decoders meet damaged headers with all kinds of exceptions
            raise ImageError(f"{name} is not a picture that can be read; give a {_READABLE} file") from None
        return _from_pil(image, name)


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    _check_size(image.height, image.width, name)
    try:
        _scale_transparency(image)
        image.load()
        orientation = _orientation(image)  # after loading: of some files it is only known then
        rgb = np.asarray(_to_rgb(image, name))
    except ImageError:
        raise
    except Exception as error:  # as above: struct.error, zlib.error, SyntaxError, EOFError ...
        raise ImageError(f"{name} is damaged or cut off ({_reason(error)}); save or download it again") from None
    return np.array(_upright(rgb, orientation), order="C")


def _from_array(array: np.ndarray) -> np.ndarray:
    name = "the array"
    array = np.asarray(array)  # a matrix would stay one
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 3, 4):
        raise ImageError(f"{name} has the shape {array.shape}; give (height, width), or (height, width, 1, 3 or 4)")
    _check_size(array.shape[0], array.shape[1], name)
    values = _to_uint8(array, name)
    if channels == 1:
        values = np.repeat(values.reshape(*values.shape[:2], 1), 3, axis=2)
    return np.array(_to_rgb(Image.fromarray(np.ascontiguousarray(values)), name))


def _check_size(height: int, width: int, name: str) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height}); give a picture with at least one")
    if height * width > MAX_PIXELS:
        raise ImageError(_too_large(name, f"{width} x {height} pixels"))


def _too_large(name: str, size: str = "a huge number of pixels") -> str:
    return f"{name} has {size}, more than the {MAX_PIXELS // 1_000_000} million allowed; make it smaller first"


#: How PNGs of few or many bits are stored, and by what 8 bits are more.
_BITS = {"L;2": 85.0, "L;4": 17.0, "RGB;16B": 1 / 256}


def _scale_transparency(image: Image.Image) -> None:
    """Pillow makes 8 bits of a PNG's pixels, but not of the colour that is transparent in it."""
    tiles, colour = getattr(image, "tile", None), image.info.get("transparency")  # none of what is no file
    stored = tiles[0][3] if tiles else None
    if image.format == "PNG" and stored in _BITS and isinstance(colour, int | tuple):
        scaled = [int(one * _BITS[stored]) for one in (colour if isinstance(colour, tuple) else (colour,))]
        image.info["transparency"] = tuple(scaled) if isinstance(colour, tuple) else scaled[0]


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """RGB over white from any mode of Pillow."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep_to_rgb(image, name)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _deep_to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Grey of 16 or 32 bits a pixel; Pillow's own conversion would clip it at 255."""
    values = np.asarray(image)
    if image.mode == "I" and 1 < values.max() <= 255 and values.min() >= 0:  # of 8 bits, in 32
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode != "F":
        # "I" is how Pillow holds 16-bit files of some formats, so 32 bits are assumed only where they are used.
        deep = image.mode == "I" and values.max() > 65535
        values = np.clip(values, 0, None) / (2**31 - 1) if deep else np.clip(values, 0, 65535).astype(np.uint16)
    grey = _to_uint8(values, name)
    if image.mode != "F" and isinstance(image.info.get("transparency"), int):
        grey = np.where(values == image.info["transparency"], np.uint8(255), grey)
    return Image.fromarray(grey).convert("RGB")


def _to_uint8(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if not np.issubdtype(values.dtype, np.floating):
        raise ImageError(f"{name} holds {values.dtype}; give uint8, or float in 0..1")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise ImageError(f"{name} holds floats from {low:g} to {high:g}; scale them to 0..1")
    return np.rint(values * 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns these by itself when it loads them
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken metadata does not make a picture unreadable
        return 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the camera's orientation; the eight cases of EXIF (the first, and unknown ones, change nothing)."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def _reason(error: Exception) -> str:
    return _one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _one_line(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else repr(text)


def fit_size(
    height: int, width: int, stride: int, longest: int, shortest: int, max_pixels: int = MODEL_PIXELS
) -> tuple[int, int]:
    """The (height, width) nearest to a picture's own that an image branch of the model takes.

    Both sides are multiples of `stride`; the long one is at most `longest`, the short one at least `shortest`, and
    there are at most `max_pixels`, with the aspect kept up to rounding. Where these contradict each other (a picture
    much longer than wide), `longest` and `max_pixels` hold and `shortest` gives way. `longest` and `shortest` are
    multiples of `stride`. All in pixels.
    """
    if height < 1 or width < 1:
        raise ValueError(f"a picture of {width} x {height} has no pixels; both sides must be at least 1")
    if stride < 1 or longest % stride or shortest % stride or not 0 <= shortest <= longest or longest < stride:
        raise ValueError(
            f"sides of {shortest}..{longest} do not fit a stride of {stride}; "
            "both must be multiples of it, the shortest at most the longest"
        )
    if max_pixels < stride * stride:
        raise ValueError(f"{max_pixels} pixels do not hold one patch of {stride} x {stride}; allow more")
    scale = min(1.0, longest / max(height, width))
    scale = max(scale, shortest / min(height, width))
    scale = min(scale, longest / max(height, width), math.sqrt(max_pixels / (height * width)))
    long, short = max(height, width) * scale / stride, min(height, width) * scale / stride
    patches = max_pixels // stride**2
    rows, columns = max(1, math.floor(short + 0.5)), max(1, math.floor(long + 0.5))
    if rows * columns > patches:  # rounding up has crossed the limit: round down
        rows = max(1, math.floor(short))
        columns = min(math.floor(long), patches // rows)
    size = (rows * stride, columns * stride)
    return size if height <= width else (size[1], size[0])


def prepare(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 RGB (height, width, 3) -> float32 (3, *size) in -1..1, resized with Pillow's bicubic filter."""
    height, width = size
    if image.shape[:2] != (height, width):
        image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / np.float32(127.5) - np.float32(1)
