"""How a drawn map is compared with what is known of an example: what of it counts, at which size, by which figures."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from scipy.spatial import KDTree

from cooper.data.examples import MapExample
from cooper.data.tables import BadRow
from cooper.modalities.base import at_size
from cooper.modalities.depth import Depth
from cooper.modalities.metrics import DEPTH_RANGE, adjusted_rand, boundary_f1, depth_metrics, segmentation_iou
from cooper.modalities.segmentation import Segmentation

#: Figures by their names, by the readings of the drawing that they are of. None where a figure is not defined.
Figures: TypeAlias = Mapping[str, Mapping[str, float | None]]
Align: TypeAlias = Literal["none", "scale_shift"]
Labels: TypeAlias = Literal["nearest", "classes"]

#: (height, width) of NYU's pictures, and the rows and columns that depth is compared on since Eigen et al. (2014).
NYU_SIZE = (480, 640)
EIGEN = (slice(45, 471), slice(41, 601))


class MapScoring(ABC):
    """Scores drawings of one kind."""

    kind: ClassVar[str]
    """The name of their modality."""

    def usable(self, example: MapExample) -> MapExample:
        """The example with what counts of it as `valid`. Raises `BadRow` if nothing does."""
        if example.modality != self.kind:
            raise BadRow(example.name, f"its map is one of {example.modality}, not of {self.kind}")
        if not example.valid.any():
            raise BadRow(example.name, "of no pixel that counts is the truth known; leave it out")
        return example

    @abstractmethod
    def score(self, drawn: np.ndarray, example: MapExample) -> Figures:
        """Of a drawing, float RGB (h, w, 3) in 0..1 of any size, and a usable example."""

    @property
    @abstractmethod
    def settings(self) -> str:
        """All that figures depend on beside drawing and example, for people and to tell runs apart."""


@dataclass(frozen=True)
class DepthScoring(MapScoring):
    """The errors of `depth_metrics`, over metres as drawn ("none") and after alignment ("scale_shift")."""

    kind = "depth"

    code: Depth
    """How the model draws metres."""
    align: Align | None = None
    """The only reading that is wanted."""
    clamp: tuple[float, float] | None = None
    """Metres that drawings are limited to; by default only aligned ones are, to `DEPTH_RANGE`, or to `far`."""
    far: float = DEPTH_RANGE[1]
    """Metres that aligned drawings are limited to, unless `clamp` says so."""
    crop: Literal["eigen"] | None = None

    def usable(self, example: MapExample) -> MapExample:
        if self.crop == "eigen":
            height, width = example.values.shape
            if (height, width) != NYU_SIZE:
                raise BadRow(example.name, f"it has {width} x {height} pixels; the crop is one of 640 x 480")
            inside = np.zeros(NYU_SIZE, dtype=bool)
            inside[EIGEN] = True
            example = replace(example, valid=example.valid & inside)
        return super().usable(example)

    def score(self, drawn: np.ndarray, example: MapExample) -> Figures:
        metres = at_size(self.code.to_values(drawn), *example.values.shape)
        return {
            align: depth_metrics(metres, example.values, example.valid, align, clamp)
            for align, clamp in self._readings().items()
        }

    def _readings(self) -> dict[Align, tuple[float, float] | None]:
        """What is clamped to which metres."""
        reach = (DEPTH_RANGE[0], self.far)
        both: dict[Align, tuple[float, float] | None] = {"none": self.clamp, "scale_shift": self.clamp or reach}
        return both if self.align is None else {self.align: both[self.align]}

    @property
    def settings(self) -> str:
        readings = (
            align if clamp is None else f"{align} clamped to {clamp[0]:g} .. {clamp[1]:g} m"
            for align, clamp in self._readings().items()
        )  # fmt: skip
        code = f"{self.code.code} code of {self.code.near:g} .. {self.code.far:g} m"
        return "; ".join((code, *readings, *([] if self.crop is None else [f"{self.crop} crop"])))


@dataclass(frozen=True)
class SegmentationScoring(MapScoring):
    """mIoU of things by the best assignment, adjusted Rand index and F1 of boundaries, over what is valid.

    With `labels` "nearest" a drawn pixel is of the thing whose colour, of those in the example's target, is nearest to
    it; with "classes" the drawing is read as `code` reads it.
    """

    kind = "segmentation"

    code: Segmentation
    labels: Labels = "nearest"

    def usable(self, example: MapExample) -> MapExample:
        example = super().usable(example)
        if self.labels == "nearest" and len(np.unique(example.values[example.valid])) == 1:
            raise BadRow(example.name, "it is of one class only; there are no colours to choose between")
        return example

    def score(self, drawn: np.ndarray, example: MapExample) -> Figures:
        labels = self.code.to_values(drawn) if self.labels == "classes" else nearest_labels(drawn, example)
        labels, true, valid = at_size(labels, *example.values.shape), example.values, example.valid
        miou = segmentation_iou(labels[valid], true[valid])
        return {
            self.labels: {
                "miou": None if math.isnan(miou) else miou,
                "ari": adjusted_rand(labels[valid], true[valid]),
                "boundary_f1": boundary_f1(labels, true, valid),
            }
        }

    @property
    def settings(self) -> str:
        return f"labels by {'nearest colour' if self.labels == 'nearest' else 'the classes of the model'}"


def nearest_labels(drawn: np.ndarray, example: MapExample) -> np.ndarray:
    """int32 (h, w): of the colours that the example's target has where it is valid, the label of the nearest to each
    pixel of a drawing (h, w, 3) in 0..1."""
    labels, first = np.unique(example.values[example.valid], return_index=True)
    colours = example.target[example.valid][first].astype(np.float32) / 255
    _, which = KDTree(colours).query(drawn.reshape(-1, 3))
    return labels[which].reshape(drawn.shape[:2])
