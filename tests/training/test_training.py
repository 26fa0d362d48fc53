"""Rows that teach what is meant, and a loop that can be stopped, resumed and shared."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors import safe_open
from tests.helpers import random_model, sequencer
from torch import Tensor, nn

from cooper.inference.engine import Engine
from cooper.layout import NO_LABEL, Noised, Seen, Words, chain, collate, lay_out
from cooper.modalities import Depth, modality
from cooper.model.autoencoder import Autoencoder
from cooper.model.packed import losses
from cooper.model.presets import dummy
from cooper.model.vision import grid_positions
from cooper.policy import POLICIES
from cooper.scenes.question import GENERAL
from cooper.scenes.questions import ask_all
from cooper.scenes.shards import make_shards
from cooper.scenes.targets import KINDS, SceneImages
from cooper.scenes.world import COLORS, SHAPES
from cooper.training.autoencoder import AutoencoderStage, normalised, to_tensor
from cooper.training.drawn import DrawnMaps
from cooper.training.kept import Kept
from cooper.training.latents import Latents, fingerprint
from cooper.training.loop import Optimisation, Supervised, Trainer
from cooper.training.processes import Share, run_in, uninterrupted
from cooper.training.rows import Mix, SceneRows
from cooper.training.unified import StageSettings, UnifiedStage
from cooper.training.vision import CELL, UNKNOWN, Seer, VisionStage, cells_of, depth_of, settle

pytest.importorskip("mujoco")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> SceneImages:
    folder = tmp_path_factory.mktemp("shards")
    make_shards(folder, 0, 6, size=64, workers=1, quiet=True)
    return SceneImages(folder)


@pytest.fixture(scope="module")
def latents(images: SceneImages, tmp_path_factory: pytest.TempPathFactory) -> Latents:
    model = random_model()
    made = Latents(images, tmp_path_factory.mktemp("latents"), model.autoencoder, sequencer(model))
    for kind in KINDS:
        made.make(kind, batch=4, quiet=True)
    return made


def rows_of(images: SceneImages, latents: Latents, **mix: Any) -> SceneRows:
    return SceneRows(images, latents, sequencer(random_model()), Mix(**mix))


def test_latents_are_those_of_the_images(images: SceneImages, latents: Latents) -> None:
    model = random_model()
    for kind in KINDS:
        expected = model.encode(to_tensor(images.image(3, kind)[None]))[0]
        assert torch.allclose(latents.tokens(3, kind), expected, atol=2e-3, rtol=2e-3)  # kept in float16


def test_latents_go_on_where_they_stopped(images: SceneImages, latents: Latents, tmp_path: Path) -> None:
    again = Latents(images, tmp_path, latents.autoencoder, latents.sequencer)
    shown = []

    def stopping(i: int, kind: str) -> np.ndarray:
        shown.append(i)
        if i == 4:
            raise KeyboardInterrupt
        return images.image(i, kind)

    stopper = type("Stopping", (), {"image": staticmethod(stopping), "kinds": KINDS})
    again.images = stopper  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        again.make("depth", batch=2, quiet=True)
    assert not again.path("depth").exists()
    again.images = images
    again.make("depth", batch=2, quiet=True)
    assert np.array_equal(np.load(again.path("depth")), np.load(latents.path("depth")))


def test_latents_of_another_encoder_have_another_place(images: SceneImages, latents: Latents) -> None:
    other = random_model(seed=5).autoencoder
    assert fingerprint(other) != fingerprint(latents.autoencoder)
    polished = random_model().autoencoder
    with torch.no_grad():
        for p in polished.decoder.parameters():
            p.add_(1.0)
    assert fingerprint(polished) == fingerprint(latents.autoencoder), "latents do not depend on the decoder"


@pytest.mark.parametrize("mode", list(POLICIES))
def test_a_row_holds_its_picture_once(images: SceneImages, latents: Latents, mode: str) -> None:
    rows = rows_of(images, latents, tokens=900, modes=((mode, 1.0),), caption=1.0, grounded=2, maps=1.0)
    for i in range(len(rows)):
        nodes = rows.nodes(i, np.random.default_rng(i))
        pictures = [n for n in nodes if isinstance(n.piece, Seen) and n.parent in (0, 1)]
        assert len(pictures) == 1, "the trunk is shared by all that is asked about the picture"
        assert len(nodes) > 6


def test_a_target_sees_in_training_what_it_sees_when_it_is_drawn(images: SceneImages, latents: Latents) -> None:
    rows = rows_of(images, latents, tokens=900, maps=1.0, noises=2)
    layout = lay_out(rows.nodes(0, np.random.default_rng(0)), dummy())
    targets = [i for i, n in enumerate(layout.nodes) if isinstance(n.piece, Noised)]
    assert len(targets) == 4
    for i in targets:
        seen = [type(layout.nodes[j].piece).__name__ for j in np.flatnonzero(layout.sees[i])]
        assert seen == ["Clean", "Seen", "Words", "Noised"], "the picture, the call, and itself"
        assert not layout.sees[:, i][[j for j in range(len(layout.nodes)) if j != i]].any()


def test_traces_show_maps_as_the_model_drew_them(
    images: SceneImages, latents: Latents, tmp_path: Path
) -> None:
    model = random_model()
    drawn = DrawnMaps(images, 3, tmp_path, model, sequencer(model))
    for kind in ("depth", "segmentation"):
        drawn.make(kind, batch=2, quiet=True)
    assert len(drawn) == 3 and drawn.folder == DrawnMaps(images, 3, tmp_path, model, sequencer(model)).folder
    assert drawn.folder != DrawnMaps(images, 3, tmp_path, random_model(seed=5), sequencer(model)).folder
    own = Engine(model, sequencer(model), drawn.engine.settings).draw([images.image(1, "picture")], "depth", seeds=[1])
    difference = np.abs(own[0].image.astype(int) - drawn.row(1, "depth"))
    assert difference.max() <= 1, "as it would be drawn alone"
    mix = Mix(tokens=1500, modes=(("interleaved", 1.0),), traced_targets=1.0)
    rows = SceneRows(images, latents, sequencer(model), mix, drawn=drawn)
    assert len(rows) == 3, "of the scenes whose maps were drawn"
    for i in range(3):
        nodes = rows.nodes(i, np.random.default_rng(i))
        targets = [n.piece for n in nodes if isinstance(n.piece, Noised)]
        maps = [n.piece.image for n in nodes if isinstance(n.piece, Seen) and n.parent > 2]
        assert len(maps) == len(targets) > 0
        kinds = ("depth", "segmentation")
        for target in targets:
            assert any(torch.equal(target.tokens, latents.tokens(i, kind)) for kind in kinds), "true ones are drawn"
        shown = [to_tensor(drawn.row(i, kind)[None])[0] for kind in kinds]
        assert all(any(torch.allclose(m, s, atol=1e-5) for s in shown) for m in maps)


def test_tokens_that_show_objects_count_more(images: SceneImages, latents: Latents) -> None:
    rows = rows_of(images, latents, tokens=900, maps=1.0, object_weight=3.0)
    plain = rows_of(images, latents, tokens=900, maps=1.0)
    stage, even = (UnifiedStage("s", r, r, StageSettings(r.mix, Optimisation(1))) for r in (rows, plain))
    model, found = random_model(), []
    for one, made in ((stage, rows), (even, plain)):
        batch = collate([lay_out(made.nodes(2, np.random.default_rng(0)), dummy())], dummy())
        errors = losses(model, batch).flow.detach().mean(dim=-1)
        found.append((one.loss(model, (batch, None))[1]["flow"], batch, errors))
    (weighted, batch, errors), (unweighted, *_) = found
    side = int((len(errors) // 2) ** 0.5)
    labels = images.shards.labels[2]
    shows = labels.reshape(side, len(labels) // side, side, -1).max(axis=(1, 3)).flatten() > 0
    assert 0 < shows.sum() < len(shows)
    counts = torch.from_numpy(np.tile(np.where(shows, 3.0, 1.0), 2)).float()
    assert torch.equal(batch.target_weight, counts)
    assert weighted == pytest.approx(float((errors * counts).sum() / counts.sum()), rel=1e-4)
    assert unweighted == pytest.approx(float(errors.mean()), rel=1e-4) and abs(weighted - unweighted) > 1e-4


def test_masked_tokens_of_a_target_have_no_loss(images: SceneImages, latents: Latents) -> None:
    rows, model, config = rows_of(images, latents), random_model(), dummy()
    stage, tokens = UnifiedStage("s", rows, rows, StageSettings(rows.mix, Optimisation(1))), latents.tokens(0, "depth")
    side = int(len(tokens) ** 0.5)

    def flow(weight: torch.Tensor | None) -> float:
        target = Noised(tokens, (side, side), 1.0, torch.ones_like(tokens), weight)
        batch = collate([lay_out(chain([Words((5, 6)), target]), config)], config)
        return stage.loss(model, (batch, None))[1]["flow"]

    first = torch.zeros(len(tokens))
    assert flow(first) == 0
    first[0] = 1.0
    assert 0 < flow(first) != pytest.approx(flow(None))


def test_a_told_row_has_words_alone(images: SceneImages, latents: Latents) -> None:
    rows = rows_of(images, latents, told=1.0, tokens=2000, caption=1.0, maps=1.0, grounded=3)
    nodes = rows.nodes(0, np.random.default_rng(0))
    assert all(isinstance(node.piece, Words) for node in nodes)
    assert sum(isinstance(n.piece, Words) and n.piece.loss for n in nodes) >= 2
    batch = collate([lay_out(nodes, rows.sequencer.config)], rows.sequencer.config)
    found = losses(random_model(), batch)
    assert len(found.text) and not len(found.flow)


def test_a_row_of_sums_is_full_of_them(images: SceneImages, latents: Latents) -> None:
    rows = rows_of(images, latents, sums=1.0, tokens=600, view_dropout=0.5)
    nodes = rows.nodes(0, np.random.default_rng(0))
    assert all(isinstance(node.piece, Words) for node in nodes)
    said = [rows.sequencer.text(n.piece.ids) for n in nodes if isinstance(n.piece, Words) and n.piece.loss]
    assert len(said) > 5 and all(re.search(r"gives|no more|, is (closer|taller)", text) for text in said)
    assert len([n for n in nodes if n.parent < 0]) == 1, "they share the system's words and nothing else"


def test_only_some_scenes_come_with_spatial_answers(images: SceneImages, latents: Latents) -> None:
    some = rows_of(
        images, latents, tokens=9000, caption=1.0, grounded=4, listed=9, maps=1.0, answered=2, answered_share=0.7
    )  # fmt: skip
    whole = rows_of(images, latents, tokens=9000, caption=1.0, grounded=4, listed=9, maps=1.0)
    spatial = r"\d\.\d|closer|taller|How many|hid|behind|left or"
    for i in range(len(some)):
        rows = [
            (nodes, " ".join(rows.sequencer.text(n.piece.ids) for n in nodes if isinstance(n.piece, Words)))
            for rows in (some, whole) for nodes in [rows.nodes(i, np.random.default_rng(i))]
        ]  # fmt: skip
        (told, text), (_, full) = rows
        assert bool(re.search(spatial, text)) == (i < 2) and re.search(spatial, full)
        assert sum(isinstance(n.piece, Noised) for n in told) == 2 and "List the" in text and "Where is" in text
    drawn = Counter(some.scene(k, 3) for k in range(600))
    assert drawn.keys() == set(range(len(some))) and 0.6 < (drawn[0] + drawn[1]) / 600 < 0.85
    assert abs(drawn[0] - drawn[1]) < 80
    assert [some.scene(k, 3) for k in range(40)] == [some.scene(k, 3) for k in range(40)]


def test_of_some_scenes_a_few_spatial_questions_are_known(images: SceneImages, latents: Latents) -> None:
    few = rows_of(images, latents, tokens=9000, caption=1.0, grounded=4, listed=9, answered=2, asked=3)
    for i in range(3):
        scene, view = images.shards[i]
        every = {
            q.text for seed in (*range(60), (1, scene.seed)) for q in ask_all(scene, view, np.random.default_rng(seed))
            if q.task not in GENERAL
        }  # fmt: skip
        found = []
        for seed in range(6):
            nodes = few.nodes(i, np.random.default_rng(seed))
            said = [few.sequencer.text(n.piece.ids) for n in nodes if isinstance(n.piece, Words)]
            found.append({text for text in every if any(text in words for words in said)})
            assert sum("<answer>" in words for words in said) > len(found[-1]) + 2, "colours and shapes as ever"
            assert not any("everything" in w and re.search("far|tall|wide", w) for w in said), "no list of lengths"
        assert len(every) > 8 and len(found[0]) == (3 if i < 2 else 0)
        assert all(again == found[0] for again in found)


def test_rows_of_maps_alone_and_of_reading_leave_the_others_as_they_are(images: SceneImages, latents: Latents) -> None:
    usual = rows_of(images, latents, maps=1.0, told=0.2, sums=0.3)
    rows = rows_of(images, latents, maps=1.0, told=0.2, sums=0.3, maps_alone=0.25, read=0.15)
    kinds = {"told": 0, "sums": 0, "usual": 0, "maps": 0, "reading": 0}
    rng = np.random.default_rng(0)
    for _ in range(4000):
        kinds[rows._kind(rng)] += 1
    expected = {"told": 0.12, "sums": 0.18, "usual": 0.3, "maps": 0.25, "reading": 0.15}
    assert {k: n / 4000 for k, n in kinds.items()} == pytest.approx(expected, abs=0.03)
    assert {usual._kind(rng) for _ in range(200)} == {"told", "sums", "usual"}


def test_a_row_of_maps_alone_has_nothing_to_say(images: SceneImages, latents: Latents) -> None:
    rows = rows_of(
        images, latents, maps=1.0, told=0.3, maps_alone=1.0, modes=(("direct", 0.5), ("perception", 0.5)),
        view_dropout=0.5,
    )  # fmt: skip
    for i in range(len(rows)):
        nodes = rows.nodes(i, np.random.default_rng(i))
        kinds = [type(node.piece).__name__ for node in nodes]
        assert kinds == ["Clean", "Seen", "Words", "Noised", "Words", "Noised"], "one picture, two maps to be drawn"
        assert not any(isinstance(node.piece, Words) and node.piece.loss for node in nodes)


def test_reading_is_practised_on_maps_of_something_else(images: SceneImages, latents: Latents) -> None:
    """The numbers follow from the map that is shown; those that are true of the picture would be wrong."""
    rows = rows_of(images, latents, tokens=9000, read=1.0, answered=0)
    codec, told, right, wrong = modality("depth"), 0, 0, 0
    assert isinstance(codec, Depth)
    for i in range(len(rows)):
        scene, view = images.shards[i]
        encoded: list[np.ndarray] = []
        rows.latents = Spy(latents, encoded)  # type: ignore[assignment]
        nodes = rows.nodes(i, np.random.default_rng(i))
        (shown,) = encoded
        depth = codec.to_values(shown)
        for k, node in enumerate(nodes):
            if not isinstance(node.piece, Words) or not node.piece.loss:
                continue
            text = rows.sequencer.text(node.piece.ids)
            path = [k]
            while (parent := nodes[path[-1]].parent) >= 0:
                path.append(parent)
            kinds = [type(nodes[j].piece).__name__ for j in reversed(path)]
            if "<depth" in text:
                assert kinds == ["Words", "Clean", "Seen", "Words", "Words"]
                continue
            assert kinds == ["Words", "Clean", "Seen", "Words", "Words", "Clean", "Seen", "Words", "Words"]
            asked = rows.sequencer.text(nodes[path[5]].piece.ids)
            if asked != "How far is everything?":
                continue
            for name, number in re.findall(r"(\w+ (?:ball|box|cylinder|cone)) (\d+\.\d)", text):
                (label,) = [t.id for t in scene.things if t.name == name] or [0]
                if label:
                    told += 1
                    right += abs(float(number) / np.median(depth[view.labels == label]) - 1) < 0.1
                    wrong += abs(float(number) / np.median(view.depth[view.labels == label]) - 1) > 0.1
    assert right == told > 20 and wrong > 0.6 * told


class Spy:
    """Latents that note what is not among them."""

    def __init__(self, latents: Latents, encoded: list[np.ndarray]) -> None:
        self.latents, self.encoded = latents, encoded

    def tokens(self, i: int, kind: str) -> Tensor:
        return self.latents.tokens(i, kind)

    def encode(self, images: np.ndarray) -> Tensor:
        self.encoded.extend(images)
        return self.latents.encode(images)


def test_lists_of_a_drawing_policy_are_read_from_maps(images: SceneImages, latents: Latents) -> None:
    drawn = 0
    for mode, policy in POLICIES.items():
        rows = rows_of(images, latents, tokens=9000, modes=((mode, 1.0),), listed=9)
        for seed in range(20):
            nodes = rows.nodes(seed % len(rows), np.random.default_rng(seed))
            texts = [rows.sequencer.text(n.piece.ids) if isinstance(n.piece, Words) else "" for n in nodes]
            asked = [k for k, text in enumerate(texts) if re.search(r"everything\?|^List the", text)]
            assert len({texts[k] for k in asked}) == {"direct": 9, "text": 0}.get(mode, 1)
            for k in asked:
                turn = texts[next(j for j, n in enumerate(nodes) if n.parent == k)]
                measured = texts[k].startswith(("How far", "How tall", "How wide", "Where on"))
                assert ("<depth" in turn) == (measured and bool(policy.calls))
                assert ("<segmentation" in turn) == (texts[k].startswith("List") and bool(policy.calls))
                drawn += "<depth" in turn
    assert drawn > 10


def test_questions_of_tasks_that_weigh_more_come_earlier(images: SceneImages, latents: Latents) -> None:
    rows = SceneRows(
        images, latents, sequencer(random_model()), Mix(), task_weights={"counting": 1e9, "color": 1e-9}
    )
    scene, view = images.shards[0]
    next_ones = set()
    for i in range(20):
        rng = np.random.default_rng(i)
        asked = ask_all(scene, view, rng)
        tasks = [q.task for q in rows._chosen(asked, rng)]
        assert sorted(tasks) == sorted(q.task for q in asked)
        counted, colours = tasks.count("counting"), tasks.count("color")
        assert set(tasks[:counted]) == {"counting"} and set(tasks[-colours:]) == {"color"}
        next_ones.add(tasks[counted])
    assert len(next_ones) > 3, "the others are shuffled"


def test_view_dropout_hides_the_picture_from_what_follows_a_map(images: SceneImages, latents: Latents) -> None:
    rows = rows_of(images, latents, tokens=1500, modes=(("interleaved", 1.0),), view_dropout=0.5, traced_targets=1.0)
    found = 0
    for i in range(len(rows)):
        layout = lay_out(rows.nodes(i, np.random.default_rng(i)), dummy())
        allowed, nodes = layout.allowed(), layout.nodes
        first_turn = next(k for k, n in enumerate(nodes) if isinstance(n.piece, Words) and n.piece.loss)
        hidden = np.flatnonzero(layout.hidden)
        assert 4 <= len(hidden) < 32 and set(layout.segment[hidden]) == {1, 2}, "of 2 x 16 patches, after the system"
        assert [a - b for a, b in zip(*np.split(hidden, 2), strict=True)] == [hidden[0] - hidden[len(hidden) // 2]] * (
            len(hidden) // 2
        ), "the same places for the autoencoder and the vision transformer"
        for k, node in enumerate(nodes):
            mine = allowed[layout.segment == k]
            after_map = any(isinstance(nodes[j].piece, Seen) and j > first_turn for j in np.flatnonzero(layout.sees[k]))
            blind = isinstance(node.piece, Words) and after_map
            sees_hidden = mine[:, hidden].any()
            assert sees_hidden == (not blind and bool(layout.sees[k, 1])), "maps are drawn with open eyes"
            found += blind and isinstance(node.piece, Words) and node.piece.loss
    assert found > 2


def test_only_what_the_model_writes_is_learned(images: SceneImages, latents: Latents) -> None:
    rows = rows_of(images, latents, tokens=900, modes=(("interleaved", 1.0),))
    tokenizer = rows.sequencer
    for i in range(len(rows)):
        layout = lay_out(rows.nodes(i, np.random.default_rng(i)), dummy())
        for k, node in enumerate(layout.nodes):
            labels = layout.labels[layout.segment == k]
            if isinstance(node.piece, Words) and node.piece.loss:
                text = tokenizer.text(list(node.piece.ids))
                ends = ("</answer>", "</depth-estimation>", "</segmentation>")
                assert text.startswith("<think>") and text.endswith(ends)
                assert list(labels[:-1]) == [*node.piece.ids, dummy().special.end] and labels[-1] == NO_LABEL
            else:
                assert (labels == NO_LABEL).all()


FILTER = torch.linspace(-1, 1, 2 * 3 * 3 * 3).view(2, 3, 3, 3)


def blank(channels: int = 3) -> nn.Conv2d:
    """Laid out in memory as autoencoders are, and not as gradients and checkpoints come."""
    model = nn.Conv2d(channels, 2, 3)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Filtering(Supervised[nn.Conv2d]):
    """Learn a filter: a stage of a moment."""

    name = "filtering"

    def batch(self, step: int, share: Share) -> Tensor:
        random = torch.Generator().manual_seed(1000 * step + share.rank)
        return torch.randn(32 // share.world, 3, 3, 3, generator=random)

    def loss(self, model: nn.Conv2d, batch: Tensor) -> tuple[Tensor, dict[str, float]]:
        wanted = nn.functional.conv2d(batch, FILTER)
        loss = (model(batch.to(model.weight.dtype)) - wanted).float().square().mean()
        return loss, {"error": float(loss.detach())}

    def trained(self, model: nn.Conv2d) -> dict[str, nn.Parameter]:
        return dict(model.named_parameters())

    def sheet(self, model: nn.Conv2d) -> Any:
        from PIL import Image

        return Image.new("RGB", (4, 4))


def filtered(folder: Path, steps: int, dtype: torch.dtype = torch.float32, stop: int | None = None) -> Trainer:
    torch.manual_seed(0)
    optimisation = Optimisation(steps, lr=0.05, warmup=2, decay=0.5, ema=0.8)
    trainer = Trainer(blank(), Filtering(), optimisation, folder, dtype=dtype, workers=0)
    if stop is not None:
        update = trainer.update

        def stopping(batch: Any) -> dict[str, float]:
            if trainer.step == stop:
                raise KeyboardInterrupt
            return update(batch)

        trainer.update = stopping  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            trainer.run(quiet=True)
    else:
        trainer.run(quiet=True)
    return trainer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_that_was_stopped_ends_where_it_would_have(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = filtered(tmp_path / "whole", 40, dtype)
    filtered(tmp_path / "halves", 40, dtype, stop=17)
    halves = filtered(tmp_path / "halves", 40, dtype)
    for a, b in zip(whole.model.parameters(), halves.model.parameters(), strict=True):
        assert torch.equal(a, b)
    steps = [json.loads(row)["step"] for row in (tmp_path / "halves" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 41))


def test_what_is_kept_of_an_interrupted_run_belongs_together(tmp_path: Path) -> None:
    """Interrupted while its weights are their averages, and while an update is half made."""
    whole = filtered(tmp_path / "whole", 40)

    def interrupted(folder: Path, prepare: Callable[[Trainer], None]) -> None:
        trainer = Trainer(blank(), Filtering(), whole.optimisation, folder, workers=0, sheet_every=17)
        prepare(trainer)
        with pytest.raises(KeyboardInterrupt):
            trainer.run(quiet=True)

    def in_a_sheet(trainer: Trainer) -> None:
        trainer.stage.sheet = raising  # type: ignore[method-assign]

    def in_an_update(trainer: Trainer) -> None:
        step = trainer.optimisers[0].step

        def stepping() -> None:
            if trainer.step == 8:
                trainer.save()  # as it is done every two minutes
            step()
            if trainer.step == 10:
                raise KeyboardInterrupt

        trainer.optimisers[0].step = stepping  # type: ignore[method-assign]

    def by_a_signal(trainer: Trainer) -> None:
        step = trainer.optimisers[0].step

        def stepping() -> None:
            if trainer.step == 10:
                signal.raise_signal(signal.SIGINT)
            step()

        trainer.optimisers[0].step = stepping  # type: ignore[method-assign]

    def raising(model: nn.Conv2d) -> Any:
        raise KeyboardInterrupt

    for prepare in (in_a_sheet, in_an_update, by_a_signal):
        folder = tmp_path / prepare.__name__
        torch.manual_seed(0)
        interrupted(folder, prepare)
        with safe_open(folder / "state.safetensors", "pt") as state:
            kept = int(state.metadata()["step"])
        assert kept == {"in_a_sheet": 17, "in_an_update": 8, "by_a_signal": 11}[prepare.__name__]
        halves = filtered(folder, 40)
        for a, b in zip(whole.model.parameters(), halves.model.parameters(), strict=True):
            assert torch.equal(a, b), prepare.__name__


def test_training_learns_and_ends_with_the_average(tmp_path: Path) -> None:
    trainer = filtered(tmp_path, 200)
    assert torch.allclose(trainer.model.weight, FILTER, atol=0.05)
    assert torch.equal(trainer.model.weight, trainer.average["weight"])
    assert (tmp_path / "sheets" / "000200.png").exists()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    filtered(tmp_path, 3)
    other = Trainer(blank(4), Filtering(), Optimisation(3), tmp_path, workers=0)
    with pytest.raises(ValueError, match="of another model"):
        other.run(quiet=True)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    trainer = Trainer(blank(), Filtering(), Optimisation(3), tmp_path, workers=0)
    before = trainer.model.weight.detach().clone()
    trainer.update(torch.full((8, 3, 3, 3), float("inf")))
    assert torch.equal(trainer.model.weight, before)


def test_the_rate_warms_up_and_falls() -> None:
    o = Optimisation(100, warmup=10, decay=0.5)
    assert o.rate(0) == pytest.approx(0.1) and o.rate(9) == o.rate(49) == 1.0
    assert o.rate(99) == pytest.approx(0.01, abs=2e-3) and replace(o, decay=0.0).rate(99) == 1.0


class Numbers(Kept):
    """Of row i, i, and who computed it."""

    name = "numbers"

    def compute(self, kind: str, rows: range) -> np.ndarray:
        return np.array(rows) + 100 * Share.mine().rank


def _together(rank: int, meeting: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    trainer = filtered(Path(folder), 5)
    torch.save(trainer.model.weight.detach(), f"{folder}-{rank}")
    Numbers(Path(folder), 7, (), int).make("all", batch=2, quiet=True)
    dist.destroy_process_group()


def test_what_is_kept_of_a_folder_that_has_grown_is_made_anew(tmp_path: Path) -> None:
    Numbers(tmp_path, 3, (), int).make("all", batch=2, quiet=True)
    (tmp_path / "all.npy").rename(tmp_path / "other.part.npy")  # begun when there were three
    for kind in ("all", "other"):
        grown = Numbers(tmp_path, 5, (), int)
        grown.make(kind, batch=2, quiet=True)
        assert [int(grown.row(i, kind)) for i in range(5)] == [0, 1, 2, 3, 4]


def _failing(kind: str, quiet: bool) -> None:
    if Share.mine().rank == 1:
        raise {"OSError": OSError(28, "No space left on device"), "ImportError": ModuleNotFoundError("pip install it"),
               "RuntimeError": RuntimeError("our own")}[kind]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "why"), [("OSError", "No space left"), ("ImportError", "^pip install it$"), ("RuntimeError", "our own")]
)
def test_mistakes_of_other_processes_are_told_as_ones_own(kind: str, why: str, tmp_path: Path) -> None:
    expected = {"OSError": OSError, "ImportError": ImportError, "RuntimeError": Exception}[kind]
    with pytest.raises(expected, match=why) as raised:
        run_in(2, tmp_path, _failing, kind, quiet=True)
    assert ("Traceback" in str(raised.value)) == (kind == "RuntimeError")


def test_two_processes_train_as_one_on_their_batches_together(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_together, (str(tmp_path / "meeting"), str(tmp_path / "two")), 2)
    a, b = (torch.load(tmp_path / f"two-{rank}", weights_only=True) for rank in (0, 1))
    assert torch.equal(a, b)
    assert np.load(tmp_path / "two" / "all.npy").tolist() == [0, 1, 102, 103, 4, 5, 106], "each did its share"
    assert not list((tmp_path / "two").glob("all.*done")) and not (tmp_path / "two" / "all.part.npy").exists()

    class Both(Filtering):
        def batch(self, step: int, share: Share) -> Tensor:
            return torch.cat([Filtering.batch(self, step, Share(rank, 2)) for rank in (0, 1)])

    torch.manual_seed(0)
    one = Trainer(
        blank(), Both(), Optimisation(5, lr=0.05, warmup=2, decay=0.5, ema=0.8), tmp_path / "one", workers=0
    )
    one.run(quiet=True)
    assert torch.allclose(one.model.weight, a, atol=1e-6)


@pytest.fixture
def stage(images: SceneImages, latents: Latents) -> Iterator[UnifiedStage]:
    rows = rows_of(images, latents, tokens=500, modes=(("interleaved", 0.6), ("direct", 0.4)), maps=1.0, caption=1.0)
    settings = StageSettings(rows.mix, Optimisation(30, lr=2e-3, matrix_lr=3e-3, warmup=3, ema=0.9), rows=2)
    yield UnifiedStage("all", rows, rows, settings)


def test_the_model_learns_text_and_maps(stage: UnifiedStage, tmp_path: Path) -> None:
    model = random_model()
    frozen = {k: p.detach().clone() for k, p in model.named_parameters() if k.startswith("autoencoder.")}
    Trainer(model, stage, stage.optimisation, tmp_path, workers=0, sheet_every=1000).run(quiet=True)
    log = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    for figure in ("text", "flow", "point"):
        values = [row[figure] for row in log if figure in row]
        assert np.mean(values[-5:]) < 0.9 * np.mean(values[:3]), figure
    assert all(torch.equal(p, frozen[k]) for k, p in model.named_parameters() if k in frozen)
    assert (tmp_path / "sheets" / "000030.png").exists()


def test_batches_are_pure_and_epochs_see_every_scene(stage: UnifiedStage) -> None:
    (a, found), (b, _) = stage.batch(3, Share()), stage.batch(3, Share())
    assert found is not None
    assert torch.equal(a.und_ids, b.und_ids) and torch.equal(a.latents, b.latents)  # type: ignore[arg-type]
    rows = stage.rows
    assert isinstance(rows, SceneRows) and sorted(rows.scene(7 * 6 + k, 0) for k in range(6)) == list(range(6))
    assert [rows.scene(k, 0) for k in range(12)] != 2 * [rows.scene(k, 0) for k in range(6)], "another order each time"
    parts = [stage.batch(3, Share(rank, 2))[0] for rank in (0, 1)]
    assert [sum(tree.parents.count(-1) for tree in batch.trees) for batch in (a, *parts)] == [2, 1, 1]


def test_an_autoencoder_learns_colour_first_of_all(images: SceneImages, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Autoencoder(dummy().autoencoder).initialise()
    optimisation = Optimisation(40, lr=3e-3, warmup=5, betas=(0.9, 0.99), ema=0.8)
    stage = AutoencoderStage(images, optimisation, batch_size=6, crop=32)
    Trainer(model, stage, optimisation, tmp_path, workers=0).run(quiet=True)
    log = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert np.mean([r["loss"] for r in log[-5:]]) < 0.7 * np.mean([r["loss"] for r in log[:3]])
    normalised(model, images, number=12)
    with torch.no_grad():
        z = torch.cat([model.encode(to_tensor(images.image(i, kind)[None])) for i in range(6) for kind in KINDS])
    assert abs(float(z.mean())) < 0.3 and 0.6 < float(z.std()) < 1.6


def test_the_decoder_can_be_trained_alone(images: SceneImages) -> None:
    model = Autoencoder(dummy().autoencoder)
    stage = AutoencoderStage(images, Optimisation(1), decoder_only=True)
    assert {name.split(".")[0] for name in stage.trained(model)} == {"decoder"} and stage.name == "decoder"


def test_the_vision_transformer_learns_what_a_cell_shows(images: SceneImages, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = random_model()
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    stage = VisionStage(images, images, batch_size=4)
    Trainer(Seer(model), stage, Optimisation(30, lr=3e-3, warmup=3, ema=0.9), tmp_path, workers=0).run(quiet=True)
    log = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    for figure in ("loss", "depth"):
        assert np.mean([r[figure] for r in log[-5:]]) < 0.8 * np.mean([r[figure] for r in log[:3]])
    changed = {k.split(".")[0] for k, p in model.named_parameters() if not torch.equal(p, before[k])}
    assert changed == {"vision", "connector_in", "connector_out"}


def test_eyes_without_geometry_are_told_distances_of_maps_alone(images: SceneImages) -> None:
    stage = VisionStage(images, images, batch_size=40, geometry=False)
    whole = VisionStage(images, images, batch_size=40).batch(0, Share())
    pixels, cells, depths, cameras = stage.batch(0, Share())
    told = whole[3][:, 0].isfinite()  # of pictures
    assert torch.equal(pixels, whole[0]) and torch.equal(cells, whole[1]) and told.any() and not told.all()
    assert depths[told].isnan().all() and cameras.isnan().all()
    assert torch.equal(depths[~told].isnan(), whole[2][~told].isnan()) and depths[~told].isfinite().any()
    seer = Seer(random_model())
    assert "camera" not in stage.loss(seer, (pixels, cells, depths, cameras))[1]
    assert {name.split(".")[0] for name in stage.trained(seer)} == {"head", "model"}


def test_pictures_come_in_the_size_of_the_position_table(images: SceneImages) -> None:
    model = random_model()
    pixels = to_tensor(np.stack([images.image(i, "picture") for i in range(6)]))
    with torch.no_grad():
        model.connector_out.weight *= 40
        places = model.vision_table[grid_positions((4, 4), model.config.vision.max_side, "")]
        content = model.embed_pictures(pixels) - places
        settle(model, images, number=6)
        after = model.embed_pictures(pixels) - places
    assert float(after.square().mean().sqrt()) == pytest.approx(1.0, abs=1e-3)
    torch.testing.assert_close(after / after.norm(), content / content.norm())


def test_cells_say_what_is_at_their_middle(images: SceneImages) -> None:
    scene, view = images.shards[0]
    cells = cells_of(images, 0)
    rows, columns = np.nonzero(cells[..., 0])
    assert len(rows) and (cells_of(images, 0, "depth") == UNKNOWN).all()
    depths = depth_of(images, 0)
    assert depths.shape == cells.shape[:2] and np.isnan(depth_of(images, 0, "segmentation")).all()
    assert np.array_equal(depths, depth_of(images, 0, "depth"))
    for y, x in zip(rows, columns, strict=True):
        thing = next(t for t in scene.things if t.id == view.labels[CELL * y + CELL // 2, CELL * x + CELL // 2])
        assert SHAPES[cells[y, x, 0] - 1] == thing.shape and list(COLORS)[cells[y, x, 1] - 1] == thing.color
        assert depths[y, x] == pytest.approx(np.log(view.depth[CELL * y + CELL // 2, CELL * x + CELL // 2]), abs=1e-3)


def test_an_interruption_is_held_until_the_end_of_what_must_not_be_left_half_done() -> None:
    done: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  (what is tested is where it is raised)
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest")
        done.append("what follows")
    assert done == ["the rest"] and signal.getsignal(signal.SIGINT) is before
    with uninterrupted():
        done.append("more")
    with pytest.raises(ValueError, match="wrong"), uninterrupted():
        raise ValueError("wrong")
    assert done == ["the rest", "more"] and signal.getsignal(signal.SIGINT) is before
