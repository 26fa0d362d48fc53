"""All that a report is made of, and its variants in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cooper.reproduction import cells
from cooper.reproduction.claims import Answers, numbered
from cooper.reproduction.logs import Log
from cooper.reproduction.results import SeedResults
from cooper.reproduction.variants import OPEN_CALLS, VARIANTS, Plan, Variant


@dataclass(frozen=True)
class Group:
    """Variants whose figures stand in one table."""

    title: str
    about: str
    plot: str
    """Name of the picture."""
    variants: Sequence[Variant]
    beside: Sequence[str] = ("COOPER",)
    """Variants of other groups that these are to be compared with."""


class Column(NamedTuple):
    """A variant's place in a group's tables."""

    title: str
    variant: Variant
    answers: Answers


@dataclass(frozen=True)
class Known:
    """All that a report is made of."""

    seeds: Sequence[SeedResults]
    plan: Plan
    command: str

    @property
    def variants(self) -> list[Variant]:
        """Those that have been asked."""
        return [v for v in self.plan.variants + self.plan.ablations if any(v.name in s.answers for s in self.seeds)]

    @property
    def answers(self) -> dict[str, Answers]:
        """By variant."""
        return {
            v.name: {s.seed: s.answers[v.name] for s in self.seeds if v.name in s.answers} for v in self.variants
        }

    @property
    def logs(self) -> dict[str, dict[int, Log]]:
        """By stage and seed, of all seeds that have been through it."""
        stages = {
            stage: {s.seed: s.figures.logs[stage] for s in self.seeds if stage in s.figures.logs}
            for stage in self.plan.recipe.reinforced
        }
        return {stage: of for stage, of in stages.items() if of}

    @property
    def groups(self) -> list[Group]:
        asked, ablations = self.variants, self.plan.ablations
        controls = [v for v in asked if v not in VARIANTS and v not in ablations]
        groups = (
            Group(
                "Variants", "The models that the paper compares, and what they are compared with here.", "scores",
                [v for v in asked if v in VARIANTS],
            ),
            Group(
                "Controls", cells.prose(f"""
                    COOPER itself, the same weights, with other maps, other calls, or asked in another mode. Being asked
                    to think is what {self._thinking:.0%} of SFT's rows practised; answering without the map that was
                    called for, where calls are forbidden, none.
                """), "controls", [v for v in controls if not v.temperature],
            ),
            Group(
                "Sampled", cells.prose("""
                    Answers drawn at temperature 1, as the rollouts of reinforcement are; everywhere else the
                    likeliest token is taken. "SFT only, as sure" has SFT only's weights and one number of COOPER's:
                    how much all logits are scaled up, which makes it surer of what it writes.
                """), "sampled", [v for v in controls if v.temperature],
            ),
            Group(
                "Ablations", cells.prose("""
                    Models trained otherwise, beside those that they differ from in one thing, of the same seeds.
                    "RE from base" begins where the paper's RE does, but is supervised before it is reinforced, which
                    the paper's is not.
                """), "ablations", [v for v in asked if v in ablations and v not in OPEN_CALLS],
                ("SFT only", "COOPER", "RE"),
            ),
            Group(
                "Open calls", cells.prose("""
                    Half of the traces that these models were taught call for no map where one would help, so that
                    rollouts of one question differ in what they call for. They stand beside models of the same seeds
                    whose traces always call.
                """), "open_calls", [v for v in asked if v in OPEN_CALLS], ("SFT only", "COOPER"),
            ),
        )  # fmt: skip
        return [group for group in groups if group.variants]

    def compared(self, group: Group) -> list[Column]:
        """The group's variants, after those that they are to be compared with in the seeds that any of them has: seeds
        differ more than variants do. Titles name the seeds where those are not all."""
        answers = self.answers
        seeds = {seed for v in group.variants for seed in answers[v.name]}
        beside = [v for v in self.variants if v.name in group.beside and v not in group.variants]
        columns = []
        for v in (*beside, *group.variants):
            if own := {seed: rows for seed, rows in answers[v.name].items() if seed in seeds}:
                title = v.name if len(own) == len(self.seeds) else f"{v.name}, {numbered(own)}"
                columns.append(Column(title, v, own))
        return columns

    @property
    def _thinking(self) -> float:
        """Share of SFT's rows that are asked to think without maps."""
        modes = dict(self.plan.recipe.unified["interleaved"].mix.modes)
        return modes.get("text", 0.0) / sum(modes.values())

    def of(self, stage: str) -> str:
        """What the model after a stage is called."""
        return next((f"{v.name} ({stage})" for v in self.variants if v.stage == stage), stage)
