"""What every stage is trained with, and after which other it comes (`pipeline` runs them)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from cooper.model.config import ModelConfig
from cooper.model.presets import BAGEL_FLOW, BAGEL_TOKENS, tiny
from cooper.training.flags import Flagging
from cooper.training.grpo import Objective
from cooper.training.optimisation import Optimisation
from cooper.training.reinforcement import Reinforcement
from cooper.training.rewards import Weights
from cooper.training.rows import Mix
from cooper.training.unified import StageSettings

StageOfModel: TypeAlias = StageSettings | Reinforcement

#: what makes a model to begin with: the folders of a run that hold no model yet
SCRATCH_STAGES = ("autoencoder", "decoder", "vision")


@dataclass(frozen=True)
class Scratch:
    """How a model begins that begins with nothing: its size, and the stages "autoencoder" and "vision"."""

    config: ModelConfig
    autoencoder: Optimisation
    decoder: Optimisation
    """More training of the autoencoder's decoder alone; latents stay as they are."""
    vision: Optimisation
    """The analogue of SigLIP."""
    vision_batch: int = 128
    geometry: bool = True
    """Whether the vision transformer is taught how far away things are, before any map is drawn."""
    seed: int = 0
    autoencoder_of: str | None = None
    """A model, as `Cooper.load` takes it, whose autoencoder is taken, as the paper takes FLUX's; None: it is
    trained."""


@dataclass(frozen=True)
class Measured:
    """Questions whose flags are measured: three of each of the last so many `scenes` to train on, asked of the model of
    the stage `by`."""

    by: str
    scenes: int
    flagging: Flagging = Flagging()


@dataclass(frozen=True)
class Recipe:
    """The stages' data and optimisation."""

    unified: dict[str, StageSettings]
    """Supervised stages of the whole model. Each begins with the model of the one it comes `after`; "" is what a model
    begins as."""
    reinforced: dict[str, Reinforcement]
    """Reinforcement stages, likewise."""
    scratch: Scratch | None = None
    """None: a model begins as a checkpoint."""
    reinforced_on: Measured = Measured("interleaved", 200)
    """All reinforcement is on these questions."""
    balance: Measured = Measured("perception", 100, Flagging(with_maps="perception", without="direct"))
    """What tells supervised stages that are `balanced` which tasks maps help with."""
    seed: int = 0
    """Added to the seed of every stage of the whole model, a hundred times, so that stages of different seeds share no
    random numbers."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of all stages; none comes before one that it needs."""
        made = self.scratch is not None and self.scratch.autoencoder_of is None
        begin = (*(["autoencoder"] if made else []), *(["vision"] if self.scratch else []))
        return (*begin, *self.unified, *self.reinforced)

    @property
    def together(self) -> int:
        """The fewest pictures, rows or questions that a step of any stage has."""
        pictures = [self.scratch.vision_batch] if self.scratch else []
        rows, questions = [s.rows for s in self.unified.values()], [s.questions for s in self.reinforced.values()]
        return min(pictures + rows + questions)

    def stage(self, name: str) -> StageOfModel:
        """The settings of a stage of the whole model, with this recipe's seed in them."""
        settings: StageOfModel = self.unified[name] if name in self.unified else self.reinforced[name]
        return replace(settings, seed=settings.seed + 100 * self.seed)

    def path(self, last: str) -> tuple[str, ...]:
        """The stages that lead to one, that one included. Raises ValueError if there is none of that name."""
        if last not in self.stages:
            raise ValueError(f"no stage is called {last!r}; choose from {', '.join(self.stages)}")
        if last in SCRATCH_STAGES:
            return self.stages[: self.stages.index(last) + 1]
        after = self.stage(last).after or ("vision" if self.scratch else "")
        return (*(self.path(after) if after else ()), last)


#: What stands in a room hardly differs from it in depth, and where it stands has to be found out.
_OBJECT_WEIGHT = 8.0
# What comes after base, with maps and without.
_ANSWERS = Mix(tokens=600, told=0.03, sums=0.1, caption=0.2, grounded=4, listed=4)
_SECOND = StageSettings(
    _ANSWERS, Optimisation(steps=600, lr=1e-3, matrix_lr=2e-3, decay=0.5, ema=0.99), seed=21, trains_vision=False,
    after="base",
)  # fmt: skip
# Longer rows, in which maps take no room from questions. The paper's PE is asked of these models, so they must have
# seen that way of being asked: BAGEL follows any prompt
_MAPS = replace(
    _ANSWERS, modes=(("direct", 0.85), ("perception", 0.15)), tokens=740, maps=1.0, object_weight=_OBJECT_WEIGHT,
    maps_alone=0.7, read=0.1,
)
# What worked traces are made of, whatever their policy.
_TRACES = Mix(tokens=680, told=0.06, sums=0.2, caption=0.2, grounded=4, listed=4)
_SUPERVISED = StageSettings(
    _TRACES, Optimisation(steps=1300, lr=8e-4, matrix_lr=1.6e-3, decay=0.97, ema=0.995, warmup=50), seed=33,
    scenes=6000, drawn=True, balanced=True, trains_vision=False,
)  # fmt: skip
_INTERLEAVED = replace(
    # longer rows, in which maps take no room from what is written: it is as much as without them
    _TRACES, modes=(("interleaved", 0.62), ("direct", 0.32), ("text", 0.04), ("perception", 0.02)), tokens=1200,
    maps=1.0, noises=2, traced_targets=0.3, object_weight=_OBJECT_WEIGHT, read=0.1,
)  # fmt: skip
_THINKING = replace(
    _SUPERVISED, mix=replace(_TRACES, modes=(("text", 0.66), ("direct", 0.34)), tokens=740), drawn=False, after="direct"
)
# the paper: 20 steps of 128 questions, 8 rollouts each, at 3e-6. Answers are right or wrong there, lengths, too; here
# lengths are graded: within a tenth they are right by luck, and learning from that made them worse (docs/log.md, "Maps
# are used for the first time")
# How sure a model is has a rate of its own: it is what a step tells most about, by far
_REINFORCED = Reinforcement(Optimisation(steps=16, lr=5e-5, scale_lr=0.05, warmup=2, ema=0.9), after="interleaved")
_REINFORCED_THINKING = replace(_REINFORCED, after="text", mode="text", weights=Weights(form=0.1, exploration=0.0))

#: A model of the shipped one's size, in two and a quarter hours on two cores that are quick in bf16 (docs/log.md, "One
#: command, from nothing"), and what the paper compares it with.
TINY = Recipe(
    scratch=Scratch(
        config=tiny(),
        autoencoder=Optimisation(steps=3000, lr=3e-3, betas=(0.9, 0.99), ema=0.995),
        decoder=Optimisation(steps=2700, lr=2e-3, betas=(0.9, 0.99), ema=0.998),
        vision=Optimisation(steps=4000, lr=2e-3, matrix_lr=3e-3, decay=0.8, ema=0.995),
    ),
    unified={
        # the analogue of BAGEL: words, numbers looked up by names, sums, reading maps, pictures as they are and
        # changed. Two of five rows have words alone, as the language model has learned that BAGEL begins as: whoever
        # cannot subtract guesses differences from pictures, and words before all else make maps slow to be read
        # (docs/log.md, "Three answers a scene")
        "base": StageSettings(
            Mix(
                tokens=600, told=0.23, sums=0.23, caption=0.2, grounded=4, listed=4, reconstruct=0.25, edited=0.15,
                read=0.12,
            ),
            Optimisation(steps=1200, lr=1e-3, matrix_lr=2e-3, decay=0.0, ema=0.995),
            rows=20, seed=10, trains_vision=False,
        ),
        # AMG: maps on demand; the paper's has no text loss, ours goes on with the lists in a fifth of the rows, so that
        # nothing is forgotten, and with reading maps. Depth is learned in steps, not in pictures: many, of little cost
        # (docs/log.md, "Why maps are not read, and what draws them better")
        "perception": replace(_SECOND, mix=_MAPS, optimisation=replace(_SECOND.optimisation, steps=1500)),
        # answers strewn among maps are hardly learned, so they have a stage, with enough maps that none is forgotten
        # (docs/log.md, "Seed 0 of the shorter plan, whole"). The two together are stage 1
        "answers": replace(
            _SECOND, mix=replace(_MAPS, maps_alone=0.3), optimisation=replace(_SECOND.optimisation, steps=500),
            seed=22, after="perception",
        ),
        # what stage 1 is compared with, and RE begins with: as many rows of answers, no maps
        "direct": _SECOND,
        # worked traces under every policy, and maps still
        "interleaved": replace(_SUPERVISED, mix=_INTERLEAVED, after="answers"),
        # RE: the same traces without maps, from a model that never drew one
        "text": _THINKING,
        # the paper's RE begins with base, without what makes up for stage 1
        "text_from_base": replace(_THINKING, after="base"),
        "true_maps": replace(_SUPERVISED, mix=_INTERLEAVED, drawn=False, after="answers"),
        "view_dropout": replace(_SUPERVISED, mix=replace(_INTERLEAVED, view_dropout=0.5), after="answers"),
        # what is called is left open, so that reinforcement can decide it
        "by_eye": replace(_SUPERVISED, mix=replace(_INTERLEAVED, by_eye=0.5), after="answers"),
    },
    reinforced={
        "reinforcement": _REINFORCED,
        "text_reinforcement": _REINFORCED_THINKING,
        "text_from_base_reinforcement": replace(_REINFORCED_THINKING, after="text_from_base"),
        "no_exploration": replace(_REINFORCED, weights=Weights(exploration=0.0)),
        "view_dropout_reinforcement": replace(_REINFORCED, after="view_dropout", view_dropout=0.5),
        "by_eye_reinforcement": replace(_REINFORCED, after="by_eye"),
        "by_eye_no_exploration": replace(_REINFORCED, after="by_eye", weights=Weights(exploration=0.0)),
    },
    reinforced_on=Measured("interleaved", 100),
    balance=Measured("answers", 60, Flagging(with_maps="perception", without="direct")),
)  # fmt: skip

# the paper's AdamW, at a constant rate (docs/method.md, sections 3 and 4)
_PUBLISHED = Optimisation(steps=6000, lr=5e-6, warmup=500, decay=0.0, eps=1e-15, ema=0.995)
#: The published model's size: what the paper states of its stages. It begins with BAGEL's weights. What differs: the
#: data are scenes of the synthetic world; a step has 12 rows of at most 10 240 tokens, not 8 GPUs that are packed to so
#: many; and the averages' decay rises to 0.995 (`Optimisation.ema`), more slowly than SFT's 300 steps.
BAGEL_7B = Recipe(
    unified={
        # flow loss alone
        "perception": StageSettings(
            # room for a picture and both of its maps, which have thousands of tokens
            Mix(tokens=10_240, maps=1.0, questions=False, spread=1.0), _PUBLISHED, point_weight=0.0,
            trains_vision=False, seed=21,
        ),
        "interleaved": StageSettings(
            Mix(tokens=10_240, modes=(("interleaved", 1.0),), spread=1.0), replace(_PUBLISHED, steps=300, warmup=30),
            point_weight=0.0, scenes=2000, drawn=True, balanced=True, trains_vision=False, seed=31, after="perception",
        ),
    },
    reinforced={
        "reinforcement": Reinforcement(
            # caches of 16 rollouts have room beside the model on a large GPU, those of all 1024 nowhere
            Optimisation(steps=20, lr=3e-6, warmup=1, ema=0.0), questions=128, batch=16, turn_tokens=BAGEL_TOKENS[0],
            flow=BAGEL_FLOW, objective=Objective(longest=BAGEL_TOKENS[1]), after="interleaved",
        )
    },
)  # fmt: skip


def check_beginning(recipe: Recipe, last: str, start: str | None) -> None:
    """Raises ValueError unless `last` is a stage that can be come to from the model `start`; None: from nothing."""
    recipe.path(last)
    if start is None and recipe.scratch is None:
        raise ValueError("this preset begins with a trained model, such as BAGEL's weights; name it with --start")
    if start is not None and last in SCRATCH_STAGES:
        raise ValueError(f"a model to start with has been through the stage {last} already; choose a later one")


RECIPES = {"tiny": TINY, "bagel_7b": BAGEL_7B}
