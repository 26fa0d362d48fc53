"""What a file may say of a model: anything else is told, by the name of the field."""

from __future__ import annotations

from typing import Any

import pytest

from cooper.model.config import ImageSizes, ModelConfig
from cooper.model.presets import PRESETS, bagel_7b, dummy, tiny
from cooper.model.unified import UnifiedModel


@pytest.mark.parametrize(
    ("where", "value", "why"),
    [
        ("latent_patch", None, "latent_patch is 'None'; it must be a whole number"),
        ("latent_patch", 1.5, "latent_patch is '1.5'"), ("max_latent_side", -1, "max_latent_side is '-1'"),
        ("max_latent_side", 10**12, "up to 10,000,000"), ("max_latent_side", True, "max_latent_side is 'True'"),
        ("turn_tokens", None, "turn_tokens"), ("turn_tokens", 0, "turn_tokens is 0; it must be at least 1"),
        ("time_shift", float("nan"), "time_shift is 'nan'; it must be a number"),
        ("maps_through", "x", "maps_through is 'x'; it must be both or vision"),
        ("modalities", ["foo"], "no modality is called 'foo'"), ("modalities", "depth", "modalities is 'depth'"),
        ("decoder.layers", None, "decoder.layers is 'None'"), ("decoder.ffn", -1, "decoder.ffn"),
        ("decoder.vocabulary", 0, "vocabulary is 0"), ("decoder.layers", 0, "layers is 0"),
        ("decoder.ffn", 0, "ffn is 0"), ("decoder.heads", 0, "heads is 0|by zero"), ("vision.layers", 0, "layers is 0"),
        ("vision_sizes.longest", 100, "do not fit a stride"), ("latent_sizes.longest", 0, "do not fit a stride"),
        ("decoder.hidden", 10**12, "decoder.hidden"),
        ("decoder.rope_theta", None, "decoder.rope_theta"), ("decoder.norm_eps", "x", "decoder.norm_eps is 'x'"),
        ("latent_sizes.longest", "x", "latent_sizes.longest"), ("latent_sizes", 3, "not a model config|latent_sizes"),
        ("special.end", 10**6, "special.end is 1000000, and there"), ("autoencoder.scale", None, "autoencoder.scale"),
        ("autoencoder.multipliers", [1, "2"], "autoencoder.multipliers"), ("codes.linear", 1, "codes.linear"),
        ("codes.depth", [0.0, 80.0], "codes.depth is 0 to 80; it must rise"),
        ("flow.interval", [0.5], "interval of guidance lies between two times, .* not 0.5"),
        ("flow.noise", "much", "not a model"),
        ("decoder.norm_eps", 0.0, "norm_eps is 0; it must be above 0"),
        ("vision.heads", 7, "hidden must be a multiple of its"),
        ("autoencoder.multipliers", [], "the autoencoder has no levels"),
        ("more", 1, "unexpected keyword argument 'more'"),
    ],
)  # fmt: skip
def test_fields_that_hold_what_they_cannot(where: str, value: Any, why: str) -> None:
    data = tiny().to_dict()
    *outer, name = where.split(".")
    inside = data
    for part in outer:
        inside = inside[part]
    inside[name] = value
    with pytest.raises(ValueError, match=why):
        ModelConfig.from_dict(data)


def test_the_published_size() -> None:
    """docs/method.md, section 2."""
    model = bagel_7b()
    decoder, vision, autoencoder = model.decoder, model.vision, model.autoencoder
    assert (decoder.layers, decoder.hidden, decoder.heads, decoder.kv_heads) == (28, 3584, 28, 4)
    assert (decoder.ffn, decoder.vocabulary, decoder.rope_theta) == (18944, 152064, 1e6)
    assert (vision.layers, vision.hidden, vision.heads, vision.patch, vision.max_side) == (26, 1152, 16, 14, 70)
    assert (autoencoder.latent, autoencoder.downsample) == (16, 8)
    assert (autoencoder.scale, autoencoder.shift) == (0.3611, 0.1159)
    assert (model.latent_patch, model.latent_dim, model.latent_stride, model.max_latent_side) == (2, 64, 16, 64)
    assert (model.latent_sizes, model.vision_sizes) == (ImageSizes(1024, 512), ImageSizes(518, 224))
    assert (model.time_shift, model.modalities, model.maps_through) == (1.0, ("depth", "segmentation"), "both")


def test_what_is_drawn_begins_with_nothing() -> None:
    """The linear layer out (docs/method.md, section 2), whose first velocities are zero."""
    out = UnifiedModel(dummy()).initialise(0).latent_out
    assert not any(p.any() for p in out.parameters())


def test_what_every_preset_holds_is_taken() -> None:
    for make in PRESETS.values():
        assert ModelConfig.from_dict(make().to_dict()) == make()
