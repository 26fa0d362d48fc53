"""The reward, worked by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from tests.helpers import picture

from cooper.evaluation.judge import Claim
from cooper.trace import Drawing, Text, Trace
from cooper.training.rewards import Record, Weights, claim_of, rewards
from cooper.training.rewards.answer import answer_reward
from cooper.training.rewards.exploration import exploration_rewards
from cooper.training.rewards.form import form_reward

TAGS = ("depth-estimation", "segmentation")
THINK = "<think>I look.</think>"
DEPTH = f"{THINK}<depth-estimation>draw the depth</depth-estimation>"
SEGMENT = f"{THINK}<segmentation>draw the objects</segmentation>"
ANSWER = f"{THINK}<answer>\\boxed{{2.0 m}}</answer>"
FAR = Record("How far is the box?", "2.0 m", "metres", 2.0)


def trace(*turns: str, ends_drawing: bool = False) -> Trace:
    """A rollout: a map and a reflection between any two turns."""
    made = Trace((picture(1), Text("How far is the box?")))
    for i, turn in enumerate(turns):
        made += Text(turn, "model")
        if i < len(turns) - 1 or ends_drawing:
            made += Drawing("depth", np.zeros((8, 8, 3), dtype=np.uint8))
        if i < len(turns) - 1:
            made += Text("Look at the map.", "reflection")
    return made


@pytest.mark.parametrize(
    ("given", "record", "tolerance", "earned"),
    [
        (ANSWER, FAR, None, 1.0),
        (f"{THINK}<answer>\\boxed{{2.2 m}}</answer>", FAR, None, 0.8),  # 10 %: below 0.15 .. 0.5
        (f"{THINK}<answer>\\boxed{{2.2 m}}</answer>", FAR, 0.1, 1.0),
        (f"{THINK}<answer>\\boxed{{2.3 m}}</answer>", FAR, 0.1, 0.0),
        (f"{THINK}<answer>\\boxed{{200 cm}}</answer>", FAR, 0.1, 1.0),
        (f"{THINK}<answer>far</answer>", FAR, 0.1, 0.0),
        # rules read no number out of a thought, as evaluation does not
        ("2.0 m", FAR, None, 0.0), ("<think>It is 2.0 m away", FAR, None, 0.0),
        ("<think>It is 2.0", Record("How far?", "2.0", "number"), None, 0.0),
        ("<think>So.</think> It is 2.0", Record("How far?", "2.0", "number"), None, 1.0),
        (f"{THINK}<answer>\\boxed{{Red.}}</answer>", Record("Which colour?", "red", "word"), None, 1.0),
        (f"{THINK}<answer>\\boxed{{blue}}</answer>", Record("Which colour?", "red", "word"), None, 0.0),
        (f"{THINK}<answer>\\boxed{{3}}</answer>", Record("How many?", "3", "count", 3), None, 1.0),
        (f"{THINK}<answer>\\boxed{{4}}</answer>", Record("How many?", "3", "count", 3), None, 0.0),
    ],
)
def test_answers(given: str, record: Record, tolerance: float | None, earned: float) -> None:
    assert answer_reward(trace(given), record, tolerance) == pytest.approx(earned)
    assert answer_reward(trace(DEPTH, given), record, tolerance) == pytest.approx(earned)


def test_a_judge_decides_where_rules_cannot() -> None:
    record = Record("Why is it dark?", "the lamp is off", "judged")
    group = [trace(ANSWER), trace(DEPTH, ANSWER), trace(ANSWER), trace(DEPTH, ends_drawing=True)]
    assert [claim_of(t, record) for t in group[2:]] == [Claim("Why is it dark?", "the lamp is off", "2.0 m"), None]
    assert claim_of(group[0], FAR) is None
    found = rewards(group, record, TAGS, verdicts=[True, False, None, None])
    assert [r.answer for r in found[:2]] == [1, 0] and found[3].answer == 0, "a rollout without an answer is wrong"
    assert np.isnan(found[2].answer) and np.isnan(found[2].total) and found[2].form == 1


def test_what_ends_in_a_drawing_has_no_answer() -> None:
    assert answer_reward(trace(ANSWER, ends_drawing=True), FAR) == 0
    assert answer_reward(Trace((picture(1), Text("How far?"))), FAR) == 0


@pytest.mark.parametrize(
    ("turns", "earned"),
    [
        ((ANSWER,), 1), ((DEPTH, ANSWER), 1), ((DEPTH, SEGMENT, ANSWER), 1), ((f" {DEPTH}\n", f"\n{ANSWER} "), 1),
        ((), 0), ((DEPTH,), 0), ((DEPTH, SEGMENT), 0), ((ANSWER, ANSWER), 0), (("<answer>2.0 m</answer>",), 0),
        ((DEPTH + SEGMENT, ANSWER), 0), ((f"{THINK}<flow>draw it</flow>", ANSWER), 0), ((THINK,), 0),
        ((DEPTH.removeprefix(THINK), ANSWER), 0), (("<think>I look.<answer>2</answer>",), 0),
    ],
)  # fmt: skip
def test_form(turns: tuple[str, ...], earned: float) -> None:
    made = trace(*turns)
    assert form_reward(made, TAGS) == earned
    assert made.turns == turns, "a reward changes nothing of what it looks at"


def test_the_form_is_that_of_the_mode() -> None:
    """Who is asked to answer at once must not think before it."""
    alone = "<answer>\\boxed{2.0 m}</answer>"
    for thinks, earned in ((True, [1, 0]), (False, [0, 1]), (None, [1, 1])):
        assert [r.form for r in rewards([trace(ANSWER), trace(alone)], FAR, TAGS, thinks=thinks)] == earned


@pytest.mark.parametrize(
    ("flag", "callers", "earned"),
    [
        ("positive", 0, 0), ("positive", 1, 0.2), ("positive", 2, 0.2), ("positive", 3, 0), ("positive", 4, 0),
        ("positive", 8, 0), ("negative", 0, 0), ("negative", 1, 0), ("negative", 2, 0), ("negative", 3, 0),
        ("negative", 4, -0.2), ("negative", 8, -0.2), ("boundary", 1, 0), ("boundary", 3, 0), ("boundary", 8, 0),
    ],
)  # fmt: skip
def test_exploration_by_group(flag: str, callers: int, earned: float) -> None:
    group = [trace(DEPTH, ANSWER)] * callers + [trace(ANSWER)] * (8 - callers)
    assert exploration_rewards(group, flag, TAGS) == [earned] * callers + [0.0] * (8 - callers)  # type: ignore[arg-type]


def test_only_well_formed_calls_of_known_tags_count_as_calls() -> None:
    group = [
        trace("<depth-estimation>draw", ANSWER), trace("<flow>draw it</flow>", ANSWER),
        trace(f"<think>{DEPTH.removeprefix(THINK)}</think>", ANSWER), trace(DEPTH + "!", ANSWER),
    ]  # fmt: skip
    assert exploration_rewards(group, "positive", TAGS) == [0, 0, 0, 0.2]


def test_the_sum_and_that_the_order_of_rollouts_does_not_matter() -> None:
    record = Record("How far is the box?", "2.0 m", "metres", 2.0, flag="positive")
    group = [trace(DEPTH, ANSWER), trace(ANSWER), trace("<answer>2.0 m</answer>"), trace(DEPTH)]
    parts = [(r.answer, r.form, r.exploration) for r in rewards(group, record, TAGS)]
    assert parts == [(1, 1, 0.2), (1, 1, 0), (1, 0, 0), (0, 0, 0.2)]
    totals = [r.total for r in rewards(group, record, TAGS, Weights(2.0, 0.5, 1.0))]
    assert totals == pytest.approx([2.7, 2.5, 2.0, 0.2])
    for order in permutations(range(4)):
        shuffled = rewards([group[i] for i in order], record, TAGS, Weights(2.0, 0.5, 1.0))
        assert [r.total for r in shuffled] == pytest.approx([totals[i] for i in order])
