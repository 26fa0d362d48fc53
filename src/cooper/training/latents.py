"""Latents of rendered scenes, computed once: images do not change, and encoding them would be a fifth of the training.

One float16 file per kind of image, (scenes, tokens, latent_dim), beside the shards; its folder names the autoencoder
and the scenes it is of, so that latents of others are never used by mistake.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cooper.model.autoencoder import Autoencoder, patchify
from cooper.scenes.targets import SceneImages
from cooper.sequence import Sequencer
from cooper.training.disk_cache import DiskCache


def encoder_fingerprint(autoencoder: Autoencoder) -> str:
    """Ten letters that stand for the encoder's weights and the config."""
    digest = hashlib.blake2b(repr(autoencoder.config).encode(), digest_size=5)
    for p in autoencoder.encoder.parameters():
        digest.update(p.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Latents(DiskCache):
    """Latents of a folder of shards under an autoencoder."""

    name = "latents"

    def __init__(self, images: SceneImages, folder: str | Path, autoencoder: Autoencoder, sequencer: Sequencer):
        self.images, self.autoencoder, self.sequencer = images, autoencoder, sequencer
        rows, columns = sequencer.latent_grid(np.zeros((images.size, images.size, 3), dtype=np.uint8))
        shape = (rows * columns, sequencer.config.latent_dim)
        of = f"{encoder_fingerprint(autoencoder)}-{images.shards.fingerprint}"
        super().__init__(Path(folder) / f"latents-{of}", len(images), shape, np.float16)

    def compute(self, kind: str, rows: range) -> np.ndarray:
        z = self.encode(np.stack([self.images.image(k, kind) for k in rows]))
        return z.to(torch.float16).numpy()

    def encode(self, images: np.ndarray) -> Tensor:
        """Drawing tokens (B, tokens, latent_dim) of images, uint8 (B, H, W, 3)."""
        pixels = torch.stack([self.sequencer.for_latent(image) for image in images])
        with torch.no_grad():
            z = self.autoencoder.encode(pixels.to(memory_format=torch.channels_last))
        return patchify(z, self.sequencer.config.latent_patch)

    def tokens(self, i: int, kind: str) -> Tensor:
        """Drawing tokens (tokens, latent_dim) of an image, float32."""
        return torch.from_numpy(self.row(i, kind).astype(np.float32))
