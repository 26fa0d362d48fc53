"""The same picture of other things: each so many times as far away, and as many times as large.

One eye cannot tell these apart, a depth map can. Who has to say how far things are, seeing the picture of the one scene
and the depth of the other, has to read the depth, and learns nothing of what the picture looks like when.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cooper.scenes.render import View
from cooper.scenes.seen import look
from cooper.scenes.world import Scene, Thing

#: Metres between which each thing comes to stand, whatever its distance was.
NEAREST, FARTHEST = 1.0, 9.0


def moved(scene: Scene, view: View, rng: np.random.Generator) -> tuple[Scene, View]:
    """The scene with everything in it moved along its line of sight, and what is seen of that: the same picture, with
    the depth of things changed and that of the room kept.

    Distances are log-uniform and do not depend on those before, so that of all that is seen of the new scene only
    directions and angles tell anything of the old one. Things may float, or stand in a wall. A pure function of its
    arguments.
    """
    factors = np.ones(256)
    for seen in look(scene, view).seen:
        factors[seen.id] = NEAREST * (FARTHEST / NEAREST) ** rng.random() / seen.depth
    things = tuple(_scaled(thing, factors[thing.id], scene.camera.height) for thing in scene.things)
    depth = (view.depth * factors[view.labels]).astype(np.float32)
    return replace(scene, things=things), replace(view, depth=depth)


def _scaled(thing: Thing, factor: float, eye: float) -> Thing:
    """Scaled about the camera, which stands at x = y = 0, so high."""
    x, y, z = thing.position
    width, length, height = thing.size
    return replace(
        thing, position=(factor * x, factor * y, eye + factor * (z - eye)),
        size=(factor * width, factor * length, factor * height),
    )  # fmt: skip
