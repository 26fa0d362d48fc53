"""The stages that train the unified model: base, perception, interleaved (supervised). They differ in data alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cooper.inference.engine import Engine
from cooper.layout import Batch, Node, collate, lay_out, together
from cooper.lora import Lora, adapters_or_all
from cooper.model.packed import losses
from cooper.model.unified import UnifiedModel
from cooper.training.loop import Optimisation, Share, Supervised
from cooper.training.pointing import Mentions, Pointer, Pointers, Pointing, gather, pointers
from cooper.training.rows import Mix, SceneRows
from cooper.training.sheet import contact_sheet


@dataclass(frozen=True)
class StageSettings:
    """One stage of the recipe."""

    mix: Mix
    optimisation: Optimisation
    rows: int = 12
    """Rows of a batch."""
    flow_weight: float = 1.0
    """Weight of the flow loss; that of the cross-entropy is 1."""
    point_weight: float = 0.3
    """Weight of the loss that teaches words to look at what they name (`cooper.training.pointing`)."""
    seed: int = 0
    scenes: int | None = None
    """Only so many scenes, the first ones."""
    drawn: bool = False
    """Whether maps in traces are shown as the model draws them when the stage begins; otherwise they are true ones."""
    balanced: bool = False
    """Whether questions that maps help with, hurt and make no difference to are about as frequent, as the recipe's
    `balance` has measured it; otherwise all are."""
    trains_vision: bool = True
    """Whether the vision transformer is trained. (The autoencoder never is, here.)"""
    lora: Lora | None = None
    """Train adapters only, which become part of the weights when the stage ends; None: all weights."""
    sheet_every: int = field(default=500)
    after: str = ""
    """The stage that this one goes on from; "" for the one that comes first."""


class UnifiedStage(Supervised[UnifiedModel]):
    def __init__(self, name: str, rows: SceneRows, held_out: SceneRows, settings: StageSettings):
        self.name, self.rows, self.held_out, self.settings = name, rows, held_out, settings
        self.optimisation = settings.optimisation
        self.mentions = Mentions(rows.sequencer.tokenizer)

    def batch(self, step: int, share: Share) -> tuple[Batch, Pointers | None]:
        rng = np.random.default_rng((self.settings.seed, step, share.rank))
        size, total = self.settings.rows, len(self.rows)
        # every epoch goes through all scenes in an order of its own
        first = step * size
        picks = [self._order(k // total)[k % total] for k in range(first + share.rank, first + size, share.world)]
        config = self.rows.sequencer.config
        rows = [self.rows.nodes(int(i), rng) for i in picks]
        found = [self._pointers(nodes, int(i)) for nodes, i in zip(rows, picks, strict=True)]
        if not torch.cuda.is_available():
            starts = np.cumsum([0, *(len(nodes) for nodes in rows)])
            found = [[p.moved(int(s)) for s, points in zip(starts, found, strict=False) for p in points]]
            rows = [together(rows)]  # without padding; the blocks of `chunks` keep them apart
        layouts = [lay_out(row, config) for row in rows]
        batch = collate(layouts, config)
        batch.chunks  # noqa: B018  (computed here, in the worker)
        return batch, gather(list(zip(layouts, found, strict=True)), batch.positions.shape[1])

    def _pointers(self, nodes: Sequence[Node], i: int) -> list[Pointer]:
        if not self.settings.point_weight:
            return []
        return pointers(nodes, *self.rows.images.shards[i], self.rows.sequencer.config.vision.patch, self.mentions)

    def _order(self, epoch: int) -> np.ndarray:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng((self.settings.seed, 1, epoch)).permutation(len(self.rows))
        return self._permutation

    def loss(self, model: UnifiedModel, batch: tuple[Batch, Pointers | None]) -> tuple[Tensor, dict[str, float]]:
        rows, found = batch
        pointed: list[Tensor] = []
        layers = model.config.decoder.layers
        parts = losses(model, rows, lambda attend: Pointing(attend, found, layers, pointed) if found else attend)
        means: dict[str, tuple[Tensor, float]] = {}
        if parts.text.numel():
            means["text"] = parts.text.mean(), 1.0
        if parts.flow.numel():
            assert rows.target_weight is not None
            counts = rows.target_weight.to(parts.flow)
            mean = (parts.flow.mean(dim=-1) * counts).sum() / counts.sum().clamp(min=1)
            means["flow"] = mean, self.settings.flow_weight
        if pointed:
            means["point"] = torch.cat(pointed).mean(), self.settings.point_weight
        total = parts.text.sum() * 0
        for mean, weight in means.values():
            total = total + weight * mean
        figures = {name: float(mean.detach()) for name, (mean, _) in means.items()}
        return total, {"tokens": float(rows.valid.sum()), **figures}

    def trained(self, model: UnifiedModel) -> dict[str, nn.Parameter]:
        frozen = ("autoencoder.",) if self.settings.trains_vision else ("autoencoder.", "vision.")
        return adapters_or_all({k: p for k, p in model.named_parameters() if not k.startswith(frozen)})

    def sheet(self, model: UnifiedModel) -> Image.Image:
        """Held-out pictures, each map as it should be and as it is drawn."""
        sequencer, images = self.held_out.sequencer, self.held_out.images
        rows = [[images.image(i, "picture")] for i in range(6)]
        for name in sequencer.config.modalities:
            drawn = Engine(model, sequencer).draw([r[0] for r in rows], name)
            for i, row in enumerate(rows):
                row += [images.image(i, name), drawn[i].image]
        return contact_sheet(rows)
