"""What a file may say of a model: anything else is told, by the name of the field."""

from __future__ import annotations

from typing import Any

import pytest

from cooper.model.config import ModelConfig
from cooper.model.presets import PRESETS, tiny


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
        ("decoder.vocabulary", 0, "vocabulary is 0"), ("decoder.hidden", 10**12, "decoder.hidden"),
        ("decoder.rope_theta", None, "decoder.rope_theta"), ("decoder.norm_eps", "x", "decoder.norm_eps is 'x'"),
        ("latent_sizes.longest", "x", "latent_sizes.longest"), ("latent_sizes", 3, "not a model config|latent_sizes"),
        ("special.end", 10**6, "special.end is 1000000, and there"), ("autoencoder.scale", None, "autoencoder.scale"),
        ("autoencoder.multipliers", [1, "2"], "autoencoder.multipliers"), ("codes.linear", 1, "codes.linear"),
        ("flow.interval", [0.5], "interval of guidance lies between two times, .* not 0.5"),
        ("flow.noise", "much", "not a model"),
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
    with pytest.raises((ValueError, TypeError), match=why):
        ModelConfig.from_dict(data)


def test_what_every_preset_holds_is_taken() -> None:
    for make in PRESETS.values():
        assert ModelConfig.from_dict(make().to_dict()) == make()
