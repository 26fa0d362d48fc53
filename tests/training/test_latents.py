"""Latents that are computed once and kept."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers import random_model, sequencer

from cooper.scenes.shards import make_shards
from cooper.scenes.targets import KINDS, SceneImages
from cooper.training.autoencoder import to_tensor
from cooper.training.drawn import DrawnMaps
from cooper.training.latents import Latents, encoder_fingerprint


def test_latents_are_those_of_the_images(images: SceneImages, latents: Latents) -> None:
    model = random_model()
    for kind in KINDS:
        expected = model.encode(to_tensor(images.image(3, kind)[None]))[0]
        assert torch.allclose(latents.tokens(3, kind), expected, atol=2e-3, rtol=2e-3)  # kept in float16


def interrupted(latents: Latents, at: int) -> None:
    """Depth is made, two scenes at a time, until this one comes."""
    images = latents.images

    def stopping(i: int, kind: str) -> np.ndarray:
        if i == at:
            raise KeyboardInterrupt
        return images.image(i, kind)

    latents.images = type("Stopping", (), {"image": staticmethod(stopping), "kinds": KINDS})  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        latents.make("depth", batch=2, quiet=True)
    latents.images = images


def test_latents_go_on_where_they_stopped(
    images: SceneImages, latents: Latents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Latents(images, tmp_path, latents.autoencoder, latents.sequencer)
    again.note_every = 1
    interrupted(again, 4)
    assert not again.path("depth").exists()
    computed, compute = [], again.compute
    monkeypatch.setattr(again, "compute", lambda kind, rows: computed.extend(rows) or compute(kind, rows))
    again.make("depth", batch=2, quiet=True)
    assert computed == [*range(4, len(again))], "what was done is not done again"
    assert np.array_equal(np.load(again.path("depth")), np.load(latents.path("depth")))


def test_a_count_that_was_not_written_is_none(images: SceneImages, latents: Latents, tmp_path: Path) -> None:
    """The disk was full when it was to be, or what is there is damaged."""
    again = Latents(images, tmp_path, latents.autoencoder, latents.sequencer)
    again.note_every = 1
    interrupted(again, 4)
    (count,) = again.folder.glob("*.done")
    assert count.read_text() == "2", "two batches of two"
    count.write_text("")
    again.path("depth").write_bytes(b"")
    again.make("depth", batch=2, quiet=True)
    assert not count.exists()
    assert np.array_equal(np.load(again.path("depth")), np.load(latents.path("depth")))


def test_latents_of_other_scenes_have_another_place(latents: Latents, tmp_path: Path) -> None:
    """As many as there were before, in the same folder."""
    make_shards(tmp_path, 10, 6, size=64, workers=1, quiet=True)
    other = Latents(SceneImages(tmp_path), latents.folder.parent, latents.autoencoder, latents.sequencer)
    assert len(other) == len(latents) and other.folder != latents.folder


def test_latents_of_another_encoder_have_another_place(images: SceneImages, latents: Latents) -> None:
    other = random_model(seed=5).autoencoder
    assert encoder_fingerprint(other) != encoder_fingerprint(latents.autoencoder)
    polished = random_model().autoencoder
    with torch.no_grad():
        for p in polished.decoder.parameters():
            p.add_(1.0)
    same = encoder_fingerprint(polished) == encoder_fingerprint(latents.autoencoder)
    assert same, "latents do not depend on the decoder"


def test_who_gets_them_maps_the_files_by_itself(images: SceneImages, latents: Latents, tmp_path: Path) -> None:
    """A worker that reads rows: what is mapped would be copied into its memory, and drawing needs a model it lacks."""
    model = random_model()
    drawn = DrawnMaps(images, 2, tmp_path, model, sequencer(model))
    drawn.make("depth", quiet=True)
    held = images.shards.rgb.shape
    before = images.image(1, "depth"), latents.tokens(1, "depth"), drawn.row(1, "depth")
    sizes = []
    for one in (images, drawn):
        pickled = pickle.dumps(one)
        sizes.append(len(pickled))
        again = pickle.loads(pickled)
        found = again.row(1, "depth") if one is drawn else again.image(1, "depth")
        assert np.array_equal(found, before[2 if one is drawn else 0])
    assert max(sizes) < 5_000 < np.prod(held)
    assert torch.equal(pickle.loads(pickle.dumps(latents)).tokens(1, "depth"), before[1])
