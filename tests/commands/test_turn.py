"""Turns are read the same in whatever bits they come, and nothing of them is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cooper.commands.turn import TurnReader

TAGS = ("<think>", "</think>", "<answer>", "</answer>", "<depth-estimation>", "</depth-estimation>")
turns = st.lists(st.sampled_from((*TAGS, "<", ">", "a b", "\n")), max_size=12).map("".join)


def merged(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for kind, text in parts:
        if out and out[-1][0] == kind:
            text = out.pop()[1] + text
        out.append((kind, text))
    return out


def test_parts_come_as_soon_as_they_are_known() -> None:
    reader = TurnReader()
    text = "<think>I look.</think><depth-estimation>draw</depth-estimation><answer>2 < 3</answer>"
    came = {text[:end]: reader.read(text[:end]) for end in range(1, len(text) + 1)}
    assert came["<think>I"] == [("thought", "I")] and came["<think>I look.</thi"] == []
    assert came[text[: text.index("<answer>")]] == [("call", "<depth-estimation>draw</depth-estimation>")]
    assert came[text] == [("answer", "<answer>2 < 3</answer>")] and reader.read(text, final=True) == []


def test_what_is_not_whole_is_shown_as_it_stands() -> None:
    assert merged(TurnReader().read("<answer>2 m", final=True)) == [("other", "<answer>2 m")]
    assert merged(TurnReader().read("so </b> <dep", final=True)) == [("other", "so </b> <dep")]


@given(turns, st.lists(st.integers(0, 150)))
def test_bits_do_not_matter_and_nothing_is_lost(turn: str, ends: list[int]) -> None:
    reader = TurnReader()
    parts = [part for end in sorted(ends) for part in reader.read(turn[:end])]
    parts += reader.read(turn, final=True)
    assert merged(parts) == merged(TurnReader().read(turn, final=True))
    shown = "".join(text for _, text in parts)
    assert sorted(shown.replace("<think>", "").replace("</think>", "")) == sorted(
        turn.replace("<think>", "").replace("</think>", "")
    )
