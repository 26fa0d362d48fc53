"""Procedural grey patterns the renderer multiplies with a surface's colour. Mean near 0.85, no files needed.

Every floor shows how large it is: a floor pattern is one metre wide (`world.FLOORS`), and is laid in slabs, tiles or
boards of half a metre or a quarter. A single picture has no other metric cue to speak of, since camera, room and
things all vary in size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SIZE = 128  # pixels, square, every pattern tiles


def _noise(rng: np.random.Generator, cells_x: int, cells_y: int) -> np.ndarray:
    """Smooth noise in 0..1 (SIZE, SIZE) with that many bumps along x and y; it wraps around."""
    grid = rng.uniform(0, 1, (cells_y, cells_x))
    for axis, cells in ((0, cells_y), (1, cells_x)):
        at = np.arange(SIZE) * cells / SIZE
        low, t = np.floor(at).astype(int), at % 1
        t = (t * t * (3 - 2 * t)).reshape((-1, 1) if axis == 0 else (1, -1))
        grid = np.take(grid, low, axis) * (1 - t) + np.take(grid, (low + 1) % cells, axis) * t
    return grid


def _plain(rng: np.random.Generator) -> np.ndarray:
    return np.full((SIZE, SIZE), 0.9)


def _cloudy(rng: np.random.Generator) -> np.ndarray:
    layers = [(4, 0.5), (8, 0.3), (16, 0.2), (64, 0.2)]
    return 0.66 + 0.34 * np.sum([weight * _noise(rng, n, n) for n, weight in layers], axis=0) / 1.2 * 1.3


def _laid(image: np.ndarray, joint: float) -> np.ndarray:
    """A pattern cut into two by two slabs, their joints `joint` dark or bright and 5 pixels wide."""
    for edge in (0, SIZE // 2):
        image[edge : edge + 5], image[:, edge : edge + 5] = joint, joint
    return image


def _slabs(rng: np.random.Generator) -> np.ndarray:
    return _laid(_plain(rng), 0.55)


def _concrete(rng: np.random.Generator) -> np.ndarray:
    return _laid(_cloudy(rng), 0.45)


def _checker(rng: np.random.Generator) -> np.ndarray:
    half = np.arange(SIZE) // (SIZE // 2)
    return np.where(half[:, None] ^ half[None, :], 0.98, 0.62) - 0.06 * _noise(rng, 32, 32)


def _planks(rng: np.random.Generator) -> np.ndarray:
    grain = 0.74 + 0.16 * _noise(rng, 32, 2) + 0.1 * _noise(rng, 64, 4)
    boards = 4
    width = SIZE // boards
    for i in range(boards):
        board = slice(i * width, (i + 1) * width)
        for half in range(2):  # boards are half a metre long, every second row set off by half of that
            end = (half * SIZE // 2 + (i % 2) * SIZE // 4) % SIZE
            rows = np.arange(end, end + SIZE // 2) % SIZE
            grain[rows, board] += rng.uniform(-0.14, 0.1)
            grain[end : end + 5, board] = 0.4
        grain[:, i * width : i * width + 4] = 0.4
    return grain


def _tiles(rng: np.random.Generator) -> np.ndarray:
    image = 0.86 + 0.1 * _noise(rng, 8, 8)
    half = SIZE // 2
    for row in range(2):
        for column in range(2):
            image[row * half : (row + 1) * half, column * half : (column + 1) * half] += rng.uniform(-0.05, 0.03)
    return _laid(image, 0.55)


def _carpet(rng: np.random.Generator) -> np.ndarray:
    half = np.arange(SIZE) // (SIZE // 2)
    squares = np.where(half[:, None] ^ half[None, :], 0.0, -0.28)  # laid with the pile to one side and the other
    return 0.77 + 0.15 * rng.uniform(0, 1, (SIZE, SIZE)) + 0.08 * _noise(rng, 32, 32) + squares


def _stripes(rng: np.random.Generator) -> np.ndarray:
    band = (np.arange(SIZE) // (SIZE // 4)) % 2
    return np.broadcast_to(np.where(band, 0.95, 0.8)[None, :], (SIZE, SIZE)).copy()


def _bricks(rng: np.random.Generator) -> np.ndarray:
    image = 0.8 + 0.12 * _noise(rng, 32, 32)
    rows, width = 4, SIZE // 2
    tall = SIZE // rows
    for row in range(rows):
        for brick in range(2):
            columns = (np.arange(width) + brick * width + (row % 2) * width // 2) % SIZE
            image[row * tall : (row + 1) * tall, columns] += rng.uniform(-0.08, 0.06)
            image[row * tall : (row + 1) * tall, columns[:2]] = 0.98
        image[row * tall : row * tall + 2] = 0.98
    return image


def _marble(rng: np.random.Generator) -> np.ndarray:
    veins = _noise(rng, 4, 4) + 0.5 * _noise(rng, 8, 8)
    return 0.98 - 0.3 * np.exp(-60 * (veins - 0.75) ** 2)


def _grain(rng: np.random.Generator) -> np.ndarray:
    return 0.76 + 0.24 * _noise(rng, 4, 32)


PATTERNS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "plain": _plain,
    "noise": _cloudy,
    "slabs": _slabs,
    "concrete": _concrete,
    "checker": _checker,
    "planks": _planks,
    "tiles": _tiles,
    "carpet": _carpet,
    "stripes": _stripes,
    "bricks": _bricks,
    "marble": _marble,
    "grain": _grain,
}


def pattern(name: str) -> np.ndarray:
    """The pattern of that name as uint8 RGB (SIZE, SIZE, 3), always the same."""
    grey = np.clip(PATTERNS[name](np.random.default_rng(list(PATTERNS).index(name))), 0, 1)
    return np.repeat(np.round(grey * 255).astype(np.uint8)[:, :, None], 3, axis=2)
