"""Which turns have their form, case by case."""

from __future__ import annotations

import pytest

from cooper.evaluation.form import answers_well, calls_well, well_formed

TAGS = ("depth-estimation", "segmentation")
THINK = "<think>I need the depth.</think>"
CALL = "<depth-estimation>draw the depth</depth-estimation>"
ANSWER = r"<answer>\boxed{1.8 m}</answer>"


@pytest.mark.parametrize(
    ("text", "well"),
    [
        (THINK + CALL, True),
        (f" {THINK}\n\n{CALL}\n", True),
        (THINK + "<segmentation>draw the objects</segmentation>", True),
        ("<think>Is 2 < 3 m, or > 3?</think>" + CALL, True),
        (CALL, False),
        (THINK, False),
        ("", False),
        (CALL + THINK, False),
        (THINK + CALL + CALL, False),
        (THINK + CALL + "<segmentation>draw the objects</segmentation>", False),
        (THINK + THINK + CALL, False),
        (THINK + "So: " + CALL, False),
        (THINK + CALL + " please", False),
        (THINK + CALL + ANSWER, False),
        (THINK + ANSWER, False),
        ("<think> </think>" + CALL, False),
        ("<think></think>" + CALL, False),
        (THINK + "<depth-estimation></depth-estimation>", False),
        (THINK + "<normals>draw the normals</normals>", False),
        (THINK + "<depth-estimation>draw the depth</segmentation>", False),
        (THINK + "<depth-estimation>draw the depth", False),
        ("<think>I need the depth." + CALL, False),
        ("<think>First <think>look</think></think>" + CALL, False),
        (f"<think>I need {CALL}</think>" + CALL, False),
        (f"{THINK}<segmentation>{CALL}</segmentation>", False),
    ],
)
def test_a_turn_that_calls_is_a_thought_and_one_allowed_call(text: str, well: bool) -> None:
    assert calls_well(text, TAGS) is well


def test_only_allowed_tags_may_be_called() -> None:
    assert not calls_well(THINK + CALL, ("segmentation",))
    assert not calls_well(THINK + CALL, ())
    assert not calls_well(THINK + ANSWER, ("answer",))


@pytest.mark.parametrize(
    ("text", "thinks", "well"),
    [
        (THINK + ANSWER, True, True),
        (THINK + ANSWER, None, True),
        (THINK + ANSWER, False, False),
        (ANSWER, True, False),
        (ANSWER, None, True),
        (ANSWER, False, True),
        (f"\n{ANSWER} ", False, True),
        ("<answer>The red ball, \\boxed{1.8 m} away.</answer>", False, True),
        ("<answer>yes</answer>", False, True),
        ("<answer></answer>", False, False),
        (ANSWER + ANSWER, False, False),
        ("1.8 m", False, False),
        ("<answer>1.8 m", False, False),
        (ANSWER + THINK, None, False),
        (THINK + CALL + ANSWER, True, False),
        (THINK + "<answer>" + THINK + "1.8 m</answer>", True, False),
    ],
)
def test_a_turn_that_answers(text: str, thinks: bool | None, well: bool) -> None:
    assert answers_well(text, thinks) is well


def test_all_turns_but_the_last_call_and_the_last_answers() -> None:
    assert well_formed([THINK + CALL, THINK + ANSWER], TAGS) == (True, True)
    assert well_formed([THINK + ANSWER], TAGS) == (True,)
    assert well_formed([THINK + CALL], TAGS) == (False,)  # ended in a map
    assert well_formed([THINK + ANSWER, THINK + ANSWER], TAGS) == (False, True)
    assert well_formed([CALL, THINK + CALL, THINK + ANSWER], TAGS) == (False, True, True)
    assert well_formed([], TAGS) == ()
