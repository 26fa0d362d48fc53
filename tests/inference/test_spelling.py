"""The text of tokens, as it comes."""

from __future__ import annotations

import pytest
from tests.helpers import Scripted, picture, random_model, sequencer, tokenizer

from cooper import Answer, Cooper, Finished, MapDrawn, TokenWritten
from cooper.inference.spelling import Spelling
from cooper.modalities import modality

BROKEN = "\N{REPLACEMENT CHARACTER}"
TURNS = (
    f"<think>où? 3 m²</think>{modality('depth').call}",
    "<think>near \N{GRINNING FACE}, not far</think><answer>\\boxed{1.8 m}</answer>",
)


def test_a_stream_spells_each_turn_of_each_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [tokenizer().encode(turn, add_special_tokens=False).ids for turn in TURNS]
    monkeypatch.setattr("cooper.api.Sampling", lambda t, p: Scripted(t, p, script={0: ids, 1: ids[1:]}))
    model = random_model()
    events = list(Cooper(model, sequencer(model), "x").stream(picture(0).image, "How far?", samples=2, flow_steps=1))
    assert isinstance(events[-1], Answer)
    told: dict[int, list[list[str]]] = {0: [[]], 1: [[]]}
    for event in events[:-1]:
        if isinstance(event, TokenWritten):
            told[event.number][-1].append(event.text)
        elif isinstance(event, MapDrawn):
            told[event.number].append([])
    rollouts = {event.number: event.rollout for event in events if isinstance(event, Finished)}
    for number, turns in told.items():
        assert tuple("".join(turn) for turn in turns) == rollouts[number].trace.turns
    assert rollouts[0].trace.turns == TURNS and rollouts[1].trace.turns == TURNS[1:]
    pieces = [text for turn in told[0] for text in turn]
    assert "\N{GRINNING FACE}" in pieces and "" in pieces, "of several tokens, and whole when it comes"
    assert not any(BROKEN in text for text in pieces)


def test_what_never_becomes_a_character_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    half = tokenizer().encode("\N{GRINNING FACE}", add_special_tokens=False).ids[0]
    monkeypatch.setattr("cooper.api.Sampling", lambda t, p: Scripted(t, p, script={0: [[half, half]]}))
    model = random_model()
    *events, answer = Cooper(model, sequencer(model), "x").stream(picture(0).image, "How far?", mode="direct")
    assert [event.text for event in events if isinstance(event, TokenWritten)] == ["", ""]
    assert isinstance(answer, Answer) and answer.trace.turns == (2 * BROKEN,)


def test_no_token_is_spelled_out_of_all_that_came_before() -> None:
    asked = []

    def detokenise(ids: list[int]) -> str:
        asked.append(len(ids))
        return "".join(chr(97 + i) for i in ids)

    spelling = Spelling(detokenise)
    ids = [i % 26 for i in range(500)]
    told = "".join(spelling(TokenWritten(0, i)).text for i in ids)  # type: ignore[union-attr]
    assert max(asked) == 2, "its cost does not grow with the turn"
    assert told == detokenise(ids)
