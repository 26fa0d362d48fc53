"""`cooper bench precision`: what fewer bits cost, in answers and in the velocities that maps are drawn with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cooper.api import Cooper
from cooper.evaluation.scenes import evaluate_scenes
from cooper.hardware import describe
from cooper.inference.drawing import Velocities
from cooper.inference.sampler import generator
from cooper.inference.session import Session
from cooper.modalities import modality
from cooper.model.config import Precision
from cooper.scenes.scene_set import SceneSet
from cooper.trace import Picture, Trace

#: noise times at which velocities are compared
TIMES = (1.0, 0.75, 0.5, 0.25)
_PICTURES = 16


def bench_precision(
    model: str, precisions: Sequence[Precision], n: int = 100, split: str = "validation",
    on_progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """For each precision: the mean score of answers about `n` scenes, the share of well-formed turns, the seconds that
    took, bytes of the weights, and how far velocities are off those of fp32 and of bf16 (norm of the difference /
    norm)."""
    scenes = SceneSet(_PICTURES, split).load()
    pictures = [view.rgb for _, view in scenes]
    fp32, bf16 = (_velocities(Cooper.load(model, precision), pictures) for precision in ("fp32", "bf16"))
    rows: dict[str, Any] = {}
    for precision in precisions:
        cooper = Cooper.load(model, precision)
        on_progress(f"{precision}: answers")
        result = evaluate_scenes(cooper, "interleaved", SceneSet(n, split), maps=False)
        held = (*cooper.model.parameters(), *cooper.model.buffers())
        velocities = _velocities(cooper, pictures)
        rows[precision] = {
            "mean": result["mean"], "spatial": result["spatial"], "general": result["general"],
            "well_formed": result["well_formed"], "velocity_error": _off(velocities, fp32),
            "velocity_error_to_bf16": _off(velocities, bf16),
            "weights_mib": round(sum(t.numel() * t.element_size() for t in held) / 2**20, 1),
            "seconds": round(result["seconds"], 1),
        }  # fmt: skip
    return {"machine": describe(), "model": model, "split": split, "scenes": n, "precisions": rows}


def _off(velocities: Tensor, exact: Tensor) -> float:
    return round(float((velocities - exact).norm() / exact.norm()), 4)


def _velocities(cooper: Cooper, pictures: Sequence[Any]) -> Tensor:
    """Of the depth of these pictures, drawn on demand from the same noise: (times, pictures, tokens, latent_dim)."""
    model, sequencer = cooper.model, cooper.sequencer
    encode = sequencer.encoder(model)
    session = Session.open(model, [sequencer.pieces(Trace((Picture(image),)), encode) for image in pictures])
    call = sequencer.ids(sequencer.prompts.call(modality("depth")))
    session = session.fork(1, len(call) + 2)
    session.read_turn([call] * len(pictures))
    grid = sequencer.latent_grid(pictures[0])
    shape = (grid[0] * grid[1], model.config.latent_dim)
    noise = torch.stack([torch.randn(shape, generator=generator(k, "map", 0)) for k in range(len(pictures))])
    velocities = Velocities(model, [session.context], noise, grid)
    return torch.stack([velocities(noise * t, t, 1)[0] for t in TIMES])
