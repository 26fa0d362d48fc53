"""What the recipe's rows teach, whether all scenes come with spatial answers or only some, as in `cooper reproduce`:
maps take much room, and must not take it from what is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cooper import Cooper
from cooper.layout import Words
from cooper.model.presets import bagel_7b
from cooper.policy import POLICIES
from cooper.scenes.shards import make_shards
from cooper.scenes.targets import SceneImages
from cooper.training.latents import Latents
from cooper.training.noise import noised
from cooper.training.recipe import BAGEL_7B, TINY
from cooper.training.reinforcement import Reinforcement
from cooper.training.rewards import Weights
from cooper.training.rows import SceneRows
from cooper.training.unified import StageSettings

pytest.importorskip("mujoco")


Scenes = tuple[Cooper, SceneImages, Latents]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """A dozen, as the shipped model sees them."""
    folder: Path = tmp_path_factory.mktemp("shards")
    make_shards(folder, 0, 12, size=128, workers=1, quiet=True)
    cooper, images = Cooper.load("tiny"), SceneImages(folder)
    latents = Latents(images, folder, cooper.model.autoencoder, cooper.sequencer)
    for kind in images.kinds:
        latents.make(kind, quiet=True)
    return cooper, images, latents


@pytest.fixture(scope="module", params=[None, 6])
def written(scenes: Scenes, request: pytest.FixtureRequest) -> dict[str, tuple[float, float]]:
    """Of each supervised stage, answers in a row, and tokens that are learned to be written, of rows that are neither
    maps alone nor practice in reading them."""
    cooper, images, latents = scenes
    found = {}
    for name, settings in TINY.unified.items():
        answered = None if settings.scenes else request.param  # traces are of such scenes alone
        mix = replace(settings.mix, answered=answered, maps_alone=0.0, read=0.0)
        rows = SceneRows(images, latents, cooper.sequencer, mix)
        rng = np.random.default_rng(0)
        learned = [
            [n.piece for n in rows.nodes(i % 12, rng) if isinstance(n.piece, Words) and n.piece.loss] for i in range(48)
        ]
        answers = [sum("<answer>" in cooper.sequencer.text(list(p.ids)) for p in row) for row in learned]
        found[name] = float(np.mean(answers)), float(np.mean([sum(len(p.ids) for p in row) for row in learned]))
    return found


def test_every_stage_learns_to_answer(written: dict[str, tuple[float, float]]) -> None:
    few = {name: round(answers, 2) for name, (answers, _) in written.items() if answers < 4}
    assert not few


@pytest.mark.parametrize(
    ("drawing", "without"), [(("perception", "answers"), "direct"), (("interleaved",), "text")]
)
def test_what_draws_is_compared_with_what_reads_as_much(
    written: dict[str, tuple[float, float]], drawing: tuple[str, ...], without: str
) -> None:
    """In all of the stages' steps; they are longer by rows that hold maps alone, or practise reading them."""
    for k in range(2):
        read = sum(written[stage][k] * usual(stage) for stage in drawing)
        assert 0.8 < read / (written[without][k] * usual(without)) < 1.25


def usual(stage: str) -> float:
    """Steps' worth of rows of the usual kind."""
    settings = TINY.unified[stage]
    return settings.optimisation.steps * (1 - settings.mix.maps_alone - settings.mix.read)


def test_the_published_preset_has_the_papers_numbers() -> None:
    """docs/method.md, sections 3 to 5."""
    first, second, third = (BAGEL_7B.stage(name) for name in ("perception", "interleaved", "reinforcement"))
    assert isinstance(first, StageSettings) and isinstance(second, StageSettings) and isinstance(third, Reinforcement)
    for stage, steps in ((first, 6000), (second, 300)):
        o = stage.optimisation
        assert (o.steps, o.lr, o.betas, o.eps, o.weight_decay, o.clip) == (steps, 5e-6, (0.9, 0.95), 1e-15, 0.0, 1.0)
        assert o.ema == 0.995 and o.matrix_lr is None and stage.mix.tokens == 10_240 and not stage.trains_vision
        assert o.rate(o.warmup) == o.rate(steps - 1) == 1 and stage.point_weight == 0
    assert first.optimisation.warmup == 500 and first.mix.maps == 1 and not first.mix.questions
    assert second.drawn and second.balanced and second.mix.modes == (("interleaved", 1.0),)
    o, objective = third.optimisation, third.objective
    assert (o.steps, o.lr, o.decay, third.questions, third.rollouts) == (20, 3e-6, 1.0, 128, 8), "decay 1: a cosine"
    assert (objective.clip, objective.kl, objective.longest) == ((0.2, 0.2), 0.0, bagel_7b().trace_tokens)
    assert (third.weights.answer, third.weights.form, third.weights.exploration) == (1.0, 1.0, 1.0)
    assert (third.sampling.temperature, third.sampling.top_p) == (1.0, 1.0) and third.mode == "interleaved"
    flow = third.flow
    assert flow is not None and (flow.time_points, flow.shift, flow.text_scale, flow.image_scale) == (30, 3.0, 4.0, 2.0)
    assert (flow.interval, flow.renorm) == ((0.4, 1.0), "global")
    assert POLICIES["interleaved"].max_turns == 3, "section 5"


def test_thinking_alone_is_rewarded_as_in_the_paper() -> None:
    """docs/method.md, section 6."""
    weights = {s.weights for s in TINY.reinforced.values() if s.mode == "text"}
    assert weights == {Weights(answer=1.0, form=0.1, exploration=0.0)}


def test_times_of_noise() -> None:
    """docs/method.md, section 2: t = sigmoid(n), n from N(0, 1), then s t / (1 + (s - 1) t)."""
    rng = np.random.default_rng(0)
    for shift, quartiles in ((1.0, (0.337, 0.5, 0.663)), (3.0, (0.604, 0.75, 0.855))):
        drawn = [noised(torch.zeros(1, 1), (1, 1), rng, 1.0, shift, None).time for _ in range(4000)]
        assert np.quantile(drawn, (0.25, 0.5, 0.75)) == pytest.approx(quartiles, abs=0.02)
