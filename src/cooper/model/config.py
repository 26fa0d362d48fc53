"""Sizes of the model. Every size from `tiny` to the published 7B is one of these, for the same classes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from cooper.images import fit_size
from cooper.modalities import MapCodes, modality
from cooper.model.typed import check_fields

#: What a model computes in. "mixed" is fp32 with the `gen` expert, which draws, in bf16. "int8" and "int4" are "mixed"
#: with the decoder's matrices, most of a model, kept in 8 or 4 bits.
Precision: TypeAlias = Literal["fp32", "bf16", "mixed", "int8", "int4"]
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

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ValueError("the vision transformer's hidden must be a multiple of its heads")


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

    def __post_init__(self) -> None:
        if not self.multipliers:
            raise ValueError("the autoencoder has no levels; multipliers must hold one number for each")

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


Renorm: TypeAlias = Literal["global", "channel", "text_channel", "none"]


@dataclass(frozen=True)
class FlowSettings:
    """How a map is drawn (docs/method.md, section 5). The defaults are the shipped model's."""

    time_points: int = 12
    """Points of the schedule, both ends included: 12 points are 11 calls of the model."""
    shift: float = 1.0
    """Above 1, more of the points lie near pure noise."""
    text_scale: float = 1.0
    """Guidance away from the same history without the tool call; 1 is none, and costs nothing."""
    image_scale: float = 1.0
    """Guidance away from the same texts without the picture; 1 is none, and costs nothing."""
    interval: tuple[float, float] = (0.4, 1.0)
    """Guidance is on for low < t <= high."""
    renorm: Renorm = "global"
    """How the guided velocity's norm is brought back to the conditional one's."""
    renorm_min: float = 0.0
    """Lower limit of that factor; the upper one is 1."""
    noise: float = 0.1
    """Deviation of the noise that a drawing begins with. 1 samples among the maps that the picture allows, as the
    published model does; below that the map is nearer to the most likely one, and its errors are smaller."""

    def __post_init__(self) -> None:
        if self.time_points < 2:
            raise ValueError(f"drawing needs at least 2 time points, not {self.time_points}")
        if not (0 < self.shift < math.inf and 0 <= self.text_scale < math.inf and 0 <= self.image_scale < math.inf):
            raise ValueError("the time shift must be above 0, guidance scales must not be negative, and all be numbers")
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"the deviation of noise must not be negative, as {self.noise} is")
        if len(self.interval) != 2 or not 0 <= self.interval[0] < self.interval[1]:
            told = " and ".join(f"{t:g}" for t in self.interval)
            raise ValueError(f"the interval of guidance lies between two times, the lower one first; not {told}")
        if not 0 <= self.renorm_min <= 1:
            raise ValueError(f"the lower limit of renormalisation lies in 0 to 1, not at {self.renorm_min:g}")
        if self.renorm not in ("global", "channel", "text_channel", "none"):
            raise ValueError(f"no renormalisation is called {self.renorm!r}; use global, channel, text_channel or none")

    @property
    def told(self) -> str:
        """All of it in words; other settings are other words."""
        low, high = self.interval
        return (
            f"{self.time_points} time points with guidance {self.text_scale:g} and {self.image_scale:g} "
            f"(in {low:g} to {high:g}, renorm {self.renorm} from {self.renorm_min:g}), shift {self.shift:g}, "
            f"noise {self.noise:g}"
        )

    def guided_at(self, t: float) -> bool:
        low, high = map(np.float32, self.interval)  # t is fp32, and may lie on a bound
        return bool(low < np.float32(t) <= high)


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
    codes: MapCodes = MapCodes()
    """What these maps stand for, and how they are looked at."""
    maps_through: Literal["both", "vision"] = "both"
    """Branches through which a drawn map is looked at: autoencoder and vision transformer, or the latter alone. One
    setting for training, rollouts and answers."""
    flow: FlowSettings = FlowSettings()
    """How it draws unless it is told otherwise."""
    turn_tokens: int = 96
    """Most tokens of one turn, likewise."""
    trace_tokens: int = 288
    """Most tokens it writes in a trace, all turns together, likewise."""

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
        """The inverse of `to_dict`. Raises ValueError if a field is missing, unknown, or holds what it cannot."""
        parts: dict[str, Any] = {
            "decoder": DecoderConfig, "vision": VisionConfig, "autoencoder": AutoencoderConfig,
            "special": SpecialTokens, "latent_sizes": ImageSizes, "vision_sizes": ImageSizes, "flow": FlowSettings,
            "codes": MapCodes,
        }  # fmt: skip
        try:
            values = {k: parts[k](**tuples(v)) if k in parts else v for k, v in data.items()}
            made = cls(**tuples(values))
        except (TypeError, AttributeError, ZeroDivisionError) as error:
            known = ", ".join(f.name for f in fields(cls))
            raise ValueError(f"not a model config ({error}); it has the fields {known}") from None
        made.check()
        for name, token in asdict(made.special).items():
            if token >= made.decoder.vocabulary:
                raise ValueError(f"special.{name} is {token}, and there are {made.decoder.vocabulary} tokens")
        return made

    def check(self) -> None:
        """Raises ValueError for what no model can be made with, wherever it was read."""
        check_fields(self)
        own = {name: value for name, value in asdict(self).items() if name != "codes"}
        for part in (own, own["decoder"], own["vision"], own["autoencoder"]):
            for name, value in part.items():
                if isinstance(value, int) and value < 1:
                    raise ValueError(f"{name} is {value}; it must be at least 1")
        for name, part in (("rope_theta", self.decoder), ("norm_eps", self.decoder), ("norm_eps", self.vision)):
            if getattr(part, name) <= 0:
                raise ValueError(f"{name} is {getattr(part, name):g}; it must be above 0")
        for name, side in (("vision_sizes", self.vision.patch), ("latent_sizes", self.latent_stride)):
            sizes = getattr(self, name)
            try:
                fit_size(1, 1, side, sizes.longest, sizes.shortest)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        near, far = self.codes.depth or (0.5, 1.0)
        if not 0 <= near < far or (near == 0 and not self.codes.linear):
            raise ValueError(
                f"codes.depth is {near:g} to {far:g}; it must rise, from above 0 unless codes.linear is true"
            )
        for name in self.modalities:
            modality(name)


def tuples(values: dict[str, Any]) -> dict[str, Any]:
    """What JSON has as lists."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
