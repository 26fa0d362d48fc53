"""Metric depth along the optical axis, drawn as a grey picture, near = dark.

The paper maps metres linearly to 0..1 (docs/method.md, section 3); at a small size a logarithmic code serves better,
because what counts is the relative error: one grey level then is the same ratio everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cooper.modalities.base import CodeSettings, MapView, Modality, as_float
from cooper.modalities.metrics import depth_metrics


@dataclass(frozen=True)
class Depth(Modality):
    """Depth between `near` and `far` metres; values are float32 (height, width) in metres."""

    near: float = 0.5
    far: float = 12.0
    code: Literal["log", "linear"] = "log"
    name: str = "depth"
    tag: str = "depth-estimation"
    instruction: str = "draw the depth"
    unit: str | None = "m"

    def to_unit(self, metres: np.ndarray) -> np.ndarray:
        """Metres to 0..1, clipped."""
        metres = np.clip(metres, self.near, self.far)
        if self.code == "log":
            return np.log(metres / self.near) / math.log(self.far / self.near)
        return (metres - self.near) / (self.far - self.near)

    def to_rgb(self, values: np.ndarray) -> np.ndarray:
        grey = np.round(self.to_unit(values) * 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)

    def to_values(self, rgb: np.ndarray) -> np.ndarray:
        unit = as_float(rgb).mean(axis=-1)
        if self.code == "log":
            return (self.near * np.exp(unit * math.log(self.far / self.near))).astype(np.float32)
        return (self.near + unit * (self.far - self.near)).astype(np.float32)

    def coded(self, codes: CodeSettings) -> Depth:
        near, far = codes.depth or (0.0, 1.0)
        own = replace(self, near=near, far=far, code="linear" if codes.linear else "log")
        return own if codes.depth else replace(own, unit=None)

    def looked_at(self, rgb: np.ndarray) -> np.ndarray:
        """Black red and white blue."""
        return spectral(as_float(rgb).mean(axis=-1))

    def view(self, rgb: np.ndarray) -> MapView:
        """Coloured from near (red) to far (blue) over the range that occurs, for people; models see `looked_at`."""
        metres = self.to_values(rgb)
        low, high = float(metres.min()), float(metres.max())
        image = spectral((metres - low) / max(high - low, 1e-6))
        bar = tuple((low + (high - low) * i / 8, tuple(int(c) for c in spectral(np.array(i / 8)))) for i in range(9))
        return MapView("depth", image, bar=bar, unit=self.unit)  # type: ignore[arg-type]

    def score(self, predicted: np.ndarray, true: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
        return depth_metrics(predicted, true, valid, align="none")


# ColorBrewer's 11-class "Spectral" scheme (the one matplotlib names so): red, yellow, blue.
_SPECTRAL = np.array(
    [(158, 1, 66), (213, 62, 79), (244, 109, 67), (253, 174, 97), (254, 224, 139), (255, 255, 191),
     (230, 245, 152), (171, 221, 164), (102, 194, 165), (50, 136, 189), (94, 79, 162)], dtype=np.float64,
)  # fmt: skip


def spectral(x: np.ndarray) -> np.ndarray:
    """Numbers in 0..1 as colours: uint8, one axis of 3 more."""
    stops = np.linspace(0, 1, len(_SPECTRAL))
    return np.stack([np.interp(x, stops, _SPECTRAL[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)
