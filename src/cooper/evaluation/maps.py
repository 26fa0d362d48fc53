"""How good the maps are that a model draws on demand of scenes whose depth and objects are known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cooper.evaluation.scores import mean_interval, mra
from cooper.inference.engine import Engine
from cooper.modalities import Modality, modality
from cooper.modalities.base import at_size
from cooper.model.autoencoder import patchify
from cooper.model.unified import UnifiedModel
from cooper.progress import OnProgress
from cooper.scenes.render import View
from cooper.scenes.seen import look
from cooper.scenes.targets import TRUE_MAPS, true_map
from cooper.scenes.world import Scene
from cooper.trace import Drawing


def evaluate_maps(
    engine: Engine, scenes: Sequence[tuple[Scene, View]], on_progress: OnProgress = lambda *_: None
) -> dict[str, Any]:
    """Means over scenes of each picture's own figures, with bootstrap intervals.

    "depth" compares metres as they are, without alignment, over all pixels, and over those of objects under "objects".
    There "distances" is the mean relative accuracy of the distances of objects, read off the map without a mistake (the
    median over their true pixels): what answers can hope for that rest on the map. "segmentation" is the mean IoU of
    objects by best assignment; "autoencoder" is the true depth encoded and decoded. "map_seconds" is the time per map.
    Of what else the model draws, scenes do not hold the truth, and depth in a range that its config does not tell is in
    no metres.
    """
    codes = engine.model.config.codes
    drawn = [name for name in engine.model.config.modalities if name in TRUE_MAPS]
    drawn = [name for name in drawn if name != "depth" or codes.depth is not None]
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in (*drawn, "objects", "autoencoder")}
    seconds = 0.0
    step = engine.settings.batch
    for first in range(0, len(scenes), step):
        part = scenes[first : first + step]
        for name in drawn:
            began = time.perf_counter()
            drawings = engine.draw([view.rgb for _, view in part], name, seeds=[scene.seed for scene, _ in part])
            seconds += time.perf_counter() - began
            _score(name, codes.modality(name), decoded(engine.model, drawings), part, figures)
        reconstructed = _reconstructed(engine, [view.depth for _, view in part])
        _score("autoencoder", modality("depth"), reconstructed, part, figures)
        on_progress("maps", min(first + step, len(scenes)), len(scenes))
    result: dict[str, Any] = {name: _summary(figures[name]) for name in (*drawn, "autoencoder")}
    if "depth" in result:
        result["depth"]["objects"] = _summary(figures["objects"])
    result["map_seconds"] = seconds / max(len(drawn) * len(scenes), 1)
    return result


def decoded(model: UnifiedModel, drawings: Sequence[Drawing]) -> np.ndarray:
    """Drawings as float32 RGB (number, height, width, 3) in 0..1, decoded from their latents.

    More precise than `Drawing.image`, whose 8 bits round depth by up to 0.6 %.
    """
    latents = torch.from_numpy(np.stack([d.latent for d in drawings if d.latent is not None]))
    patch = model.config.latent_patch
    grid = latents.shape[-2] // patch, latents.shape[-1] // patch
    with torch.no_grad():
        return _to_rgb(model.decode(patchify(latents, patch).to(model.device), grid))


def _reconstructed(engine: Engine, depths: Sequence[np.ndarray]) -> np.ndarray:
    """Depth maps in the world's own code, encoded and decoded, as `decoded` gives them."""
    images = [modality("depth").to_rgb(depth) for depth in depths]
    pixels = torch.stack([engine.sequencer.for_latent(image) for image in images]).to(engine.model.device)
    with torch.no_grad():
        return _to_rgb(engine.model.decode(engine.model.encode(pixels), engine.sequencer.latent_grid(images[0])))


def _to_rgb(images: Tensor) -> np.ndarray:
    return ((images.permute(0, 2, 3, 1).float().cpu().numpy() + 1) / 2).clip(0, 1)


def _score(
    name: str, kind: Modality, images: np.ndarray, scenes: Sequence[tuple[Scene, View]],
    figures: dict[str, list[dict[str, float]]],
) -> None:  # fmt: skip
    for image, (scene, view) in zip(images, scenes, strict=True):
        values = at_size(kind.to_values(image), *view.depth.shape)
        figures[name].append(kind.score(values, true_map(scene, view, kind.name)))
        if name == "depth" and view.labels.any():
            read = [mra(float(np.median(values[view.labels == o.id])), o.depth) for o in look(scene, view).named]
            objects = kind.score(values, view.depth, view.labels > 0)
            figures["objects"].append({**objects, "distances": float(np.mean(read)) if read else np.nan})


def _summary(figures: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Means of the figures that are numbers, and under "intervals" how sure they are; empty if there are none."""
    result: dict[str, Any] = {}
    intervals: dict[str, tuple[float, float] | None] = {}
    for name in figures[0] if figures else ():
        values = np.array([f[name] for f in figures])
        values = values[np.isfinite(values)]
        if values.size:
            result[name] = float(values.mean())
            intervals[name] = mean_interval(values)
    return {**result, "intervals": intervals}
