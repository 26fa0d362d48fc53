"""What every stage is trained with. The stages run one after the other, each from the one before (`pipeline`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from cooper.model.config import ModelConfig
from cooper.model.presets import tiny
from cooper.training.flags import Flagging
from cooper.training.loop import Optimisation
from cooper.training.reinforcement import Reinforcement
from cooper.training.rows import Mix
from cooper.training.unified import StageSettings


@dataclass(frozen=True)
class Recipe:
    """A model's size and its stages' data and optimisation."""

    config: ModelConfig
    autoencoder: Optimisation
    decoder: Optimisation
    """More training of the autoencoder's decoder alone; latents stay as they are."""
    vision: Optimisation
    """The analogue of SigLIP."""
    unified: dict[str, StageSettings]
    """Supervised stages of the whole model, in order."""
    reinforcement: Reinforcement
    flagging: Flagging = field(default_factory=Flagging)
    flagged: int = 200
    """Scenes whose questions are flagged for reinforcement."""
    vision_batch: int = 128

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of all stages, in order."""
        return ("autoencoder", "vision", *self.unified, "reinforcement")


#: The shipped model, on two cores.
TINY = Recipe(
    config=tiny(),
    autoencoder=Optimisation(steps=3000, lr=3e-3, betas=(0.9, 0.99), ema=0.995),
    decoder=Optimisation(steps=2700, lr=2e-3, betas=(0.9, 0.99), ema=0.998),
    vision=Optimisation(steps=4000, lr=2e-3, matrix_lr=3e-3, decay=0.8, ema=0.995),
    unified={
        # the analogue of BAGEL: numbers looked up by names, and drawing pictures
        "base": StageSettings(
            Mix(tokens=540, told=0.05, caption=0.2, grounded=4, listed=9, reconstruct=0.25),
            Optimisation(steps=1500, lr=1e-3, matrix_lr=2e-3, decay=0.0, ema=0.995),
            seed=10, trains_vision=False,
        ),
        # AMG: maps on demand; the paper's has no text loss, ours goes on with the lists, so that nothing is forgotten
        "perception": StageSettings(
            Mix(tokens=600, told=0.03, caption=0.2, grounded=4, listed=4, maps=1.0, noises=2),
            Optimisation(steps=2000, lr=1e-3, matrix_lr=2e-3, decay=0.0, ema=0.99),
            seed=21, trains_vision=False,
        ),
        # worked traces under every policy, and maps still
        "interleaved": StageSettings(
            Mix(
                tokens=680, modes=(("interleaved", 0.62), ("direct", 0.32), ("text", 0.04), ("perception", 0.02)),
                told=0.06, caption=0.2, grounded=4, listed=4, maps=1.0, noises=2, traced_targets=0.3,
            ),
            Optimisation(steps=1750, lr=8e-4, matrix_lr=1.6e-3, decay=0.97, ema=0.995, warmup=50),
            seed=31, trains_vision=False,
        ),
    },
    # the paper: 20 steps of 128 questions, 8 rollouts each, at a thousandth of the rate of this size of model
    reinforcement=Reinforcement(Optimisation(steps=40, lr=1e-4, warmup=2, ema=0.9)),
)  # fmt: skip
