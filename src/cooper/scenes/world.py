"""The synthetic world: a room, a camera and a few things in it, as a pure function of a seed.

World coordinates are metres, z up, the floor at z = 0. The camera stands at x = y = 0 and looks along +y, pitched down.
Camera coordinates are metres too: x right, y down, z forward along the optical axis (so z is the metric depth).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, cast

import numpy as np

Shape: TypeAlias = Literal["ball", "box", "cylinder", "cone"]
Vector: TypeAlias = tuple[float, float, float]

SHAPES: tuple[Shape, ...] = ("ball", "box", "cylinder", "cone")
#: Name to RGB in 0..1. Chosen to stay apart from one another under any of the rooms' lights.
COLORS: dict[str, Vector] = {
    "red": (0.86, 0.08, 0.08),
    "green": (0.10, 0.58, 0.16),
    "blue": (0.10, 0.22, 0.88),
    "yellow": (0.98, 0.86, 0.08),
    "purple": (0.48, 0.12, 0.72),
    "orange": (1.00, 0.45, 0.03),
    "cyan": (0.08, 0.80, 0.86),
    "pink": (1.00, 0.52, 0.74),
}
#: Seeds of the three splits. They never overlap, so a test scene is never seen in training.
SPLITS: dict[str, range] = {
    "train": range(0, 10_000_000),
    "validation": range(10_000_000, 20_000_000),
    "test": range(20_000_000, 30_000_000),
}
FLOORS = ("slabs", "checker", "planks", "tiles", "concrete", "carpet")
WALLS = ("plain", "noise", "stripes", "bricks")
FINISHES = ("plain", "marble", "grain")
MAX_THINGS = 7
SMALLEST, LARGEST = 0.15, 1.0  # metres, every extent of every thing
NEAREST = 0.9  # metres of depth in front of the camera that stay free
_MIN_PIXELS = 120.0  # of a thing's bounding rectangle, in a 128-pixel-high picture
_MAX_HIDDEN = 0.6  # of a thing's bounding rectangle behind the rectangles of nearer things


@dataclass(frozen=True)
class Thing:
    """One object. `position` is its centre, `size` its extents along its own x, y, z axes, `yaw` radians about z.

    `id` counts from 1 and is its value in label images; `on` is the id of the thing it stands on, None for the floor.
    `finish` is the texture of its surface (one of FINISHES).
    """

    id: int
    shape: Shape
    color: str
    size: Vector
    position: Vector
    yaw: float
    on: int | None
    finish: str

    @property
    def name(self) -> str:
        """Unique within a scene: "red ball"."""
        return f"{self.color} {self.shape}"

    @property
    def radius(self) -> float:
        """Metres from the vertical axis to the farthest point of the footprint."""
        return footprint_radius(self.shape, self.size)

    @property
    def corners(self) -> np.ndarray:
        """World coordinates (8, 3) of the oriented box around it."""
        signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], dtype=float)
        return np.asarray(self.position) + (signs * np.asarray(self.size) / 2) @ rotation_z(self.yaw).T


@dataclass(frozen=True)
class Light:
    """A lamp high above the room, whose ceiling casts no shadow.

    `position` is metres, `direction` a vector it points along, `color` its RGB intensity, 0..1; `ambient` is the share
    of its light that comes from everywhere.
    """

    position: Vector
    direction: Vector
    color: Vector
    ambient: float


@dataclass(frozen=True)
class Room:
    """A box: x from `left` (negative) to `right`, y from `back` (negative) to `front`, z from 0 to `height`, metres.

    Surfaces are RGB 0..1 and the name of a pattern (FLOORS, WALLS).
    """

    left: float
    right: float
    back: float
    front: float
    height: float
    floor: str
    floor_color: Vector
    wall: str
    wall_color: Vector
    side_color: Vector
    ceiling_color: Vector
    light: Light


@dataclass(frozen=True)
class Camera:
    """`height` metres above the floor at x = y = 0; `pitch` degrees down from +y; `fov` vertical, degrees."""

    height: float
    pitch: float
    fov: float

    def intrinsics(self, width: int, height: int) -> np.ndarray:
        """The matrix K, float64 (3, 3), of a picture of that size: square pixels, principal point in its middle.

        Image coordinates have their origin at the outer corner of the first pixel, whose centre is (0.5, 0.5).
        """
        focal = height / 2 / np.tan(np.radians(self.fov) / 2)
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

    @property
    def pose(self) -> np.ndarray:
        """Camera to world, float64 (4, 4)."""
        sin, cos = np.sin(np.radians(self.pitch)), np.cos(np.radians(self.pitch))
        pose = np.eye(4)
        pose[:3, :3] = np.array([[1, 0, 0], [0, -sin, cos], [0, -cos, -sin]])
        pose[2, 3] = self.height
        return pose

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in camera coordinates, float64: x right, y down, z forward, metres."""
        pose = self.pose
        return (np.asarray(points, dtype=float) - pose[:3, 3]) @ pose[:3, :3]


@dataclass(frozen=True)
class Scene:
    """Everything there is to know about one picture. Ids of `things` are 1, 2, ... in order."""

    seed: int
    room: Room
    camera: Camera
    things: tuple[Thing, ...]

    def thing(self, id: int) -> Thing:
        """The thing with that label. Raises ValueError if there is none."""
        if not 1 <= id <= len(self.things):
            raise ValueError(f"scene {self.seed} has things 1 to {len(self.things)}, not {id}")
        return self.things[id - 1]


def rotation_z(yaw: float) -> np.ndarray:
    """Rotation about the vertical by `yaw` radians, float64 (3, 3)."""
    sin, cos = np.sin(yaw), np.cos(yaw)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def footprint_radius(shape: Shape, size: Vector) -> float:
    """Metres from the vertical axis of a shape to the farthest point of its footprint."""
    return float(np.hypot(size[0], size[1])) / 2 if shape == "box" else size[0] / 2


def bounding_rectangle(camera: Camera, thing: Thing, width: int = 128, height: int = 128) -> np.ndarray:
    """A rectangle (left, top, right, bottom), pixels, not clipped, that surely holds the thing's silhouette."""
    at = camera.to_camera(thing.corners)
    focal = camera.intrinsics(width, height)
    pixels = at[:, :2] / np.maximum(at[:, 2:], 0.05) * focal[0, 0] + focal[:2, 2]
    return np.concatenate([pixels.min(0), pixels.max(0)])


def split_of(seed: int) -> str:
    """The split a seed belongs to. Raises ValueError for a seed outside all of them."""
    for name, seeds in SPLITS.items():
        if seed in seeds:
            return name
    raise ValueError(f"scene seeds are 0 to {SPLITS['test'].stop - 1}; {seed} is not one of them")


@lru_cache(64)  # a batch asks for a scene more than once
def sample_scene(seed: int) -> Scene:
    """The scene of a seed: 2 to 7 things, no two of the same colour and shape, on the floor or on each other.

    Raises ValueError for a seed outside all splits.
    """
    split_of(seed)
    rng = np.random.Generator(np.random.PCG64(seed))
    while True:
        camera = Camera(_between(rng, 1.0, 1.8), _between(rng, 8, 25), _between(rng, 50, 65))
        room = _sample_room(rng)
        things = _sample_things(rng, camera, room, wanted=int(rng.integers(2, MAX_THINGS + 1)))
        if len(things) >= 2:
            return Scene(seed, room, camera, things)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    # Rounded, so that what is printed of a scene is the scene.
    return round(float(rng.uniform(low, high)), 4)


def _dull(rng: np.random.Generator, low: float, high: float, spread: float) -> Vector:
    """A greyish colour, so that no surface of the room is taken for a coloured thing."""
    level = rng.uniform(low, high)
    red, green, blue = np.clip(level + rng.uniform(-spread, spread, 3), 0, 1)
    return (round(float(red), 4), round(float(green), 4), round(float(blue), 4))


def _sample_room(rng: np.random.Generator) -> Room:
    left, right, front = -_between(rng, 1.8, 3.5), _between(rng, 1.8, 3.5), _between(rng, 4.0, 8.0)
    height = _between(rng, 2.5, 3.6)
    wall = _dull(rng, 0.5, 0.85, 0.08)
    shade = rng.uniform(0.8, 1.0)
    position = (_between(rng, -5.0, 5.0), _between(rng, -1.0, 6.0), _between(rng, 6.0, 9.0))
    target = (0.0, round(0.45 * front, 4), 0.0)
    direction = tuple(round(t - p, 4) for t, p in zip(target, position, strict=True))
    warmth, power = rng.uniform(-0.06, 0.06), rng.uniform(0.65, 0.9)
    light = Light(
        position=position,
        direction=cast(Vector, direction),
        color=(round(power + warmth, 4), round(power, 4), round(power - warmth, 4)),
        ambient=_between(rng, 0.2, 0.32),
    )
    return Room(
        left=left,
        right=right,
        back=-1.5,
        front=front,
        height=height,
        floor=str(rng.choice(FLOORS)),
        floor_color=_dull(rng, 0.4, 0.75, 0.07),
        wall=str(rng.choice(WALLS)),
        wall_color=wall,
        side_color=cast(Vector, tuple(round(float(c * shade), 4) for c in wall)),
        ceiling_color=_dull(rng, 0.75, 0.9, 0.04),
        light=light,
    )


def _sample_size(rng: np.random.Generator, shape: Shape, largest: float) -> Vector:
    """Extents of a shape, none above `largest` metres. Round shapes are as wide as they are deep."""

    def extent() -> float:
        return round(float(np.exp(rng.uniform(np.log(SMALLEST), np.log(largest)))), 3)

    if shape == "ball":
        diameter = extent()
        return (diameter, diameter, diameter)
    if shape == "box":
        return (extent(), extent(), extent())
    diameter = extent()
    tallness = float(rng.uniform(0.7, 2.2))
    return (diameter, diameter, round(float(np.clip(diameter * tallness, SMALLEST, largest)), 3))


def _sample_things(rng: np.random.Generator, camera: Camera, room: Room, wanted: int) -> tuple[Thing, ...]:
    things: list[Thing] = []
    rectangles: list[np.ndarray] = []
    pairs = [(shape, color) for shape in SHAPES for color in COLORS]
    order = rng.permutation(len(pairs))
    for _ in range(60 * wanted):
        if len(things) == wanted:
            break
        shape, color = pairs[order[len(things)]]
        support = _choose_support(rng, things) if rng.uniform() < 0.2 else None
        if support:
            thing = _place_on(rng, support, len(things) + 1, shape, color)
        else:
            thing = _place_on_floor(rng, camera, room, len(things) + 1, shape, color)
        if thing is None or (support is None and _touches(thing, things)):
            continue
        rectangle = bounding_rectangle(camera, thing)
        if _is_seen(camera, [*things, thing], [*rectangles, rectangle]):
            things.append(thing)
            rectangles.append(rectangle)
    return tuple(things)


def _choose_support(rng: np.random.Generator, things: list[Thing]) -> Thing | None:
    taken = {t.on for t in things}
    fit = [
        t
        for t in things
        if t.shape in ("box", "cylinder") and t.on is None and t.id not in taken
        and t.size[2] <= 0.8 and min(t.size[:2]) >= 0.25
    ]  # fmt: skip
    return fit[int(rng.integers(len(fit)))] if fit else None


def _place_on(rng: np.random.Generator, support: Thing, id: int, shape: Shape, color: str) -> Thing | None:
    room_for = min(support.size[:2]) * (1.0 if support.shape == "cylinder" else 1.1)
    size = _sample_size(rng, shape, max(SMALLEST + 0.02, min(0.6, room_for)))
    slack = min(support.size[:2]) / 2 - footprint_radius(shape, size)
    if slack < 0:
        return None
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0, slack)
    position = (
        round(support.position[0] + float(np.cos(angle) * distance), 4),
        round(support.position[1] + float(np.sin(angle) * distance), 4),
        support.size[2] + size[2] / 2,
    )
    return Thing(id, shape, color, size, position, _between(rng, 0, np.pi), support.id, str(rng.choice(FINISHES)))


def _place_on_floor(
    rng: np.random.Generator, camera: Camera, room: Room, id: int, shape: Shape, color: str
) -> Thing | None:
    size = _sample_size(rng, shape, LARGEST)
    radius = footprint_radius(shape, size)
    y = rng.uniform(NEAREST + radius, min(6.2, room.front - radius - 0.05))
    half_width = y * np.tan(np.radians(camera.fov) / 2)
    x = rng.uniform(-half_width, half_width)
    if not room.left + radius + 0.05 < x < room.right - radius - 0.05:
        return None
    yaw, finish = _between(rng, 0, np.pi), str(rng.choice(FINISHES))
    position = (round(float(x), 4), round(float(y), 4), size[2] / 2)
    return Thing(id, shape, color, size, position, yaw, None, finish)


def _touches(thing: Thing, others: list[Thing]) -> bool:
    """Whether footprints come closer than 4 cm, as circles around them."""
    return any(
        np.hypot(thing.position[0] - o.position[0], thing.position[1] - o.position[1]) < thing.radius + o.radius + 0.04
        for o in others
        if o.on is None
    )


def _is_seen(camera: Camera, things: list[Thing], rectangles: list[np.ndarray]) -> bool:
    """Whether the newest is in the picture and big enough, and nothing is hidden too much."""
    newest = rectangles[-1]
    inside = np.clip(newest, 0, 128)
    area, seen = _area(newest), _area(inside)
    if seen < _MIN_PIXELS or seen < 0.75 * area or camera.to_camera(things[-1].corners)[:, 2].min() < 0.6 * NEAREST:
        return False
    far = [float(camera.to_camera(np.asarray(t.position))[2]) for t in things]
    for i, mine in enumerate(rectangles):
        hidden = 0.0
        for j, other in enumerate(rectangles):
            if j != i and far[j] < far[i]:
                hidden += _area(np.concatenate([np.maximum(mine[:2], other[:2]), np.minimum(mine[2:], other[2:])]))
        if hidden > _MAX_HIDDEN * _area(mine):
            return False
    return True


def _area(rectangle: np.ndarray) -> float:
    width, height = np.maximum(rectangle[2:] - rectangle[:2], 0)
    return float(width * height)
