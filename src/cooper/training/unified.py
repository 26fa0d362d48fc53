"""The stages that train the unified model: base, perception, interleaved (supervised). They differ in settings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cooper.inference.engine import Engine
from cooper.layout import NO_LABEL, Batch, Node, collate, lay_out_rows
from cooper.lora import Lora, adapters_or_all
from cooper.model.packed import losses
from cooper.model.unified import UnifiedModel, part_of
from cooper.page import traces_page
from cooper.sequence import Sequencer
from cooper.trace import Drawing, Picture, Text, Trace
from cooper.training.logged import Logged
from cooper.training.optimisation import Optimisation
from cooper.training.pointing import Pointer, Pointers, Pointing, gather
from cooper.training.processes import Share, gathered
from cooper.training.rows import Mix
from cooper.training.settings import ASIDE, within
from cooper.training.sheet import contact_sheet
from cooper.training.stage import Supervised


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
    """Weight of the losses that teach words to look at what they name, and to read maps
    (`cooper.training.pointing`)."""
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
    checkpointing: bool = field(default=False, metadata=ASIDE)
    """Activation checkpointing: recompute each layer in the backward pass. Slower, with much less memory."""
    sheet_every: int = field(default=500, metadata=ASIDE)
    """Steps between contact sheets, and pages of questions."""
    after: str = ""
    """The stage that this one goes on from; "" for the one that comes first."""

    def __post_init__(self) -> None:
        within(self, 1, math.inf, "rows", "scenes", "sheet_every")
        within(self, 0, math.inf, "flow_weight", "point_weight", "seed")


class Rows(Protocol):
    """What a stage learns from."""

    sequencer: Sequencer

    def row(self, k: int, seed: int, rng: np.random.Generator, pointing: bool) -> tuple[list[Node], list[Pointer]]:
        """Row k of endless training, laid out, and, with `pointing`, where its words point."""

    def pictures(self, n: int) -> list[list[np.ndarray]]:
        """At most so many pictures to show what is drawn of them, each followed by maps of it as they should be."""

    def orders(self, n: int) -> list[tuple[np.ndarray, list[tuple[str, np.ndarray]]]]:
        """At most so many pictures, each with orders to draw it, as it is or changed, and what that should be; equally
        many orders of each."""

    def asked(self, n: int) -> list[tuple[np.ndarray, str, str]]:
        """At most so many pictures, each with a question and the true answer."""

    @property
    def mode(self) -> str:
        """The mode in which most questions are learned."""


class UnifiedStage(Supervised[UnifiedModel]):
    """`device`, "cpu" or "cuda", is where the model is: what a batch looks like depends on it."""

    def __init__(self, name: str, rows: Rows, held_out: Rows, settings: StageSettings, device: str = "cpu"):
        self.name, self.rows, self.held_out, self.settings, self.device = name, rows, held_out, settings, device

    def batch(self, step: int, share: Share) -> tuple[Batch, Pointers | None]:
        rng = np.random.default_rng((self.settings.seed, step, share.rank))
        size, point = self.settings.rows, self.settings.point_weight > 0
        mine = range(step * size + share.rank, (step + 1) * size, share.world)
        made = [self.rows.row(k, self.settings.seed, rng, point) for k in mine]
        rows, found = [nodes for nodes, _ in made], [points for _, points in made]
        config = self.rows.sequencer.config
        layouts = lay_out_rows(rows, config, self.device)
        batch = collate(layouts, config)
        if self.device == "cpu":
            starts = np.cumsum([0, *(len(nodes) for nodes in rows)])  # in the row that all of them became
            found = [[p.moved(int(s)) for s, points in zip(starts, found, strict=False) for p in points]]
            batch.chunks  # noqa: B018  (computed here, in the worker)
        return batch, gather(list(zip(layouts, found, strict=True)), batch.positions.shape[1])

    def loss(self, model: UnifiedModel, batch: tuple[Batch, Pointers | None]) -> tuple[Tensor, dict[str, float]]:
        model.decoder.checkpointing = self.settings.checkpointing
        rows, found = batch
        # one of several processes may have more tokens than another, or none of a kind: the mean of their losses is to
        # be that of all tokens. They are counted before anything is computed, when all have waited for each other
        counts = _counts(rows, found)
        everywhere = gathered([counts])
        pointed: list[Tensor] = []
        read: list[Tensor] = []
        layers = model.config.decoder.layers
        parts = losses(model, rows, lambda attend: Pointing(attend, found, layers, pointed, read) if found else attend)
        means: dict[str, tuple[Tensor, float]] = {}
        """Of each loss: the mean, and its weight in the sum."""
        if parts.text.numel():
            means["text"] = parts.text.mean(), 1.0
        if parts.flow.numel():
            assert rows.targets is not None
            weights = rows.targets.weight.to(parts.flow)
            mean = (parts.flow.mean(dim=-1) * weights).sum() / weights.sum().clamp(min=1)
            means["flow"] = mean, self.settings.flow_weight
        for name, watched in (("point", pointed), ("read", read)):
            if watched:
                means[name] = torch.cat(watched).mean(), self.settings.point_weight
        total = parts.text.sum() * 0
        for name, (mean, weight) in means.items():
            whole = sum(each.get(name, 0.0) for each in everywhere)
            total = total + weight * mean * (counts[name] * len(everywhere) / whole if whole else 0.0)
        figures = {name: Logged(float(mean.detach()), counts[name]) for name, (mean, _) in means.items()}
        return total, {"tokens": Logged(float(rows.valid.sum()), how="sum"), **figures}

    def trained(self, model: UnifiedModel) -> dict[str, nn.Parameter]:
        frozen = {"autoencoder"} if self.settings.trains_vision else {"autoencoder", "vision"}
        return adapters_or_all({k: p for k, p in model.named_parameters() if part_of(k) not in frozen})

    def sheet(self, model: UnifiedModel) -> Image.Image | None:
        """Held-out pictures, what is learned to be drawn of them as it should be, and as it is drawn: maps, or, before
        maps are learned, the pictures themselves and changed ones. None where nothing is drawn."""
        held_out = self.held_out
        engine, rows = Engine(model, held_out.sequencer), held_out.pictures(6)
        drawn: list[list[Drawing]] = []
        if rows:
            pictures = [row[0] for row in rows]
            drawn = [engine.draw(pictures, name) for name in held_out.sequencer.config.modalities]
        elif ordered := held_out.orders(6):
            pictures = [picture for picture, _ in ordered]
            rows = [[picture, *(image for _, image in wanted)] for picture, wanted in ordered]
            for each in zip(*(wanted for _, wanted in ordered), strict=True):
                drawn.append(engine.follow(pictures, [order for order, _ in each]))
        for drawings in drawn:
            for row, drawing in zip(rows, drawings, strict=True):
                row.append(drawing.image)
        return contact_sheet(rows) if rows else None

    def page(self, model: UnifiedModel) -> str:
        """Held-out questions, answered greedily as most are learned, and the true answers."""
        asked = self.held_out.asked(4)
        if not asked:
            return ""
        sequencer, mode = self.held_out.sequencer, self.held_out.mode
        prompts = [Trace((Picture(picture), Text(question))) for picture, question, _ in asked]
        rollouts = Engine(model, sequencer).run(prompts, sequencer.prompts.policy(mode))
        traces = [
            Trace(r.trace.segments, {**r.trace.meta, "truth": truth})
            for r, (_, _, truth) in zip(rollouts, asked, strict=True)
        ]
        return traces_page(((trace, sequencer.config.codes.view) for trace in traces), f"{self.name}, {mode}")


def _counts(rows: Batch, found: Pointers | None) -> dict[str, float]:
    """Of how much each loss of a batch is the mean."""
    counts = {"text": float((rows.labels != NO_LABEL).sum())}
    if rows.targets is not None:
        counts["flow"] = float(rows.targets.weight.sum())
    if found is not None:
        counts["point"] = float(len(found.tokens))
        counts["read"] = float(len(found.named.tokens) + len(found.written.tokens))
    return counts
