"""Orders to draw a picture changed, and the pictures so changed.

A model that is to draw maps begins as one that draws pictures, and not only the one it sees: the analogue of the
editing that BAGEL has learned. What is asked for needs no renderer, so it costs rendering no time.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from cooper.scenes.questions import pick
from cooper.scenes.render import View
from cooper.scenes.seen import SeenObject, look
from cooper.scenes.world import COLORS, Scene

MIRROR = "Draw the picture with left and right swapped."
#: How much of the picture's side is at least seen, and at most, when something is drawn closer.
NEAR, FAR = 0.3, 0.7
# how bright colours look, as in ITU-R BT.601
_BRIGHTNESS = np.array([0.299, 0.587, 0.114])


def edit(scene: Scene, view: View, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """An order and what is to be drawn, uint8 like the picture: something in another colour, something closer, or all
    of it with left and right swapped, equally often where something can be named. A pure function of its arguments."""
    named = look(scene, view).named
    kind = int(rng.integers(3)) if named else 0
    if kind == 0:
        return MIRROR, np.ascontiguousarray(view.rgb[:, ::-1])
    seen = pick(rng, named)
    if kind == 1:
        return f"Draw the {seen.name} closer.", closer(view.rgb, seen)
    color = pick(rng, [name for name in COLORS if name != seen.thing.color])
    return f"Draw the {seen.name} {color}.", recolored(view, seen, color)


def closer(image: np.ndarray, seen: SeenObject) -> np.ndarray:
    """The square around something, three times as large as it, as large as the picture."""
    size = image.shape[0]
    side = round(size * min(FAR, max(NEAR, 3 * max(seen.right - seen.left, seen.bottom - seen.top))))
    left, top = (
        min(max(round(size * (low + high) / 2 - side / 2), 0), size - side)
        for low, high in ((seen.left, seen.right), (seen.top, seen.bottom))
    )
    part = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(part.resize((size, size), Image.Resampling.BICUBIC))


def recolored(view: View, seen: SeenObject, color: str) -> np.ndarray:
    """The picture with something in another colour, lit as it was. Its reflections elsewhere stay."""
    old, new = (np.array(COLORS[name]) for name in (seen.thing.color, color))
    image, shows = view.rgb.copy(), view.labels == seen.id
    lit = (image[shows] @ _BRIGHTNESS) / (old @ _BRIGHTNESS)
    image[shows] = np.clip(lit[:, None] * new, 0, 255).round()
    return image
