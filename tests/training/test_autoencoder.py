"""The autoencoder learns, whole or its decoder alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from cooper.model.autoencoder import Autoencoder
from cooper.model.presets import dummy
from cooper.scenes.targets import KINDS, SceneImages
from cooper.training.autoencoder import AutoencoderStage, normalised, to_tensor
from cooper.training.loop import Trainer
from cooper.training.optimisation import Optimisation
from cooper.training.processes import Share


def test_an_autoencoder_learns_colour_first_of_all(images: SceneImages, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Autoencoder(dummy().autoencoder).initialise()
    optimisation = Optimisation(40, lr=3e-3, warmup=5, betas=(0.9, 0.99), ema=0.8)
    stage = AutoencoderStage(images, optimisation, batch_size=6, crop=32)
    Trainer(model, stage, optimisation, tmp_path, workers=0).run(quiet=True)
    log = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert np.mean([r["loss"] for r in log[-5:]]) < 0.7 * np.mean([r["loss"] for r in log[:3]])
    normalised(model, images, number=12)
    with torch.no_grad():
        z = torch.cat([model.encode(to_tensor(images.image(i, kind)[None])) for i in range(6) for kind in KINDS])
    assert abs(float(z.mean())) < 0.3 and 0.6 < float(z.std()) < 1.6


def test_it_goes_on_where_it_was_stopped(images: SceneImages, tmp_path: Path) -> None:
    """The noise that the decoder learns with comes from the step, not from what was drawn before."""
    def trained(folder: Path, steps: int) -> Autoencoder:
        torch.manual_seed(len(folder.name))
        model = Autoencoder(dummy().autoencoder).initialise(torch.Generator().manual_seed(7))
        how = Optimisation(6, lr=3e-3, warmup=2)
        stage = AutoencoderStage(images, how, batch_size=3, crop=32)
        trainer = Trainer(model, stage, how, folder, workers=0)
        trainer.resume()
        for _ in range(steps):
            trainer.update(stage.batch(trainer.step, Share()))
        trainer.save()
        return model

    tmp_path.joinpath("whole").mkdir()
    tmp_path.joinpath("half").mkdir()
    whole = trained(tmp_path / "whole", 4)
    trained(tmp_path / "half", 2)
    for a, b in zip(whole.parameters(), trained(tmp_path / "half", 2).parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_decoder_can_be_trained_alone(images: SceneImages) -> None:
    model = Autoencoder(dummy().autoencoder)
    stage = AutoencoderStage(images, Optimisation(1), decoder_only=True)
    assert {name.split(".")[0] for name in stage.trained(model)} == {"decoder"} and stage.name == "decoder"
