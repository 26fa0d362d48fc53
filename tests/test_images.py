"""Every kind of picture a user may have, written as a real file, and every way in which one can be broken."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cooper import images
from cooper.images import ImageError, load_image

HEIGHT, WIDTH = 24, 40


@pytest.fixture
def rgb() -> np.ndarray:
    """A smooth picture whose four corners all differ."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 255 / (WIDTH - 1), y * 255 / (HEIGHT - 1), 255 - x * 3], axis=2).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def check(image: np.ndarray, expected: np.ndarray, tolerance: float = 0) -> None:
    assert image.dtype == np.uint8 and image.flags.c_contiguous and image.flags.owndata and image.flags.writeable
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected.astype(int)).mean() <= tolerance


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.jpg", {"quality": 95}, 3),
        ("a.jpeg", {"quality": 95, "progressive": True}, 3),
        ("a.webp", {"lossless": True}, 0),
        ("b.webp", {"quality": 95}, 3),
        ("a.bmp", {}, 0),
        ("a.tiff", {}, 0),
        ("b.tif", {"compression": "tiff_lzw"}, 0),
        ("a.gif", {}, 8),
    ],
)
def test_formats(tmp_path: Path, rgb: np.ndarray, name: str, options: dict, tolerance: float) -> None:
    Image.fromarray(rgb).save(tmp_path / name, **options)
    check(load_image(tmp_path / name), rgb, tolerance)
    check(load_image(str(tmp_path / name)), rgb, tolerance)


def test_suffix_does_not_matter(tmp_path: Path, rgb: np.ndarray) -> None:
    (tmp_path / "picture.txt").write_bytes(encoded(Image.fromarray(rgb), "PNG"))
    check(load_image(tmp_path / "picture.txt"), rgb)


def test_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rgb: np.ndarray) -> None:
    data = encoded(Image.fromarray(rgb), "PNG")
    check(load_image(data), rgb)
    check(load_image(bytearray(data)), rgb)  # type: ignore[arg-type]
    check(load_image(Image.fromarray(rgb)), rgb)
    file = io.BytesIO(data)
    file.seek(0, io.SEEK_END)  # as left behind by whoever wrote it
    check(load_image(file), rgb)
    assert not file.closed
    (tmp_path / "a.png").write_bytes(data)
    with open(tmp_path / "a.png", "rb") as opened:
        check(load_image(opened), rgb)
    with Image.open(tmp_path / "a.png") as lazy:
        check(load_image(lazy), rgb)

    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    with open(read) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        check(load_image("-"), rgb)


def test_threads_that_read_together_leave_warnings_as_they_were(rgb: np.ndarray) -> None:
    """What is ignored while a picture is read is put back for all, in the order in which reading began."""
    inside, left = threading.Event(), threading.Event()

    class First(io.BytesIO):
        def read(self, *size: int) -> bytes:
            if self.tell() == 0 and self.begun:  # after a look at its first bytes
                inside.wait(0.3)
            self.begun = True
            return super().read(*size)

        begun = False

    class Second(First):
        def read(self, *size: int) -> bytes:
            if self.tell() == 0 and self.begun:
                inside.set()
                left.wait(5)
            self.begun = True
            return io.BytesIO.read(self, *size)

    before, data = list(warnings.filters), encoded(Image.fromarray(rgb), "PNG")

    def first() -> None:
        load_image(First(data))
        left.set()

    with ThreadPoolExecutor(2) as pool:
        begun = pool.submit(first)
        time.sleep(0.05)
        done = pool.submit(load_image, Second(data))
        begun.result(), done.result()
    assert list(warnings.filters) == before


def test_the_first_frame(tmp_path: Path, rgb: np.ndarray) -> None:
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    for name, tolerance in (("a.gif", 8), ("a.webp", 0), ("a.tiff", 0)):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        check(load_image(tmp_path / name), rgb, tolerance)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (3, 5)])
def test_any_size(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    check(load_image(encoded(Image.fromarray(image), "PNG")), image)


# ---------------------------------------------------------------- orientation


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(rgb: np.ndarray, format: str, orientation: int) -> None:
    stored = {  # what the camera stores so that the viewer, following the tag, sees `rgb`
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: np.rot90(rgb),
        7: rgb[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(rgb, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), format, exif=exif, **options)
    check(load_image(data), rgb, 3 if format == "JPEG" else 0)


def test_damaged_exif_is_ignored(rgb: np.ndarray) -> None:
    for exif in (b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0"):
        check(load_image(encoded(Image.fromarray(rgb), "JPEG", quality=95, exif=exif)), rgb, 3)


# ---------------------------------------------------------------- colours


def test_alpha_goes_over_white(rgb: np.ndarray) -> None:
    rgba = np.dstack([rgb, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    rgba[10:12, :, 3] = 102
    expected = rgb.copy()
    expected[:10] = 255
    expected[10:12] = np.rint(rgb[10:12] * 0.4 + 255 * 0.6)
    for source in (rgba, rgba / 255.0, Image.fromarray(rgba), encoded(Image.fromarray(rgba), "PNG"),
                   encoded(Image.fromarray(rgba), "TIFF"),
                   encoded(Image.fromarray(rgba), "WEBP", lossless=True, exact=True)):  # fmt: skip
        check(load_image(source), expected, 0.1)


def test_grey_with_alpha(rgb: np.ndarray) -> None:
    pixels = np.array([[[0, 0], [0, 255], [200, 255], [100, 51]]], np.uint8)
    image = Image.fromarray(pixels)
    assert image.mode == "LA"
    assert load_image(encoded(image, "PNG"))[0].tolist() == [[255] * 3, [0] * 3, [200] * 3, [224] * 3]


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    assert load_image(encoded(image, "PNG"))[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    for data in (
        encoded(image, "PNG", transparency=1),
        encoded(image, "GIF", transparency=1),
        encoded(image, "PNG", transparency=b"\xff\x00\xff"),
    ):
        assert load_image(data)[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]
    half = encoded(image, "PNG", transparency=b"\xff\x80\xff")
    assert load_image(half)[0, 1].tolist() == [127, 255, 127]


def test_transparent_colour_of_rgb_and_grey() -> None:
    image = Image.fromarray(np.array([[[9, 8, 7], [9, 8, 6]]], np.uint8))
    assert load_image(encoded(image, "PNG", transparency=(9, 8, 7)))[0].tolist() == [[255] * 3, [9, 8, 6]]
    grey = Image.fromarray(np.array([[5, 6]], np.uint8))
    assert load_image(encoded(grey, "PNG", transparency=5))[0].tolist() == [[255] * 3, [6] * 3]


def test_grey_and_one_bit(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.repeat(grey[..., None], 3, axis=2)
    for format in ("PNG", "BMP", "TIFF", "GIF"):
        check(load_image(encoded(Image.fromarray(grey), format)), expected)
    bits = Image.fromarray(np.arange(64).reshape(8, 8) % 3 == 0)
    assert bits.mode == "1"
    expected = np.repeat(np.asarray(bits, np.uint8)[..., None] * 255, 3, axis=2)
    for format in ("PNG", "BMP", "TIFF"):
        check(load_image(encoded(bits, format)), expected)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 514, 1000], [32768, 40000, 65278, 65535]], np.uint16)
    expected = np.repeat(np.rint(values / 257).astype(np.uint8)[..., None], 3, axis=2)
    for format in ("PNG", "TIFF"):
        check(load_image(encoded(Image.fromarray(values), format)), expected)
    check(load_image(values), expected)


def png_of_16_bits(pixels: np.ndarray, colour: int, transparency: bytes | None = None) -> bytes:
    rows = [row.astype(">u2").tobytes() for row in pixels]
    return png_by_hand(rows, pixels.shape[1], 16, colour, transparency)


def png_by_hand(lines: list[bytes], width: int, bits: int, colour: int, transparency: bytes | None = None) -> bytes:
    """Since Pillow does not write all of these. `colour` is 0 for grey and 2 for RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + line for line in lines)
    size = struct.pack(">IIBBBBB", width, len(lines), bits, colour, 0, 0, 0)
    extra = chunk(b"tRNS", transparency) if transparency else b""
    body = chunk(b"IHDR", size) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_sixteen_bit_png_of_all_kinds() -> None:
    grey = np.array([[0, 257], [40_000, 65_535]], np.uint16)
    assert load_image(png_of_16_bits(grey, 0))[..., 1].tolist() == [[0, 1], [156, 255]]
    transparent = load_image(png_of_16_bits(grey, 0, struct.pack(">H", 40_000)))
    assert transparent[..., 1].tolist() == [[0, 1], [255, 255]]
    colours = np.array([[[0, 32768, 65535], [257, 1000, 65278]]], np.uint16)
    assert np.abs(load_image(png_of_16_bits(colours, 2))[0].astype(int) - [[0, 128, 255], [1, 4, 254]]).max() <= 1


def test_transparent_colours_of_few_and_of_many_bits() -> None:
    for bits, line, colour, other in ((4, 0x83, 8, 51), (2, 0b01_10_0000, 1, 170), (1, 0b01_000000, 0, 255)):
        image = load_image(png_by_hand([bytes([line])], 2, bits, 0, struct.pack(">H", colour)))
        assert image[0].tolist() == [[255] * 3, [other] * 3]
    colours = np.array([[[0x1234, 0x5678, 0x9ABC], [0x1111, 0x2222, 0x3333]]], np.uint16)
    deep = load_image(png_of_16_bits(colours, 2, colours[0, 0].astype(">u2").tobytes()))
    assert deep[0].tolist() == [[255] * 3, [0x11, 0x22, 0x33]]


def test_arrays_of_other_bytes_and_kinds() -> None:
    deep = np.array([[0, 257], [40_000, 65_535]], np.uint16)
    for grey in (deep, deep.astype(">u2"), (deep / 65_535).astype(">f4")):
        assert load_image(grey)[..., 1].tolist() == [[0, 1], [156, 255]]


def test_floating_point_tiff() -> None:
    values = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert load_image(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(ImageError, match=r"floats from 0 to 7; scale them to 0\.\.1"):
        load_image(encoded(Image.fromarray(values * 7), "TIFF"))


def test_cmyk(rgb: np.ndarray) -> None:
    cmyk = Image.fromarray(rgb).convert("CMYK")
    check(load_image(encoded(cmyk, "TIFF")), rgb, 2)
    check(load_image(encoded(cmyk, "JPEG", quality=98)), rgb, 4)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX", "RGBa", "La", "PA", "I", "L", "1"])
def test_modes_of_pil(mode: str) -> None:
    grey = Image.fromarray(np.full((4, 4), 255, np.uint8))
    image = {"RGBa": grey.convert("RGBA"), "La": grey.convert("LA"), "PA": grey.convert("P")}.get(mode, grey)
    if mode == "HSV":
        image = grey.convert("RGB")
    value = load_image(image.convert(mode))
    assert value.shape == (4, 4, 3) and (value == 255).all()


# ---------------------------------------------------------------- arrays


def test_arrays(rgb: np.ndarray) -> None:
    check(load_image(rgb), rgb)
    assert not np.shares_memory(load_image(rgb), rgb)
    check(load_image(rgb[::-1, ::2]), rgb[::-1, ::2])
    check(load_image(rgb / 255), rgb)
    check(load_image((rgb / 255).astype(np.float32)), rgb)
    grey = np.repeat(rgb[..., :1], 3, axis=2)
    check(load_image(rgb[..., 0]), grey)
    check(load_image(rgb[..., :1]), grey)
    check(load_image(rgb[..., 0] / 255), grey)
    check(load_image(rgb[..., 0] > 100), (grey > 100).astype(np.uint8) * 255)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"has the shape \(3, 8, 8\); give \(height, width\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "has the shape"),
        (np.zeros(8, np.uint8), "has the shape"),
        (np.zeros((0, 8, 3), np.uint8), "has no pixels"),
        (np.zeros((8, 8), np.int64), "holds int64; give uint8, or float"),
        (np.full((8, 8), 200.0), r"holds floats from 200 to 200; scale them to 0\.\.1"),
        (np.full((8, 8), -0.1), "holds floats from -0.1"),
        (np.full((8, 8), np.nan), "holds floats from nan"),
    ],
)
def test_arrays_that_are_not_pictures(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(array)


# ---------------------------------------------------------------- what can be wrong


def fails(source: object, *parts: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(source)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_files_that_are_not_there(tmp_path: Path) -> None:
    fails(tmp_path / "no.png", "no.png does not exist; check the path")
    (tmp_path / "a.png").write_bytes(b"x")
    fails(tmp_path / "a.png" / "b.png", "does not exist")
    fails(tmp_path, "is a folder; give one image file")
    fails("", "path of the picture is empty")
    fails("a\0b.png", "'a\\x00b.png'", "cannot be opened")
    fails("line\nbreak.png", "'line\\nbreak.png' does not exist")
    fails("x" * 5000, "cannot be opened")
    fails(3, "cannot be read from a int")
    fails(None, "cannot be read from a NoneType")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path, rgb: np.ndarray) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    Image.fromarray(rgb).save(folder / "a.png")
    folder.chmod(0)
    try:
        fails(folder / "a.png", "a.png may not be read; check the permissions")
    finally:
        folder.chmod(0o700)


def test_permission_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    fails("a.png", "a.png may not be read; check the permissions")


def test_files_that_hold_no_picture(tmp_path: Path) -> None:
    for name, data, message in (
        ("empty.png", b"", "is empty (0 bytes)"),
        ("text.png", b"hello, this is not a picture", "is not a picture that can be read; give a PNG"),
        ("page.jpg", b"<!doctype html><html></html>", "is not a picture"),
        ("vector.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture"),
        ("head.png", b"\x89PNG\r\n\x1a\n", "is not a picture"),
        ("script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is not a picture"),
    ):
        (tmp_path / name).write_bytes(data)
        fails(tmp_path / name, name, message)
        fails(data, "the picture given as bytes", message)


def test_file_objects_that_cannot_be_read(tmp_path: Path) -> None:
    fails(io.StringIO("text"), "is open as text; open it in binary mode")
    closed = io.BytesIO(b"x")
    closed.close()
    fails(closed, "cannot be read")
    with open(tmp_path / "out.png", "wb") as file:
        fails(file, "out.png cannot be read")


def test_standard_input_without_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(write)
    with open(read) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        fails("-", "standard input is empty")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    fails("-", "standard input has no picture; pipe one in")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_cut_off(rgb: np.ndarray, format: str, share: float, capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format)
    fails(data[: int(len(data) * share)], "the picture given as bytes is")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_damaged_files_never_raise_anything_else(rgb: np.ndarray, format: str) -> None:
    data = encoded(Image.fromarray(rgb), format)
    generator = np.random.default_rng(0)
    for _ in range(150):
        damaged = np.frombuffer(data, np.uint8).copy()
        where = generator.integers(0, min(len(data), 400), size=generator.integers(1, 6))
        damaged[where] = generator.integers(0, 256, size=len(where))
        try:
            assert load_image(damaged.tobytes()).dtype == np.uint8
        except ImageError as error:
            assert "\n" not in str(error)


def test_damaged_png_data(rgb: np.ndarray) -> None:
    data = bytearray(encoded(Image.fromarray(rgb), "PNG"))
    data[data.index(b"IDAT") + 20] ^= 0xFF
    fails(bytes(data), "is damaged or cut off")


def test_too_large_is_seen_before_decoding(tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    header = bytearray(encoded(Image.fromarray(rgb), "BMP"))
    header[18:26] = (60_000).to_bytes(4, "little") + (50_000).to_bytes(4, "little")
    (tmp_path / "huge.bmp").write_bytes(header)
    fails(tmp_path / "huge.bmp", "huge.bmp has", "more than the 80 million allowed; make it smaller first")

    header[18:26] = (9_000).to_bytes(4, "little") + (10_000).to_bytes(4, "little")
    fails(bytes(header), "has 9000 x 10000 pixels, more than the 80 million allowed")

    files = [encoded(Image.fromarray(rgb), format) for format in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")]
    monkeypatch.setattr(images, "MAX_PIXELS", HEIGHT * WIDTH - 1)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    for data in files:
        fails(data, "40 x 24 pixels")
    fails(rgb, "40 x 24 pixels")


def test_a_pipe_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    monkeypatch.setattr(images, "MAX_BYTES", 3 << 20)
    fails(Endless(), "has more than 3 MiB")
