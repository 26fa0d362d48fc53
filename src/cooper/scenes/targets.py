"""The images of rendered scenes that a model is trained on: the picture itself, and its maps as RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cooper.modalities import Segmentation, modality
from cooper.scenes.render import View
from cooper.scenes.shards import decode_depth, open_shards
from cooper.scenes.world import Scene

#: modalities whose truth is known of scenes
TRUE_MAPS = ("depth", "segmentation")
KINDS = ("picture", *TRUE_MAPS)


def class_map(scene: Scene, labels: np.ndarray) -> np.ndarray:
    """Labels of things (thing ids) as labels of classes, the segmentation modality's values: int32, same shape."""
    segmentation = modality("segmentation")
    assert isinstance(segmentation, Segmentation)
    table = np.zeros(256, dtype=np.int32)
    for thing in scene.things:
        table[thing.id] = segmentation.number(f"{thing.color} {thing.shape}")
    return table[labels]


def true_map(scene: Scene, view: View, name: str) -> np.ndarray:
    """The true values of one of `TRUE_MAPS`. Raises ValueError for other modalities."""
    if name not in TRUE_MAPS:
        raise ValueError(f"nobody knows the true {name} of scenes; known: {', '.join(TRUE_MAPS)}")
    return view.depth if name == "depth" else class_map(scene, view.labels)


class SceneImages:
    """Shards as images: `image(i, kind)` is uint8 (size, size, 3)."""

    kinds = KINDS

    def __init__(self, folder: str | Path):
        self.shards = open_shards(folder)
        self.size = self.shards.rgb.shape[1]

    def __len__(self) -> int:
        return len(self.shards)

    def depth(self, i: int) -> np.ndarray:
        """Metres, float32 (size, size)."""
        return decode_depth(self.shards.depth[i])

    def image(self, i: int, kind: str) -> np.ndarray:
        if kind == "picture":
            return self.shards.rgb[i]
        return modality(kind).to_rgb(true_map(*self.shards[i], kind))
