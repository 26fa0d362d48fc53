"""The FLUX image autoencoder: pixels <-> latents, 8 times smaller a side in the published model.

Module names are the released checkpoint's own, so its key map is the identity.
Shapes: image (B, 3, H, W) in [-1, 1]; latent (B, latent, H / downsample, W / downsample), scaled and shifted.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cooper.model.config import AutoencoderConfig
from cooper.model.strips import enlarged, normed

#: one latent cell for each `downsample` x `downsample` pixels
Latent: TypeAlias = Float[Tensor, "B latent h w"]


class ResidualBlock(nn.Module):
    def __init__(self, inner: int, outer: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inner, eps=1e-6)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outer, eps=1e-6)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        if inner != outer:
            self.nin_shortcut = nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = normed(self.norm2, self.conv2, normed(self.norm1, self.conv1, x))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + y


class PixelAttention(nn.Module):
    """Single-head attention among all cells of a feature map."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = (f(y).flatten(2).transpose(1, 2).unsqueeze(1) for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(y.squeeze(1).transpose(1, 2).reshape(x.shape))


class Middle(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, groups)
        self.attn_1 = PixelAttention(channels, groups)
        self.block_2 = ResidualBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # the published model pads right and below only


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return enlarged(self.conv, x)


class Level(nn.Module):
    """The blocks of one resolution, and the step to the next."""

    def __init__(self, widths: list[int], groups: int, step: nn.Module | None, step_name: str):
        super().__init__()
        self.block = nn.ModuleList(ResidualBlock(a, b, groups) for a, b in zip(widths, widths[1:], strict=False))
        self.step_name = step_name if step is not None else None
        if step is not None:
            setattr(self, step_name, step)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return x if self.step_name is None else getattr(self, self.step_name)(x)


class Encoder(nn.Module):
    def __init__(self, c: AutoencoderConfig):
        super().__init__()
        widths = [c.channels * m for m in c.multipliers]
        self.conv_in = nn.Conv2d(3, c.channels, 3, padding=1)
        self.down = nn.ModuleList()
        before = c.channels
        for i, width in enumerate(widths):
            step = Downsample(width) if i < len(widths) - 1 else None
            self.down.append(Level([before] + [width] * c.blocks, c.groups, step, "downsample"))
            before = width
        self.mid = Middle(before, c.groups)
        self.norm_out = nn.GroupNorm(c.groups, before, eps=1e-6)
        self.conv_out = nn.Conv2d(before, 2 * c.latent, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return normed(self.norm_out, self.conv_out, self.mid(x))


class Decoder(nn.Module):
    def __init__(self, c: AutoencoderConfig):
        super().__init__()
        widths = [c.channels * m for m in c.multipliers]
        before = widths[-1]
        self.conv_in = nn.Conv2d(c.latent, before, 3, padding=1)
        self.mid = Middle(before, c.groups)
        levels: list[nn.Module] = []
        for i, width in reversed(list(enumerate(widths))):
            step = Upsample(width) if i > 0 else None
            levels.insert(0, Level([before] + [width] * (c.blocks + 1), c.groups, step, "upsample"))
            before = width
        self.up = nn.ModuleList(levels)
        self.norm_out = nn.GroupNorm(c.groups, before, eps=1e-6)
        self.conv_out = nn.Conv2d(before, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        return normed(self.norm_out, self.conv_out, x)


class Autoencoder(nn.Module):
    """Image (B, 3, H, W) in [-1, 1] to latent (B, latent, h, w) and back. H and W are multiples of `downsample`."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def initialise(self, generator: torch.Generator | None = None) -> Autoencoder:
        """Weights to start training from: every layer keeps the size of its signal, and residual branches begin at
        zero, so that there is a well-conditioned linear path from end to end.

        PyTorch's default shrinks the signal at every layer but not the biases, which then dominate every group norm:
        such an autoencoder draws shapes and no colours for thousands of steps.
        """
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, 0, part.weight[0].numel() ** -0.5, generator=generator)
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]
        for part in self.modules():
            if isinstance(part, (ResidualBlock, PixelAttention)):
                nn.init.zeros_((part.conv2 if isinstance(part, ResidualBlock) else part.proj_out).weight)
        return self

    def posterior(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Latent, Latent]:
        """Mean and log-variance of the latent before scale and shift."""
        if image.shape[-1] % self.config.downsample or image.shape[-2] % self.config.downsample:
            raise ValueError(
                f"image sides must be multiples of {self.config.downsample}; got {tuple(image.shape[-2:])}: resize it"
            )
        mean, log_variance = self.encoder(image).chunk(2, dim=1)
        return mean, log_variance

    def encode(self, image: Float[Tensor, "B 3 H W"]) -> Latent:
        """The mean of the posterior, scaled: drawing must be repeatable."""
        return self.normalise(self.posterior(image)[0])

    def normalise(self, z: Tensor) -> Tensor:
        return self.config.scale * (z - self.config.shift)

    def decode(self, latent: Latent) -> Float[Tensor, "B 3 H W"]:
        return self.decoder(latent / self.config.scale + self.config.shift)


def patchify(latent: Float[Tensor, "*batch C h w"], patch: int) -> Float[Tensor, "*batch tokens dim"]:
    """Latent (..., C, h, w) to drawing tokens (..., h/patch * w/patch, patch * patch * C), channels innermost."""
    *batch, c, h, w = latent.shape
    x = latent.reshape(*batch, c, h // patch, patch, w // patch, patch)
    n = len(batch)
    order = (*range(n), n + 1, n + 3, n + 2, n + 4, n)
    return x.permute(order).reshape(*batch, (h // patch) * (w // patch), patch * patch * c)


def pixels_of(images: Float[Tensor, "*batch 3 H W"]) -> np.ndarray:
    """Images in [-1, 1] as people see them: uint8 RGB (*batch, H, W, 3), rounded and clipped."""
    x = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.moveaxis(x.cpu().numpy(), -3, -1)


def unpatchify(
    tokens: Float[Tensor, "*batch tokens dim"], grid: tuple[int, int], patch: int
) -> Float[Tensor, "*batch C h w"]:
    """The inverse of `patchify`, for a grid of (rows, columns) tokens."""
    *batch, _, dim = tokens.shape
    rows, columns = grid
    c = dim // patch**2
    x = tokens.reshape(*batch, rows, columns, patch, patch, c)
    n = len(batch)
    order = (*range(n), n + 4, n, n + 2, n + 1, n + 3)
    return x.permute(order).reshape(*batch, c, rows * patch, columns * patch)


