"""What is stored in PNG files, whatever the depth of their samples."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from cooper.data.maps import stored_png

GREY, PALETTE = 0, 3


def png(samples: np.ndarray, bits: int, colour: int) -> bytes:
    """The bytes of a PNG of whole numbers (height, width), written by hand."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = samples.shape
    rows = b""
    for row in samples:
        text = "".join(f"{value:0{bits}b}" for value in row)
        rows += b"\0" + bytes(int(text[k : k + 8].ljust(8, "0"), 2) for k in range(0, len(text), 8))
    palette = chunk(b"PLTE", bytes(range(3 << bits))) if colour == PALETTE else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("bits", "colour"),
    [(1, GREY), (2, GREY), (4, GREY), (8, GREY), (16, GREY), (1, PALETTE), (2, PALETTE), (4, PALETTE)],
)
def test_samples_are_as_they_were_written(bits: int, colour: int) -> None:
    samples = np.random.default_rng(bits).integers(0, 1 << bits, (5, 11))
    samples[0, :2] = 0, (1 << bits) - 1
    stored = stored_png(png(samples, bits, colour), "x.png")
    assert stored.dtype == (np.uint16 if bits == 16 else np.uint8) and np.array_equal(stored, samples)
