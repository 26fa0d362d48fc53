"""Maps as the model draws them, for the traces it learns to read maps from: those it will have to read are its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cooper.evaluation.predictions import fingerprint
from cooper.inference.engine import Engine, Settings
from cooper.model.unified import UnifiedModel
from cooper.scenes.targets import SceneImages
from cooper.sequence import Sequencer
from cooper.training.disk_cache import DiskCache


class DrawnMaps(DiskCache):
    """Maps, uint8 RGB, of the first `number` scenes as a model draws them on demand; the seed of one is its scene's.

    They are kept in a folder named after the model's weights and the scenes, and made before it goes on being trained.
    """

    name = "drawing"

    def __init__(self, images: SceneImages, number: int, folder: Path, model: UnifiedModel, sequencer: Sequencer):
        self.images = images
        self.engine = Engine(model, sequencer, Settings(batch=32))
        length = min(number, len(images))
        grid = sequencer.latent_grid(np.zeros((images.size, images.size, 3), dtype=np.uint8))
        shape = (*(side * model.config.latent_stride for side in grid), 3)
        super().__init__(folder / f"drawn-{fingerprint(model)}-{images.shards.fingerprint}", length, shape, np.uint8)

    def __getstate__(self) -> dict[str, Any]:
        # who reads them has all that was drawn, and needs no model
        return {name: value for name, value in super().__getstate__().items() if name != "engine"}

    def compute(self, kind: str, rows: range) -> np.ndarray:
        pictures, seeds = [self.images.image(i, "picture") for i in rows], self.images.shards.seeds[list(rows)]
        drawings = self.engine.draw(pictures, kind, seeds=[int(s) for s in seeds])
        return np.stack([self.engine.model.config.codes.looked_at(d).image for d in drawings])
