"""What drawing takes at the published size, by shapes alone: docs/published.md tells it."""

from __future__ import annotations

import torch

from cooper.inference.cache import Context, Link
from cooper.inference.drawing import GatheredCache
from cooper.model.presets import bagel_7b

CONFIG = bagel_7b()
#: Of a photo of 1024 x 768: through the autoencoder, and, at most 518 pixels long, the vision transformer.
LATENT, SEEN, WORDS = (1024 // 16) * (768 // 16), (518 // 14) * (388 // 14), 300


def seen(tokens: int) -> Context:
    empty = Context.empty(1, CONFIG.decoder, tokens, torch.float32, torch.device("meta"))
    return Context((Link(empty.links[0].block, tokens, None),), 1, empty.positions)


def test_what_guided_maps_of_a_photo_look_at_is_held_once_more_for_each_branch() -> None:
    before, gigabytes = LATENT + SEEN + WORDS, []
    for history in (before, before + LATENT + SEEN + WORDS):
        branches = [seen(history), seen(history), seen(WORDS)]
        cache = GatheredCache(branches, LATENT + 2, torch.bfloat16)
        gigabytes.append(round((cache.k.nbytes + cache.v.nbytes) / 1e9, 1))
    assert gigabytes == [1.3, 2.0]
