"""What a turn says, whole and broken."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cooper.turns import answer_of, answers_of, calls_of, thoughts_of, without


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("", []),
        ("no call", []),
        ("<depth>draw</depth>", [("depth", "draw", 0)]),
        ("<depth></depth>", [("depth", "", 0)]),
        ("<think>so</think>\n<depth-estimation>draw it</depth-estimation>", [("depth-estimation", "draw it", 18)]),
        ("<a>1</a> and <b>2</b>", [("a", "1", 0), ("b", "2", 13)]),
        ("<unknown>x</unknown>", [("unknown", "x", 0)]),
        ("<a><b>x</b></a>", [("b", "x", 3)]),
        ("<a>1<a>2</a>", [("a", "2", 4)]),
        ("<a>x</b>", []),
        ("<a>x", []),
        ("x</a>", []),
        ("< a>x</ a>", []),
        ("<A>x</A>", []),
        ("<a>5 < 6</a>", []),
        ("<think><a>x</a></think>", []),
        ("<think>first</think><a>x</a><think><b>y</b></think><c>z</c>", [("a", "x", 20), ("c", "z", 51)]),
        ("<think>never ends <a>x</a>", [("a", "x", 18)]),
        ("<think>never ends <a>x</a> \n", [("a", "x", 18)]),
        ("<think>never ends <a>x</a> or <a>y</a>", [("a", "y", 30)]),
        ("<a><think>so</think></a>", []),
        ("<a>x<think>so</think>y</a><b>z</b>", [("b", "z", 26)]),
        ("<answer>3</answer>", []),
        ("<answer><a>x</a></answer>", [("a", "x", 8)]),
        ("<a>two\nlines</a>", [("a", "two\nlines", 0)]),
    ],
)
def test_calls_of(text: str, calls: list[tuple[str, str, int]]) -> None:
    assert [(call.tag, call.instruction, call.start) for call in calls_of(text)] == calls
    for call in calls_of(text):
        assert text[call.start :].startswith(f"<{call.tag}>{call.instruction}</{call.tag}>")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", None),
        ("1.2", None),
        ("\\boxed{1.2}", None),
        ("<answer>1.2 m</answer>", "1.2 m"),
        ("<answer> 1.2\n</answer>", "1.2"),
        ("<answer></answer>", ""),
        ("<answer>it is \\boxed{1.2 m}, I think</answer>", "1.2 m"),
        ("<answer>\\boxed{1} or \\boxed{2}</answer>", "2"),
        ("<answer>\\boxed{1.2</answer>", "1.2"),
        ("<answer>\\boxed{\\text{B}}</answer>", "\\text{B}"),
        ("<answer>\\boxed{\\frac{3}{4}\\text{ m}}, so</answer>", "\\frac{3}{4}\\text{ m}"),
        ("<answer>1</answer> no, <answer>2</answer>", "2"),
        ("<answer>two\nlines</answer>", "two\nlines"),
        ("<answer>1.2", None),
        ("1.2</answer>", None),
        ("<think>\\boxed{3}</think><answer>4</answer>", "4"),
        ("<answer><think>4 or 5?</think>5</answer>", "5"),
        ("<think>not <answer>3</answer>", "3"),
        ("<think>never <answer>3</answer></think>", None),
    ],
)
def test_answer_of(text: str, answer: str | None) -> None:
    assert answer_of(text) == answer


@pytest.mark.parametrize(
    ("text", "thoughts"),
    [
        ("", []),
        ("<think> so </think><answer>1</answer>", [" so "]),
        ("<think>a</think> x <think>b</think>", ["a", "b"]),
        ("<think>cut off", ["cut off"]),
        ("<think>a <answer>1</answer> b", ["a "]),
        ("<think>a <b>x</b>", ["a "]),
        ("<think>a <b>x</b> c", ["a <b>x</b> c"]),
        ("no thought", []),
    ],
)
def test_thoughts_of(text: str, thoughts: list[str]) -> None:
    assert [part.inside for part in thoughts_of(text)] == thoughts


@given(st.text("<>/abthinkanswer \n{}\\", max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    for call in calls_of(text):
        assert text[call.start :].startswith(f"<{call.tag}>{call.instruction}</{call.tag}>")
    assert answer_of(text) is None or "</answer>" in text
    assert all(text[part.start :].startswith(f"<think>{part.inside}") for part in thoughts_of(text))


@given(st.lists(st.sampled_from(("<think>", "</think>", "<answer>", "</answer>", "<a>", "</a>", "x")), max_size=14))
def test_nothing_is_called_or_answered_in_thoughts(tags: list[str]) -> None:
    text = "".join(tags)
    thoughts = thoughts_of(text)
    parts = sorted((*thoughts, *calls_of(text)), key=lambda part: part.start)
    assert all(a.end <= b.start for a, b in itertools.pairwise(parts))
    assert len(without(text, parts)) == len(text) - sum(part.end - part.start for part in parts)
    for answer in answers_of(text):
        assert not any(thought.start < answer.start < thought.end for thought in thoughts)
