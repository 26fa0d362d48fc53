"""What a question about a scene is. Tasks are named after SIBench's settings where they match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Tasks that need geometry or objects. "between" = distance between two objects' centres, "camera" = to the camera.
SPATIAL = (
    "distance_to_camera", "distance_between", "height", "size", "closer", "taller",
    "relative_position", "counting", "occlusion",
)  # fmt: skip
#: Tasks that need no map.
GENERAL = ("existence", "color", "shape")
TASKS = SPATIAL + GENERAL


@dataclass(frozen=True)
class Question:
    """A question and its exact answer.

    `answer` is the text a right answer has ("1.8 m", "yes", "red", "3"). For `kind` "metres" the `value` is the
    exact, unrounded number and is scored by MRA; the others are compared exactly. `things` are the label ids of the
    objects it names. `maps` are the modalities that a careful person would draw to answer it, in order.
    """

    task: str
    text: str
    answer: str
    kind: Literal["metres", "count", "word"]
    value: float | None = None
    things: tuple[int, ...] = ()
    maps: tuple[str, ...] = ()
