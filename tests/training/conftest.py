"""A few scenes, and what models draw of them, for all tests of training."""

from __future__ import annotations

import pytest
from tests.helpers import random_model, sequencer

from cooper.scenes.shards import make_shards
from cooper.scenes.targets import KINDS, SceneImages
from cooper.training.latents import Latents


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> SceneImages:
    pytest.importorskip("mujoco")
    folder = tmp_path_factory.mktemp("shards")
    make_shards(folder, 0, 6, size=64, workers=1, quiet=True)
    return SceneImages(folder)


@pytest.fixture(scope="session")
def latents(images: SceneImages, tmp_path_factory: pytest.TempPathFactory) -> Latents:
    model = random_model()
    made = Latents(images, tmp_path_factory.mktemp("latents"), model.autoencoder, sequencer(model))
    for kind in KINDS:
        made.make(kind, batch=4, quiet=True)
    return made
