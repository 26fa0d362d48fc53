"""Sizes of the model. Every size from `tiny` to the published 7B is one of these, for the same classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

#: What a model computes in. "mixed" is fp32 with the `gen` expert, which draws, in bf16. "int8" is "mixed" with the
#: matrices that write text in 8 bits: a written token reads every weight once, and takes as long as that reading.
Precision: TypeAlias = Literal["fp32", "bf16", "mixed", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class DecoderConfig:
    """The Mixture-of-Transformers language model (Qwen2 shape)."""

    hidden: int
    """Width of the residual stream."""
    layers: int
    heads: int
    """Query heads."""
    kv_heads: int
    """Key and value heads; each serves `heads / kv_heads` query heads."""
    ffn: int
    """Inner width of the gated feed-forward network."""
    vocabulary: int
    """Rows of the embedding, which may exceed what the tokenizer uses."""
    rope_theta: float = 1e6
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.hidden % self.heads or self.heads % self.kv_heads:
            raise ValueError("hidden must be a multiple of heads, and heads a multiple of kv_heads")

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


@dataclass(frozen=True)
class VisionConfig:
    """The SigLIP vision transformer that reads pictures of any size (NaViT)."""

    hidden: int
    layers: int
    """Layers that are used. The released config counts one more."""
    heads: int
    ffn: int
    patch: int
    """Side of a patch in pixels."""
    max_side: int
    """Most patches along a side; the side of the position tables."""
    norm_eps: float = 1e-6


@dataclass(frozen=True)
class AutoencoderConfig:
    """The FLUX image autoencoder."""

    channels: int
    """Channels of the finest level; level i has `channels * multipliers[i]`."""
    multipliers: tuple[int, ...]
    """One per level; each level but the last halves the resolution."""
    blocks: int
    """Residual blocks a level in the encoder; the decoder has one more."""
    latent: int
    """Channels of the latent."""
    groups: int = 32
    """Groups of every group norm."""
    scale: float = 0.3611
    shift: float = 0.1159

    @property
    def downsample(self) -> int:
        """Pixels per latent cell, along a side."""
        return 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class SpecialTokens:
    """Ids that frame segments: `<|im_start|>`, `<|im_end|>`, `<|vision_start|>`, `<|vision_end|>`."""

    begin: int
    end: int
    image_begin: int
    image_end: int


@dataclass(frozen=True)
class ImageSizes:
    """How an image is resized for one branch: long side at most `longest`, short side at least `shortest` (pixels)."""

    longest: int
    shortest: int


@dataclass(frozen=True)
class ModelConfig:
    """All of COOPER's model."""

    decoder: DecoderConfig
    vision: VisionConfig
    autoencoder: AutoencoderConfig
    special: SpecialTokens
    latent_patch: int = 2
    """Latent cells per side of a drawing token."""
    max_latent_side: int = 64
    """Most drawing tokens along a side; the side of their position table."""
    latent_sizes: ImageSizes = ImageSizes(1024, 512)
    vision_sizes: ImageSizes = ImageSizes(518, 224)
    time_shift: float = 1.0
    """Shift of the noise time in training."""
    modalities: tuple[str, ...] = field(default=("depth", "segmentation"))
    """Names of the modalities, as registered, that this model draws."""
    maps_through: Literal["both", "vision"] = "both"
    """Branches through which a drawn map is looked at: autoencoder and vision transformer, or the latter alone. One
    setting for training, rollouts and answers."""

    @property
    def latent_stride(self) -> int:
        """Pixels per drawing token, along a side."""
        return self.autoencoder.downsample * self.latent_patch

    @property
    def latent_dim(self) -> int:
        """Numbers in a drawing token."""
        return self.latent_patch**2 * self.autoencoder.latent

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`. Raises ValueError if a field is missing or unknown."""
        parts: dict[str, Any] = {
            "decoder": DecoderConfig, "vision": VisionConfig, "autoencoder": AutoencoderConfig,
            "special": SpecialTokens, "latent_sizes": ImageSizes, "vision_sizes": ImageSizes,
        }  # fmt: skip
        try:
            values = {k: parts[k](**_tuples(v)) if k in parts else v for k, v in data.items()}
            return cls(**_tuples(values))
        except TypeError as error:
            known = ", ".join(f.name for f in fields(cls))
            raise ValueError(f"not a model config ({error}); it has the fields {known}") from None


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
