"""What is compared: models of several stages, ways of asking them (the paper's: docs/method.md, section 6), and
controls."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cooper.evaluation.controls import Control
from cooper.policy import policy
from cooper.reproduction.results import name_of
from cooper.training.flags import Flagging
from cooper.training.optimisation import Optimisation
from cooper.training.recipe import SCRATCH_STAGES, TINY, Measured, Recipe
from cooper.training.settings import ASIDE, LATER
from cooper.training.unified import StageSettings


@dataclass(frozen=True)
class Variant:
    """The model of a stage, asked in a mode."""

    name: str
    stage: str
    mode: str
    about: str
    control: Control = Control()
    temperature: float = 0.0
    """Of what is written; 0 is greedy. Rollouts in reinforcement have 1."""
    as_sure_as: str | None = None
    """The stage by whose sharpness, relative to the model's own, the temperature is divided."""
    against: str = field(default="COOPER", metadata={**LATER, **ASIDE})
    """The variant that its scores are compared with: of ablations the one that they differ from in one thing."""


VARIANTS = (
    Variant("base", "base", "direct", "answers at once; has never drawn a map"),
    Variant("base, longer", "direct", "direct", "base with as many rows of answers as stage 1 has, without maps"),
    Variant("AMG direct", "answers", "direct", "has learned to draw maps (stage 1), answers without them"),
    Variant("PE", "answers", "perception", "stage 1; always draws both maps, then answers"),
    Variant("SFT only", "interleaved", "interleaved", "stage 2 without reinforcement"),
    Variant("COOPER", "reinforcement", "interleaved", "decides for itself"),
    Variant("RE", "text_reinforcement", "text", "base, longer, then supervised and reinforced to think; never draws"),
)
CONTROLS = (
    Variant("blank maps", "reinforcement", "interleaved", "shown grey for every map", Control(maps="blank")),
    Variant("other maps", "reinforcement", "interleaved", "shown another picture's true maps", Control(maps="other")),
    Variant("true maps", "reinforcement", "interleaved", "shown the true maps", Control(maps="truth")),
    Variant("calls forbidden", "reinforcement", "interleaved", "may not call", Control(calls="never")),
    Variant("calls forced", "reinforcement", "interleaved", "must call before it answers", Control(calls="always")),
    Variant("SFT only, sampled", "interleaved", "interleaved", "as in rollouts: temperature 1", temperature=1.0),
    Variant(
        "SFT only, as sure", "interleaved", "interleaved", "sampled, and no more of COOPER than how sure that is",
        temperature=1.0, as_sure_as="reinforcement",
    ),
    Variant("COOPER, sampled", "reinforcement", "interleaved", "as in rollouts: temperature 1", temperature=1.0),
    Variant("asked to think", "reinforcement", "text", "asked as RE is, so that it does not draw"),
)
#: Trained otherwise. They take hours and the claims do not need them, so they come last.
ABLATIONS = (
    Variant("RE from base", "text_from_base_reinforcement", "text", "as RE, but from base, as the paper has it"),
    Variant(
        "SFT on true maps", "true_maps", "interleaved", "as SFT only, but its traces showed true maps",
        against="SFT only",
    ),
    Variant("no exploration reward", "no_exploration", "interleaved", "reinforced without that part of the reward"),
    Variant("view dropout", "view_dropout_reinforcement", "interleaved", "half of the picture hidden after each map"),
)
#: Likewise: SFT leaves open what is called, so that reinforcement can decide it.
OPEN_CALLS = (
    Variant(
        "SFT half by eye", "by_eye", "interleaved", "as SFT only, but half of its traces call for no map",
        against="SFT only",
    ),
    Variant("half by eye", "by_eye_reinforcement", "interleaved", "reinforced after that, as COOPER is"),
    Variant(
        "half by eye without exploration reward", "by_eye_no_exploration", "interleaved",
        "the same without that reward", against="half by eye",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How much is trained and asked, for each seed."""

    recipe: Recipe
    variants: tuple[Variant, ...] = VARIANTS + CONTROLS
    ablations: tuple[Variant, ...] = ABLATIONS + OPEN_CALLS
    """What is trained and asked when all seeds have everything else."""
    n_train: int = 16_000
    """Scenes to train on; all seeds share them."""
    n_validation: int = 200
    n_test: int = 1000
    """Test scenes, others for each seed."""
    first_test: int = 50_000
    """The first of seed 0, among those of the split. Answers about earlier ones have been read, and the plan was
    changed after that: they are no test of it any more. Why an answer is wrong is asked of validation scenes."""
    questions: int = 1
    """Most questions a test scene."""
    n_maps: int = 200
    """Of the test scenes, those whose maps are measured."""
    size: int = 128
    """Side of the pictures."""

    @property
    def drawing(self) -> tuple[str, ...]:
        """The stages whose maps are measured: those of the paper's variants that can draw."""
        return tuple(dict.fromkeys(v.stage for v in VARIANTS if v in self.variants and policy(v.mode).calls))

    @property
    def shared(self) -> Plan:
        """What all variants hang on: no variants, and nothing that single stages are trained with."""
        none = Measured("", 0)
        recipe = replace(self.recipe, unified={}, reinforced={}, reinforced_on=none, balance=none)
        return replace(self, variants=(), ablations=(), recipe=recipe)

    @property
    def names(self) -> dict[str, str]:
        """By variant, a short name of what its answers hang on."""
        return {v.name: name_of(self.of(v.stage, v)) for v in self.variants + self.ablations}

    def of(self, stage: str, variant: Variant | None = None) -> tuple[object, ...]:
        """All that a stage's model, or the answers of a `variant` that it gives, hang on, whatever else is trained and
        asked."""
        recipe = self.recipe
        todo = [stage, *([variant.as_sure_as] if variant and variant.as_sure_as else [])]
        stages: dict[str, object] = {}
        flagged: dict[str, Measured] = {}
        while todo:
            for name in (one for one in recipe.path(todo.pop()) if one not in (*SCRATCH_STAGES, *stages)):
                stages[name] = recipe.stage(name)
                balanced = name in recipe.unified and recipe.unified[name].balanced
                if balanced or name in recipe.reinforced:
                    flagged[name] = measured = recipe.balance if balanced else recipe.reinforced_on
                    todo.append(measured.by)  # the stage whose model measures the flags
        asked = variant and replace(variant, name="", about="")
        return self.shared, stage, *(dict(sorted(of.items())) for of in (stages, flagged)), asked


def shortened(recipe: Recipe, steps: dict[str, int]) -> Recipe:
    """The recipe with these numbers of steps, by stage; schedules shrink with them. Raises ValueError if one has none.
    """
    if wrong := steps.keys() ^ {*recipe.stages, "decoder"}:
        raise ValueError(f"each stage needs a number of steps, and nothing else does: {', '.join(sorted(wrong))}")

    def short(name: str, o: Optimisation) -> Optimisation:
        return o.in_steps(steps[name], warming=0.2)

    begun = recipe.scratch
    assert begun is not None
    return replace(
        recipe,
        scratch=replace(
            begun, autoencoder=short("autoencoder", begun.autoencoder), decoder=short("decoder", begun.decoder),
            vision=short("vision", begun.vision),
        ),
        unified={k: replace(s, optimisation=short(k, s.optimisation)) for k, s in recipe.unified.items()},
        reinforced={k: replace(s, optimisation=short(k, s.optimisation)) for k, s in recipe.reinforced.items()},
    )  # fmt: skip


def telling_little(recipe: Recipe, scenes: int, questions: int) -> Recipe:
    """The recipe with so many `questions`, answers and traces of each of the first `scenes` alone, and eyes that know
    names and no distances. All have pictures, and maps where a stage learns to draw them. Flags are measured and
    rewards earned with answers to questions about some of the last scenes.

    This is where the method is meant for: the paper has 100 000 pictures with a map, 6 901 traces of a question each,
    and a SigLIP that learned from captions. Where every picture comes with dozens of right answers, there is nothing
    left for maps to teach (docs/log.md, "Plenty of maps, few answers").
    """
    assert recipe.scratch is not None

    def little(s: StageSettings) -> StageSettings:
        # traces are about all tasks alike: three of twelve are general. No picture is changed: what is reported was
        # trained before any was
        mix = replace(s.mix, answered=scenes, asked=questions, general=1 if s.scenes else None, edited=0.0)
        # what the eyes were not taught before is left to the stages before traces
        return replace(s, mix=mix, scenes=scenes) if s.scenes else replace(s, mix=mix, trains_vision=True)

    return replace(
        recipe, scratch=replace(recipe.scratch, geometry=False),
        unified={k: little(s) for k, s in recipe.unified.items()},
    )  # fmt: skip


def with_autoencoder(plan: Plan, model: str) -> Plan:
    """The plan with that model's autoencoder, which is not trained then."""
    assert plan.recipe.scratch is not None
    return replace(plan, recipe=replace(plan.recipe, scratch=replace(plan.recipe.scratch, autoencoder_of=model)))


_SUPERVISED = ("interleaved", "text", "text_from_base", "true_maps", "view_dropout", "by_eye")
#: By the times of its steps some three hours for a seed on two cores that are quick in bf16, twice that on others
#: (docs/log.md, "The plan cut to three hours, on a processor without bf16"); without the autoencoder and the ablations.
FULL = Plan(
    replace(
        telling_little(shortened(TINY, {
            "autoencoder": 2500, "decoder": 1200, "vision": 500, "base": 1200,
            "perception": 2500, "answers": 700, "direct": 920, **dict.fromkeys(_SUPERVISED, 700),
            **dict.fromkeys(TINY.reinforced, 80),
        }), scenes=2000, questions=3), balance=replace(TINY.balance, scenes=60),
        # each question about once: what came of more rollouts of fewer was learned by heart (docs/log.md,
        # "Three answers a scene")
        reinforced_on=Measured("interleaved", 450, Flagging(samples=4)),
    )
)  # fmt: skip
#: Minutes: everything is run, nothing is learned that a claim could rest on.
QUICK = Plan(
    replace(
        telling_little(shortened(TINY, {
            "autoencoder": 250, "decoder": 50, "vision": 40, "base": 30, "perception": 30, "answers": 20, "direct": 30,
            **dict.fromkeys(_SUPERVISED, 20), **dict.fromkeys(TINY.reinforced, 3),
        }), scenes=200, questions=3), balance=replace(TINY.balance, scenes=10),
        reinforced_on=Measured("interleaved", 20, Flagging(drop=False)),  # such a model may answer nothing
    ), n_train=1000, n_validation=50, n_test=60, n_maps=24,
)  # fmt: skip
