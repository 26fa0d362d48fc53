"""Pointers lead from words to what they name, and can be learned."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.helpers import random_model, sequencer
from torch import Tensor

from cooper.layout import Node, Seen, Words, collate, lay_out, merge
from cooper.model.packed import losses
from cooper.model.presets import dummy
from cooper.scenes.render import View
from cooper.scenes.world import SHAPES, Camera, Scene, Thing, sample_scene
from cooper.training.pointing import Brought, Mentions, Pointers, Pointing, gather, pointers

TOKENS = sequencer(random_model())
PATCH = dummy().vision.patch


def thing(id: int, color: str, shape: str) -> Thing:
    return Thing(id, shape, color, (0.5, 0.5, 0.5), (0.0, 3.0, 0.25), 0.0, None, "plain")  # type: ignore[arg-type]


SCENE = Scene(
    0,
    sample_scene(0).room,
    Camera(1.4, 15, 55),
    (thing(1, "red", "ball"), thing(2, "red", "box"), thing(3, "blue", "ball")),
)
"""A red ball over two patches, a red box in one, and a blue ball that does not show."""
LABELS = np.zeros((64, 64), np.uint8)
LABELS[0:16, 8:32] = 1
LABELS[40:44, 52:60] = 2
VIEW = View(np.zeros((64, 64, 3), np.uint8), np.ones((64, 64), np.float32), LABELS, {})
PICTURE, MAP = Seen(torch.zeros(3, 64, 64)), Seen(torch.ones(3, 64, 64))


def words(text: str, loss: bool = False) -> Words:
    return Words(TOKENS.ids(text), loss)


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("Where is the red ball?", [{1}]), ("red box 3, 5; blue ball 1, 2.", [{2}, {3}]),
        ("the box and the red ball", [{2}, {1}]), ("the red object", []), ("the ball", []),
        ("the blue object", [{3}]), ("a green ball", [set()]), ("a blue box", [set()]), ("green", []),
        ("How many balls?", [{1, 3}]), ("red objects", [{1, 2}]), ("the objects", [{1, 2, 3}]),
        ("cones", [set()]), ("the object", []), ("red", []),
    ],
)  # fmt: skip
def test_mentions_mean_one_thing_or_none_or_all_of_a_kind(text: str, things: list[set[int]]) -> None:
    ids = TOKENS.ids(text)
    found = list(Mentions(TOKENS.tokenizer).find(ids, SCENE))
    assert [set(label) for _, label, _ in found] == things
    for place, _, ahead in found:
        assert not ahead
        assert re.search(rf"({'|'.join(SHAPES)}|object)e?s?$", TOKENS.text(list(ids[: place + 1])))


def test_who_counts_looks_before_it_names() -> None:
    ids = TOKENS.ids("so: 1 red ball 3, 2 blue ball 12, no more balls, so 2.")
    seen: dict[tuple[int, ...], list[str]] = {}
    for place, things, ahead in Mentions(TOKENS.tokenizer).find(ids, SCENE):
        seen.setdefault(things, []).append(word := TOKENS.text([ids[place]]).strip())
        assert ahead == (not word.isalpha())
    assert {k: sorted(v) for k, v in seen.items()} == {
        (1,): ["", "1", ":", "ball"], (3,): ["", ",", "2", "ball"], (): [",", "balls"]
    }  # fmt: skip


def test_a_pointer_leads_to_the_patches_of_the_thing() -> None:
    question = words("Where is the red ball?")
    rows = [
        merge(
            [[PICTURE, question, words("the red ball is here.", True)], [PICTURE, words("the blue ball is hidden.")]]
        ),
        merge([[words("the red box"), PICTURE, question, MAP, words("the red box, not the blue box", True)]]),
    ]
    found = [pointers(nodes, SCENE, VIEW, PATCH, Mentions(TOKENS.tokenizer)) for nodes in rows]
    assert [len(f) for f in found] == [2, 4], "what came before the picture, and what does not show, is not pointed at"
    assert [p.is_map for p in found[1]] == [False, False, True, False]
    layouts = [lay_out(nodes, dummy()) for nodes in rows]
    batch = collate(layouts, dummy())
    all_of_them = gather(list(zip(layouts, found, strict=True)), batch.positions.shape[1])
    assert all_of_them is not None
    und = batch.und_ids.flatten()
    for k, token in enumerate(all_of_them.tokens.tolist()):
        assert TOKENS.text([int(und[token])]).strip() == ("ball" if k < 3 else "box")
        shares = {p: round(s, 4) for p, s in enumerate(all_of_them.shares[k].tolist()) if s}
        # the first is the opening token, for what is not there
        assert shares == ({1: 0.3333, 2: 0.6667} if k < 3 else {12: 1.0} if k < 5 else {0: 1.0})
    ((_, places),) = batch.pictures
    seen = all_of_them.seen.tolist()
    assert {tuple(row[1:]) for row in seen} == {tuple(row) for row in places.tolist()}
    assert {int(und[row[0]]) for row in seen} == {dummy().special.image_begin}
    assert seen[3] != seen[4] and seen[3] == seen[5]
    assert gather([(layouts[0], [])], 99) is None


def test_several_things_are_looked_at_alike_however_large() -> None:
    nodes = merge([[PICTURE, words("red objects, balls, no more balls")]])
    both, ball, nothing = (
        {k: round(float(s), 4) for k, s in enumerate(p.shares) if s}
        for p in pointers(nodes, SCENE, VIEW, PATCH, Mentions(TOKENS.tokenizer))[:3]
    )
    assert both == {1: 0.1667, 2: 0.3333, 12: 0.5} and ball == {1: 0.3333, 2: 0.6667} and nothing == {0: 1.0}


def test_what_is_measured_is_the_distance_from_pointing_well() -> None:
    """Each where it belongs: names lower than what looks ahead, and by another head, pictures lower than maps."""
    found = Pointers(
        torch.tensor([0, 1, 0, 1]), torch.tensor([[2, 3], [4, 5]] * 2), torch.tensor([[0.25, 0.75], [1.0, 0.0]] * 2),
        torch.tensor([False, True] * 2), torch.tensor([False, False, True, True]), Brought.of([]), Brought.of([]),
    )  # fmt: skip
    q, k = torch.zeros(1, 6, 4, 16), torch.zeros(1, 6, 2, 16)
    q[0, :2, [0, 3], 0] = 4.0
    k[0, 3, 0, 0] = float(np.log(3))  # e^(log 3) = 3 times as much as for the first patch: as it should be
    k[0, 5, 1, 0] = float(np.log(3))
    measured: list[Tensor] = []
    seen: list[tuple[int, int]] = []

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen.append((layer, len(measured)))
        return q.flatten(2)

    watching = Pointing(attend, found, 9, measured, [])
    for layer in range(9):
        watching(layer, q, k, k)
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), *((layer, 4) for layer in range(5, 9))]
    names, ahead = [0.0, np.log(2)], [0.25 * np.log(0.5) + 0.75 * np.log(1.5), np.log(4)]
    assert [float(x) for x in measured] == pytest.approx([*names, *ahead], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("red ball 3.5; blue ball 12.4.", ["35", "124"]), ("On the map, the red ball is 2.6 m away, so 5.", ["26"]),
        ("red ball at 2.9, 3.1; red box at 4.0, 1.2. 1.1 across", ["2931", "4012"]), ("red ball and box", ["", ""]),
        ("1 red ball 3, 2 blue ball 12, no more", ["3", "12"]), ("the red ball, as far as I can see, is 5 m", [""]),
    ],
)  # fmt: skip
def test_digits_of_the_number_that_follows_a_name(text: str, written: list[str]) -> None:
    ids, mentions = TOKENS.ids(text), Mentions(TOKENS.tokenizer)
    names = [k for k, *_ in mentions.find(ids, SCENE)]
    told = {k: "".join(TOKENS.text([ids[w + 1]]).strip() for w in mentions.writes(ids, k, names)) for k in names}
    ends = [k for k in names if TOKENS.text([ids[k]]).strip() in SHAPES]
    assert [told[k] for k in ends] == written
    assert not any(told[k] for k in names if k not in ends), "what comes before a name in a numbered list tells nothing"


def test_a_map_is_read_in_the_colour_of_the_thing() -> None:
    image = torch.zeros(3, 64, 64)
    image[:, torch.from_numpy(LABELS == 1)] = torch.tensor([0.5, -0.25, 1.0])[:, None]
    told = words("the red ball is 2.6 m away, the red objects", True)
    nodes = merge([[PICTURE, words("How far is it?"), Seen(image), told]])
    found = pointers(nodes, SCENE, VIEW, PATCH, Mentions(TOKENS.tokenizer))
    (read,) = (p for p in found if p.color is not None)
    assert read.is_map and read.color == pytest.approx([0.5, -0.25, 1.0])
    layout = lay_out(nodes, dummy())
    batch = collate([layout], dummy())
    gathered = gather([(layout, found)], batch.positions.shape[1])
    assert gathered is not None
    und = batch.und_ids.flatten().tolist()
    assert [TOKENS.text([und[t]]).strip() for t in gathered.named.tokens] == ["ball"]
    assert [TOKENS.text([und[t + 1]]).strip() for t in gathered.written.tokens] == ["2", "6"]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.full(q.shape, float(layer)).flatten(2)
        if layer == 1:
            out.view(-1, out.shape[-1])[gathered.named.tokens, :3] = 2 * torch.tensor([0.5, -0.25, 1.0])
        return out

    reading: list[Tensor] = []
    watching = Pointing(attend, gathered, 6, [], reading)
    q, k = torch.randn(1, batch.positions.shape[1], 4, 16), torch.randn(1, batch.positions.shape[1], 2, 16)
    for layer in range(6):
        watching(layer, q, k, k)
    above = [(2 - 1) ** 2, (2 + 0.5) ** 2, (2 - 2) ** 2], [(3 - 1) ** 2, (3 + 0.5) ** 2, (3 - 2) ** 2]
    assert [x.tolist() for x in reading] == [
        pytest.approx([np.mean(above[0])]), pytest.approx([np.mean(above[1])] * 2)
    ], "of the layer above that of pictures at the name, and of the one above that where the number is written"


def test_pointing_can_be_learned() -> None:
    torch.manual_seed(0)
    model = random_model()
    texts: Sequence[str] = ("Where is the red ball?", "Where is the red box?")
    nodes: list[Node] = merge([[PICTURE, words(text), words("there", True)] for text in texts])
    layout = lay_out(nodes, dummy())
    batch = collate([layout], dummy())
    found = gather(
        [(layout, pointers(nodes, SCENE, VIEW, PATCH, Mentions(TOKENS.tokenizer)))], batch.positions.shape[1]
    )
    assert found is not None
    optimiser = torch.optim.Adam(model.decoder.parameters(), 1e-2)
    history, measured = [], list[Tensor]()
    for _ in range(60):
        measured.clear()
        losses(model, batch, lambda attend: Pointing(attend, found, model.config.decoder.layers, measured, []))
        loss = torch.cat(measured).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(float(loss.detach()))
    assert history[0] > 1.5 and history[-1] < 0.3
