"""The engine: what a trace becomes does not depend on its batch, nothing is read twice, and the cache suffices."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers import Scripted, decoder_calls, picture, random_model, sequencer, tokens_of_call

from cooper.hardware import threads
from cooper.inference.cache import Context
from cooper.inference.engine import Engine, Settings
from cooper.inference.flow import FlowSettings
from cooper.inference.rollout import Event, Finished, FlowStep, MapDrawn, Rollout, TokenWritten
from cooper.inference.sampler import Sampling
from cooper.inference.session import Session
from cooper.layout import Piece, Words, tokens_of
from cooper.modalities import modality
from cooper.model.config import Precision
from cooper.model.precision import put_in
from cooper.policy import Policy
from cooper.trace import Drawing, Text, Trace

DEPTH, SEGMENTATION = (f"<think>look</think>{modality(name).call}" for name in ("depth", "segmentation"))
ANSWER = "<think>near</think><answer>\\boxed{1.2}</answer>"
POLICY = Policy("test", "Draw, think, answer.", ("depth", "segmentation"), max_turns=3)
FLOW = FlowSettings(time_points=4)

MODEL = random_model()
SEQUENCER = sequencer(MODEL)


def ids(text: str) -> list[int]:
    return list(SEQUENCER.ids(text))


#: what the model says, by seed: all kinds of traces, with turns that are sampled freely (None) among them
SCRIPT: dict[int, list[list[int] | None]] = {
    11: [ids(ANSWER)],
    12: [None],
    13: [ids(DEPTH), None],
    14: [ids(DEPTH), ids(SEGMENTATION), None],
    15: [ids(SEGMENTATION), ids(DEPTH), ids(ANSWER)],
    16: [ids(SEGMENTATION), ids("no answer")],
}
#: prompts of all sizes: pictures of several shapes, several texts, one question before its picture
PROMPTS = {
    11: Trace((picture(1), Text("How far is the red ball?"))),
    12: Trace((Text("Say something " * 12),)),
    13: Trace((picture(2, 32, 32), Text("near?"))),
    14: Trace((picture(3, 64, 64), Text("Which one is nearer, and why would that be so?"))),
    15: Trace((Text("How many?"), picture(4, 100, 40), Text("Count."))),
    16: Trace((picture(5, 64, 48), picture(6, 40, 90), Text("What changed?"))),
}


def settings(temperature: float, batch: int = 32, **changes: object) -> Settings:
    sampling = Scripted(temperature, script=SCRIPT, turn_tokens=24)
    return replace(Settings(sampling, FLOW, turn_tokens=24, batch=batch), **changes)  # type: ignore[arg-type]


def assert_same(a: Rollout, b: Rollout) -> None:
    """The same traces; but where a pixel of a map lay between two grey levels, and was rounded the one way in one of
    them and the other way in the other, they have looked at different pictures from there on, and are let go."""
    assert a.seed == b.seed
    for one, other, d, e in zip_longest(a.turns, b.turns, a.trace.drawings, b.trace.drawings):
        assert one is not None and other is not None and one.ids == other.ids and one.ended == other.ended
        np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, rtol=0, atol=1e-4)
        assert (d is None) == (e is None)
        if d is not None:
            assert d.modality == e.modality and d.latent is not None and e.latent is not None
            np.testing.assert_allclose(d.latent, e.latent, rtol=0, atol=1e-4)
            difference = np.abs(d.image.astype(int) - e.image)
            assert difference.max() <= 1 and difference.mean() < 0.01
            if difference.any():
                return
    assert a.reason == b.reason


# ---------------------------------------------------------------- batches


def test_maps_may_be_drawn_in_a_lower_precision() -> None:
    """Then texts, and what is cached of them, stay in fp32; maps are close, whole chains work."""
    mixed = put_in(copy.deepcopy(MODEL), "mixed")
    assert (mixed.dtype, mixed.drawing_dtype) == (torch.float32, torch.bfloat16)
    runs = [Engine(model, SEQUENCER, settings(0.0)).run([PROMPTS[k] for k in (11, 14)], POLICY, seeds=(11, 14))
            for model in (MODEL, mixed)]  # fmt: skip
    (plain, drew), (plain_mixed, drew_mixed) = runs
    assert [t.ids for t in plain.turns] == [t.ids for t in plain_mixed.turns]
    for a, b in zip(drew.trace.drawings, drew_mixed.trace.drawings, strict=True):
        assert a.latent is not None and b.latent is not None
        difference = np.abs(a.latent - b.latent).mean() / np.abs(a.latent).mean()
        assert 0 < difference < 0.05


@pytest.fixture(scope="module", params=[0.0, 1.0], ids=["greedy", "sampled"])
def temperature(request: pytest.FixtureRequest) -> float:
    return request.param


@pytest.fixture(scope="module")
def alone(temperature: float) -> dict[int, Rollout]:
    engine = Engine(MODEL, SEQUENCER, settings(temperature))
    return {seed: engine.run([prompt], POLICY, seeds=[seed])[0] for seed, prompt in PROMPTS.items()}


@pytest.mark.parametrize(
    ("order", "batch"),
    [
        ([11, 12, 13, 14, 15, 16], 32), ([11, 12, 13, 14, 15, 16], 4), ([16, 14, 12, 15, 13, 11], 4),
        ([16, 14, 12, 15, 13, 11], 1), ([13, 14], 32),
    ],
)  # fmt: skip
def test_a_trace_does_not_depend_on_its_batch(
    temperature: float, alone: dict[int, Rollout], order: list[int], batch: int
) -> None:
    engine = Engine(MODEL, SEQUENCER, settings(temperature, batch))
    for rollout in engine.run([PROMPTS[seed] for seed in order], POLICY, seeds=order):
        assert_same(rollout, alone[rollout.seed])
    assert [len(alone[seed].trace.drawings) for seed in PROMPTS] == [0, 0, 1, 2, 2, 1], "the script was followed"


@pytest.mark.parametrize("samples", [1, 2])
def test_prompts_dealt_out_to_threads_become_the_same(
    temperature: float, alone: dict[int, Rollout], samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each thread has its share of the prompts, and of a batch; replaced maps go by the number of their prompt."""
    monkeypatch.setattr("cooper.inference.engine.LANE", 1)
    engine, batches, shown = Engine(MODEL, SEQUENCER, settings(temperature, 4 * samples)), [], {}
    run_batch = engine._run_batch

    def noted(prompts: Sequence[Trace], *rest: Any) -> Iterator[Event]:
        batches.append((threading.get_ident(), torch.get_num_threads(), len(prompts)))
        return run_batch(prompts, *rest)

    def show(row: int, drawing: Drawing) -> Drawing:
        return shown.setdefault((row, drawing.modality), drawing)

    monkeypatch.setattr(engine, "_run_batch", noted)
    seeds = [seed for seed in PROMPTS for _ in range(samples)]
    with threads(2):
        rollouts = engine.run(list(PROMPTS.values()), POLICY, samples=samples, seeds=seeds, shown=show)
    assert [rollout.seed for rollout in rollouts] == seeds
    for rollout in rollouts:
        assert_same(rollout, alone[rollout.seed])
    for row, rollout in enumerate(rollouts):
        assert all(shown[row, d.modality] is d for d in rollout.trace.drawings)
    assert len({thread for thread, *_ in batches}) == 2 and {number for _, number, _ in batches} == {1}
    assert sorted(n for *_, n in batches) == [1, 1, 2, 2], "two prompts at once in each of two threads: a batch of four"


def test_a_thread_that_fails_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does whoever interrupts them all: nobody waits for what they would go on with."""
    monkeypatch.setattr("cooper.inference.engine.LANE", 1)
    engine, begun = Engine(MODEL, SEQUENCER, settings(0.0, 2)), []
    run_batch, both = engine._run_batch, threading.Barrier(2)

    def failing(prompts: Sequence[Trace], *rest: Any) -> Iterator[Event]:
        begun.append(prompts[0])
        if len(begun) <= 2:
            both.wait()
        if prompts[0] is PROMPTS[11]:
            raise KeyboardInterrupt
        return run_batch(prompts, *rest)

    monkeypatch.setattr(engine, "_run_batch", failing)
    with threads(2), pytest.raises(KeyboardInterrupt):
        engine.run([PROMPTS[11]] + [PROMPTS[14]] * 9, POLICY)
    assert len(begun) <= 3, "of ten prompts, one at a time in two threads"


def test_products_that_keep_all_threads_busy_are_not_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cooper.inference.engine.LANE", 1)
    dealt: list[int] = []
    monkeypatch.setattr("cooper.inference.engine.side_by_side", lambda parts: dealt.append(len(parts)))
    engine = Engine(MODEL, SEQUENCER, settings(0.0))
    with threads(2):
        for n in (1, 2, 6):
            engine.run([PROMPTS[11]] * n, POLICY)
        monkeypatch.setattr("cooper.inference.engine.SMALL", 0)
        engine.run([PROMPTS[11]] * 6, POLICY)
    assert dealt == [1, 2, 2, 1]


@pytest.mark.parametrize("precision", ["fp32", "mixed"])
def test_attention_in_parts_is_the_same(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long prompts of large models are gone over some queries at a time."""
    model = put_in(copy.deepcopy(MODEL), precision)
    whole = Engine(model, SEQUENCER, settings(0.0)).run([PROMPTS[14], PROMPTS[13]], POLICY, seeds=[14, 13])
    monkeypatch.setattr("cooper.inference.cache.SCORES", 3000)
    monkeypatch.setattr("cooper.inference.drawing.SCORES", 500)
    parts = Engine(model, SEQUENCER, settings(0.0)).run([PROMPTS[14], PROMPTS[13]], POLICY, seeds=[14, 13])
    for a, b in zip(whole, parts, strict=True):
        if precision == "fp32":
            assert_same(a, b)
        else:  # rounding to bf16 may fall otherwise
            first = [rollout.trace.drawings[0].latent for rollout in (a, b)]
            assert np.abs(first[0] - first[1]).mean() < 0.02 * np.abs(first[0]).mean()


def test_guided_drawings_do_not_depend_on_the_batch() -> None:
    flow = FlowSettings(4, 3.0, text_scale=4.0, image_scale=2.0, interval=(0.4, 1.0))
    engine = Engine(MODEL, SEQUENCER, settings(1.0, flow=flow))
    seeds = [13, 11, 14, 15, 16]
    for rollout in engine.run([PROMPTS[seed] for seed in seeds], POLICY, seeds=seeds):
        assert_same(rollout, engine.run([PROMPTS[rollout.seed]], POLICY, seeds=[rollout.seed])[0])


def test_the_seed_alone_makes_the_difference() -> None:
    engine = Engine(MODEL, SEQUENCER, Settings(Sampling(1.0), FLOW, turn_tokens=12))
    one, same, other = engine.run([PROMPTS[13]] * 3, POLICY, seeds=[1, 1, 2])
    assert one.turns[0].ids == same.turns[0].ids != other.turns[0].ids


@pytest.mark.parametrize("maps_through", ["both", "vision"])
def test_a_fork_equals_a_prefill_of_its_own(maps_through: str) -> None:
    model = random_model(maps_through=maps_through)
    engine = Engine(model, sequencer(model), settings(1.0))
    prompts, seeds = [PROMPTS[14], PROMPTS[13]], [14, 15, 13, 16, 12, 11]
    together = engine.run(prompts, POLICY, samples=3, seeds=seeds)
    for i, rollout in enumerate(together):
        assert_same(rollout, engine.run([prompts[i // 3]], POLICY, seeds=[seeds[i]])[0])


@pytest.mark.parametrize(("batch", "at_once"), [(32, [6]), (2, [2, 1, 2, 1])])
def test_no_more_than_a_batch_is_written_at_the_same_time(
    temperature: float, alone: dict[int, Rollout], batch: int, at_once: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The samples of one question neither; each with its own seed, and what is hidden of a picture by the first's."""
    engine, rows, views = Engine(MODEL, SEQUENCER, settings(temperature, batch)), [], []
    open_fork, hide = Session.fork, engine.views

    def fork(session: Session, samples: int, capacity: int) -> Session:
        rows.append(session.context.rows * samples)
        return open_fork(session, samples, capacity)

    monkeypatch.setattr(Session, "fork", fork)
    monkeypatch.setattr(engine, "views", lambda trace, encode, seed: views.append(seed) or hide(trace, encode, seed))
    prompts, seeds = [PROMPTS[14], PROMPTS[13]], [14, 15, 16, 13, 12, 11]
    together = engine.run(prompts, POLICY, samples=3, seeds=seeds)
    assert rows == at_once and set(views) == {14, 13} and [r.seed for r in together] == seeds
    for i, rollout in enumerate(together):
        assert_same(rollout, engine.run([prompts[i // 3]], POLICY, seeds=[seeds[i]])[0])


def test_maps_on_demand_do_not_depend_on_the_batch() -> None:
    engine = Engine(MODEL, SEQUENCER, Settings(flow=FLOW))
    images = [picture(seed, height, 64).image for seed, height in ((1, 32), (2, 64), (3, 32))]
    for image, seed, drawing in zip(images, (7, 8, 9), engine.draw(images, "depth", seeds=[7, 8, 9]), strict=True):
        (single,) = engine.draw([image], "depth", seeds=[seed])
        assert drawing.modality == "depth" and drawing.latent is not None and single.latent is not None
        np.testing.assert_allclose(drawing.latent, single.latent, atol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_orders_of_any_length_are_followed_as_if_alone(guidance: float) -> None:
    """Also with guidance, which tells what an order asks for from nothing asked."""
    engine = Engine(MODEL, SEQUENCER, Settings(flow=FlowSettings(4, text_scale=guidance, interval=(0.4, 1.0))))
    images = [picture(k).image for k in range(3)]
    orders = ["Draw it.", "Draw the red ball much closer.", "Draw it again."]
    drawn = engine.follow(images, orders, seeds=[7, 8, 9])
    for image, order, seed, drawing in zip(images, orders, (7, 8, 9), drawn, strict=True):
        (single,) = engine.follow([image], [order], seeds=[seed])
        assert drawing.modality == single.modality == "picture"
        assert drawing.latent is not None and single.latent is not None
        np.testing.assert_allclose(drawing.latent, single.latent, atol=1e-4)
    (other,) = engine.follow(images[:1], orders[1:2], seeds=[7])
    assert other.latent is not None and drawn[0].latent is not None
    assert not np.allclose(other.latent, drawn[0].latent, atol=1e-4), "what is drawn depends on the order"


# ---------------------------------------------------------------- work and memory


@pytest.mark.parametrize("maps_through", ["both", "vision"])
@pytest.mark.parametrize(("seed", "samples"), [(11, 1), (15, 1), (15, 3)])
def test_every_token_goes_through_the_decoder_once(maps_through: str, seed: int, samples: int) -> None:
    """A prompt once for all its rollouts, a turn as it is written, a map once a flow step and as it is looked at."""
    model = random_model(maps_through=maps_through)
    steps = sequencer(model)
    seeds = [seed + 100 * k for k in range(samples)]
    sampling = Scripted(script={s: SCRIPT[seed] for s in seeds}, turn_tokens=24)
    engine = Engine(model, steps, Settings(sampling, FLOW, turn_tokens=24))
    with decoder_calls(model) as calls:
        rollouts = engine.run([PROMPTS[seed]], POLICY, samples=samples, seeds=seeds)

    def tokens(pieces: list[Piece]) -> int:
        return sum(tokens_of(piece, model.config) + 2 for piece in pieces)

    encode = steps.encoder(model)
    expected = tokens(steps.pieces(Trace((Text(POLICY.system or ""), *PROMPTS[seed].segments)), encode))
    for rollout in rollouts:
        assert rollout.reason == "answered"
        expected += sum(len(turn.ids) + 2 for turn in rollout.turns)
        for drawing in rollout.trace.drawings:
            rows, columns = steps.latent_grid(drawing.image)
            expected += (FLOW.time_points - 1) * (rows * columns + 2)
            expected += tokens(steps.pieces(Trace((drawing, Text(POLICY.reflection))), encode))
    assert sum(map(tokens_of_call, calls)) == expected


def test_a_fork_copies_nothing() -> None:
    session = Session.open(MODEL, [[Words((5, 6, 7))], [Words((8,))]])
    forked = session.fork(8, capacity=10)
    shared, own = (link.block for link in forked.context.links)
    assert shared is session.context.links[0].block and shared.rows == 2 and own.rows == 16
    assert forked.context.bytes - session.context.bytes == own.bytes
    c = MODEL.config.decoder
    assert own.bytes == 2 * c.layers * 16 * c.kv_heads * 10 * c.head_dim * 4, "keys and values, fp32, once"


def test_rows_that_go_on_keep_sharing_their_prompt() -> None:
    forked = Session.open(MODEL, [[Words((5, 6, 7))], [Words((8,))]]).fork(4, capacity=10).context
    prompt = forked.links[0].block
    for rows, prompts in (([0, 2, 3], 1), ([5, 6], 1), ([1, 2, 4, 7], 2)):
        shared, own = (link.block for link in forked.select(rows).links)
        assert shared.rows == prompts and own.rows == len(rows)
        assert shared.k.untyped_storage().data_ptr() == prompt.k.untyped_storage().data_ptr(), "a view, not a copy"


def test_a_full_cache_is_a_clear_error() -> None:
    context = Context.empty(1, MODEL.config.decoder, 4, torch.float32, torch.device("cpu"))
    with pytest.raises(ValueError, match="allocated for 4 tokens and 5 more do not fit"):
        Session(MODEL, context).read([[Words((5, 6, 7))]])


def test_memory_is_for_what_may_be_written() -> None:
    """A turn has no more tokens than its whole trace, and a row's turns together neither."""
    engine = Engine(MODEL, SEQUENCER, Settings(turn_tokens=10**9, trace_tokens=50))
    assert engine.turn_tokens == 50
    between = engine._capacity(POLICY, [PROMPTS[13]], 1) - 50
    assert 0 < between < 200
    once = engine._capacity(replace(POLICY, max_turns=1), [PROMPTS[13]], 1)
    assert once == 50 + 2, "after the last turn nothing is drawn"
    assert engine._capacity(POLICY, [PROMPTS[13]], 2) - between == 2 * 50
    assert engine._capacity(POLICY, [PROMPTS[13]], 9) - between == POLICY.max_turns * 50


@pytest.mark.parametrize("maps_through", ["both", "vision"])
def test_the_longest_traces_fit_the_cache(maps_through: str) -> None:
    """Every turn as long as it may be, every map drawn, pictures of the most and the fewest tokens side by side."""
    model = random_model(maps_through=maps_through)
    call, limit = ids(DEPTH), 30
    turn = [*ids("so " * limit)[: limit - 1 - len(call)], *call]
    assert len(turn) == limit - 1
    script = {seed: [turn, turn, turn[::-1]] for seed in range(4)}
    engine = Engine(
        model, sequencer(model), Settings(Scripted(script=script, turn_tokens=limit), FLOW, turn_tokens=limit)
    )
    sizes = [(32, 32), (64, 64), (64, 32), (32, 64)]
    prompts = [Trace((picture(i, *size), Text("near? " * 8 * i + "far?"))) for i, size in enumerate(sizes)]
    for rollout in engine.run(prompts, POLICY):
        assert rollout.tokens == 3 * (limit - 1) and len(rollout.trace.drawings) == 2


# ---------------------------------------------------------------- events and mistakes


def test_events_tell_the_whole_story() -> None:
    engine = Engine(MODEL, SEQUENCER, settings(0.0))
    seeds = list(PROMPTS)
    events = list(engine.stream(list(PROMPTS.values()), POLICY, seeds=seeds))
    finished = {event.number: event.rollout for event in events if isinstance(event, Finished)}
    assert sorted(finished) == list(range(len(seeds)))
    for row, rollout in finished.items():
        own = [event for event in events if event.number == row]
        assert isinstance(own[-1], Finished) and rollout.seed == seeds[row]
        written = [token for turn in rollout.turns for token in turn.ids]
        assert [e.token for e in own if isinstance(e, TokenWritten)] == written
        drawings = [event.drawing for event in own if isinstance(event, MapDrawn)]
        assert all(a is b for a, b in zip(drawings, rollout.trace.drawings, strict=True))
        steps = [(event.modality, event.step, event.steps) for event in own if isinstance(event, FlowStep)]
        assert steps == [(drawing.modality, step, 3) for drawing in drawings for step in (1, 2, 3)]


def test_a_rollout_is_an_immutable_trace_in_order() -> None:
    (rollout,) = Engine(MODEL, SEQUENCER, settings(0.0)).run([PROMPTS[15]], POLICY, seeds=[15])
    roles = [s.role if isinstance(s, Text) else type(s).__name__ for s in rollout.trace.segments]
    turn = ["model", "Drawing", "reflection"]
    assert roles == ["system", "user", "Picture", "user", *turn, *turn, "model"]
    assert rollout.trace.turns == (SEGMENTATION, DEPTH, ANSWER) and rollout.trace.answer == "1.2"
    for drawing in rollout.trace.drawings:
        assert isinstance(drawing, Drawing) and not drawing.target and drawing.shown and drawing.latent is not None
        height, width = drawing.image.shape[:2]
        assert drawing.latent.shape == (MODEL.config.autoencoder.latent, height // 8, width // 8)
    assert len(PROMPTS[15].segments) == 3, "the prompt is as it was"


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([Trace((picture(1),))], {}, "a prompt needs a question"),
        ([Trace()], {}, "a prompt needs a question"),
        ([PROMPTS[11]], {"seeds": [1, 2]}, "need 1 seeds, not 2"),
        ([PROMPTS[11]] * 2, {"samples": 2, "seeds": [1, 2]}, "need 4 seeds, not 2"),
        ([PROMPTS[11]], {"samples": 0}, "sample"),
    ],
)
def test_mistakes_are_clear_errors(prompts: list[Trace], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Engine(MODEL, SEQUENCER).run(prompts, POLICY, **options)


def test_no_prompts_give_no_rollouts() -> None:
    assert Engine(MODEL, SEQUENCER).run([], POLICY) == []
