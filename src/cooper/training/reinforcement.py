"""The reinforcement stage: the engine answers, the answers are judged, GRPO teaches (docs/method.md, section 4, CPR).

A step takes some questions, rolls each out several times, all together, and goes over the rollouts once or more. A
question's rollouts are one row of the packed pass, which holds the prompt once; what they sampled is scored by the very
layout that trains everything else, so its log-probabilities are those that were recorded (tests/test_replay.py).

As in the paper:
 1. Eight rollouts of a question, at temperature 1, of all tokens; at most three turns, and so two maps.
 2. The reward is answer + format + exploration, weight 1 each (`rewards`); only texts are optimised.
 3. The objective is GRPO's (`grpo`, whose own list says what differs there). No penalty for leaving a reference.
What differs, and why:
 4. Answers are judged by rules where rules can: a letter, yes or no, a number, a word of the synthetic world are right
    or wrong without asking anybody, the same every time. Lengths are graded (MRA), not right or wrong: within a tenth
    they are right by luck, and learning from that made them worse. Without `<answer>` rules read nothing in a question
    of the synthetic world, or else the first number of a thought would be paid for. Open answers have a judge, as in
    the paper; a rollout without a verdict is left out of its group, for no verdict is not a wrong answer.
 5. Which questions maps help with (the flag) is measured, by a rule of our own (`flags`): the paper's is not public.
 6. What writes is trained: the expert `und`, the embedding and what connects eyes to it. The paper does not say. What
    draws, the eyes and the autoencoder stay as they are, since no gradient of a reward says how a map should be drawn.
 7. `tiny` has 16 questions a step instead of 128, a rate of 5e-5 instead of 3e-6, and an average of the weights (0.9)
    that the paper does not name: two cores, and a model that is a thousand times smaller. How sure the model is, one
    number for all logits, is learned at a rate of its own (`sharpness`), because steps tell most about that.
 8. Maps are drawn as the model draws them everywhere; the paper's rollouts have 30 flow steps with guidance, and so
    does the preset of that size. `tiny` is trained without dropping conditions and has no guidance.
 9. Half of the picture may be hidden from what is written after a map (view dropout); the paper has no such thing.
10. The average of the weights begins fast and slows down to its rate (`loop`): of few steps a slow one is mostly what
    the model began as.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cooper.evaluation.judge import Judge
from cooper.inference.engine import Engine, Settings
from cooper.inference.flow import FlowSettings
from cooper.inference.rollout import Rollout
from cooper.inference.sampler import COLD, Sampling
from cooper.layout import NO_LABEL, Batch, Node, collate, lay_out_rows, merge
from cooper.lora import Lora, adapters_or_all, without_adapters
from cooper.modalities import modality
from cooper.model.packed import forward
from cooper.model.unified import UnifiedModel, part_of
from cooper.page import traces_page
from cooper.policy import policy
from cooper.sequence import Sequencer
from cooper.trace import Picture, Text, Trace
from cooper.training.grpo import Objective, group_advantages, grpo_loss
from cooper.training.logged import Logged
from cooper.training.optimisation import Optimisation
from cooper.training.processes import Share, gathered
from cooper.training.rewards import Record, Reward, RewardFunction, Weights, claim_of, rewards
from cooper.training.settings import ASIDE, LATER, within
from cooper.training.sharpness import sharpness
from cooper.training.sheet import contact_sheet
from cooper.training.stage import Losses, Stage
from cooper.view_dropout import blinded

#: More than are asked in any run, so that runs of other seeds have other random numbers.
_QUESTIONS = 10**8
#: of a reward
_PARTS = ("total", "answer", "form", "exploration")


@dataclass(frozen=True)
class Reinforcement:
    """Settings of the stage. The numbers of questions are for two cores; the paper has 128."""

    optimisation: Optimisation
    questions: int = 16
    rollouts: int = 8
    updates: int = 1
    """Optimisation passes over the rollouts of a step (GRPO's mu)."""
    together: int = field(default=4, metadata=ASIDE)
    """Size of a micro-batch: questions whose rollouts share a forward pass. More need more memory."""
    batch: int | None = field(default=None, metadata={**LATER, **ASIDE})
    """Most rollouts that are written at the same time, each with a cache of its own; None: all of a step. More need
    more memory."""
    mode: str = "interleaved"
    sampling: Sampling = Sampling(1.0)
    turn_tokens: int | None = 96
    """Most tokens of a turn; None: the model's own."""
    flow: FlowSettings | None = None
    """How maps are drawn; None: the model's own way."""
    objective: Objective = field(default_factory=Objective)
    weights: Weights = field(default_factory=Weights)
    tolerance: float | None = None
    """Relative error up to which a length is right; None grades it."""
    view_dropout: float = 0.0
    """Share of the picture that is hidden from what is written after a map, in rollouts and in the update."""
    lora: Lora | None = None
    """Train adapters only, which become part of the weights when the stage ends; None: all weights. The model without
    them is what a penalty's reference is, if no other is given."""
    mask_truncated: bool = False
    """Leave out rollouts that ran out of tokens."""
    seed: int = 4
    page_every: int = field(default=1, metadata=ASIDE)
    """Steps between pages of a question's rollouts."""
    after: str = ""
    """The stage that this one goes on from."""

    def __post_init__(self) -> None:
        if self.sampling.temperature < COLD or self.sampling.top_p < 1 or self.sampling.banned:
            # what is learned from must be as likely in training as when it was sampled
            raise ValueError(f"rollouts are sampled at a temperature above 0, of all tokens; not by {self.sampling}")
        if policy(self.mode).answers_last:  # its tags are put there, not sampled, and cannot be learned from
            raise ValueError(f"mode {self.mode} forces its last turn to answer; reinforce another one")
        # (of one rollout nothing is learned, and grpo says so; it may be timed)
        within(self, 1, math.inf, "questions", "rollouts", "updates", "together", "batch", "turn_tokens", "page_every")
        within(self, 0, math.inf, "tolerance", "seed")
        within(self, 0, 1, "view_dropout")


@dataclass(frozen=True)
class PicturedQuestion:
    """A picture, uint8 (H, W, 3), and a question about it."""

    image: np.ndarray
    record: Record


class Questions(Protocol):
    """Endless draws of questions, such as a `cooper.data.mixture.Mixture`."""

    def example(self, k: int) -> PicturedQuestion:
        """Draw k."""


@dataclass
class Group:
    """A question, its rollouts, what they earned, and their advantages (rollouts,), NaN of those that are left out."""

    asked: PicturedQuestion
    rollouts: list[Rollout]
    rewards: list[Reward]
    advantages: Tensor
    spread: bool


@dataclass(frozen=True)
class _Outcome:
    """What is logged of a rollout."""

    names: tuple[str, str]
    """Of its question: the task and the flag."""
    reward: Reward
    tokens: int
    cut: bool
    drew: frozenset[str]


class ReinforcementStage(Stage[UnifiedModel]):
    """Step by step, the next draws of `questions` are answered. Those to be judged need a `judge`. `more` are rewards
    besides the paper's, by name: each is added to the total as it is, and logged as reward/NAME."""

    def __init__(
        self, questions: Questions, sequencer: Sequencer, settings: Reinforcement,
        name: str = "reinforcement", judge: Judge | None = None, reference: UnifiedModel | None = None,
        more: Mapping[str, RewardFunction] | None = None,
    ):  # fmt: skip
        if settings.objective.kl and reference is None and settings.lora is None:
            raise ValueError("a penalty for leaving the reference needs a model as the reference, or adapters")
        if settings.lora and "und" not in settings.lora.experts:
            raise ValueError("reinforcement trains what writes; adapters must be of the expert und, too")
        self.judge, self.reference, self.more = judge, reference, dict(more or {})
        if taken := self.more.keys() & {*_PARTS}:
            raise ValueError(f"there is a reward called {', '.join(sorted(taken))} already; give yours another name")
        self.name, self.questions, self.sequencer, self.settings = name, questions, sequencer, settings
        self.policy = sequencer.prompts.policy(settings.mode)
        self.tags = tuple(modality(name).tag for name in sequencer.callable_in(self.policy))
        self._shown: list[Group] = []

    def batch(self, step: int, share: Share) -> list[tuple[int, PicturedQuestion]]:
        """A number, from which its rollouts have their seeds, and a question each."""
        size, first = self.settings.questions, self.settings.seed * _QUESTIONS
        mine = range(step * size + share.rank, (step + 1) * size, share.world)
        return [(first + k, self.questions.example(k)) for k in mine]

    def updates(self, model: UnifiedModel, batch: Any) -> Iterator[Losses]:
        began = time.perf_counter()
        groups = self.roll_out(model, batch)
        figures = {**self.figures(groups), "rollout_seconds": time.perf_counter() - began}
        figures["sharpness"] = sharpness(model)
        self._shown = groups[:3]
        # a penalty for leaving the reference is also of those that teach nothing else
        kept = [g for g in groups if g.spread or self.settings.objective.kl]
        for number in range(self.settings.updates):
            yield self.losses(model, kept, figures, first=number == 0)

    @torch.no_grad()
    def roll_out(self, model: UnifiedModel, batch: Sequence[tuple[int, PicturedQuestion]]) -> list[Group]:
        """Rollouts of every question, and their rewards."""
        s, groups = self.settings, self.sample(model, batch)
        judged = self._judged([(r.trace, asked.record) for (_, asked), g in zip(batch, groups, strict=True) for r in g])
        earned = []
        for k, ((_, asked), group) in enumerate(zip(batch, groups, strict=True)):
            verdicts = judged[k * s.rollouts : (k + 1) * s.rollouts]
            traces = [r.trace for r in group]
            earned.append(rewards(
                traces, asked.record, self.tags, s.weights, s.tolerance, verdicts, self.policy.thinks, self.more
            ))  # fmt: skip
        totals = torch.tensor(
            [self._totals(group, parts) for group, parts in zip(groups, earned, strict=True)], dtype=torch.float64
        )
        advantages, spread = group_advantages(totals, s.objective.aggregation)
        return [
            Group(asked, group, parts, a, bool(differ))
            for (_, asked), group, parts, a, differ in zip(batch, groups, earned, advantages, spread, strict=True)
        ]

    def _totals(self, group: Sequence[Rollout], earned: Sequence[Reward]) -> list[float]:
        """NaN for rollouts that are left out: without a verdict, or cut and masked."""
        masked = [self.settings.mask_truncated and r.reason == "length" for r in group]
        return [math.nan if m else reward.total for m, reward in zip(masked, earned, strict=True)]

    @torch.no_grad()
    def sample(self, model: UnifiedModel, batch: Sequence[tuple[int, PicturedQuestion]]) -> list[list[Rollout]]:
        """The rollouts of every question, as many at a time as the settings allow; they do not depend on it."""
        s = self.settings
        prompts = [Trace((Picture(asked.image), Text(asked.record.question))) for _, asked in batch]
        seeds = [number * s.rollouts + k for number, _ in batch for k in range(s.rollouts)]
        most = min(s.batch or len(seeds), len(seeds))
        rollouts = self._engine(model, most).run(prompts, self.policy, samples=s.rollouts, seeds=seeds)
        return [rollouts[i : i + s.rollouts] for i in range(0, len(rollouts), s.rollouts)]

    def _judged(self, answers: Sequence[tuple[Trace, Record]]) -> list[bool | None]:
        """The judge's verdicts, all asked for at once; None where rules decide, and where there is none."""
        claims = [claim_of(trace, record) for trace, record in answers]
        asked = [claim for claim in claims if claim is not None]
        if not asked:
            return [None] * len(claims)
        if self.judge is None:
            raise ValueError("some of the questions are to be judged by another model; give a judge")
        found = iter(self.judge.verdicts(asked))
        return [None if claim is None else next(found) for claim in claims]

    def _engine(self, model: UnifiedModel, batch: int = 1) -> Engine:
        s = self.settings
        settings = Settings(s.sampling, s.flow, s.turn_tokens, batch=batch, view_dropout=s.view_dropout)
        return Engine(model, self.sequencer, settings)

    def figures(self, groups: Sequence[Group]) -> dict[str, float]:
        """What is logged of a step's rollouts, those of other processes, too: means over all, calls and answers by task
        and by flag."""
        rows = gathered([
            _Outcome(
                (g.asked.record.task, g.asked.record.flag), reward, r.tokens, r.reason == "length",
                frozenset(d.modality for d in r.trace.drawings),
            )
            for g in groups for r, reward in zip(g.rollouts, g.rewards, strict=True)
        ])  # fmt: skip
        out = {f"reward/{part}": _mean([getattr(row.reward, part) for row in rows]) for part in _PARTS}
        out |= {f"reward/{name}": _mean([row.reward.more[name] for row in rows]) for name in self.more}
        out["tokens_written"] = _mean([row.tokens for row in rows])
        out["tokens_longest"] = float(max(row.tokens for row in rows))
        out["truncated"] = _mean([row.cut for row in rows])
        out["no_verdict"] = _mean([np.isnan(row.reward.answer) for row in rows])
        of_groups = gathered([(g.spread, len({reward.exploration for reward in g.rewards}) > 1) for g in groups])
        out["groups_dropped"] = float(sum(not spread for spread, _ in of_groups))
        # where all rollouts have earned the same, it makes none better than the others
        out["exploration_differs"] = _mean([differs for _, differs in of_groups])
        for name in sorted({name for row in rows for name in row.names}):
            mine = [row for row in rows if name in row.names]
            out[f"answer/{name}"] = _mean([row.reward.answer for row in mine])
            for call in self.policy.calls:
                out[f"calls/{call}/{name}"] = _mean([call in row.drew for row in mine])
        return out

    def losses(
        self, model: UnifiedModel, groups: Sequence[Group], figures: dict[str, float], first: bool = True
    ) -> Losses:
        """One pass over the rollouts, some questions at a time; their losses add up to that of all. So do those of
        several processes, on average, though one may have more to learn from than another. In the `first` pass what was
        sampled is as likely as it was then, and "log_p_difference" tells how far from it."""
        objective = self.settings.objective
        weights = [self._weight(g) for g in groups]
        whole = sum(gathered(weights)) / Share.mine().world
        if not sum(weights):
            # no gradient is zero for all, as where another process has one: momentum goes on
            yield sum(p.sum() for p in self.trained(model).values()) * torch.zeros(()), figures
            return
        for k in range(0, len(groups), self.settings.together):
            part = groups[k : k + self.settings.together]
            batch, old, rollout, advantages = self.packed(model, part)
            log_p, entropy = token_log_p(model, batch, self.settings.sampling.temperature)
            old, rollout, advantages = (one.to(log_p.device) for one in (old, rollout, advantages))
            used = advantages[rollout].isfinite()
            reference = None
            if objective.kl:
                known = without_adapters(model) if self.reference is None else nullcontext(self.reference)
                with torch.no_grad(), known as left:
                    reference = token_log_p(left, batch, self.settings.sampling.temperature)[0][used]
            outcome = grpo_loss(
                log_p[used], old[used], rollout[used], advantages.nan_to_num(), objective, reference
            )
            share, learned = sum(weights[k : k + len(part)]) / whole, int(used.sum())
            found: dict[str, float] = {
                "entropy": Logged(entropy, len(old)), "clip_share": Logged(outcome.clip_share, learned),
            }  # fmt: skip
            if reference is not None:  # or nothing was measured
                found["kl"] = Logged(outcome.kl, learned)
            if first and len(old):
                found["log_p_difference"] = Logged(float((log_p - old).detach().abs().max()), how="max")
            yield outcome.loss * share, {**figures, **found}

    def _weight(self, group: Group) -> int:
        """What a group's mean loss counts beside other groups': what the aggregation divides by."""
        written = [len(_recorded(r)) for r, a in zip(group.rollouts, group.advantages, strict=True) if a == a]
        if self.settings.objective.aggregation == "tokens":
            return sum(written)
        return len(group.rollouts) if self.settings.objective.aggregation == "dr_grpo" else sum(n > 0 for n in written)

    def packed(self, model: UnifiedModel, groups: Sequence[Group]) -> tuple[Batch, Tensor, Tensor, Tensor]:
        """The rollouts of some questions as one batch; of every sampled token the log-probability it was sampled with
        (T,) and its rollout (T,); and every rollout's advantage, NaN where it is left out (R,)."""
        encode = self.sequencer.encoder(model)
        rows: list[list[Node]] = []
        old: list[float] = []
        rollout: list[int] = []
        advantages: list[float] = []
        for group in groups:
            shared = self._engine(model).views(group.rollouts[0].trace, encode, group.rollouts[0].seed)
            pieces = [self.sequencer.pieces(r.trace, encode, shared=shared) for r in group.rollouts]
            rows.append(merge(list(map(blinded, pieces)) if self.settings.view_dropout else pieces))
            advantages += group.advantages.tolist()
            for number, r in enumerate(group.rollouts, len(advantages) - len(group.rollouts)):
                recorded = _recorded(r)
                old += recorded
                rollout += [number] * len(recorded)
        batch = collate(lay_out_rows(rows, model.config, model.device.type), model.config)
        return batch, torch.tensor(old), torch.tensor(rollout, dtype=torch.int64), torch.tensor(advantages)

    def trained(self, model: UnifiedModel) -> dict[str, nn.Parameter]:
        """What writes text. Maps are drawn as they were learned."""
        return adapters_or_all({k: p for k, p in model.named_parameters() if part_of(k) in ("text", "connector")})

    def sheet(self, model: UnifiedModel) -> Image.Image:
        """The pictures and the maps of the first questions' first rollouts."""
        return contact_sheet([
            [group.asked.image, *(d.image for d in group.rollouts[0].trace.drawings)] for group in self._shown
        ])  # fmt: skip

    def after(self, step: int, folder: Path) -> None:
        """A page with all rollouts of a question."""
        if step % self.settings.page_every:
            return
        pages = folder / "pages"
        pages.mkdir(exist_ok=True)
        traces = []
        for group in self._shown[:1]:
            for r, reward in zip(group.rollouts, group.rewards, strict=True):
                parts = {**{part: getattr(reward, part) for part in _PARTS}, **reward.more}
                meta = {f"reward, {part}": round(number, 3) for part, number in parts.items()}
                meta |= {"truth": group.asked.record.answer, "seed": r.seed}
                traces.append(Trace(r.trace.segments, {**r.trace.meta, **meta}))
        html = traces_page(((t, self.sequencer.config.codes.view) for t in traces), f"step {step}")
        (pages / f"{step:06d}.html").write_text(html, encoding="utf-8")


def token_log_p(model: UnifiedModel, batch: Batch, temperature: float) -> tuple[Tensor, float]:
    """Log-probabilities of the labelled tokens (T,), at the temperature they were sampled with, and mean entropy."""
    und, _ = forward(model, batch)
    labels = batch.labels.to(model.device)
    wanted = labels != NO_LABEL
    log_p = torch.log_softmax(model.logits(und[wanted]).float() / temperature, dim=-1)
    entropy = -(log_p.detach().exp() * log_p.detach()).sum(dim=-1).mean()
    return log_p.gather(-1, labels[wanted][:, None])[:, 0], float(entropy)


def _recorded(rollout: Rollout) -> list[float]:
    return [p for turn in rollout.turns for p in turn.log_probabilities]


def _mean(values: Sequence[float]) -> float:
    """Of what there is: NaN stands for a missing verdict, and is the mean of nothing else."""
    there = [v for v in values if not np.isnan(v)]
    return float(np.mean(there)) if there else math.nan
