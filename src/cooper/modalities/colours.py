"""Segmentation in colours that nobody has named: every colour is a thing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cooper.modalities.base import MapView, as_float
from cooper.modalities.segmentation import Colour, Segmentation

#: Colours (0..1) that are no further apart than this, all three channels together, are one.
_SAME = 0.2


@dataclass(frozen=True)
class Colours(Segmentation):
    """Values are int32 (height, width): the picture's own colours, numbered from the most frequent on. 0 is black."""

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
        return f"colour {value}"

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
