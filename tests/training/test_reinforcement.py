"""The reinforcement stage: what the update computes is what the rollouts did, and rewards are learned."""

from __future__ import annotations

import atexit
import json
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import torch
from tests.helpers import Scripted, picture, random_model, sequencer
from tests.judge_server import serving
from torch import nn

from cooper.data.mixture import Mixture
from cooper.evaluation.judge import Judge
from cooper.inference.flow import FlowSettings
from cooper.inference.rollout import Rollout
from cooper.inference.sampler import Sampling
from cooper.lora import Lora, add_adapters
from cooper.modalities import modality
from cooper.model.unified import UnifiedModel
from cooper.trace import Trace
from cooper.training.grpo import Objective, group_advantages
from cooper.training.logged import of_step
from cooper.training.loop import Trainer
from cooper.training.optimisation import Optimisation
from cooper.training.processes import Share, gathered, run_in
from cooper.training.reinforcement import PicturedQuestion, Reinforcement, ReinforcementStage, token_log_p
from cooper.training.rewards import Record, RewardFunction
from cooper.training.settings import noted
from cooper.training.sharpness import learned_sharpness, relative_sharpness, sharpness

MODEL = random_model()
SEQUENCER = sequencer(MODEL)
THINK = "<think>I look.</think>"
DEPTH, SEGMENT = (THINK + modality(name).call for name in ("depth", "segmentation"))
ANSWER = f"{THINK}<answer>\\boxed{{2}}</answer>"
QUESTIONS = [
    PicturedQuestion(picture(k).image, Record(f"How many, {k}?", "2", "count", 2, "positive", "counting"))
    for k in range(3)
]
DRAWS = Mixture([(QUESTIONS, 1.0)], seed=1)
SETTINGS = Reinforcement(
    Optimisation(20, lr=5e-3, warmup=1, decay=0.0, ema=0.5), questions=2, rollouts=4, together=1, turn_tokens=12,
    flow=FlowSettings(3), page_every=10, seed=0,
)  # fmt: skip
Said: TypeAlias = dict[int, list[str | None]]
#: what is said, by seed: rollouts without a map, with one, with two, and cut ones
SAID: Said = {
    0: [ANSWER], 1: [DEPTH, ANSWER], 2: [DEPTH, SEGMENT, ANSWER], 3: [None],
    4: [ANSWER], 5: [ANSWER], 6: [ANSWER], 7: [ANSWER],
}  # fmt: skip


def spaces(traces: Sequence[Trace], _: Record) -> list[float]:
    """A reward that even an untrained model earns, and differently."""
    return [float(trace.turns[0].count(" ")) for trace in traces]


def scripted(settings: Reinforcement, said: Said = SAID) -> ReinforcementStage:
    script = {seed: [None if t is None else SEQUENCER.ids(t) for t in turns] for seed, turns in said.items()}
    sampling = Scripted(1.0, script=script, turn_tokens=64)
    return ReinforcementStage(DRAWS, SEQUENCER, replace(settings, sampling=sampling, turn_tokens=64))


@pytest.mark.parametrize("view_dropout", [0.0, 0.5])
def test_the_first_update_has_the_ratios_of_the_rollouts(view_dropout: float) -> None:
    """Rollouts of no, one and two maps, that share their prompt in one row."""
    stage = scripted(replace(SETTINGS, view_dropout=view_dropout))
    groups = stage.roll_out(MODEL, stage.batch(0, Share()))
    assert [len(r.trace.drawings) for r in groups[0].rollouts] == [0, 1, 2, 0]
    assert [g.spread for g in groups] == [True, False], "the second question is answered in the same way every time"
    batch, old, rollout, advantages = stage.packed(MODEL, groups)
    with torch.no_grad():
        log_p, entropy = token_log_p(MODEL, batch, 1.0)
    assert (log_p - old).abs().max() < 1e-4 and entropy > 0
    assert torch.bincount(rollout).tolist() == [
        sum(len(t.log_probabilities) for t in r.turns) for g in groups for r in g.rollouts
    ]
    assert advantages.tolist() == [a for g in groups for a in g.advantages.tolist()]
    assert bool(batch.hidden.any() and batch.blind.any()) == (view_dropout > 0)
    with torch.no_grad():  # what is hidden matters, but only to what follows a map
        unhidden, _ = token_log_p(MODEL, scripted(SETTINGS).packed(MODEL, groups)[0], 1.0)
    differs = (unhidden - log_p).abs() > 1e-4
    mapped = torch.tensor([bool(r.trace.drawings) for g in groups for r in g.rollouts])[rollout]
    assert bool(differs.any()) == (view_dropout > 0) and not differs[~mapped].any()


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("aggregation", ["tokens", "sequences", "dr_grpo"])
def test_parts_of_a_step_add_up_to_the_whole(aggregation: str, mask: bool) -> None:
    """One group has a rollout that was cut, which may be left out: then the groups do not count alike."""
    totals = []
    for together in (1, 2):
        objective = Objective(aggregation=aggregation)  # type: ignore[arg-type]
        stage = scripted(replace(SETTINGS, together=together, objective=objective, mask_truncated=mask))
        groups = stage.roll_out(MODEL, stage.batch(0, Share()))
        for group in groups:
            group.advantages = torch.where(group.advantages.isnan(), torch.nan, torch.tensor([1.0, -0.5, 2.0, -1.5]))
        totals.append(sum(float(loss.detach()) for loss, _ in stage.losses(MODEL, groups, {})))
    assert totals[0] == pytest.approx(totals[1], abs=1e-5) and totals[0] != 0


def _step(folder: Path, quiet: bool) -> None:
    """The gradient of a step, averaged over the processes, and its figures."""
    model, stage = random_model(), scripted(SETTINGS)
    parameters = stage.trained(model)
    for p in parameters.values():
        p.requires_grad_(True)
    figures: dict[str, float] = {}
    for losses in stage.updates(model, stage.batch(0, Share.mine())):
        for loss, found in losses:
            loss.backward()
            figures = of_step([found])
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters.values()])
    of_all = torch.stack(gathered([flat])).mean(dim=0)
    if Share.mine().rank == 0:
        torch.save((of_all, figures), folder / "step")


#: in the first step both questions teach something, the second one from more tokens; then the second one alone
UNEQUAL: Said = {
    **{k: [ANSWER] for k in range(16)},
    **{k: [DEPTH, SEGMENT, ANSWER] for k in (5, 6, 13)}, 1: [DEPTH, ANSWER], 7: [None],
}  # fmt: skip


def _learned(folder: Path, together: int, quiet: bool) -> None:
    """One step, and then two steps of two passes of other questions. Of several processes each ends with what aborts a
    Python that lets go of everything, which costs nothing of what was learned."""
    if Share.mine().world > 1:
        atexit.register(os.abort)
    _step(folder, quiet)
    settings = replace(SETTINGS, together=together, updates=2)
    stage = scripted(settings, UNEQUAL)
    stage.settings, stage.reference = replace(stage.settings, objective=Objective(kl=0.1)), random_model(seed=3)
    optimisation = replace(settings.optimisation, steps=2)
    Trainer(random_model(), stage, optimisation, folder / "logged", workers=0, sheet_every=100).run(quiet)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What one process, and two, make of the same questions; to start two takes longer than all of it."""
    folders = [tmp_path_factory.mktemp(str(processes)) for processes in (1, 2)]
    for folder, processes, together in zip(folders, (1, 2), (2, 1), strict=True):
        run_in(processes, folder, _learned, folder, together, quiet=True)
    return folders


def test_two_processes_learn_as_one(learned: list[Path]) -> None:
    """The first one's question teaches something, the second one's does not."""
    (one, told), (two, of_both) = (torch.load(folder / "step", weights_only=True) for folder in learned)
    assert one.norm() > 1e-3
    torch.testing.assert_close(two, one, rtol=0, atol=1e-5 * float(one.abs().max()))
    same = [k for k in told if k.startswith(("reward", "answer", "calls", "groups", "truncated", "tokens"))]
    assert len(same) > 10 and {k: told[k] for k in same} == {k: of_both[k] for k in same}


def test_what_is_logged_is_of_all_processes(learned: list[Path]) -> None:
    """As if one had learned from all together."""
    logs = [[json.loads(row) for row in (folder / "logged/log.jsonl").open()] for folder in learned]
    for one, two in zip(*logs, strict=True):
        for figure in ("loss", "grad_norm", "entropy", "clip_share", "kl", "reward/total", "groups_dropped"):
            assert two[figure] == pytest.approx(one[figure], rel=2e-3, abs=1e-5), figure
        assert one["kl"] > 0.1 and one["clip_share"] > 0 and one["tokens_longest"] > one["tokens_written"] > 0
        assert one["seconds"] > one["rollout_seconds"] > 0 < one["update_seconds"] < one["seconds"]
        assert max(one["log_p_difference"], two["log_p_difference"]) < 1e-4, "of the first pass"
    assert [row["groups_dropped"] for row in logs[1]] == [0, 1]


def test_adapters_that_only_draw_are_refused() -> None:
    """Reinforcement would train all other weights instead."""
    with pytest.raises(ValueError, match="adapters must be of the expert und"):
        ReinforcementStage(DRAWS, SEQUENCER, replace(SETTINGS, lora=Lora(2, experts=("gen",))))


def test_only_calls_that_the_model_may_make_are_rewarded() -> None:
    tokens = sequencer(random_model(modalities=("depth",)))
    assert ReinforcementStage(DRAWS, tokens, SETTINGS).tags == (modality("depth").tag,)


def test_truncated_rollouts_can_be_left_out() -> None:
    stage = scripted(replace(SETTINGS, mask_truncated=True))
    groups = stage.roll_out(MODEL, stage.batch(0, Share()))
    *_, advantages = stage.packed(MODEL, groups[:1])
    assert advantages.isfinite().tolist() == [True, True, True, False]
    (others,) = torch.tensor([[r.total for r in groups[0].rewards[:3]]])
    alone, _ = group_advantages(others[None])
    torch.testing.assert_close(advantages[:3], alone[0], msg="nor do they count")


@pytest.mark.parametrize("batch", [1, 3])
def test_rollouts_do_not_depend_on_how_many_are_written_at_once(batch: int) -> None:
    """A cache for each of the rollouts of a step would fill a GPU."""
    whole, parts = (ReinforcementStage(DRAWS, SEQUENCER, replace(SETTINGS, batch=most)) for most in (None, batch))
    asked = whole.batch(0, Share())
    one, other = (stage.sample(MODEL, asked) for stage in (whole, parts))
    assert [[r.trace.turns for r in group] for group in one] == [[r.trace.turns for r in group] for group in other]
    assert noted(replace(SETTINGS, batch=batch)) == noted(SETTINGS), "and a run goes on with another number"


def test_a_reference_holds_the_model_back() -> None:
    objective = Objective(kl=1.0)
    with pytest.raises(ValueError, match="a model as the reference"):
        scripted(replace(SETTINGS, objective=objective))
    other = random_model(seed=3)
    found = []
    for reference in (MODEL, other):
        stage = scripted(SETTINGS)
        stage.settings, stage.reference = replace(stage.settings, objective=objective), reference
        groups = stage.roll_out(MODEL, stage.batch(0, Share()))
        ((loss, figures),) = stage.losses(MODEL, groups[:1], {})
        found.append((float(loss.detach()), figures["kl"]))
        # also where all rollouts have earned the same
        (losses,) = stage.updates(MODEL, stage.batch(0, Share())[1:])
        ((alone, told),) = losses
        assert told["groups_dropped"] == 1 and float(alone.detach()) == pytest.approx(told["kl"], abs=1e-6)
    (near, none), (far, much) = found
    assert none == pytest.approx(0, abs=1e-6) and much > 0.1
    assert far - near == pytest.approx(much, rel=1e-3), "the penalty is added to the loss"


def test_with_adapters_the_reference_is_the_model_without_them() -> None:
    pytest.importorskip("peft")
    settings = replace(SETTINGS, objective=Objective(kl=1.0), lora=Lora(2))
    model = random_model()
    add_adapters(model, Lora(2))
    stage = scripted(settings)
    assert stage.trained(model) and all(".lora_" in k and ".gen." not in k for k in stage.trained(model))
    with torch.no_grad():
        for p in stage.trained(model).values():
            p.add_(0.1)
    groups = stage.roll_out(model, stage.batch(0, Share()))
    copied = scripted(SETTINGS)
    copied.settings, copied.reference = settings, MODEL
    (alone,), (beside,) = (s.losses(model, groups[:1], {}) for s in (stage, copied))
    assert alone[1]["kl"] == beside[1]["kl"] > 1e-3 and torch.equal(alone[0], beside[0])
    alone[0].backward()
    assert all(p.grad is not None for p in stage.trained(model).values()), "adapters are on again"


def test_rollouts_that_a_judge_is_silent_about_are_left_out() -> None:
    asked = [replace(q, record=replace(q.record, kind="judged", answer="a pair")) for q in QUESTIONS]
    stage = scripted(SETTINGS)
    draws = Mixture([(asked, 1.0)], seed=1)
    with pytest.raises(ValueError, match="give a judge"):
        alone = ReinforcementStage(draws, SEQUENCER, stage.settings)
        alone.roll_out(MODEL, alone.batch(0, Share()))
    # the last rollout of the first question was cut, and of what it says the judge says nothing
    with serving(defaultdict(lambda: [(200, "who knows", 0.0)], {"2": [(200, "yes", 0.0)]})) as server:
        stage = ReinforcementStage(draws, SEQUENCER, stage.settings, judge=Judge(server.url, "m", timeout=5.0))
        groups = stage.roll_out(MODEL, stage.batch(0, Share()))
        assert len(server.asked) == 3, "two questions, and what was cut: each claim once"
    answers = [[r.answer for r in g.rewards] for g in groups]
    assert answers[0][:3] == [1, 1, 1] and math.isnan(answers[0][3]) and answers[1] == [1, 1, 1, 1]
    *_, advantages = stage.packed(MODEL, groups[:1])
    assert advantages.isfinite().tolist() == [True, True, True, False] and advantages[:3].abs().sum() > 1
    assert stage.figures(groups)["no_verdict"] == pytest.approx(1 / 8)
    assert stage.figures(groups)["answer/counting"] == 1
    loss = sum(float(loss.detach()) for loss, _ in stage.losses(MODEL, groups[:1], {}))
    assert math.isfinite(loss) and loss != 0
    with serving(defaultdict(lambda: [(200, "who knows", 0.0)])) as server:
        stage.judge = Judge(server.url, "m", timeout=5.0)
        figures = stage.figures(stage.roll_out(MODEL, stage.batch(0, Share())))
    assert figures["no_verdict"] == 1 and figures["groups_dropped"] == 2
    assert all(math.isnan(figures[name]) for name in ("reward/answer", "answer/counting")), "no verdict is not a 0"


def test_figures_tell_of_answers_and_calls() -> None:
    stage = scripted(SETTINGS)
    figures = stage.figures(stage.roll_out(MODEL, stage.batch(0, Share())))
    assert figures["answer/counting"] == figures["answer/positive"] == pytest.approx(7 / 8)
    assert figures["calls/depth/counting"] == pytest.approx(2 / 8)
    assert figures["calls/segmentation/positive"] == pytest.approx(1 / 8)
    assert figures["groups_dropped"] == 1 and figures["truncated"] == pytest.approx(1 / 8)
    assert figures["reward/exploration"] == pytest.approx(2 * 0.2 / 8), "two of the four called, which is fewer than 3"
    assert figures["exploration_differs"] == 1 / 2, "the second question's rollouts all have none"
    all_call = scripted(SETTINGS, {**SAID, **{k: [DEPTH, ANSWER] for k in range(4, 8)}})
    groups = all_call.roll_out(MODEL, all_call.batch(0, Share()))
    groups[0].rewards = [replace(reward, exploration=-0.2) for reward in groups[0].rewards]
    assert all_call.figures(groups)["exploration_differs"] == 0, "also where all have earned, or lost, the same"


@pytest.mark.parametrize("updates", [1, 2])
def test_what_is_rewarded_is_said_more(updates: int, tmp_path: Path) -> None:
    """Here: tokens with even numbers, beside the paper's rewards, of which such a model earns none."""

    def even(traces: Sequence[Trace], record: Record) -> list[float]:
        assert record.answer == "2"
        ids = [[i for s in t.segments if getattr(s, "role", "") == "model" for i in s.ids] for t in traces]
        return [sum(i % 2 == 0 for i in row) / max(len(row), 1) for row in ids]

    model = random_model()
    drawing = {k: p.clone() for k, p in model.named_parameters() if ".gen." in k or k.startswith("vision")}
    stage = ReinforcementStage(DRAWS, SEQUENCER, replace(SETTINGS, updates=updates), more={"even": even})
    Trainer(model, stage, SETTINGS.optimisation, tmp_path, workers=0, sheet_every=100).run(quiet=True)
    log = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    totals = [row["reward/total"] for row in log]
    assert totals == pytest.approx([row["reward/even"] for row in log]), "beside the paper's rewards, which are 0"
    assert sum(totals[-4:]) / 4 > sum(totals[:4]) / 4 + 0.1
    assert all(torch.equal(p, drawing[k]) for k, p in model.named_parameters() if k in drawing)
    if updates == 1:
        assert all(row["clip_share"] == 0 and row["log_p_difference"] < 1e-4 for row in log)
    assert [p.name for p in sorted((tmp_path / "pages").iterdir())] == ["000010.html", "000020.html"]
    page = (tmp_path / "pages" / "000010.html").read_text()
    assert all(f"reward, {part}" in page for part in ("total", "answer", "form", "exploration", "even"))


def test_interrupted_between_two_updates_a_step_is_made_again(tmp_path: Path) -> None:
    """What the second update would be made of, the rollouts and how likely they were, is not kept."""
    settings = replace(SETTINGS, updates=2, optimisation=replace(SETTINGS.optimisation, steps=3))

    def trained(folder: Path, stop: int | None = None) -> tuple[int, dict[str, nn.Parameter]]:
        """How many updates were begun, and the weights; interrupted at the beginning of that one."""
        model, begun = random_model(), 0
        stage = ReinforcementStage(DRAWS, SEQUENCER, settings, more={"spaces": spaces})
        trainer = Trainer(model, stage, settings.optimisation, folder, workers=0, save_every=0.0)
        descend = trainer.descend

        def descending(norm: float) -> None:
            nonlocal begun
            begun += 1
            if begun == stop:
                raise KeyboardInterrupt
            descend(norm)

        trainer.descend = descending  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt) if stop else nullcontext():
            trainer.run(quiet=True)
        return begun, dict(model.named_parameters())

    of_whole, whole = trained(tmp_path / "whole")
    trained(tmp_path / "parts", stop=4)
    of_rest, parts = trained(tmp_path / "parts")
    assert (of_whole, of_rest) == (6, 4), "the second step is made from its beginning"
    assert all(torch.equal(p, parts[k]) for k, p in whole.items())
    before = dict(random_model().named_parameters())
    assert any(not torch.equal(p, before[k]) for k, p in whole.items())
    log = [json.loads(row) for row in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [1, 2, 3] and log[1]["log_p_difference"] < 1e-4


def test_how_sure_a_model_is_is_learned_as_one_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here what is likely is rewarded. Weights hardly move, and a run that was stopped ends where it would have."""

    def likely(traces: Sequence[Trace], _: Record) -> list[float]:
        return [float(k == 1) for k in range(len(traces))]

    optimisation = Optimisation(12, lr=1e-7, scale_lr=0.1, warmup=1, decay=0.0, ema=0.0)
    settings = replace(SETTINGS, optimisation=optimisation)
    stage = ReinforcementStage(DRAWS, SEQUENCER, settings, more={"likely": likely})
    sample = stage.sample

    def likelier(model: UnifiedModel, batch: Sequence) -> list[list[Rollout]]:
        """The second rollout of each question is the likeliest for its length."""
        groups = sample(model, batch)
        for group in groups:
            best = max(group, key=lambda r: np.mean([p for t in r.turns for p in t.log_probabilities]))
            k = next(k for k, r in enumerate(group) if r is best)
            group[1], group[k] = group[k], group[1]
        return groups

    monkeypatch.setattr(stage, "sample", likelier)
    ends = []
    for name, stops in (("whole", [12]), ("parts", [5, 12])):
        for stop in stops:
            model, before = random_model(), random_model()
            was = dict(before.named_parameters())
            with learned_sharpness(model):
                trainer = Trainer(
                    model, stage, replace(optimisation, steps=stop), tmp_path / name, workers=0, sheet_every=100
                )  # fmt: skip
                trainer.run(quiet=True)
                scale = sharpness(model)
        ends.append(scale)
        assert sharpness(model) == 1 and [k for k, _ in model.named_parameters()] == list(was), "part of the weights"
        for k, p in model.named_parameters():
            close = was[k] * scale if k == "decoder.norm_und.weight" else was[k]
            torch.testing.assert_close(p, close, rtol=0, atol=1e-4)
        assert relative_sharpness(model, before) == pytest.approx(scale, rel=1e-3)
    with pytest.raises(KeyboardInterrupt), learned_sharpness(model):
        raise KeyboardInterrupt
    assert [k for k, _ in model.named_parameters()] == list(was), "and what is interrupted leaves a model behind"
    assert ends[0] == ends[1] > 1.5
    log = [json.loads(row) for row in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert log[0]["sharpness"] == 1 and max(row["log_p_difference"] for row in log) < 1e-4


@pytest.mark.parametrize(
    ("name", "function", "why"),
    [("form", lambda traces, record: [0.0] * len(traces), "there is a reward called form already; give yours another"),
     ("short", lambda traces, record: [1.0], "the reward short is of 1 rollouts, and there are 4"),
     ("none", lambda traces, record: [0.0, float("nan"), 0.0, 0.0], "the reward none of a rollout is nan"),
     ("endless", lambda traces, record: [float("inf")] * 4, "the reward endless of a rollout is inf")],
)  # fmt: skip
def test_rewards_of_ones_own_have_a_name_and_a_number_for_each(name: str, function: RewardFunction, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        stage = ReinforcementStage(DRAWS, SEQUENCER, scripted(SETTINGS).settings, more={name: function})
        stage.roll_out(MODEL, stage.batch(0, Share()))


def test_who_answers_directly_earns_form_by_that() -> None:
    said: Said = {k: ["<answer>2</answer>" if k % 2 else ANSWER] for k in range(8)}
    stage = scripted(replace(SETTINGS, mode="direct"), said)
    groups = stage.roll_out(MODEL, stage.batch(0, Share()))
    assert [[reward.form for reward in group.rewards] for group in groups] == [[0, 1, 0, 1]] * 2


def test_what_would_be_less_likely_in_training_is_not_sampled() -> None:
    for sampling in (Sampling(0.0), Sampling(1.0, top_p=0.9), Sampling(1.0, banned=(3,))):
        with pytest.raises(ValueError, match="above 0, of all tokens"):
            replace(SETTINGS, sampling=sampling)


def test_runs_of_other_seeds_have_other_rollouts() -> None:
    first, other = (ReinforcementStage(DRAWS, SEQUENCER, replace(SETTINGS, seed=k)) for k in (0, 100))
    numbers = [{number for number, _ in stage.batch(step, Share())} for stage in (first, other) for step in range(3)]
    assert len(set.union(*numbers)) == 3 * 2 * SETTINGS.questions
