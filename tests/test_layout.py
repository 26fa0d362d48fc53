"""The layout: hand-worked rows, and the promise that what is trained (packed) is what is run (cached)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers import decoder_calls, in_sequence, random_model
from torch import Tensor

from cooper import chunks
from cooper.inference.cache import Context
from cooper.inference.flow import FlowSettings, schedule
from cooper.inference.session import Session
from cooper.layout import (
    NO_LABEL,
    Clean,
    Node,
    Noised,
    Piece,
    RowLayout,
    Seen,
    Words,
    chain,
    collate,
    lay_out,
    lay_out_rows,
    merge,
    tokens_of,
)
from cooper.model.attention import ChunkedAttention, DenseAttention
from cooper.model.packed import forward, losses
from cooper.model.presets import dummy
from cooper.model.unified import UnifiedModel

CONFIG = dummy()


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@cache
def model() -> UnifiedModel:
    return random_model()


# ---------------------------------------------------------------- pieces, by hand and at random


def seen(seed: int, rows: int = 1, columns: int = 2) -> Seen:
    patch = CONFIG.vision.patch
    image = torch.rand(3, rows * patch, columns * patch, generator=torch.Generator().manual_seed(seed))
    return Seen(image * 2 - 1)


def latents(seed: int, rows: int, columns: int) -> Tensor:
    return torch.randn(rows * columns, CONFIG.latent_dim, generator=torch.Generator().manual_seed(seed))


def clean(seed: int, rows: int = 1, columns: int = 2) -> Clean:
    return Clean(latents(seed, rows, columns), (rows, columns))


def noised(seed: int, rows: int = 1, columns: int = 2, time: float = 0.3) -> Noised:
    return Noised(latents(seed, rows, columns), (rows, columns), time, latents(seed + 1, rows, columns))


seeds, sides = st.integers(0, 10**6), st.integers(1, 3)
ids = st.lists(st.integers(4, CONFIG.decoder.vocabulary - 1), max_size=6).map(tuple)
words = st.builds(Words, ids, st.booleans(), blind=st.booleans()) | st.builds(
    lambda i, n, *frame: Words((n, *i), False, *frame), ids, st.integers(4, 99), *[st.booleans()] * 3
)


def half_hidden(piece: Seen | Clean, seed: int) -> Seen | Clean:
    """With an image of which blind words see about a half."""
    return replace(piece, hidden=np.random.default_rng(seed).random(tokens_of(piece, CONFIG)) < 0.5)


images = st.builds(seen, seeds, sides, sides) | st.builds(clean, seeds, sides, sides)
looked_at = words | images | st.builds(half_hidden, images, seeds)
drawn = st.builds(noised, seeds, sides, sides, st.floats(0, 1, width=32))
pieces = looked_at | drawn
sequences = st.lists(pieces, min_size=1, max_size=6)


@st.composite
def trees(draw: st.DrawFn) -> list[Node]:
    """A row: every node follows the one before it, or one of those shortly before that, or none."""
    row = draw(st.lists(st.tuples(pieces, st.sampled_from([1, 1, 1, 2, 3, 9])), min_size=3, max_size=8))
    return [Node(piece, max(i - back, -1)) for i, (piece, back) in enumerate(row)]


# ---------------------------------------------------------------- running them


@torch.no_grad()
def packed(rows: list[RowLayout]) -> list[Tensor]:
    """Logits and velocities of whole rows, in sequence order."""
    batch = collate(rows, CONFIG)
    return in_sequence(model(), batch, *forward(model(), batch))


def read(session: Session, rows: list[list[Piece]]) -> list[Tensor]:
    """Read into the cache; the logits and velocities of the new tokens, per row, in sequence order."""
    starts = session.context.positions.tolist()
    batch = collate([lay_out(chain(row), CONFIG, start) for row, start in zip(rows, starts, strict=True)], CONFIG)
    with decoder_calls(model()) as calls, torch.no_grad():
        session.read(rows)
        ((_, hidden),) = calls
        return in_sequence(model(), batch, *hidden)


@torch.no_grad()
def draw_once(session: Session, piece: Noised) -> Tensor:
    """One evaluation of a drawing against the cache, which it leaves as it was."""
    return read(session.fork(1, tokens_of(piece, CONFIG) + 2), [[piece]])[0]


def new_session(rows: int, capacity: int = 400) -> Session:
    return Session(model(), Context.empty(rows, CONFIG.decoder, capacity, torch.float32, torch.device("cpu")))


# ---------------------------------------------------------------- packed = cached


@settings(max_examples=40)
@given(st.lists(trees(), min_size=1, max_size=3))
def test_packed_trees_equal_cached_forks(forest: list[list[Node]]) -> None:
    """Several rows, each a tree: the cache is forked where the tree branches, and every piece read by itself."""
    layouts = [lay_out(nodes, CONFIG) for nodes in forest]
    for nodes, row, whole in zip(forest, layouts, packed(layouts), strict=True):
        sessions = {-1: new_session(1, 1)}
        for i, node in enumerate(nodes):
            before = sessions[node.parent]
            if isinstance(node.piece, Noised):
                cached = draw_once(before, node.piece)
                sessions[i] = before
            else:
                sessions[i] = before.fork(1, 40)
                (cached,) = read(sessions[i], [[node.piece]])
            close(whole[row.segment == i], cached)


@settings(max_examples=40)
@given(st.lists(st.lists(looked_at, max_size=4), min_size=2, max_size=4))
def test_packed_rows_equal_one_session(rows: list[list[Piece]]) -> None:
    """Several rows in one session, each step a piece of whatever kind and length, or none, in each row."""
    rows = [*rows, [Words((4,))]]
    layouts = [lay_out(chain(row), CONFIG) for row in rows]
    wholes = packed(layouts)
    session = new_session(len(rows))
    for step in range(max(map(len, rows))):
        outputs = read(session, [row[step : step + 1] for row in rows])
        for layout, whole, output in zip(layouts, wholes, outputs, strict=True):
            close(whole[layout.segment == step], output)
    assert session.context.positions.tolist() == [layout.end for layout in layouts]


@settings(max_examples=20)
@given(st.lists(looked_at, max_size=4), seeds, sides, sides)
def test_packed_targets_equal_a_drawing(history: list[Piece], seed: int, rows: int, columns: int) -> None:
    """A walk from noise to a map, step by step, against a packed row that has each step as a target."""
    session = new_session(1)
    session.read([history])
    flow = FlowSettings(time_points=4, shift=2.0)
    x = [latents(seed, rows, columns)]
    x += [after[0] for after in session.draw(x[0][None], (rows, columns), flow)]
    calls = schedule(flow.time_points, flow.shift)
    targets = [Noised(at, (rows, columns), t, at) for at, (t, _) in zip(x, calls, strict=False)]
    row = lay_out(chain([*history, *targets]), CONFIG)
    (whole,) = packed([row])
    for k, (_, step) in enumerate(calls):
        velocity = whole[row.segment == len(history) + k][1:-1, CONFIG.decoder.vocabulary :]
        close((x[k] - x[k + 1]) / step, velocity)


# ---------------------------------------------------------------- merging, padding, and who sees whom


@settings(max_examples=30)
@given(st.lists(pieces, max_size=3), st.lists(sequences, min_size=1, max_size=3))
def test_merged_sequences_are_what_they_are_alone(prefix: list[Piece], ends: list[list[Piece]]) -> None:
    together = [[*prefix, *end] for end in ends]
    nodes = merge(together)
    row = lay_out(nodes, CONFIG)
    (whole,) = packed([row])
    own: set[int] = set()  # nodes that carry a loss belong to one sequence each, in order
    for sequence in together:
        at, path = -1, []
        for piece in sequence:
            i = next(i for i, n in enumerate(nodes) if n == Node(piece, at) and i not in own)
            if isinstance(piece, Noised) or (isinstance(piece, Words) and piece.loss):
                own.add(i)
            path.append(i)
            at = at if isinstance(piece, Noised) else i
        merged = torch.cat([whole[row.segment == i] for i in path])
        close(merged, packed([lay_out(chain(sequence), CONFIG)])[0])


def test_merge_shares_what_carries_no_loss() -> None:
    picture, drawing, question = seen(1), noised(2), Words((5, 6))
    answer = Words((7,), loss=True)
    nodes = merge(
        [
            [picture, question, answer],
            [picture, Words((5, 6)), Words((7,), loss=True), Words((8,))],  # equal words are shared, not so with loss
            [picture, drawing, Words((9,))],  # what follows a target follows what was before it
            [picture, drawing],
            [seen(1), question],  # an equal picture that is another object is another picture
        ]
    )
    assert [node.parent for node in nodes] == [-1, 0, 1, 1, 3, 0, 0, 0, -1, 8]
    assert [node.piece for node in nodes] == [
        picture, question, answer, Words((7,), loss=True), Words((8,)),
        drawing, Words((9,)), drawing, nodes[8].piece, question,
    ]  # fmt: skip


@settings(max_examples=30)
@given(st.lists(trees(), min_size=2, max_size=4))
def test_rows_are_independent_and_padding_changes_nothing(forest: list[list[Node]]) -> None:
    layouts = [lay_out(nodes, CONFIG) for nodes in forest]
    for row, batched in zip(layouts, packed(layouts), strict=True):
        close(batched, packed([row])[0])


def test_losses_of_a_batch_are_those_of_its_rows() -> None:
    rows = [
        lay_out(chain([seen(1), Words((5, 6, 7), loss=True), noised(2, 2, 2)]), CONFIG),
        lay_out(chain([Words((8,)), noised(3), clean(4), Words((9,) * 9, loss=True)]), CONFIG),
    ]
    together, alone = losses(model(), collate(rows, CONFIG)), [losses(model(), collate([r], CONFIG)) for r in rows]
    assert together.text.shape == (4 + 10,) and together.flow.shape == (4 + 2, CONFIG.latent_dim)
    close(together.text, torch.cat([loss.text for loss in alone]))
    close(together.flow, torch.cat([loss.flow for loss in alone]))


@settings(max_examples=30)
@given(trees(), seeds)
def test_a_target_is_seen_by_nobody(nodes: list[Node], seed: int) -> None:
    row = lay_out(nodes, CONFIG)
    targets = [i for i, node in enumerate(nodes) if isinstance(node.piece, Noised)]
    for i in targets:
        assert not row.allowed()[np.ix_(row.segment != i, row.segment == i)].any()
    others = [
        Node(noised(seed, *node.piece.grid, 0.9), node.parent) if isinstance(node.piece, Noised) else node
        for node in nodes
    ]
    kept = torch.from_numpy(~np.isin(row.segment, targets))
    close(packed([row])[0][kept], packed([lay_out(others, CONFIG)])[0][kept])


@settings(max_examples=40)
@given(st.lists(trees(), min_size=1, max_size=3), st.sampled_from([1, 12, 96]), st.sampled_from([1, 64]))
def test_attention_back_ends_agree(forest: list[list[Node]], smallest: int, step: int) -> None:
    """What a CPU does, dense blocks of any size, against `scaled_dot_product_attention` under the whole mask."""
    batch = collate([lay_out(nodes, CONFIG) for nodes in forest], CONFIG)
    with patch.object(chunks, "SMALLEST", smallest), patch.object(chunks, "STEP", step):
        batch.chunks  # noqa: B018
    c, random = CONFIG.decoder, torch.Generator().manual_seed(0)
    heads = (c.heads, c.kv_heads, c.kv_heads)
    q, k, v = (torch.randn(*batch.valid.shape, h, c.head_dim, generator=random) for h in heads)
    chunked, dense = ChunkedAttention(batch.chunks, torch.float32), DenseAttention(batch.allowed)
    close(chunked(0, q, k, v)[batch.valid], dense(0, q, k, v)[batch.valid])


@settings(max_examples=20)
@given(st.lists(trees(), min_size=2, max_size=3))
def test_rows_together_are_the_rows(forest: list[list[Node]]) -> None:
    """Rows laid out as one row need no padding, and do not see one another."""
    apart = [packed([lay_out(nodes, CONFIG)])[0] for nodes in forest]
    close(packed(lay_out_rows(forest, CONFIG, "cpu"))[0], torch.cat(apart))


# ---------------------------------------------------------------- by hand


def test_the_example_of_the_docstring() -> None:
    """S P Q, then A and N: each sees its own past, and A does not see N, nor N A."""
    s, p, q = Words((10,)), seen(1, 1, 2), Words((11, 12))
    row = lay_out(merge([[s, p, q, Words((13,), loss=True)], [s, p, q, noised(2, 1, 2)]]), CONFIG)
    sees = ["x....", "xx...", "xxx..", "xxxx.", "xxx.x"]
    assert row.sees.tolist() == [[mark == "x" for mark in line] for line in sees]
    #                        S begin w end | P frame p p frame | Q begin w w end | A begin w end | N frame d d frame
    assert row.segment.tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4]
    assert row.ids.tolist() == [0, 10, 1, 2, -1, -1, 3, 0, 11, 12, 1, 0, 13, 1, 2, -1, -1, 3]
    assert row.position.tolist() == [0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 8, 8, 8, 8]
    assert np.flatnonzero(row.gen).tolist() == [15, 16]
    assert {i: int(x) for i, x in enumerate(row.labels) if x != NO_LABEL} == {11: 13, 12: 1}
    assert row.end == 11
    allowed = row.allowed()
    assert allowed[1, :3].tolist() == [True, True, False], "text looks back"
    assert allowed[3:7, :7].all() and not allowed[3:7, 7:].any(), "a picture's tokens see each other and all before"
    assert allowed[14:, 14:].all() and allowed[14:, :11].all() and not allowed[14:, 11:14].any()


def test_a_clean_drawing_goes_to_its_expert_and_advances_by_one() -> None:
    row = lay_out(chain([clean(1, 2, 2), Words((9,), begin=False)]), CONFIG, start=7)
    assert row.position.tolist() == [7] * 6 + [8, 9] and row.end == 10
    assert row.ids.tolist() == [2, -1, -1, -1, -1, 3, 9, 1]
    assert row.gen.tolist() == [False, True, True, True, True, False, False, False]


def test_a_text_without_an_end_has_no_label_for_it() -> None:
    row = lay_out(chain([Words((5, 6), loss=True, end=False)]), CONFIG)
    assert row.ids.tolist() == [0, 5, 6] and row.labels.tolist() == [5, 6, NO_LABEL]


def test_stream_order_and_padding() -> None:
    rows: list[list[Piece]] = [[clean(1, 1, 2), Words((9,))], [Words((8,))]]
    batch = collate([lay_out(chain(row), CONFIG) for row in rows], CONFIG)
    assert batch.order.tolist() == [[0, 3, 4, 5, 6, 1, 2], [0, 1, 2, -1, -1, -1, -1]]
    assert batch.und_ids.tolist() == [[2, 3, 0, 9, 1], [0, 8, 1, 0, 0]] and batch.gen_width == 2
    assert batch.positions.tolist() == [[0, 0, 1, 2, 3, 0, 0], [0, 1, 2, 0, 0, 0, 0]]
    assert batch.ends.tolist() == [4, 3]
    assert (batch.allowed[1, 3:] == torch.eye(7, dtype=torch.bool)[3:]).all(), "padding attends to itself only"
    assert not batch.allowed[1, :3, 3:].any()


@pytest.mark.parametrize(
    ("piece", "what"), [(seen(1, 9, 1), "the picture has 9x1"), (clean(1, 1, 9), "the drawing has 1x9")]
)
def test_an_image_too_large_for_its_position_table_is_a_clear_error(piece: Piece, what: str) -> None:
    assert tokens_of(piece, CONFIG) == 9
    with pytest.raises(ValueError, match=f"{what} tokens, .*position table .*8x8: use a smaller image"):
        packed([lay_out(chain([piece]), CONFIG)])


def test_positions_depend_on_the_table_not_on_the_grid() -> None:
    """The same tokens at other places of the table are other tokens: rows and columns are not mixed up."""
    flat = latents(1, 1, 2)
    wide, tall = packed([lay_out(chain([Clean(flat, grid)]), CONFIG) for grid in ((1, 2), (2, 1))])
    assert (wide - tall).abs().max() > 1e-3
