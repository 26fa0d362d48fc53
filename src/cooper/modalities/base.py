"""What a modality is: a kind of map the model can draw, as one plug-in file and one registration.

Engine and server know modalities only through this interface. Data, training and evaluation also know depth and
segmentation by name (CONTRIBUTING.md lists where).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True, eq=False)
class MapView:
    """How a map is shown to a person.

    `image` is uint8 RGB (height, width, 3). `bar` lists (value, colour) pairs from the lowest value to the highest, for
    maps of numbers; `legend` lists (name, colour) pairs, for maps of things.
    """

    title: str
    image: np.ndarray
    bar: tuple[tuple[float, tuple[int, int, int]], ...] | None = None
    unit: str | None = None
    legend: tuple[tuple[str, tuple[int, int, int]], ...] | None = None

    def __repr__(self) -> str:
        return f"MapView({self.title!r}, {self.image.shape[1]} x {self.image.shape[0]})"


@dataclass(frozen=True)
class CodeSettings:
    """What a model's pictures of maps stand for. The defaults are those of the shipped model and of the synthetic
    world."""

    depth: tuple[float, float] | None = (0.5, 12.0)
    """(near, far): the metres drawn as black and as white. None: unknown; depth is then relative, 0 to 1."""
    linear: bool = False
    """Whether grey is linear in metres, or in their logarithm."""
    named: bool = True
    """Whether a segmentation has the colours of the synthetic world's classes. Otherwise they are just colours."""
    coloured: bool = False
    """Whether depth is looked at in colours, as published models learned it (docs/method.md, section 3), or in grey as
    it is drawn."""


class Modality(ABC):
    """A kind of map. `tag` is what a call is written with; `instruction` is the order inside the tag."""

    name: str
    tag: str
    instruction: str
    unit: str | None

    @property
    def call(self) -> str:
        """The text of a call, as the tiny model is taught it."""
        return f"<{self.tag}>{self.instruction}</{self.tag}>"

    def coded(self, codes: CodeSettings) -> Modality:
        """This modality as a model with those codes draws it."""
        return self

    def looked_at(self, rgb: np.ndarray) -> np.ndarray:
        """A drawn picture as models look at it that look at maps in colours: uint8 (height, width, 3)."""
        return rgb

    @abstractmethod
    def to_rgb(self, values: np.ndarray) -> np.ndarray:
        """Ground truth (height, width) as the RGB picture that is to be drawn: uint8 (height, width, 3)."""

    @abstractmethod
    def to_values(self, rgb: np.ndarray) -> np.ndarray:
        """The inverse of `to_rgb`, for a drawn picture: uint8, or float in 0..1, (height, width, 3)."""

    def name_of(self, value: int) -> str:
        """What a value is called, for maps of things."""
        raise ValueError(f"values of {self.name} are numbers, not names")

    @abstractmethod
    def view(self, rgb: np.ndarray) -> MapView:
        """A drawn picture as a person wants to see it."""

    @abstractmethod
    def score(self, predicted: np.ndarray, true: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
        """Figures of merit of predicted values against true ones, over `valid` pixels (default: all)."""


_REGISTRY: dict[str, Modality] = {}


def register(modality: Modality) -> Modality:
    _REGISTRY[modality.name] = modality
    return modality


def modality(name: str) -> Modality:
    """The registered modality of that name. Raises ValueError, naming the known ones, if there is none."""
    if name not in _REGISTRY:
        raise ValueError(f"no modality is called {name!r}; known: {', '.join(_REGISTRY)}")
    return _REGISTRY[name]


def names() -> tuple[str, ...]:
    """Of all registered modalities."""
    return tuple(_REGISTRY)


def by_tag(tag: str, among: Iterable[str]) -> Modality | None:
    """The modality whose calls are written with `tag`, among those named, or None."""
    return next((m for name in among if (m := modality(name)).tag == tag), None)


def as_float(rgb: np.ndarray) -> np.ndarray:
    """RGB as float32 in 0..1, from uint8 or float."""
    return rgb.astype(np.float32) / 255 if rgb.dtype == np.uint8 else np.clip(rgb, 0, 1).astype(np.float32)


def at_size(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map (h, w) at another size: numbers are interpolated, labels are not."""
    if values.shape == (height, width):
        return values
    how = Image.Resampling.NEAREST if np.issubdtype(values.dtype, np.integer) else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(values).resize((width, height), how))
