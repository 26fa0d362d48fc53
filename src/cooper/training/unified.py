"""The stages that train the unified model: base, perception, interleaved (supervised). They differ in data alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cooper.inference.engine import Engine
from cooper.layout import Batch, collate, lay_out, together
from cooper.model.packed import losses
from cooper.model.unified import UnifiedModel
from cooper.training.loop import Optimisation, Share, Supervised
from cooper.training.rows import Mix, SceneRows


@dataclass(frozen=True)
class StageSettings:
    """One stage of the recipe."""

    mix: Mix
    optimisation: Optimisation
    rows: int = 12
    """Rows of a batch."""
    flow_weight: float = 1.0
    """Weight of the flow loss; that of the cross-entropy is 1."""
    seed: int = 0
    trains_vision: bool = True
    """Whether the vision transformer is trained. (The autoencoder never is, here.)"""
    sheet_every: int = field(default=500)


class UnifiedStage(Supervised[UnifiedModel]):
    def __init__(self, name: str, rows: SceneRows, held_out: SceneRows, settings: StageSettings):
        self.name, self.rows, self.held_out, self.settings = name, rows, held_out, settings
        self.optimisation = settings.optimisation

    def batch(self, step: int, share: Share) -> Batch:
        rng = np.random.default_rng((self.settings.seed, step, share.rank))
        size, total = self.settings.rows, len(self.rows)
        # every epoch goes through all scenes in an order of its own
        first = step * size
        picks = [self._order(k // total)[k % total] for k in range(first + share.rank, first + size, share.world)]
        config = self.rows.sequencer.config
        rows = [self.rows.nodes(int(i), rng) for i in picks]
        if not torch.cuda.is_available():
            rows = [together(rows)]  # without padding; the blocks of `chunks` keep them apart
        batch = collate([lay_out(row, config) for row in rows], config)
        batch.chunks  # noqa: B018  (computed here, in the worker)
        return batch

    def _order(self, epoch: int) -> np.ndarray:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng((self.settings.seed, 1, epoch)).permutation(len(self.rows))
        return self._permutation

    def loss(self, model: UnifiedModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        parts = losses(model, batch)
        total = parts.text.sum() * 0
        figures: dict[str, float] = {"tokens": float(batch.valid.sum())}
        if parts.text.numel():
            total = total + parts.text.mean()
            figures["text"] = float(parts.text.mean().detach())
        if parts.flow.numel():
            total = total + self.settings.flow_weight * parts.flow.mean()
            figures["flow"] = float(parts.flow.mean().detach())
        return total, figures

    def trained(self, model: UnifiedModel) -> dict[str, nn.Parameter]:
        frozen = ("autoencoder.",) if self.settings.trains_vision else ("autoencoder.", "vision.")
        return {k: p for k, p in model.named_parameters() if not k.startswith(frozen)}

    def sheet(self, model: UnifiedModel) -> Image.Image:
        """Held-out pictures, each map as it should be and as it is drawn."""
        sequencer, images = self.held_out.sequencer, self.held_out.images
        rows = [[images.image(i, "picture")] for i in range(6)]
        for name in sequencer.config.modalities:
            drawn = Engine(model, sequencer).draw([r[0] for r in rows], name)
            for i, row in enumerate(rows):
                row += [images.image(i, name), drawn[i].image]
        return Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows]))
