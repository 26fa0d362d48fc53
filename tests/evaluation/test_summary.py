"""Figures of kept answers: with and without a judge, as a page, and files that are refused."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.tables import answered, write_predictions
from tests.judge_server import serving

from cooper.evaluation.judge import Judge
from cooper.evaluation.score_page import counted, score_page
from cooper.evaluation.summary import compare, load_answers, summarise


def test_a_judge_is_asked_only_where_rules_find_nothing() -> None:
    rows = [
        answered("mmvp", said, index=str(k), group=str(k))
        for k, said in enumerate(["A", "B", "the round one", "the square one", "that one", ""])
    ]
    replies = {"the round one": [(200, "yes", 0.0)], "the square one": [(200, "no", 0.0)], "that one": [(500, "", 0.0)]}
    without = summarise(rows)
    assert (without["no_answer"], without["no_verdict"], without["judge"]) == (4, 0, None)
    assert without["readings"]["per question"]["score"] == pytest.approx(1 / 6)
    with serving(replies) as server:
        judged = summarise(rows, Judge(server.url, "wise", key="k", retries=0))
        assert len(server.asked) == 3
    told = server.asked[0]["messages"][-1]["content"]
    assert told.startswith("Question: Which?\nTrue answer: A. ball\nAnswer: th")
    # right, wrong, right, wrong, no verdict, nothing said
    assert (judged["no_answer"], judged["no_verdict"], judged["judge"]) == (1, 1, "wise")
    assert judged["readings"]["per question"] | {"interval": None} == {
        "score": 2 / 5, "interval": None, "n": 5, "incomplete": 0
    }  # fmt: skip


def test_a_judge_is_asked_about_any_answer_that_no_rule_reads() -> None:
    said = {
        "yes_no": ("yes", "hardly a dog"), "number": ("2 m", "too far"), "count": ("0", "many"), "word": ("red", "")
    }  # fmt: skip
    rows = [
        answered("tsv", text, index=kind, group=kind, kind=kind, truth=truth, options=[])
        for kind, (truth, text) in said.items()
    ]  # fmt: skip
    with serving({text: [(200, "yes", 0.0)] for _, text in said.values()}) as server:
        summary = summarise(rows, Judge(server.url, "m", key="k", retries=0))
        assert len(server.asked) == 3
    assert summary["readings"]["mean over questions"]["score"] == 3 / 4 and summary["no_answer"] == 1


def test_pairs_without_a_verdict() -> None:
    said = [("A", "?!"), ("B", "?!"), ("A", "A")]
    rows = [
        answered("mmvp", text, index=f"{pair}{k}", group=str(pair), size=2)
        for pair, texts in enumerate(said) for k, text in enumerate(texts)
    ]  # fmt: skip
    with serving({"?!": [(200, "perhaps", 0.0)]}) as server:
        summary = summarise(rows, Judge(server.url, "m", key="k", retries=0))
    # the first pair may be right, the second cannot be, the third is
    pairs = summary["readings"]["per pair"]
    assert (pairs["score"], pairs["n"], summary["no_verdict"]) == (0.5, 2, 2)


def test_verdicts_that_either_run_lacks_are_counted_and_left_out() -> None:
    mine = [answered("mmvp", said, index=str(k), group=str(k)) for k, said in enumerate(("A", "A", "?"))]
    others = [answered("mmvp", said, index=str(k), group=str(k)) for k, said in enumerate(("B", "?!", "A"))]
    replies = {"?": [(200, "perhaps", 0.0)], "?!": [(200, "perhaps", 0.0)]}
    with serving(replies) as server:
        judge = Judge(server.url, "m", key="k", retries=0)
        found = compare(mine, others, judge, judge)
    figure = found["readings"]["per question"]
    assert (found["answers"], found["no_verdict"], figure["n"], figure["difference"]) == (3, 2, 1, 1.0)
    assert figure["interval"] is None, "one question tells nothing of others"


def test_answers_that_either_run_lacks_are_counted_apart() -> None:
    mine = [answered("tsv", said, index=str(k), group=str(k)) for k, said in enumerate(("A", "A", ""))]
    others = [answered("tsv", "", index=str(k), group=str(k)) for k in range(3)]
    for ours, theirs, counts in ((mine, others, "1 and 3"), (others, mine, "3 and 1")):
        assert f"3 of 9 questions answered by both, {counts} no answer" in counted(compare(ours, theirs))


def test_scores_that_are_all_alike_have_no_interval() -> None:
    """Unless all are right or all wrong: resampled, they are as sure of three as of three hundred."""
    rows = [
        answered("tsv", "1.12 m", index=str(k), group=str(k), kind="number", truth="1 m", options=[]) for k in range(3)
    ]
    figure = summarise(rows)["readings"]["mean over questions"]
    assert figure["score"] == pytest.approx(0.8) and figure["interval"] is None


def test_open_answers_are_graded() -> None:
    said = {"a cat": ["rec"], "a pet": ["rec", "ocr"], "fog": ["ocr"], "": ["ocr"]}
    rows = [
        answered("mm-vet", text, index=str(k), group=str(k), kind="open", truth="a cat", options=[], category=category)
        for k, (text, category) in enumerate(said.items())
    ]
    replies = {"a cat": [(200, "1.0", 0.0)], "a pet": [(200, "0.4", 0.0)], "fog": [(200, "wrong!", 0.0)]}
    with serving(replies) as server:
        summary = summarise(rows, Judge(server.url, "m", key="k", retries=0))
    assert summary["readings"]["mean grade"]["score"] == pytest.approx((1 + 0.4 + 0) / 3)
    assert (summary["no_verdict"], summary["no_answer"], summary["note"]) == (1, 1, "")
    assert summary["categories"]["ocr"]["mean grade"]["score"] == pytest.approx((0.4 + 0) / 2)
    assert summary["categories"]["rec"]["mean grade"]["n"] == 2


def test_intervals_resample_pairs() -> None:
    rows = [
        answered("mmvp", "A" if pair % 2 else "B", index=f"{pair}-{k}", group=str(pair), size=2)
        for pair in range(40) for k in range(2)
    ]  # fmt: skip
    alone = [{**row, "group": row["index"], "size": 1} for row in rows]
    wide, narrow = (summarise(r)["readings"]["per question"]["interval"] for r in (rows, alone))
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(2**0.5, rel=0.15)
    json.dumps(summarise(rows), allow_nan=False)


@pytest.mark.parametrize("right", [True, False])
def test_few_that_are_all_alike_tell_little(right: bool) -> None:
    """Of five pairs; by hand, 1 / (1 + z² / n) is what is left above, or 1 less that below."""
    rows = [
        answered("mmvp", "A" if right else "B", index=f"{pair}-{k}", group=str(pair), size=2)
        for pair in range(5) for k in range(2)
    ]  # fmt: skip
    least = 1 / (1 + 1.959964**2 / 5)
    for reading in summarise(rows)["readings"].values():
        assert reading["interval"] == pytest.approx([least, 1] if right else [0, 1 - least])


class Words(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, page: str):
        super().__init__()
        self.text, self.tags = "", set[str]()
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.text += f" {data} "

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not {"src", "href", "onload"} & {name for name, _ in attrs}, "the page loads nothing"


def test_the_page_holds_the_figures_and_nothing_runs() -> None:
    evil = "<script>alert(1)</script>"
    fields = {"category": [evil], "model": f"m{evil}", "settings": evil, "data": evil, "weights": f'"{evil}'}
    rows = [answered("mmvp", said, index=str(k), group="1", size=2, **fields) for k, said in enumerate("AB")]
    page = score_page(summarise(rows))
    words = Words(page)
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>") and "script" not in words.tags
    assert page.count(html.escape(evil)) >= 6 and words.text.count(evil) >= 6 and "<script" not in page
    assert re.search(r"per question\s+50\.0\s+-\s+2", words.text) and re.search(r"per pair\s+0\.0", words.text)
    assert "2 of 9 questions answered, 0 no answer" in words.text
    unscored = score_page(summarise([answered("mm-vet", "a cat", kind="open")]))
    assert "graded by a judge" in unscored and "-" in Words(unscored).text


def scene_row(seed: int, task: str, score: Any, model: str = "m") -> dict[str, Any]:
    """As `cooper eval scenes --out` writes it."""
    return {
        "seed": seed, "task": task, "question": f"What of {task}?", "truth": "1 m", "value": 1.0, "turns": ["1 m"],
        "answer": "1 m", "score": score, "calls": [], "reason": "answered", "seconds": 0.1, "mode": "direct",
        "model": model, "weights": "w", "control": "maps drawn, calls free", "size": "128", "temperature": "0",
        "settings": "s",
    }  # fmt: skip


def test_answers_about_scenes_are_summarised_and_compared(tmp_path: Path) -> None:
    """Each task counts the same, and scores are those that they have."""
    scores = {(1, "height"): 0.5, (1, "color"): 1.0, (2, "height"): 0.0, (3, "height"): 1.0}
    mine = [scene_row(*key, score) for key, score in scores.items()]
    others = [scene_row(*key, 0.25, "n") for key in scores if key != (3, "height")]
    rows, theirs = (load_answers(write_predictions(tmp_path / f"{len(r)}.jsonl", r)) for r in (mine, others))
    readings = summarise(rows)["readings"]
    assert readings["mean of tasks"]["score"] == pytest.approx((0.5 + 1) / 2) and summarise(rows)["questions"] == 4
    assert (readings["spatial tasks"]["score"], readings["general tasks"]["score"]) == (0.5, 1.0)
    found = compare(rows, theirs)["readings"]
    assert found["spatial tasks"]["n"] == 2 and found["spatial tasks"]["difference"] == pytest.approx(0)
    assert found["mean of tasks"]["difference"] == pytest.approx((0 + 0.75) / 2)
    assert summarise(rows)["note"] == "" and summarise(rows)["no_answer"] == 0


def test_files_of_predictions(tmp_path: Path) -> None:
    rows = [answered("mmvp", "A\u2028B", index=str(k)) for k in range(2)]
    path = write_predictions(tmp_path / "p.jsonl", rows)
    assert load_answers(path) == rows
    assert load_answers(write_predictions(tmp_path / "twice.jsonl", [rows[0], *rows])) == rows
    unended = tmp_path / "unended.jsonl"
    unended.write_text(path.read_text().rstrip())
    assert load_answers(unended) == rows
    with path.open("a") as file:
        file.write('{"benchmark": "mm')  # killed while it wrote
    assert load_answers(path) == rows
    with path.open("ab") as file:
        file.write(' "who": "ô'.encode()[:-1])  # or inside of a letter
    assert load_answers(path) == rows
    half = tmp_path / "half.jsonl"
    half.write_text(json.dumps({**rows[0], "turns": ["\ud800"]}))
    with pytest.raises(ValueError, match="half.jsonl, line 1, is no answer to a benchmark"):
        load_answers(half)
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\xff\n\xfe\n")
    with pytest.raises(ValueError, match="picture.png, line 1, is no answer to a benchmark"):
        load_answers(picture)
    for wrong, why in (
        *(([{**rows[0], "questions": n}], "line 1, is no answer") for n in (None, [1], "x")),
        ([{**rows[0], "kind": "length", "truth": "0 m"}], "line 1, is no answer"),
        ([*rows, {**rows[0], "mode": "text"}], "holds answers of mode 'direct' and 'text'"),
        ([{"seed": 1, "task": "height", "score": 1.0}], "line 1, is no answer"),
        ([scene_row(1, "height", 1.5)], "line 1, is no answer"),
        ([*rows, {"seed": 1, "task": "height"}], "line 3, is no answer to a benchmark"),
        ([{**rows[0], "benchmark": "imagenet"}], "answers to the benchmark 'imagenet', which is none of sibench"),
        ([{k: v for k, v in rows[0].items() if k != "turns"}], "line 1, is no answer"),
        ([*rows, {**rows[0], "turns": ["B"]}], "line 3, answers question 0 otherwise than line 1"),
        ([{**rows[0], "turns": [1]}], "line 1, is no answer"), ([{**rows[0], "size": "a"}], "line 1, is no answer"),
        ([{**rows[0], "truth": "C"}], "line 1, is no answer"), ([{**rows[0], "kind": "essay"}], "line 1, is no answer"),
        ([{**rows[0], "truth": ""}], "line 1, is no answer"), ([{**rows[0], "truth": "AB"}], "line 1, is no answer"),
        ([{**rows[0], "kind": "number", "truth": "abc"}], "line 1, is no answer"),
        ([], "holds no answers"),
    ):
        with pytest.raises(ValueError, match=why):
            load_answers(write_predictions(tmp_path / "wrong.jsonl", wrong))
