"""Named sizes. All are the same classes."""

from __future__ import annotations

from cooper.modalities.codes import RELEASED as RELEASED_CODES
from cooper.model.config import (
    AutoencoderConfig,
    DecoderConfig,
    FlowSettings,
    ImageSizes,
    ModelConfig,
    SpecialTokens,
    VisionConfig,
)

#: FLUX's autoencoder, as BAGEL ships it
BAGEL_AUTOENCODER = AutoencoderConfig(channels=128, multipliers=(1, 2, 4, 4), blocks=2, latent=16)
#: Qwen2's ids of <|im_start|>, <|im_end|>, <|vision_start|>, <|vision_end|>
BAGEL_SPECIAL = SpecialTokens(151644, 151645, 151652, 151653)
#: how rollouts of published models draw in training, so that answers are given as they were learned
BAGEL_FLOW = FlowSettings(30, 3.0, 4.0, 2.0, (0.4, 1.0), "global", noise=1.0)
#: most tokens of a turn, and of a trace
BAGEL_TOKENS = 512, 1536
#: ids of the same tokens in the tokenizers made here: they come first
OWN_SPECIAL = SpecialTokens(0, 1, 2, 3)

SMALL_WORLD = ImageSizes(128, 128)


def bagel_7b() -> ModelConfig:
    """BAGEL-7B-MoT, which COOPER's published weights share (14.6 B parameters, 7 B active)."""
    return ModelConfig(
        DecoderConfig(hidden=3584, layers=28, heads=28, kv_heads=4, ffn=18944, vocabulary=152064),
        VisionConfig(hidden=1152, layers=26, heads=16, ffn=4304, patch=14, max_side=70),
        BAGEL_AUTOENCODER,
        BAGEL_SPECIAL,
        codes=RELEASED_CODES,
        flow=BAGEL_FLOW,
        turn_tokens=BAGEL_TOKENS[0],
        trace_tokens=BAGEL_TOKENS[1],
    )


def tiny() -> ModelConfig:
    """The model that is trained and shipped here: 128x128 pictures of the synthetic world, two CPU cores."""
    return ModelConfig(
        DecoderConfig(hidden=192, layers=6, heads=4, kv_heads=2, ffn=512, vocabulary=768, rope_theta=1e4),
        VisionConfig(hidden=256, layers=4, heads=4, ffn=768, patch=16, max_side=8),
        AutoencoderConfig(channels=8, multipliers=(1, 2, 4, 8), blocks=1, latent=16, groups=4, scale=1.0, shift=0.0),
        OWN_SPECIAL,
        max_latent_side=8,
        latent_sizes=SMALL_WORLD,
        vision_sizes=SMALL_WORLD,
        # noise as it is where a drawing begins, where the picture alone tells what to draw, in half of the examples
        time_shift=8.0,
        # one step from noise goes to the mean of the maps that the picture allows; many do not err less
        # (docs/log.md, "What draws depth better, and fewer answers")
        flow=FlowSettings(2, noise=1.0),
        maps_through="vision",
    )


def bench() -> ModelConfig:
    """A fixed size for speed comparisons, on random weights."""
    return ModelConfig(
        DecoderConfig(hidden=256, layers=6, heads=4, kv_heads=2, ffn=672, vocabulary=2048),
        VisionConfig(hidden=192, layers=4, heads=4, ffn=768, patch=16, max_side=16),
        AutoencoderConfig(channels=32, multipliers=(1, 2, 2, 4), blocks=1, latent=16),
        OWN_SPECIAL,
        max_latent_side=16,
        latent_sizes=SMALL_WORLD,
        vision_sizes=SMALL_WORLD,
    )


def dummy() -> ModelConfig:
    """Builds in milliseconds; what the tests run on."""
    return ModelConfig(
        DecoderConfig(hidden=32, layers=2, heads=4, kv_heads=2, ffn=48, vocabulary=512, rope_theta=1e4),
        VisionConfig(hidden=24, layers=1, heads=2, ffn=32, patch=16, max_side=8),
        AutoencoderConfig(channels=8, multipliers=(1, 1, 1, 1), blocks=1, latent=4, groups=4, scale=1.0, shift=0.0),
        OWN_SPECIAL,
        max_latent_side=8,
        latent_sizes=ImageSizes(64, 32),
        vision_sizes=ImageSizes(64, 32),
    )


PRESETS = {f.__name__: f for f in (tiny, bagel_7b, bench, dummy)}
