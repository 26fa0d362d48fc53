"""What drawn maps stand for depends on the model that drew them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.helpers import picture

from cooper.checkpoints.released import released_config
from cooper.data.codes import codes_after, told_change
from cooper.data.hypersim import Hypersim
from cooper.data.nyu import INDOORS, NyuLabels
from cooper.modalities import Depth, MapCodes, modality
from cooper.modalities.codes import RELEASED
from cooper.modalities.depth import spectral
from cooper.modalities.segmentation import Colours
from cooper.model.config import ModelConfig
from cooper.model.presets import bagel_7b, tiny
from cooper.trace import Drawing, Trace

GREY = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)


def test_colours_are_those_of_matplotlib() -> None:
    """docs/method.md, section 3."""
    colours = pytest.importorskip("matplotlib").colormaps["Spectral"]
    numbers = np.arange(256) / 255
    off = np.abs(spectral(numbers).astype(int) - colours(numbers, bytes=True)[:, :3])
    assert off.max() <= 1


def test_depth_is_read_as_it_was_learned() -> None:
    own, metres, relative = MapCodes(), MapCodes((1e-3, 10.0), linear=True), RELEASED
    assert own.modality("depth") == modality("depth") and own.modality("segmentation") == modality("segmentation")
    truth = np.linspace(0.01, 9.99, 256).reshape(16, 16).astype(np.float32)
    assert np.abs(metres.modality("depth").to_values(INDOORS.to_rgb(truth)) - truth).max() < 0.021
    kind = relative.modality("depth")
    assert kind.unit is None and np.allclose(kind.to_values(GREY).ravel(), np.arange(256) / 255, atol=1e-6)
    assert kind.view(GREY).unit is None and metres.modality("depth").unit == "m"
    with pytest.raises(ValueError, match="no modality is called 'normals'"):
        own.modality("normals")


def test_published_models_have_their_own(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden"
    folder = next(path.parent for path in golden.rglob("llm_config.json"))
    assert released_config([folder]).codes == bagel_7b().codes == RELEASED and tiny().codes == MapCodes()
    for config in (bagel_7b(), tiny()):
        assert ModelConfig.from_dict(config.to_dict()) == config
    old = tiny().to_dict()
    del old["codes"]
    assert ModelConfig.from_dict(old) == tiny(), "the shipped model's file is older"


def test_what_is_looked_at_is_coloured_and_what_was_drawn_is_kept(tmp_path: Path) -> None:
    latent = np.zeros((4, 2, 2), np.float32)
    depth, things = Drawing("depth", GREY, latent), Drawing("segmentation", GREY, latent)
    assert MapCodes().looked_at(depth) is depth and RELEASED.looked_at(things) is things
    seen = RELEASED.looked_at(depth)
    assert np.array_equal(seen.image, spectral(np.arange(256).reshape(16, 16) / 255)) and seen.latent is None
    assert np.array_equal(seen.as_drawn, GREY) and np.array_equal(RELEASED.view(seen).image, RELEASED.view(depth).image)
    assert seen.image[0, 0, 0] > seen.image[0, 0, 2] and seen.image[15, 15, 0] < seen.image[15, 15, 2], "near is red"
    Trace((picture(1), seen)).save(tmp_path)
    kept = Trace.load(tmp_path).drawings[0]
    assert np.array_equal(kept.image, seen.image) and np.array_equal(kept.as_drawn, GREY)


def test_colours_that_nobody_has_named_are_numbered() -> None:
    rgb = np.zeros((40, 40, 3), np.uint8)
    rgb[:20, :20], rgb[20:, 25:] = (120, 120, 80), (6, 230, 230)
    rgb[0, 39] = (255, 0, 255)  # a single pixel
    noisy = np.clip(rgb + np.random.default_rng(0).integers(-9, 10, rgb.shape), 0, 255).astype(np.uint8)
    kind = Colours()
    labels = kind.to_values(noisy)
    assert labels[0, 0] == 1 and labels[39, 39] == 2 and labels[39, 0] == 0 and set(np.unique(labels)) == {0, 1, 2}
    assert (labels[:20, :20] == 1).all() and (labels[20:, 25:] == 2).all()
    view = kind.view(noisy)
    assert view.legend is not None and [name for name, _ in view.legend] == ["colour 1", "colour 2"]
    assert np.abs(np.array(view.legend[1][1]) - (6, 230, 230)).max() < 8
    assert kind.score(labels, labels)["miou"] == 1
    assert RELEASED.modality("segmentation") == kind and not kind.to_values(np.zeros((4, 4, 3))).any()


def test_maps_of_a_users_own_change_what_they_mean() -> None:
    class Of(list):
        def __init__(self, kind: object) -> None:
            super().__init__()
            self.modality = kind

    own = MapCodes()
    indoors, far, labels = Of(INDOORS), Of(Hypersim.modality), Of(NyuLabels.modality)
    assert codes_after([], own) == own and codes_after([Of(None)], RELEASED) == RELEASED
    assert codes_after([indoors, Of(None)], own) == MapCodes((1e-3, 10.0), linear=True)
    assert codes_after([indoors, far, labels], own) == MapCodes(None, linear=True, named=False), "of several ranges"
    assert codes_after([labels], own) == MapCodes(named=False)
    assert told_change(own, MapCodes(named=False)) == "", "of colours nobody reads lengths"
    for after, depth in ((codes_after([indoors], own), "0.001 to 10 m, linear"), (RELEASED, "no range that is known")):
        assert f"depth will stand for {depth}" in told_change(own, after)
    assert codes_after([Of(Depth())], RELEASED) == MapCodes((0.5, 12.0), named=False, coloured=True)
