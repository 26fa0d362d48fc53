"""Latents of rendered scenes, computed once: images do not change, and encoding them would be a fifth of the training.

One float16 file per kind of image, (scenes, tokens, latent_dim), beside the shards; it names the autoencoder it is of,
so that latents of another one are never used by mistake.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from cooper.model.autoencoder import Autoencoder, patchify
from cooper.scenes.targets import SceneImages
from cooper.training.autoencoder import to_tensor


def fingerprint(autoencoder: Autoencoder) -> str:
    """Ten letters that stand for the encoder's weights and the config."""
    digest = hashlib.blake2b(repr(autoencoder.config).encode(), digest_size=5)
    for p in autoencoder.encoder.parameters():
        digest.update(p.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Latents:
    """Latents of a folder of shards under an autoencoder; `make` computes what is missing, resumably."""

    def __init__(self, images: SceneImages, folder: str | Path, autoencoder: Autoencoder, patch: int):
        self.images, self.autoencoder, self.patch = images, autoencoder, patch
        self.folder = Path(folder) / f"latents-{fingerprint(autoencoder)}"
        c = autoencoder.config
        self.shape = (len(images), (images.size // c.downsample // patch) ** 2, patch**2 * c.latent)
        self._open: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def path(self, kind: str) -> Path:
        return self.folder / f"{kind}.npy"

    def make(self, kind: str, batch: int = 32, quiet: bool = False) -> None:
        """Encode every image of a kind, unless that is done. Interrupted, it goes on where it stopped."""
        if self.path(kind).exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished, done_file = self.folder / f"{kind}.part.npy", self.folder / f"{kind}.done"
        done = int(done_file.read_text()) if done_file.exists() and unfinished.exists() else 0
        out = np.lib.format.open_memmap(
            unfinished, mode="r+" if done else "w+", dtype=np.float16, shape=None if done else self.shape
        )  # type: ignore[no-untyped-call]
        with Progress(disable=quiet) as progress, torch.no_grad():
            bar = progress.add_task(f"latents of {kind}", total=len(self), completed=done)
            for i in range(done, len(self), batch):
                rows = range(i, min(i + batch, len(self)))
                images = to_tensor(np.stack([self.images.image(k, kind) for k in rows]))
                z = self.autoencoder.encode(images.to(memory_format=torch.channels_last))
                out[i : i + batch] = patchify(z, self.patch).to(torch.float16).numpy()
                if (i // batch) % 50 == 49:
                    out.flush()
                    done_file.write_text(str(i + len(rows)))
                progress.update(bar, completed=i + len(rows))
        out.flush()
        unfinished.rename(self.path(kind))
        done_file.unlink(missing_ok=True)

    def tokens(self, i: int, kind: str) -> Tensor:
        """Drawing tokens (tokens, latent_dim) of an image, float32."""
        if kind not in self._open:
            self._open[kind] = np.load(self.path(kind), mmap_mode="r")
        return torch.from_numpy(self._open[kind][i].astype(np.float32))
