"""The whole model: decoder, vision transformer, autoencoder, and what connects them."""

from __future__ import annotations

import math
import re
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from cooper.model.autoencoder import Autoencoder, patchify, unpatchify
from cooper.model.config import ModelConfig
from cooper.model.transformer import MixtureOfTransformers
from cooper.model.vision import VisionTransformer, grid_positions

TIME_FREQUENCIES = 256
#: Most pixels that are decoded at the same time: a feature map of 1024 x 1024 pixels takes half a gigabyte in fp32.
DECODED = 2 * 1024**2


Part: TypeAlias = Literal["text", "drawing", "vision", "connector", "autoencoder"]
_PARTS: tuple[tuple[Part, str], ...] = (
    ("autoencoder", r"autoencoder"),
    ("vision", r"vision"),
    ("connector", r"connector_(in|out)"),
    ("drawing", r"latent_(in|out)|time_(in|out)|decoder\.(norm_gen|layers\.\d+\.gen)"),
    ("text", r"decoder"),
)


def part_of(name: str) -> Part:
    """Which part of the model a parameter or a module of this name belongs to: what draws, with its ways in and out;
    the vision transformer, and the connector from it; the autoencoder; or what reads and writes text."""
    return next(part for part, pattern in _PARTS if re.match(rf"({pattern})(\.|$)", name))


class UnifiedModel(nn.Module):
    """Text, pictures and drawings in one sequence (docs/method.md, section 2, BAGEL).

    It turns each kind of input into tokens of width `hidden` (`embed_text`, `embed_pictures`, `embed_latents`), runs
    them through the decoder, and reads logits (`decoder.head`) and velocities (`velocity`) off the hidden states.
    """

    latent_table: Tensor
    vision_table: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        hidden = config.decoder.hidden
        self.decoder = MixtureOfTransformers(config.decoder)
        self.vision = VisionTransformer(config.vision)
        self.autoencoder = Autoencoder(config.autoencoder)
        self.connector_in = nn.Linear(config.vision.hidden, hidden)
        self.connector_out = nn.Linear(hidden, hidden)
        self.time_in = nn.Linear(TIME_FREQUENCIES, hidden)
        self.time_out = nn.Linear(hidden, hidden)
        self.latent_in = nn.Linear(config.latent_dim, hidden)
        self.latent_out = nn.Linear(hidden, config.latent_dim)
        # Fixed formulas, saved by the released checkpoints all the same, so they are buffers and may be absent.
        self.register_buffer("latent_table", sincos_table(hidden, config.max_latent_side), persistent=False)
        self.register_buffer("vision_table", sincos_table(hidden, config.vision.max_side), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.latent_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the `und` expert, and of what is cached."""
        return self.decoder.embed.weight.dtype

    @property
    def drawing_dtype(self) -> torch.dtype:
        """Of the `gen` expert."""
        return self.latent_in.weight.dtype

    def for_inference(self) -> UnifiedModel:
        """Put the model into evaluation mode, without gradients."""
        # convolutions on a CPU are 15 to 35 % faster in this order
        self.autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.eval().requires_grad_(False)

    def embed_text(self, ids: Int64[Tensor, "*batch"]) -> Float[Tensor, "*batch hidden"]:
        return self.decoder.embed(ids)

    def embed_pictures(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B patches hidden"]:
        """Images of one size (B, 3, H, W) in [-1, 1] to tokens (B, patches, hidden)."""
        features = self.vision(images.to(self.vision.patches.weight.dtype))
        tokens = self.connector_out(F.gelu(self.connector_in(features), approximate="tanh"))
        patch = self.config.vision.patch
        where = grid_positions((images.shape[-2] // patch, images.shape[-1] // patch), self.config.vision.max_side, "")
        return tokens + self.vision_table[where.to(self.device)].to(tokens.dtype)

    def embed_latents(
        self, tokens: Float[Tensor, "*batch latent_dim"], time: Float[Tensor, "*batch"], where: Int64[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch hidden"]:
        """Drawing tokens (..., latent_dim) at noise time (...) and table rows `where` (...) to (..., hidden)."""
        place = self.latent_table[where].to(self.drawing_dtype)
        return self.latent_in(tokens.to(self.drawing_dtype)) + self.embed_time(time) + place

    def embed_time(self, time: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch hidden"]:
        half = TIME_FREQUENCIES // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=time.device, dtype=torch.float32) / half)
        angles = time[..., None].float() * frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.drawing_dtype)
        return self.time_out(F.silu(self.time_in(waves)))

    def velocity(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch latent_dim"]:
        """Hidden states of the `gen` stream (..., hidden) to velocities (..., latent_dim)."""
        return self.latent_out(hidden)

    def logits(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch vocabulary"]:
        return self.decoder.head(hidden)

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float32[Tensor, "B tokens latent_dim"]:
        """Images (B, 3, H, W) in [-1, 1] to drawing tokens (B, tokens, latent_dim), float32."""
        ae_dtype = next(self.autoencoder.parameters()).dtype
        return patchify(self.autoencoder.encode(images.to(ae_dtype)), self.config.latent_patch).float()

    def decode(
        self, tokens: Float[Tensor, "B tokens latent_dim"], grid: tuple[int, int]
    ) -> Float32[Tensor, "B 3 H W"]:
        """Drawing tokens (B, tokens, latent_dim) to images (B, 3, H, W), float32, about [-1, 1]."""
        latents = unpatchify(tokens.to(next(self.autoencoder.parameters()).dtype), grid, self.config.latent_patch)
        some = max(1, DECODED // (grid[0] * grid[1] * self.config.latent_stride**2))
        return torch.cat([self.autoencoder.decode(part).float() for part in latents.split(some)])

    def initialise(self, seed: int = 0) -> UnifiedModel:
        """Weights to start training from, a pure function of the seed.

        Tables are N(0, 0.02) and matrices N(0, 1 / inputs), smaller with depth where they write to the residual stream;
        the velocity is zero, as the released model's is.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in self.named_parameters():
                if name.startswith("autoencoder"):
                    continue
                if name.endswith("bias"):
                    p.zero_()
                elif p.ndim == 2:
                    table = name.endswith(("embed.weight", "head.weight", "positions.weight"))
                    std = 0.02 if table else 1 / math.sqrt(p.shape[1])
                    if ".layers." in name and name.endswith(("out.weight", "down.weight")):
                        std /= math.sqrt(2 * self.config.decoder.layers)
                    p.normal_(0, std, generator=generator)
            self.latent_out.weight.zero_()
        self.autoencoder.initialise(generator)
        return self


def sincos_table(width: int, side: int) -> Float32[Tensor, "places width"]:
    """The fixed 2D position table, float32 (side * side, width): column waves, then row waves; sines, then cosines."""
    if torch.get_default_device().type == "meta":  # as in `embedding`
        return torch.empty(side * side, width, dtype=torch.float32)
    quarter = width // 4
    frequencies = 1 / 10000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.cat([waves[columns.flatten()], waves[rows.flatten()]], dim=1).float()
