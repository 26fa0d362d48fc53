"""What a person could tell about each object of a scene from its picture: where it shows, how far, how tall, how wide.

Questions, worked traces and captions all quote these readings, so they agree with each other. The definitions:

- *distance to the camera*: median depth along the optical axis over the object's visible pixels, metres. It is what a
  depth map answers most directly: its surface, not its centre.
- *height*: vertical extent of the whole object, metres.
- *width*: horizontal extent of the whole object at right angles to the line of sight, metres: how wide it looks.
- *distance between two objects*: straight line between their true 3D centres, metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import atan2, cos, hypot, sin

import numpy as np

from cooper.scenes.render import View
from cooper.scenes.world import Scene, Thing

#: An object is named in a question only if at least this share of it is visible ...
MIN_VISIBLE = 0.6
#: ... on at least this share of the picture (40 pixels of 128 x 128).
MIN_AREA = 40 / 128**2
#: Heights and widths are asked only of objects that show at least this much, and do not touch the picture's border.
MIN_MEASURED = 0.8
#: An object that shows less than `MIN_VISIBLE` but more than this can still be recognised and counted.
MIN_COUNTED = 0.4
#: Cells of the grid over the picture that "column 3, row 9" speaks of, counted from the top left, 0 to 15.
GRID = 16


@dataclass(frozen=True)
class SeenObject:
    """One object as the picture shows it. Fractions are of the picture's width and height, from the top left."""

    thing: Thing
    share: float  # of the object's own pixels that are visible, 0..1
    area: float  # of the picture's pixels, 0..1
    depth: float  # metres, median over the visible pixels
    nearest: float  # metres, depth of the nearest visible pixel
    u: float  # centroid of the visible pixels, fraction of the width
    v: float  # the same, fraction of the height
    left: float
    top: float
    right: float
    bottom: float
    width: float  # metres, at right angles to the line of sight

    @property
    def id(self) -> int:
        return self.thing.id

    @property
    def name(self) -> str:
        return self.thing.name

    @property
    def height(self) -> float:
        """Metres."""
        return float(self.thing.size[2])

    @property
    def across(self) -> float:
        """Metres of the centre to the right of the camera, which stands at x = y = 0 and looks along y."""
        return float(self.thing.position[0])

    @property
    def ahead(self) -> float:
        """Metres of the centre ahead of the camera, along the floor."""
        return float(self.thing.position[1])

    @property
    def up(self) -> float:
        """Height of the centre above the floor, metres."""
        return float(self.thing.position[2])

    @property
    def column(self) -> int:
        return min(GRID - 1, int(self.u * GRID))

    @property
    def row(self) -> int:
        return min(GRID - 1, int(self.v * GRID))

    @property
    def cut(self) -> bool:
        """Does it touch the picture's border?"""
        return self.left <= 0 or self.top <= 0 or self.right >= 1 or self.bottom >= 1

    @property
    def named(self) -> bool:
        """May a question name it?"""
        return self.share >= MIN_VISIBLE and self.area >= MIN_AREA

    @property
    def measured(self) -> bool:
        """May a question ask how tall or how wide it is?"""
        return self.named and self.share >= MIN_MEASURED and not self.cut

    @property
    def counted(self) -> bool:
        """Is it recognisable enough to be counted?"""
        return self.share >= MIN_COUNTED and self.area >= MIN_AREA


class SceneView:
    """Everything seen in one view. `seen` holds each object with at least one visible pixel, in order of id."""

    def __init__(self, scene: Scene, view: View) -> None:
        self.scene, self.view = scene, view
        self.height, self.width = view.labels.shape
        flat = view.labels.ravel()
        inside = np.flatnonzero(flat)
        inside = inside[np.argsort(flat[inside], kind="stable")]  # still row by row within each object
        counts = np.bincount(flat[inside], minlength=256)
        ends = counts.cumsum()
        self._pixels = {i: inside[ends[i] - counts[i] : ends[i]] for i in np.flatnonzero(counts).tolist()}
        self._depth = view.depth.ravel()
        self.seen = tuple(self._look_at(t) for t in scene.things if t.id in self._pixels)
        self._by_id = {s.id: s for s in self.seen}

    def __getitem__(self, label: int) -> SeenObject:
        return self._by_id[label]

    @property
    def named(self) -> tuple[SeenObject, ...]:
        return tuple(s for s in self.seen if s.named)

    @property
    def unclear(self) -> tuple[SeenObject, ...]:
        """Objects that show too little to be counted, and too much to be overlooked by everybody."""
        return tuple(s for s in self.seen if not s.counted)

    def _look_at(self, thing: Thing) -> SeenObject:
        pixels = self._pixels[thing.id]
        rows = pixels // self.width
        columns = pixels - rows * self.width
        depths = self._depth[pixels]
        return SeenObject(
            thing=thing,
            share=float(self.view.visible.get(thing.id, 0.0)),
            area=len(pixels) / self._depth.size,
            depth=float(np.median(depths)),
            nearest=float(depths.min()),
            u=(float(columns.mean()) + 0.5) / self.width,
            v=(float(rows.mean()) + 0.5) / self.height,
            left=int(columns.min()) / self.width,
            top=int(rows[0]) / self.height,
            right=(int(columns.max()) + 1) / self.width,
            bottom=(int(rows[-1]) + 1) / self.height,
            width=width_across(thing),
        )

    @cached_property
    def covers(self) -> dict[int, int]:
        """For each object that another one stands in front of at some edge: the one that covers most of the edge.

        What an object stands on is not counted: it is in front of the object's foot, and hides nothing of it.
        """
        labels, depth = self.view.labels, self.view.depth
        votes = np.zeros((256, 256), dtype=np.int64)  # of (hidden, front)
        for one, two in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
            edge = np.flatnonzero((labels[one] != labels[two]) & (labels[one] > 0) & (labels[two] > 0))
            first, second = labels[one].ravel()[edge], labels[two].ravel()[edge]
            nearer = depth[one].ravel()[edge] < depth[two].ravel()[edge]
            np.add.at(votes, (np.where(nearer, second, first), np.where(nearer, first, second)), 1)
        for thing in self.scene.things:
            votes[thing.id, thing.on or 0] = 0
        return {t.id: int(votes[t.id].argmax()) for t in self.scene.things if votes[t.id].any()}


#: the names that they had before, which `worked` and `captions` still use
Seen = SeenObject
Looked = SceneView


def look(scene: Scene, view: View) -> SceneView:
    """What is seen in `view`. The last view looked at is remembered: its many questions and traces share the work."""
    global _last
    looked = _last  # read once: another thread may replace it
    if looked is None or looked.scene is not scene or looked.view is not view:
        _last = looked = SceneView(scene, view)
    return looked


_last: SceneView | None = None


def distance_between(a: Thing, b: Thing) -> float:
    """Metres between the true centres of two objects."""
    return float(np.linalg.norm(np.asarray(a.position, dtype=float) - np.asarray(b.position, dtype=float)))


def width_across(thing: Thing) -> float:
    """Horizontal extent of an object at right angles to the line from the camera to its centre, metres."""
    turned = thing.yaw + atan2(thing.position[0], thing.position[1])
    x, y = thing.size[0] * cos(turned), thing.size[1] * sin(turned)
    return abs(x) + abs(y) if thing.shape == "box" else hypot(x, y)  # the others are round, seen from above
