"""What every stage is trained with, and after which other it comes (`pipeline` runs them)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

from cooper.model.config import ModelConfig
from cooper.model.presets import tiny
from cooper.training.flags import Flagging
from cooper.training.loop import Optimisation
from cooper.training.reinforcement import Reinforcement
from cooper.training.rewards import Weights
from cooper.training.rows import Mix
from cooper.training.unified import StageSettings

StageOfModel: TypeAlias = StageSettings | Reinforcement


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
    """Supervised stages of the whole model. Each begins with the model of the one it comes `after`, or of "vision"."""
    reinforced: dict[str, Reinforcement]
    """Reinforcement stages, likewise."""
    flagging: Flagging = field(default_factory=Flagging)
    flagged_by: str = "interleaved"
    """The stage whose model is asked which questions maps help with. All reinforcement is on these questions."""
    flagged: int = 200
    """Scenes whose questions are flagged."""
    vision_batch: int = 128
    seed: int = 0
    """Added to every stage's seed, a hundred times, so that stages of different seeds share no random numbers."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of all stages; none comes before one that it needs."""
        return ("autoencoder", "vision", *self.unified, *self.reinforced)

    def stage(self, name: str) -> StageOfModel:
        """The settings of a stage of the whole model, with this recipe's seed in them."""
        settings: StageOfModel = self.unified[name] if name in self.unified else self.reinforced[name]
        return replace(settings, seed=settings.seed + 100 * self.seed)

    def path(self, last: str) -> tuple[str, ...]:
        """The stages that lead to one, that one included. Raises ValueError if there is none of that name."""
        if last not in self.stages:
            raise ValueError(f"no stage is called {last!r}; choose from {', '.join(self.stages)}")
        if last in ("autoencoder", "vision"):
            return self.stages[: self.stages.index(last) + 1]
        return (*self.path(self.stage(last).after or "vision"), last)


# What worked traces are made of, whatever their policy.
_TRACES = Mix(tokens=680, told=0.06, caption=0.2, grounded=4, listed=4)
_SUPERVISED = StageSettings(
    _TRACES, Optimisation(steps=1750, lr=8e-4, matrix_lr=1.6e-3, decay=0.97, ema=0.995, warmup=50), seed=31, drawn=5000,
    trains_vision=False,
)  # fmt: skip
_INTERLEAVED = replace(
    _TRACES, modes=(("interleaved", 0.62), ("direct", 0.32), ("text", 0.04), ("perception", 0.02)), maps=1.0, noises=2,
    traced_targets=0.3,
)  # fmt: skip
# the paper: 20 steps of 128 questions, 8 rollouts each, at a thousandth of the rate of this size of model
_REINFORCED = Reinforcement(Optimisation(steps=40, lr=1e-4, warmup=2, ema=0.9), after="interleaved")

#: The shipped model, on two cores, and what the paper compares it with.
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
            seed=21, trains_vision=False, after="base",
        ),
        # worked traces under every policy, and maps still
        "interleaved": replace(_SUPERVISED, mix=_INTERLEAVED, after="perception"),
        # RE: the same traces without maps, from a model that never drew one
        "text": replace(
            _SUPERVISED, mix=replace(_TRACES, modes=(("text", 0.66), ("direct", 0.34))), drawn=0, after="base"
        ),
        "view_dropout": replace(_SUPERVISED, mix=replace(_INTERLEAVED, view_dropout=0.5), after="perception"),
    },
    reinforced={
        "reinforcement": _REINFORCED,
        "text_reinforcement": replace(
            _REINFORCED, after="text", mode="text", weights=Weights(form=0.1, exploration=0.0)
        ),
        "no_exploration": replace(_REINFORCED, weights=Weights(exploration=0.0)),
        "view_dropout_reinforcement": replace(_REINFORCED, after="view_dropout", view_dropout=0.5),
    },
)  # fmt: skip
