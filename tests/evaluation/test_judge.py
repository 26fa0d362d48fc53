"""A judge on a real server: verdicts, failures that are no verdicts, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.judge_server import RAW, Server, serving

from cooper.evaluation.judge import Claim, Judge, parse_grade, parse_verdict

#: what the server does with an answer: a status, a reply, and seconds before it
REPLIES: dict[str, list[tuple[int, str, float]]] = {
    "two": [(200, "yes", 0.0)],  # what `check` asks
    "two metres": [(200, "Yes.", 0.0)],
    "three metres": [(200, "no, that is more", 0.0)],
    "busy": [(503, "", 0.0), (200, "yes", 0.0)],
    "broken": [(500, "", 0.0)],
    "slow": [(200, "yes", 6.0)],
    **{f"{k} m": [(200, "yes", 0.5)] for k in range(24)},
    "chatty": [(200, "I would say yes", 0.0)],
    "silent": [(200, "", 0.0)],
    "forbidden": [(401, "", 0.0)],
    "no JSON": [(RAW, "<html>busy", 0.0)],
    "too long": [(400, "", 0.0)],
    "an error": [(RAW, '{"error": "x"}', 0.0)],
    "a page": [(RAW, '"a page"', 0.0)],
    "by name": [(RAW, '{"choices": {"a": 1}}', 0.0)],
    "thoughtful": [(200, "<think>No?\nno\n</think>\n\nYes", 0.0)],
    "reasons": [(400, "Unsupported parameter: 'max_tokens' is not supported with this model.", 0.0), (200, "yes", 0.0)],
    "far too long": [(400, "8000 tokens and max_tokens are more than 4096", 0.0)],
    "half": [(200, "0.5", 0.0)],
    "all": [(429, "", 0.0), (200, "**1.0**", 0.0)],
}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(REPLIES) as server:
        yield server


def judge(server: Server, **settings: Any) -> Judge:
    return Judge(server.url, "m", key="k", **{"timeout": 2.0, "retries": 1, **settings})


def claims(*answers: str) -> list[Claim]:
    return [Claim("How far is it?", "2.0 m", answer) for answer in answers]


def test_failures_are_no_verdicts(server: Server) -> None:
    said = ("two metres", "three metres", "busy", "broken", "slow", "chatty", "silent", "no JSON")
    assert judge(server).verdicts(claims(*said)) == [True, False, True, None, None, None, None, None]
    assert all(body["model"] == "m" and body["temperature"] == 0 for body in server.asked)
    assert {sum(REPLIES[a] and b["messages"][-1]["content"].endswith(a) for b in server.asked)
            for a in ("busy", "broken")} == {2}, "each is tried twice"  # fmt: skip


def test_several_are_asked_for_at_the_same_time(server: Server) -> None:
    assert judge(server, timeout=60.0).verdicts(claims(*(f"{k} m" for k in range(24)))) == [True] * 24
    assert 1 < server.most_at_once <= 8


def test_a_verdict_is_asked_for_once(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "verdicts.jsonl"
    several = claims("two metres", "three metres", "two metres", "chatty")
    assert judge(server, cache=cache).verdicts(several) == [True, False, True, None]
    assert len(server.asked) == 3, "the same claim is judged once"
    with cache.open("a") as file:
        rest = cache.read_text().replace("true", "NaN").replace("false", "2.5")  # damaged, and later in the file
        file.write('\n{"key": "cut')
    cache.write_text(cache.read_text() + "\n" + rest)
    again = judge(server, cache=cache)
    assert again.verdicts(several) == [True, False, True, None]
    assert len(server.asked) == 4, "what had no verdict is tried again"
    assert again.verdicts(claims("busy")) == [True]
    assert judge(server, cache=cache).verdicts(claims("busy", "two metres")) == [True, True]
    assert len(server.asked) == 6


def test_grades(server: Server, tmp_path: Path) -> None:
    several = claims("half", "all", "two metres", "broken", "half")
    cache = tmp_path / "grades.jsonl"
    assert judge(server, cache=cache).grades(several) == [0.5, 1.0, None, None, 0.5]
    asked = len(server.asked)
    assert judge(server, cache=cache).grades(several[:2]) == [0.5, 1.0] and len(server.asked) == asked
    # a grade is no verdict: the same answer is asked about again
    assert judge(server, cache=cache).verdicts(several[:1]) == [None] and len(server.asked) == asked + 1


def test_a_refusal_is_an_error(server: Server) -> None:
    with pytest.raises(ValueError, match=r"the judge m at http://127\S+ refuses: .*401") as error:
        judge(server).verdicts(claims("two metres", "forbidden"))
    assert "\n" not in str(error.value)


def test_what_is_refused_alone_has_no_verdict(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "verdicts.jsonl"
    several = claims("too long", "two metres", "an error", "a page", "three metres")
    for _ in range(2):  # the second time, the others are known and only refusals are asked for
        assert judge(server, cache=cache).verdicts(several) == [None, True, None, None, False]
    with pytest.raises(ValueError, match=r"the judge m at http://127\S+ refuses: .*400"):
        judge(server).verdicts(claims("too long"))


def test_a_judge_that_nobody_answers_for_is_an_error(server: Server) -> None:
    closed = Judge("http://127.0.0.1:1/v1", "m", key="k", retries=0)
    for ask in (closed.verdicts, closed.grades):
        with pytest.raises(ValueError, match=r"the judge m at http://127.0.0.1:1/v1 does not answer \(Conn.*running"):
            ask(claims("two metres", "three metres"))
        assert ask([]) == []
    with pytest.raises(ValueError, match=r"does not answer \(Error code: 500.*running"):
        judge(server).verdicts(claims("broken"))
    asked = len(server.asked)
    with pytest.raises(ValueError, match=r"does not answer"):
        judge(server, workers=2, retries=0).verdicts([Claim(str(k), "2 m", "broken") for k in range(50)])
    assert len(server.asked) - asked <= 3, "where nobody answers it is not tried for hours"
    with pytest.raises(ValueError, match=r"does not answer"):
        closed.check()
    heard = judge(server)
    assert heard.verdicts(claims("two metres")) == [True]
    assert heard.verdicts(claims("broken")) == [None], "it may be away for a while"


def test_verdicts_that_are_known_do_not_hide_that_nobody_is_there(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "verdicts.jsonl"
    asks = judge(server, cache=cache)
    asks.check()
    assert asks.verdicts(claims("two metres")) == [True]
    closed = Judge("http://127.0.0.1:1/v1", "m", key="k", retries=0, cache=cache)
    assert closed.verdicts(claims("two metres")) == [True], "nobody has to be there for what is known"
    for ask in (closed.check, lambda: closed.verdicts(claims("two metres", "three metres"))):
        with pytest.raises(ValueError, match="does not answer"):
            ask()
    asked = len(server.asked)
    with pytest.raises(ValueError, match="does not answer"):
        judge(server, cache=cache, workers=2, retries=0).verdicts(
            [*claims("two metres"), *(Claim(str(k), "2 m", "broken") for k in range(50))]
        )
    assert len(server.asked) - asked <= 3


@pytest.mark.parametrize("said", ["an error", "a page", "no JSON", "by name"])
def test_a_wrong_address_is_an_error(server: Server, said: str) -> None:
    with pytest.raises(ValueError, match=r"what answers at http://127\S+ is no judge: .* ends in /v1") as error:
        judge(server).grades(claims(said))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("url", ["http://localhost:abc/v1", f"http://{'a' * 300}/v1"])
def test_what_is_no_address_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="http://"):
        Judge(url, "m", key="k", retries=0).check()


def test_there_is_room_for_thoughts(server: Server) -> None:
    assert judge(server).verdicts(claims("thoughtful")) == [True]
    assert judge(server, tokens=8).verdicts(claims("two metres")) == [True]
    assert [body["max_tokens"] for body in server.asked] == [1024, 8]


def test_models_that_refuse_parameters_are_asked_without_them(server: Server) -> None:
    one = judge(server, workers=1)
    assert one.verdicts(claims("two metres", "far too long", "reasons", "three metres")) == [True, None, True, False]
    old, new = {"temperature": 0, "max_tokens": 1024}, {"max_completion_tokens": 1024}
    asked = [{k: v for k, v in body.items() if k not in ("model", "messages")} for body in server.asked]
    assert asked == [old, old, new, old, new, new], "only what then succeeds is kept"


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("\\boxed{yes}", True), ("<answer>no</answer>", False), ("They agree.\n\\boxed{\\text{Yes}}", True),
        ("`no`", False),
        ("no doubt: they are the same", None), ("yes or no", None), ("Yes/no", None), ("no difference", None),
        ("No they differ", False), ("no\nThey differ", False), ("Yes, and in metres, too", True), ("No. Not so", False),
        ("yes", True), (" **No**.", False), ("Yes, they agree", True), ("yesterday", None), ("", None), (None, None),
        ("<think>no</think>yes", True), ("it is no\n</think>\n**Yes**", True), ("2 m is 200 cm.\n\nYes.", True),
        ("<think>yes", None), ("<think>so\nyes", None), ("yes</think>", None), ("I think\nno doubt", None),
        ("Yes.\n\nBoth say two metres.", True), ("The answer is yes.", True), ("**Verdict:** No", False),
        ("My final verdict: yes", True), ("The answer is yes or no", None),
    ],
)  # fmt: skip
def test_only_a_yes_or_a_no_is_a_verdict(reply: str | None, verdict: bool | None) -> None:
    assert parse_verdict(reply) is verdict


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        ("`0.5`", 0.5), ("\"0.5\"", 0.5), ("\\boxed{0.5}", 0.5), ("$\\boxed{0.5}$.", 0.5), ("0.5 out of 1", 0.5),
        ("0.5 out of 10", None),
        ("Score: `0.8`", 0.8), ("<answer>1</answer>", 1.0), ("Score: \"0.5 out of 1.0\"", 0.5), ("0.8/1.5", None),
        ("0.5", 0.5), ("1", 1.0), (" **0.0** ", 0.0), (".7", 0.7), ("1.0.", 1.0), ("1.1", None), ("10", None),
        ("-0.5", None), ("0.5 of 1", None), ("yes", None), ("nan", None), ("0.5 or 0.6", None), ("", None),
        (None, None), ("<think>0.1</think>\n0.5", 0.5), ("Half of it.\n**0.5**", 0.5), ("<think>\n0.5", None),
        ("0.5\nas it is half", None), ("Score: 0.8", 0.8), ("0.8/1", 0.8), ("The **grade** is 0.5 / 1.0.", 0.5),
        ("Correctness: 0.5", 0.5), ("Score: 8", None), ("0.8/10", None),
    ],
)  # fmt: skip
def test_only_a_number_up_to_one_is_a_grade(reply: str | None, grade: float | None) -> None:
    assert parse_grade(reply) == grade
