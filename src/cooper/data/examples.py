"""What readers of training sets give: a picture and its map, a question about a picture, or a whole trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from cooper.trace import Trace

#: Whether maps help with a question, hurt, or make no difference (docs/method.md, section 4).
Flag: TypeAlias = Literal["positive", "negative", "boundary"]


@dataclass(frozen=True, eq=False)
class MapExample:
    """A picture, the truth about it, and the truth as the RGB picture that is to be drawn."""

    picture: np.ndarray
    """uint8 RGB (height, width, 3)."""
    modality: str
    """Name of the kind of map."""
    values: np.ndarray
    """(height, width): float32 metres along the optical axis, or int32 labels of which 0 is the background. 0 wherever
    the truth is not known."""
    valid: np.ndarray
    """bool (height, width): where the truth is known."""
    target: np.ndarray
    """uint8 RGB (height, width, 3), as the nearest known truth wherever it is not known."""
    name: str
    """Which file or row this is, for people."""

    def __post_init__(self) -> None:
        size = self.values.shape
        assert len(size) == 2 and self.values.dtype in (np.float32, np.int32), (size, self.values.dtype)
        assert self.valid.shape == size and self.valid.dtype == np.bool_, (self.valid.shape, self.valid.dtype)
        for image in (self.picture, self.target):
            assert image.shape == (*size, 3) and image.dtype == np.uint8, (image.shape, image.dtype)


@dataclass(frozen=True, eq=False)
class QuestionExample:
    """A question about a picture, and what is right."""

    picture: np.ndarray
    """uint8 RGB (height, width, 3)."""
    question: str
    answer: str
    flag: Flag | None
    """None where nobody has found out."""
    name: str
    """Which file or row this is, for people."""
    row: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """All fields of that row, but for the picture."""

    def __post_init__(self) -> None:
        assert self.picture.dtype == np.uint8 and self.picture.shape[2:] == (3,), self.picture.shape
        assert self.question and self.answer


@dataclass(frozen=True, eq=False)
class TraceExample:
    """A whole chain: what was asked, thought, drawn and answered."""

    trace: Trace
    name: str
    """Which file or row this is, for people."""


Example: TypeAlias = MapExample | QuestionExample | TraceExample
