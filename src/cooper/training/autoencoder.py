"""Training the autoencoder of a small model: pictures and maps of the synthetic world, pixels in, pixels out.

An L1 and a squared loss. Most steps see crops, which cost less and vary more; the last ones see whole pictures.

Latents are made for flow matching, which draws each of their channels against noise of deviation 1. Every channel is
held at a mean square of 1 for every kind of image, and the decoder sees latents with noise added: so what matters is
spread over all channels, and a small error of a drawn latent is a small error of the map. (A KL term as light as a
sharp picture needs leaves depth to one direction of a large variance and many of almost none.) Afterwards scale and
shift are set so that latents have mean 0 and deviation 1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cooper.modalities import modality
from cooper.model.autoencoder import Autoencoder, pixels_of
from cooper.scenes.targets import SceneImages
from cooper.training.optimisation import Optimisation
from cooper.training.processes import Share
from cooper.training.stage import Supervised


class AutoencoderStage(Supervised[Autoencoder]):
    """Batches hold `batch_size` images, a third of each kind: pictures, depth maps, segmentations.

    What latents hold is evened out over a process's own images of a kind, so it needs some of each.

    With `decoder_only` the encoder stays as it is, and with it every latent: a decoder can be improved at any time.
    """

    def __init__(
        self, images: SceneImages, optimisation: Optimisation, *, batch_size: int = 16, crop: int = 64,
        whole_from: float = 0.75, noise: float = 0.25, hold: float = 0.05, square: float = 4.0, chroma: float = 10.0,
        seed: int = 0, decoder_only: bool = False,
    ):  # fmt: skip
        self.name = "decoder" if decoder_only else "autoencoder"
        self.decoder_only = decoder_only
        self.images, self.optimisation = images, optimisation
        self.batch_size, self.crop, self.whole_from = batch_size, crop, whole_from
        self.noise, self.hold = noise, hold
        self.square, self.chroma, self.seed = square, chroma, seed

    def batch(self, step: int, share: Share) -> tuple[Tensor, int]:
        rng = np.random.default_rng((self.seed, step, share.rank))
        whole = step >= self.whole_from * self.optimisation.steps
        size = self.images.size if whole else self.crop
        kinds = len(self.images.kinds)
        number = self.batch_size * self.crop**2 // size**2 if whole else self.batch_size
        number = max(1, round(number / (kinds * share.world))) * kinds
        out = np.empty((number, size, size, 3), dtype=np.uint8)
        for i in range(number):
            kind = self.images.kinds[i % kinds]
            scene = int(rng.integers(len(self.images)))
            image = self.images.image(scene, kind)
            y, x = self._corner(scene, size, rng)
            piece = image[y : y + size, x : x + size]
            out[i] = piece[:, ::-1] if rng.random() < 0.5 else piece
        return to_tensor(out), int(rng.integers(2**62))  # the seed of the noise

    def _corner(self, scene: int, size: int, rng: np.random.Generator) -> tuple[int, int]:
        """Where a crop begins. Three of four are about an object: most of a room is wall and floor."""
        room = self.images.size - size
        if room and rng.random() < 0.75:
            ys, xs = np.nonzero(self.images.shards.labels[scene])
            if len(ys):
                k = rng.integers(len(ys))
                y, x = (int(np.clip(c[k] - rng.integers(size), 0, room)) for c in (ys, xs))
                return y, x
        y, x = rng.integers(0, room + 1, 2)
        return int(y), int(x)

    def loss(self, model: Autoencoder, batch: Any) -> tuple[Tensor, dict[str, float]]:
        images, seed = batch
        x, noise = images.to(memory_format=torch.channels_last), torch.Generator().manual_seed(seed)
        z = model.posterior(x)[0]
        # each image with noise of its own deviation, which is often small: true latents have none
        size = self.noise * torch.randn(len(z), 1, 1, 1, generator=noise)
        difference = model.decoder(z + size * torch.randn(z.shape, generator=noise)) - x
        error = difference.abs().mean(dim=(1, 2, 3))
        # What differs between red, green and blue is small beside what they share, and would be learned last.
        chroma = difference - difference.mean(dim=1, keepdim=True)
        square = (difference.square() + self.chroma * chroma.square()).mean()
        kinds = len(self.images.kinds)
        power = z.square().unflatten(0, (-1, kinds)).mean(dim=(0, 3, 4))  # kinds, channels
        uneven = (power - 1).square().mean()
        figures = {f"l1_{kind}": float(error[i::kinds].mean().detach()) for i, kind in enumerate(self.images.kinds)}
        # Depth is read to the percent, so its error counts twice.
        depth = self.images.kinds.index("depth")
        loss = error.mean() + error[depth::kinds].mean() / kinds + self.square * square + self.hold * uneven
        return loss, {**figures, "uneven": float(uneven.detach())}

    def sheet(self, model: Autoencoder) -> Image.Image:
        rows = []
        for i in range(min(3, len(self.images))):
            images = to_tensor(np.stack([self.images.image(i, kind) for kind in self.images.kinds]))
            pairs = zip(pixels_of(images), pixels_of(model.decode(model.encode(images))), strict=True)
            rows.append(np.concatenate([np.concatenate(pair, axis=1) for pair in pairs], axis=1))
        return Image.fromarray(np.concatenate(rows))

    def trained(self, model: Autoencoder) -> dict[str, nn.Parameter]:
        return {k: p for k, p in model.named_parameters() if k.startswith("decoder.") or not self.decoder_only}


def normalised(model: Autoencoder, images: SceneImages, number: int = 192) -> Autoencoder:
    """The same autoencoder with scale and shift such that latents of its images have mean 0 and deviation 1.

    They are rounded, so that they do not depend on how many threads summed them up.
    """
    rng = np.random.default_rng(0)
    picks = [images.image(int(i), images.kinds[k % 3]) for k, i in enumerate(rng.integers(len(images), size=number))]
    with torch.no_grad():
        z = torch.cat([model.posterior(to_tensor(np.stack(picks[i : i + 16])))[0] for i in range(0, number, 16)])
    model.config = replace(model.config, scale=round(float(1 / z.std()), 4), shift=round(float(z.mean()), 4))
    return model


def depth_error(model: Autoencoder, images: SceneImages, number: int = 100) -> float:
    """AbsRel of depth maps that were encoded and decoded, of that many scenes, or of all that there are."""
    depth = modality("depth")
    errors = []
    for i in range(min(number, len(images))):
        true = images.depth(i)
        with torch.no_grad():
            back = model.decode(model.encode(to_tensor(depth.to_rgb(true)[None])))
        got = depth.to_values(np.clip((back[0].permute(1, 2, 0).numpy() + 1) / 2, 0, 1))
        errors.append(float(np.mean(np.abs(got - true) / true)))
    return float(np.mean(errors))


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 (..., H, W, 3) to float32 (..., 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, -3))).float() / 127.5 - 1
