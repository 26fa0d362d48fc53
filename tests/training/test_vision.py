"""Eyes learn what is where."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers import random_model

from cooper.model.vision import grid_positions
from cooper.scenes.targets import SceneImages
from cooper.scenes.world import COLORS, SHAPES
from cooper.training.autoencoder import to_tensor
from cooper.training.loop import Trainer
from cooper.training.optimisation import Optimisation
from cooper.training.processes import Share
from cooper.training.vision import CELL, UNKNOWN, VisionStage, VisionWithHeads, cells_of, depth_of, settle


def test_the_vision_transformer_learns_what_a_cell_shows(images: SceneImages, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = random_model()
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    stage = VisionStage(images, images, batch_size=4)
    settings = Optimisation(30, lr=3e-3, warmup=3, ema=0.9)
    Trainer(VisionWithHeads(model), stage, settings, tmp_path, workers=0).run(quiet=True)
    log = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    for figure in ("loss", "depth"):
        assert np.mean([r[figure] for r in log[-5:]]) < 0.8 * np.mean([r[figure] for r in log[:3]])
    changed = {k.split(".")[0] for k, p in model.named_parameters() if not torch.equal(p, before[k])}
    assert changed == {"vision", "connector_in", "connector_out"}


def test_eyes_without_geometry_are_told_distances_of_maps_alone(images: SceneImages) -> None:
    stage = VisionStage(images, images, batch_size=40, geometry=False)
    whole = VisionStage(images, images, batch_size=40).batch(0, Share())
    pixels, cells, depths, cameras = stage.batch(0, Share())
    told = whole[3][:, 0].isfinite()  # of pictures
    assert torch.equal(pixels, whole[0]) and torch.equal(cells, whole[1]) and told.any() and not told.all()
    assert depths[told].isnan().all() and cameras.isnan().all()
    assert torch.equal(depths[~told].isnan(), whole[2][~told].isnan()) and depths[~told].isfinite().any()
    probed = VisionWithHeads(random_model())
    assert "camera" not in stage.loss(probed, (pixels, cells, depths, cameras))[1]
    assert {name.split(".")[0] for name in stage.trained(probed)} == {"head", "model"}


def test_pictures_come_in_the_size_of_the_position_table(images: SceneImages) -> None:
    model = random_model()
    pixels = to_tensor(np.stack([images.image(i, "picture") for i in range(6)]))
    with torch.no_grad():
        model.connector_out.weight *= 40
        places = model.vision_table[grid_positions((4, 4), model.config.vision.max_side, "")]
        content = model.embed_pictures(pixels) - places
        settle(model, images, number=6)
        after = model.embed_pictures(pixels) - places
    assert float(after.square().mean().sqrt()) == pytest.approx(1.0, abs=1e-3)
    torch.testing.assert_close(after / after.norm(), content / content.norm())


def test_cells_say_what_is_at_their_middle(images: SceneImages) -> None:
    scene, view = images.shards[0]
    cells = cells_of(images, 0)
    rows, columns = np.nonzero(cells[..., 0])
    assert len(rows) and (cells_of(images, 0, "depth") == UNKNOWN).all()
    depths = depth_of(images, 0)
    assert depths.shape == cells.shape[:2] and np.isnan(depth_of(images, 0, "segmentation")).all()
    assert np.array_equal(depths, depth_of(images, 0, "depth"))
    for y, x in zip(rows, columns, strict=True):
        thing = next(t for t in scene.things if t.id == view.labels[CELL * y + CELL // 2, CELL * x + CELL // 2])
        assert SHAPES[cells[y, x, 0] - 1] == thing.shape and list(COLORS)[cells[y, x, 1] - 1] == thing.color
        assert depths[y, x] == pytest.approx(np.log(view.depth[CELL * y + CELL // 2, CELL * x + CELL // 2]), abs=1e-3)
