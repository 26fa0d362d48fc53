"""Rows that teach what is meant."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers import random_model, sequencer
from torch import Tensor

from cooper.inference.engine import Engine
from cooper.layout import NO_LABEL, Clean, Noised, Piece, Seen, Words, chain, collate, lay_out
from cooper.modalities import Depth, modality
from cooper.model.config import ImageSizes
from cooper.model.packed import losses
from cooper.model.presets import dummy
from cooper.policy import POLICIES
from cooper.scenes.edits import edit
from cooper.scenes.question import GENERAL, Question
from cooper.scenes.questions import ask_all
from cooper.scenes.seen import look
from cooper.scenes.shards import make_shards
from cooper.scenes.targets import SceneImages
from cooper.trace import Trace
from cooper.training.autoencoder import to_tensor
from cooper.training.drawn import DrawnMaps
from cooper.training.latents import Latents
from cooper.training.optimisation import Optimisation
from cooper.training.recipe import BAGEL_7B
from cooper.training.rows import Mix, SceneRows, _Cached
from cooper.training.unified import StageSettings, UnifiedStage
from cooper.view_dropout import hidden_view


def rows_of(images: SceneImages, latents: Latents, **mix: Any) -> SceneRows:
    return SceneRows(images, latents, sequencer(random_model()), Mix(**mix))


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


def test_rows_of_the_published_size_have_room_for_both_maps(tmp_path: Path) -> None:
    """A picture and a map of 512 pixels have a thousand tokens each."""
    make_shards(tmp_path, 0, 2, size=64, workers=1, quiet=True)
    model, scenes = random_model(latent_sizes=ImageSizes(512, 512), max_latent_side=64), SceneImages(tmp_path)
    made = Latents(scenes, tmp_path, model.autoencoder, sequencer(model))
    for kind in ("picture", *model.config.modalities):
        made.make(kind, quiet=True)
    mix = BAGEL_7B.unified["perception"].mix
    nodes = SceneRows(scenes, made, sequencer(model), mix).nodes(1, np.random.default_rng(0))
    targets = [n.piece.tokens for n in nodes if isinstance(n.piece, Noised)]
    assert len(targets) == 2 and all(len(tokens) == 1024 for tokens in targets)
    assert not torch.equal(*targets), "depth and segmentation"


def test_a_picture_is_drawn_from_what_was_seen_of_it(images: SceneImages, latents: Latents) -> None:
    rows = rows_of(images, latents, tokens=900, reconstruct=1.0)
    for i in range(3):
        nodes = rows.nodes(i, np.random.default_rng(i))
        drawn = [n for n in nodes if isinstance(n.piece, Noised)]
        assert [torch.equal(n.piece.tokens, latents.tokens(i, "picture")) for n in drawn] == [True]  # type: ignore[union-attr]
    assert not any(isinstance(n.piece, Noised) for n in rows_of(images, latents).nodes(0, np.random.default_rng(0)))


def test_a_picture_is_drawn_changed_as_its_order_says(images: SceneImages, latents: Latents) -> None:
    rows = rows_of(images, latents, tokens=900, edited=1.0)
    for i in range(3):
        nodes = rows.nodes(i, np.random.default_rng(i))
        (drawn,) = (k for k, n in enumerate(nodes) if isinstance(n.piece, Noised))
        order = rows.sequencer.text(list(nodes[nodes[drawn].parent].piece.ids))  # type: ignore[union-attr]
        scene, view = images.shards[i]
        orders = dict(edit(scene, view, np.random.default_rng(k)) for k in range(200))
        (image,) = (image for text, image in orders.items() if text in order)
        assert torch.equal(nodes[drawn].piece.tokens, latents.encode(image[None])[0])  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="edited pictures need an object_weight of 1, not 8"):
        Mix(edited=0.1, object_weight=8.0)


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
    assert torch.equal(batch.targets.weight, counts)
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
    expected = {"told": 0.12, "sums": 0.18, "traces": 0.3, "maps": 0.25, "reading": 0.15}
    kinds = made_of(rows, 1000)
    assert {kind: n / 1000 for kind, n in kinds.items()} == pytest.approx(expected, abs=0.05)
    assert made_of(usual, 200).keys() == {"told", "sums", "traces"}


def made_of(rows: SceneRows, number: int) -> Counter[str]:
    """What so many rows of a scene in which something can be named are made of; nothing of it is worked out."""
    kinds: Counter[str] = Counter()
    for kind in ("told", "sums", "traces", "reading"):
        setattr(rows, kind, lambda *_, kind=kind: kinds.update([kind]) or ())
    i = next(i for i in range(len(rows)) if look(*rows.images.shards[i]).named)
    rng = np.random.default_rng(0)
    for _ in range(number):
        if rows.nodes(i, rng):  # only rows of maps alone have pieces now
            kinds["maps"] += 1
    return kinds


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


def test_questions_of_tasks_that_weigh_more_come_earlier(
    images: SceneImages, latents: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {"counting": 1e9, "color": 1e-9}
    rows = SceneRows(images, latents, sequencer(random_model()), Mix(tokens=100_000), task_weights=weights)
    asked: dict[str, str] = {}  # the task of each question

    def asking(*of: Any) -> list[Question]:
        questions = ask_all(*of)
        asked.update((question.text, question.task) for question in questions)
        return questions

    monkeypatch.setattr("cooper.training.rows.ask_all", asking)
    next_ones = set()
    for i in range(20):
        asked.clear()
        nodes = rows.nodes(0, np.random.default_rng(i))
        texts = [rows.sequencer.text(n.piece.ids) for n in nodes if isinstance(n.piece, Words)]
        tasks = [asked[text] for text in texts if text in asked]
        assert sorted(tasks) == sorted(asked.values())
        counted, colours = tasks.count("counting"), tasks.count("color")
        assert set(tasks[:counted]) == {"counting"} and set(tasks[-colours:]) == {"color"}
        next_ones.add(tasks[counted])
    assert len(next_ones) > 3, "the others are shuffled"


def test_so_much_of_the_picture_is_hidden() -> None:
    config = random_model().config
    picture: list[Piece] = [Clean(torch.zeros(256, config.latent_dim), (16, 16)), Seen(torch.zeros(3, 256, 256))]
    for share, low, high in ((0.0, 0.0, 0.0), (0.1, 0.05, 0.17), (0.5, 0.4, 0.6), (1.0, 1.0, 1.0)):
        for piece in hidden_view(picture, share, config, np.random.default_rng(0)):
            assert isinstance(piece, Clean | Seen) and piece.hidden is not None
            assert low <= piece.hidden.mean() <= high


def test_half_of_the_traces_are_by_eye(images: SceneImages, latents: Latents) -> None:
    """Of those that would call for a map; without them a stage has the rows that it had before there were any."""
    def traces(by_eye: float) -> list[Trace]:
        rows = rows_of(images, latents, modes=(("interleaved", 1.0),), by_eye=by_eye)
        cached = [_Cached(images, latents, None, i) for i in range(len(rows))]
        rngs = [np.random.default_rng(i) for i in range(len(rows))]
        return [t for i in range(len(rows)) for t in rows.traces(i, POLICIES["interleaved"], cached[i], rngs[i])]

    drawn, half, none = ([bool(t.drawings) for t in traces(share)] for share in (0.0, 0.5, 1.0))
    assert len(drawn) == len(half) == len(none) and not any(none)
    assert 0.4 < sum(half) / sum(drawn) < 0.6
    by_eye = [t for t in traces(1.0) if "By eye," in t.turns[-1]]
    assert len(by_eye) == sum(drawn), "and all of the others think as they did"


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
