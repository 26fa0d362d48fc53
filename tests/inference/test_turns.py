"""A scripted model drives the loop of turns and maps through every way in which an answer can go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from tests.helpers import Scripted, picture, random_model, sequencer

from cooper.inference.engine import Engine, Settings
from cooper.inference.flow import FlowSettings
from cooper.inference.rollout import Rollout
from cooper.modalities import modality
from cooper.model.config import ImageSizes
from cooper.policy import POLICIES, Policy, policy
from cooper.trace import Text, Trace

DEPTH, SEGMENTATION = (f"<think>I must look.</think>{modality(name).call}" for name in ("depth", "segmentation"))
ANSWER = "<think>It is near.</think><answer>\\boxed{1.2 m}</answer>"
POLICY = Policy("test", "Draw, think, answer.", ("depth", "segmentation"), max_turns=3, reflection="Look at it.")
PROMPT = Trace((picture(1), Text("How far is the red ball?")))
LIMIT = 80

MODEL = random_model()
SEQUENCER = sequencer(MODEL)


@dataclass(frozen=True)
class Case:
    """What the model says, turn by turn, and what must come of it."""

    says: tuple[str, ...]
    reason: str
    maps: tuple[str, ...] = ()
    answer: str | None = None


CASES = {
    "answers at once": Case((ANSWER,), "answered", (), "1.2 m"),
    "answers without a box": Case(("<answer>red</answer>",), "answered", (), "red"),
    "one map": Case((DEPTH, ANSWER), "answered", ("depth",), "1.2 m"),
    "two maps": Case((SEGMENTATION, DEPTH, ANSWER), "answered", ("segmentation", "depth"), "1.2 m"),
    "the same map twice": Case((DEPTH, DEPTH, ANSWER), "answered", ("depth", "depth"), "1.2 m"),
    "a call in the last turn": Case((DEPTH, SEGMENTATION, DEPTH), "turns", ("depth", "segmentation")),
    "never answers": Case(("It is near.",), "malformed"),
    "never answers, after a map": Case((DEPTH, "It is near."), "malformed", ("depth",)),
    "says nothing": Case(("",), "malformed"),
    "only thinks": Case(("<think>It is near.</think>",), "malformed"),
    "an answer without an end": Case(("<answer>1.2 m",), "malformed"),
    "a call without an end": Case(("<depth-estimation>draw the depth",), "malformed"),
    "a call without a beginning": Case(("draw the depth</depth-estimation>",), "malformed"),
    "a call ended by another tag": Case(("<depth-estimation>draw the depth</segmentation>",), "malformed"),
    "a tag nobody knows": Case(("<normals>draw the normals</normals>",), "malformed"),
    "a tag in capitals": Case(("<Segmentation>draw the objects</Segmentation>",), "malformed"),
    "a call inside a thought": Case((f"<think>{modality('depth').call}</think>It is near.",), "malformed"),
    "an answer inside a thought": Case(
        ("<think>Is it <answer>5</answer>? A map first.</think>" + modality("depth").call, ANSWER),
        "answered", ("depth",), "1.2 m",
    ),
    "nested tags: the inner call is the well-formed one": Case(
        (f"<depth-estimation>{modality('segmentation').call}</depth-estimation>", ANSWER),
        "answered", ("segmentation",), "1.2 m",
    ),
    "both tags in a turn: the first counts": Case((DEPTH + SEGMENTATION, ANSWER), "answered", ("depth",), "1.2 m"),
    "a call and an answer in a turn: the answer counts": Case((DEPTH + ANSWER,), "answered", (), "1.2 m"),
    "cut off at the token limit": Case(("so " * LIMIT,), "length"),
    "cut off after a map": Case((DEPTH, "so " * LIMIT), "length", ("depth",)),
    "a call after which it is cut off": Case((modality("depth").call + "so " * LIMIT,), "length"),
}  # fmt: skip


def run(says: Sequence[tuple[str, ...]], policy: Policy = POLICY, trace_tokens: int = 300) -> list[Rollout]:
    """One rollout per script; the seed of each is its number."""
    script = {i: [*map(SEQUENCER.ids, texts)] for i, texts in enumerate(says)}
    sampling = Scripted(script=script, turn_tokens=LIMIT)
    settings = Settings(sampling, FlowSettings(2), turn_tokens=LIMIT, trace_tokens=trace_tokens)
    return Engine(MODEL, SEQUENCER, settings).run([PROMPT] * len(says), policy)


def check(rollout: Rollout, case: Case) -> None:
    trace = rollout.trace
    assert rollout.reason == case.reason
    assert tuple(drawing.modality for drawing in trace.drawings) == case.maps
    assert trace.answer == case.answer
    said = case.says[: len(trace.turns)]
    assert len(trace.turns) == len(rollout.turns) == len(case.maps) + 1, "a turn before and after every map"
    if case.reason == "length":
        assert trace.turns[:-1] == said[:-1] and said[-1].startswith(trace.turns[-1])
        assert len(rollout.turns[-1].ids) == LIMIT and not rollout.turns[-1].ended
    else:
        assert trace.turns == said and all(turn.ended for turn in rollout.turns)
    reflections = [s.text for s in trace.segments if isinstance(s, Text) and s.role == "reflection"]
    assert reflections == [POLICY.reflection] * len(case.maps)


@pytest.mark.parametrize("name", CASES)
def test_alone(name: str) -> None:
    (rollout,) = run([CASES[name].says])
    check(rollout, CASES[name])


def test_all_at_once() -> None:
    for rollout, case in zip(run([case.says for case in CASES.values()]), CASES.values(), strict=True):
        check(rollout, case)


# ---------------------------------------------------------------- policies


@pytest.mark.parametrize("allowed", ["depth", "segmentation"])
def test_only_the_maps_of_the_policy_may_be_called(allowed: str) -> None:
    depth, segmentation = run([(DEPTH, ANSWER), (SEGMENTATION, ANSWER)], replace(POLICY, calls=(allowed,)))
    for name, rollout in (("depth", depth), ("segmentation", segmentation)):
        assert rollout.reason == ("answered" if name == allowed else "malformed")
        assert len(rollout.trace.drawings) == (name == allowed)


def test_the_policies_as_data() -> None:
    assert list(POLICIES) == ["direct", "text", "perception", "interleaved"]
    answered, called = run([(ANSWER,), (DEPTH, ANSWER)], policy("direct"))
    assert answered.reason == "answered" and called.reason == "malformed"
    assert answered.trace.segments[:2] == PROMPT.segments, "no system prompt"
    for name in ("perception", "interleaved"):
        (rollout,) = run([(DEPTH, SEGMENTATION, ANSWER)], policy(name))
        assert rollout.reason == "answered" and len(rollout.trace.drawings) == 2
        assert rollout.trace.segments[0] == Text(policy(name).system or "", "system")
    with pytest.raises(ValueError, match="no mode is called 'best'; choose from direct, text, perception, interleaved"):
        policy("best")
    with pytest.raises(ValueError, match="at least one turn"):
        replace(POLICY, max_turns=0)


# ---------------------------------------------------------------- budgets


def test_the_budget_of_a_trace_ends_it() -> None:
    first = len(SEQUENCER.ids(DEPTH))
    budget = first + len(SEQUENCER.ids(ANSWER)) + 1
    long, short, exact = run([(DEPTH, "so " * LIMIT), (ANSWER,), (DEPTH, ANSWER)], trace_tokens=budget)
    assert long.reason == "length" and long.tokens == budget and not long.turns[-1].ended
    assert (short.reason, exact.reason) == ("answered", "answered")


def test_a_budget_that_a_call_uses_up() -> None:
    first = len(SEQUENCER.ids(DEPTH))
    (rollout,) = run([(DEPTH, ANSWER)], trace_tokens=first + 1)
    assert rollout.reason == "length" and rollout.tokens == first + 1
    (rollout,) = run([(DEPTH, ANSWER)], trace_tokens=first)
    assert rollout.reason == "length" and rollout.tokens == first


@pytest.mark.parametrize("maps_through", ["both", "vision"])
def test_maps_of_a_picture_much_smaller_than_they_are(maps_through: str) -> None:
    """As published models draw: at least 512 pixels, whatever they are shown. There is room for all turns."""
    sizes = {"latent_sizes": ImageSizes(64, 64), "vision_sizes": ImageSizes(64, 16)}
    model = random_model(maps_through=maps_through, **sizes)
    tokens = sequencer(model)
    prompt = Trace((picture(1, 16, 16), Text("How far?")))
    script = {0: [tokens.ids(DEPTH), tokens.ids(SEGMENTATION), tokens.ids("so " * LIMIT)[:LIMIT]]}
    settings = Settings(Scripted(script=script, turn_tokens=LIMIT), FlowSettings(2), turn_tokens=LIMIT)
    (rollout,) = Engine(model, tokens, settings).run([prompt], POLICY)
    assert [d.image.shape for d in rollout.trace.drawings] == [(64, 64, 3)] * 2 and rollout.reason == "length"


def test_a_model_draws_what_it_has_learned_to() -> None:
    model = random_model(modalities=("depth",))
    settings = Settings(Scripted(script={0: [SEQUENCER.ids(SEGMENTATION)]}, turn_tokens=LIMIT), turn_tokens=LIMIT)
    (rollout,) = Engine(model, sequencer(model), settings).run([PROMPT], POLICY)
    assert rollout.reason == "malformed" and not rollout.trace.drawings


def test_a_call_without_a_picture_harms_nobody_else() -> None:
    prompts = [PROMPT, Trace((Text("How far is the red ball?"),))]
    script = {seed: [SEQUENCER.ids(DEPTH), SEQUENCER.ids(ANSWER)] for seed in (0, 1)}
    settings = Settings(Scripted(script=script, turn_tokens=LIMIT), FlowSettings(2), turn_tokens=LIMIT)
    drawn, nothing = Engine(MODEL, SEQUENCER, settings).run(prompts, POLICY)
    assert drawn.reason == "answered" and nothing.reason == "malformed" and not nothing.trace.drawings
