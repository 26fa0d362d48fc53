"""Segmentation: every class of thing in a colour of its own, as ADE20K's colour-coded label images are.

The classes here are those of the synthetic world, named "red ball" and so on. Names are unique within a scene, so a
class is an object. The palette is the grid {0, 85, 170, 255} of the colour cube without its dark corner: any two
colours are at least a third apart in some channel, and each colour lies near the one it is named after.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from cooper.modalities.base import CodeSettings, MapView, Modality, as_float
from cooper.modalities.metrics import segmentation_iou

Colour = tuple[int, int, int]
#: How far (of 0..1 a channel, all three together) a pixel may be from its class's very colour.
_EXACT = 0.04
#: What 0 is called.
BACKGROUND = "background"
#: Drawings hover between classes whose colours are at most so far apart: one step of the palette.
_NEAR = 0.36
#: If the mean colour of a thing is further from its class's than this, and a larger thing of a near class touches it,
#: they are one thing.
_HOVERS = 0.1
#: A pixel whose colour is further from its class's than this goes with those around it.
_STRAY = 0.2

_SHAPES = ("ball", "box", "cylinder", "cone")
_SHADES: dict[str, tuple[Colour, Colour, Colour, Colour]] = {
    "red": ((255, 0, 0), (255, 0, 85), (170, 0, 0), (170, 0, 85)),
    "green": ((0, 170, 85), (85, 170, 85), (0, 170, 0), (85, 170, 0)),
    "blue": ((0, 85, 255), (85, 85, 255), (0, 85, 170), (85, 85, 170)),
    "yellow": ((255, 255, 0), (255, 255, 85), (255, 170, 85), (170, 255, 0)),
    "purple": ((170, 85, 170), (170, 0, 170), (85, 0, 170), (170, 85, 255)),
    "orange": ((255, 170, 0), (255, 85, 0), (255, 85, 85), (170, 170, 0)),
    "cyan": ((0, 170, 255), (0, 170, 170), (85, 170, 255), (85, 170, 170)),
    "pink": ((255, 170, 170), (255, 85, 170), (255, 170, 255), (255, 85, 255)),
}
WORLD_CLASSES: tuple[tuple[str, Colour], ...] = tuple(
    (f"{color} {shape}", shade)
    for color, shades in _SHADES.items()
    for shape, shade in zip(_SHAPES, shades, strict=True)
)


@dataclass(frozen=True)
class Segmentation(Modality):
    """Values are int32 (height, width): 0 is background, k is `classes[k - 1]`."""

    classes: tuple[tuple[str, Colour], ...] = WORLD_CLASSES
    background: Colour = (0, 0, 0)
    smallest: int = 8
    """So many pixels of its very colour show a class, however thin it is."""
    name: str = "segmentation"
    tag: str = "segmentation"
    instruction: str = "draw the objects"
    unit: str | None = None

    @property
    def palette(self) -> np.ndarray:
        """uint8 (classes + 1, 3)."""
        return np.array([self.background, *(colour for _, colour in self.classes)], dtype=np.uint8)

    def number(self, name: str) -> int:
        """The value of a class. Raises ValueError if there is none of that name."""
        for k, (known, _) in enumerate(self.classes, 1):
            if known == name:
                return k
        raise ValueError(f"no class is called {name!r}")

    def name_of(self, value: int) -> str:
        return self.classes[value - 1][0] if value else BACKGROUND

    def coded(self, codes: CodeSettings) -> Segmentation:
        return self if codes.named else Colours()

    def to_rgb(self, values: np.ndarray) -> np.ndarray:
        return self.palette[values]

    def to_values(self, rgb: np.ndarray) -> np.ndarray:
        height, width = rgb.shape[:2]
        palette = self.palette.astype(np.float32) / 255
        colours = as_float(rgb).reshape(-1, 3)
        # |a - b|^2 without |a|^2, which is the same for every class
        scores = colours @ palette.T - 0.5 * (palette**2).sum(axis=1)
        labels = scores.argmax(axis=1)
        apart = (colours**2).sum(axis=1) - 2 * scores[np.arange(len(labels)), labels]
        nearest, exact = labels.reshape(height, width), (apart < _EXACT**2).reshape(height, width)
        # between two colours lie other classes' colours: where one only ever lines an edge, it is blur
        shown = [0, *(int(k) for k in np.unique(labels[labels > 0]) if self._shown(nearest == k, exact))]
        found = np.array(shown, dtype=np.int32)[scores[:, shown].argmax(axis=1)].reshape(height, width)
        found = _joined(found, colours.reshape(height, width, 3), palette)
        return _smoothed(found, colours.reshape(height, width, 3), palette)

    def _shown(self, where: np.ndarray, exact: np.ndarray) -> bool:
        """Does a class fill a block of three by three pixels, or enough pixels with its very colour?"""
        block = scipy.ndimage.binary_erosion(where, np.ones((3, 3)))
        return bool(block.any() or (where & exact).sum() >= self.smallest)

    def view(self, rgb: np.ndarray) -> MapView:
        labels = self.to_values(rgb)
        present = [k for k in np.unique(labels) if k > 0]
        legend = tuple((self.classes[k - 1][0], self.classes[k - 1][1]) for k in present)
        return MapView("segmentation", self.to_rgb(labels), legend=legend)

    def score(self, predicted: np.ndarray, true: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
        if valid is not None:
            predicted, true = np.where(valid, predicted, 0), np.where(valid, true, 0)
        return {"miou": segmentation_iou(predicted, true)}


def _joined(labels: np.ndarray, colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Labels (height, width) with things that a drawing could not decide between as one thing: the largest of them."""
    out = labels.copy()
    parts, number = scipy.ndimage.label(labels > 0)
    for part in range(1, number + 1):
        there = parts == part
        found, sizes = np.unique(labels[there], return_counts=True)
        becomes: dict[int, int] = {}
        for k in found[np.argsort(-sizes, kind="stable")]:
            where = there & (labels == k)
            mean = colours[where].mean(axis=0)
            near = [b for b in becomes if np.linalg.norm(palette[b] - palette[k]) < _NEAR]
            hovers = np.linalg.norm(mean - palette[k]) > _HOVERS
            becomes[k] = becomes[min(near, key=lambda b: np.linalg.norm(mean - palette[b]))] if hovers and near else k
            out[where] = becomes[k]
    return out


def _smoothed(labels: np.ndarray, colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Labels (height, width) in which pixels of a doubtful colour have the most frequent label of the 3 x 3 around."""
    stray = np.linalg.norm(colours - palette[labels], axis=-1) > _STRAY
    if not stray.any():
        return labels
    found = np.unique(labels)
    # its own label wins ties
    votes = [scipy.ndimage.uniform_filter((labels == k).astype(np.float32), 3) + 1e-3 * (labels == k) for k in found]
    return np.where(stray, found[np.argmax(votes, axis=0)], labels)


#: Colours (0..1) that are no further apart than this, all three channels together, are one.
_SAME = 0.2


@dataclass(frozen=True)
class Colours(Segmentation):
    """Segmentation in colours that nobody has named: every colour is a thing.

    Values are int32 (height, width): the picture's own colours, numbered from the most frequent on. 0 is black.
    """

    classes: tuple[tuple[str, Colour], ...] = ()
    share: float = 0.002
    """A colour of fewer of the pixels is no thing."""

    def to_rgb(self, values: np.ndarray) -> np.ndarray:
        raise ValueError("these classes have no colours of their own")

    def to_values(self, rgb: np.ndarray) -> np.ndarray:
        return self._found(rgb)[0]

    def view(self, rgb: np.ndarray) -> MapView:
        labels, centres = self._found(rgb)
        colours = [tuple(int(c) for c in np.round(centre * 255)) for centre in centres]
        legend = tuple((self.name_of(k), colour) for k, colour in enumerate(colours[1:], 1))
        return MapView("segmentation", np.array(colours, dtype=np.uint8)[labels], legend=legend)  # type: ignore[arg-type]

    def name_of(self, value: int) -> str:
        return f"colour {value}" if value else BACKGROUND

    def _found(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels (height, width), and the colour of each label, 0..1 (labels, 3)."""
        colours = as_float(rgb).reshape(-1, 3)
        # the colours that occur, rounded to 16 levels a channel, the most frequent first
        _, where, counts = np.unique(np.round(colours * 15), axis=0, return_inverse=True, return_counts=True)
        sums = np.stack([np.bincount(where.reshape(-1), colours[:, c], len(counts)) for c in range(3)], axis=1)
        means = sums / counts[:, None]
        centres = [np.zeros(3)]
        for k in np.argsort(-counts, kind="stable"):
            apart = np.linalg.norm(np.array(centres) - means[k], axis=1).min()
            if apart > _SAME and counts[k] >= self.share * len(colours):
                centres.append(means[k])
        palette = np.array(centres)
        # |a - b|^2 without |a|^2, which is the same for all b: no array of pixels x colours x channels
        nearest = ((palette**2).sum(axis=1) - 2 * colours @ palette.T).argmin(axis=1)
        return nearest.reshape(rgb.shape[:2]).astype(np.int32), palette
