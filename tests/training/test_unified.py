"""A whole stage learns, and its batches depend on nothing but the step."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers import random_model, sequencer
from torch import Tensor

from cooper.layout import NO_LABEL
from cooper.model.packed import losses
from cooper.model.transformer import Attend
from cooper.scenes.targets import SceneImages
from cooper.training import unified
from cooper.training.latents import Latents
from cooper.training.logged import of_step
from cooper.training.loop import Trainer
from cooper.training.optimisation import Optimisation
from cooper.training.pointing import Pointers, Pointing
from cooper.training.processes import Share
from cooper.training.rows import Mix, SceneRows
from cooper.training.unified import StageSettings, UnifiedStage


@pytest.fixture
def stage(images: SceneImages, latents: Latents) -> Iterator[UnifiedStage]:
    mix = Mix(tokens=500, modes=(("interleaved", 0.6), ("direct", 0.4)), maps=1.0, caption=1.0)
    rows = SceneRows(images, latents, sequencer(random_model()), mix)
    settings = StageSettings(rows.mix, Optimisation(30, lr=2e-3, matrix_lr=3e-3, warmup=3, ema=0.9), rows=2)
    yield UnifiedStage("all", rows, rows, settings)


def test_the_model_learns_text_and_maps(stage: UnifiedStage, tmp_path: Path) -> None:
    model = random_model()
    frozen = {k: p.detach().clone() for k, p in model.named_parameters() if k.startswith("autoencoder.")}
    Trainer(model, stage, stage.settings.optimisation, tmp_path, workers=0, sheet_every=1000).run(quiet=True)
    log = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    for figure in ("text", "flow", "point"):
        values = [row[figure] for row in log if figure in row]
        assert np.mean(values[-5:]) < 0.9 * np.mean(values[:3]), figure
    assert all(torch.equal(p, frozen[k]) for k, p in model.named_parameters() if k in frozen)
    assert (tmp_path / "sheets" / "000030.png").exists()
    page = (tmp_path / "sheets" / "000030.html").read_text()
    for _, question, truth in stage.held_out.asked(4):
        assert html.escape(question) in page and html.escape(truth) in page


def test_what_is_shown_of_answers_changes_no_training(stage: UnifiedStage) -> None:
    """They are greedy, and the same every time; who learns no answers is not asked."""
    model, before = random_model(), torch.random.get_rng_state()
    assert stage.page(model) == stage.page(model) != ""
    assert torch.equal(torch.random.get_rng_state(), before)
    rows = copy(stage.held_out)
    rows.mix = replace(rows.mix, questions=False)  # type: ignore[attr-defined]
    assert UnifiedStage("maps", stage.rows, rows, stage.settings).page(model) == ""


def test_sheets_show_what_is_learned_to_be_drawn(stage: UnifiedStage) -> None:
    """All maps; before those, pictures as they are and changed; nothing where answers alone are learned."""
    model, size = random_model(), stage.held_out.pictures(1)[0][0].shape[0]

    def columns(mix: Mix) -> float | None:
        rows = copy(stage.held_out)
        rows.mix = mix  # type: ignore[attr-defined]
        sheet = UnifiedStage("s", stage.rows, rows, stage.settings).sheet(model)
        return None if sheet is None else sheet.width / size

    assert columns(stage.rows.mix) == 1 + 2 + 2  # type: ignore[attr-defined]
    assert columns(Mix(reconstruct=0.2, edited=0.1)) == 1 + 2 + 2
    assert columns(Mix(edited=0.1)) == 1 + 1 + 1
    assert columns(Mix()) is None


def test_on_a_gpu_rows_stay_rows(stage: UnifiedStage) -> None:
    """Attention is dense there: of one long row it would grow with the square of all. The losses are the same."""
    model = random_model()
    there = UnifiedStage(stage.name, stage.rows, stage.rows, replace(stage.settings, rows=3), "cuda")
    here = UnifiedStage(stage.name, stage.rows, stage.rows, there.settings)
    (apart, found), (one, _) = there.batch(1, Share()), here.batch(1, Share())
    assert len(apart.positions) == 3 and len(one.positions) == 1 and found is not None
    assert apart.positions.shape[1] < 0.6 * one.positions.shape[1]
    (a, figures), (b, expected) = there.loss(model, there.batch(1, Share())), here.loss(model, here.batch(1, Share()))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert figures == pytest.approx(expected, rel=1e-4) and {"text", "flow", "point"} <= figures.keys()


def test_batches_are_pure_and_epochs_see_every_scene(stage: UnifiedStage) -> None:
    (a, found), (b, _) = stage.batch(3, Share()), stage.batch(3, Share())
    assert found is not None
    assert torch.equal(a.und_ids, b.und_ids) and torch.equal(a.drawn.tokens, b.drawn.tokens)  # type: ignore[union-attr]
    rows = stage.rows
    assert isinstance(rows, SceneRows) and sorted(rows.scene(7 * 6 + k, 0) for k in range(6)) == list(range(6))
    assert [rows.scene(k, 0) for k in range(12)] != 2 * [rows.scene(k, 0) for k in range(6)], "another order each time"
    parts = [stage.batch(3, Share(rank, 2))[0] for rank in (0, 1)]
    assert [sum(tree.parents.count(-1) for tree in batch.trees) for batch in (a, *parts)] == [2, 1, 1]


def test_what_processes_learn_is_the_mean_of_all_tokens(stage: UnifiedStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of their means: one may have fewer than another, or none of a kind."""
    stage = UnifiedStage("all", stage.rows, stage.rows, replace(stage.settings, point_weight=0.0))
    model = random_model()
    learned = stage.trained(model)
    batches = [stage.batch(step, Share()) for step in (3, 4)]  # as if they were two processes'
    batches[0][0].labels[0, ::2] = NO_LABEL
    batches[1][0].labels[:] = NO_LABEL  # which has nothing to say, and more to draw
    batches[1][0].targets.weight[::2] = 3.0  # type: ignore[union-attr]
    apart = [losses(model, rows) for rows, _ in batches]
    counts = torch.cat([rows.targets.weight for rows, _ in batches if rows.targets is not None])
    errors = torch.cat([part.flow.mean(dim=-1) for part in apart])
    assert len(apart[0].text) and not len(apart[1].text) and len(apart[0].flow)
    (torch.cat([part.text for part in apart]).mean() + (errors * counts).sum() / counts.sum()).backward()
    wanted = {k: p.grad.clone() for k, p in learned.items() if p.grad is not None}

    of_each: list[dict[str, float]] = []
    monkeypatch.setattr(unified, "gathered", lambda mine: of_each.extend(mine) or mine)
    for batch in batches:
        stage.loss(model, batch)
    monkeypatch.setattr(unified, "gathered", lambda mine: of_each)
    model.zero_grad()
    for batch in batches:
        (stage.loss(model, batch)[0] / len(batches)).backward()
    assert len(of_each) == 2 and wanted
    for k, gradient in wanted.items():
        torch.testing.assert_close(learned[k].grad, gradient, rtol=1e-4, atol=1e-6)


def test_what_is_learned_from_is_counted_before(stage: UnifiedStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the losses are then the means of."""
    counted: list[dict[str, float]] = []
    monkeypatch.setattr(unified, "gathered", lambda mine: counted.extend(mine) or mine)
    sizes: list[dict[str, int]] = []

    class Counting(Pointing):
        def __init__(self, attend: Attend, found: Pointers, layers: int, pointed: list[Tensor], read: list[Tensor]):
            super().__init__(attend, found, layers, pointed, read)
            self.all = pointed, read

    made: list[Counting] = []
    monkeypatch.setattr(unified, "Pointing", lambda *given: made.append(Counting(*given)) or made[-1])
    model = random_model(decoder=replace(random_model().config.decoder, layers=4))
    for step in range(6):
        rows, found = stage.batch(step, Share())
        stage.loss(model, (rows, found))
        assert found is not None
        sizes.append({name: sum(map(len, all)) for name, all in zip(("point", "read"), made[-1].all, strict=True)})
    assert [{name: counts[name] for name in ("point", "read")} for counts in counted] == sizes
    assert all(any(of[name] for of in sizes) for name in ("point", "read"))


def test_figures_are_of_all_that_was_learned_from(stage: UnifiedStage) -> None:
    """Of a step whose rows are two processes': what is of tokens is their mean, and tokens are counted together."""
    model = random_model()
    batches = [stage.batch(3, Share(rank, 2)) for rank in (0, 1)]
    parts = [losses(model, rows) for rows, _ in batches]
    figures = of_step(stage.loss(model, batch)[1] for batch in batches)
    assert figures["text"] == pytest.approx(torch.cat([part.text for part in parts]).mean().item(), rel=1e-4)
    assert figures["text"] != pytest.approx(float(np.mean([part.text.mean().item() for part in parts])), rel=1e-4)
    assert figures["tokens"] == sum(int(rows.valid.sum()) for rows, _ in batches)
