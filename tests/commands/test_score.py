"""`cooper score`: what it prints and writes, without a model and without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.evaluation.tables import answered, write_predictions
from tests.judge_server import serving

from cooper.cli import main

SAME_PACKAGE = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder but for answers.jsonl: a right pair, half a pair, an answer that nobody can read."""
    monkeypatch.chdir(tmp_path)
    said = [("A", "A"), ("A", "B"), ("A", "what?")]
    write_predictions(tmp_path / "answers.jsonl", [
        answered("mmvp", text, index=f"{pair}-{k}", group=str(pair), size=2, category=["doors" if pair else "eyes"])
        for pair, texts in enumerate(said) for k, text in enumerate(texts)
    ])  # fmt: skip
    return tmp_path


def run(argv: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(["score", "answers.jsonl"], capsys)
    lines = [" ".join(line.replace("│", " ").split()) for line in out.splitlines()]
    assert (code, err) == (0, "") and "mmvp: m, direct, all" in lines
    assert any(line.startswith("per pair 33.3 0.0 to ") and line.endswith(" 3") for line in lines)
    assert any(line.startswith("per question 66.7 ") and line.endswith(" 6") for line in lines)
    assert any(line.startswith("eyes per pair 100.0 20.7 to 100.0 1") for line in lines)
    assert lines[-1] == "6 of 9 questions answered, 1 no answer"


def test_json_and_page(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    code, out, _ = run(["score", "answers.jsonl", "--json", "--html", "new/page.html"], capsys)
    summary = json.loads(out)
    assert code == 0 and summary["readings"]["per question"]["score"] == pytest.approx(4 / 6)
    page = (place / "new/page.html").read_text(encoding="utf-8")
    assert "<strong>66.7</strong>" in page and "<strong>33.3</strong>" in page and "6 of 9 questions" in page


def other_run(place: Path) -> None:
    """others.jsonl, of another model: the pair about eyes is half right, the rest as in answers.jsonl, but for a
    question that only this has, and one that only the other has."""
    rows = [json.loads(line) for line in (place / "answers.jsonl").read_text().splitlines()]
    rows[0] |= {"turns": ["B"]}
    rows[-1] |= {"index": "3-0", "group": "3"}
    write_predictions(place / "others.jsonl", [{**row, "model": "other"} for row in reversed(rows)])


def test_one_run_against_another(
    capsys: pytest.CaptureFixture[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    other_run(place)
    code, out, err = run(["score", "answers.jsonl", "--against", "others.jsonl", "--html", "page.html"], capsys)
    lines = [" ".join(line.replace("│", " ").split()) for line in out.splitlines()]
    assert (code, err) == (0, "") and "mmvp: m against other, all" in lines
    assert any("reading ┃ points ┃ against ┃ gain ┃ 95 % interval ┃" in line for line in lines)
    # of five questions that both answer four and three are right; of two whole pairs, one and none
    assert any(line.startswith("per question 80.0 60.0 +20.0 +0.0 to +") and line.endswith(" 5") for line in lines)
    assert any(line.startswith("per pair 50.0 0.0 +50.0 ") and line.endswith(" 2 (1 incomplete)") for line in lines)
    assert any(line.startswith("eyes per question 100.0 50.0 +50.0 - 2") for line in lines)
    page = (place / "page.html").read_text(encoding="utf-8")
    assert "<strong>+20.0</strong>" in page and "<p>against</p>" in page and "<dd>other</dd>" in page
    figures = [
        json.loads(run(["score", a, "--against", b, "--json"], capsys)[1])["readings"]["per question"]
        for a, b in (("answers.jsonl", "others.jsonl"), ("others.jsonl", "answers.jsonl"))
    ]
    assert figures[0]["difference"] == -figures[1]["difference"] == pytest.approx(0.2)
    assert figures[0]["interval"] == pytest.approx([-end for end in reversed(figures[1]["interval"])])


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"data": "else.tsv"}, "answer different questions: of data 'data.tsv' and 'else.tsv'"),
        ({"truth": "B"}, "question 0-0 was not the same for both"),
        ({"size": 3}, "question 0-0 was not the same for both"), ({"index": "9"}, "no question that both answer"),
    ],
)
def test_runs_that_cannot_be_compared(
    changed: dict[str, object], why: str, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    row = json.loads((place / "answers.jsonl").read_text().splitlines()[0])
    write_predictions(place / "others.jsonl", [row | changed])
    code, out, err = run(["score", "answers.jsonl", "--against", "others.jsonl"], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1) and why in err


def test_the_answers_are_not_overwritten(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    before = (place / "answers.jsonl").read_bytes()
    code, _, err = run(["score", "answers.jsonl", "--html", "answers.jsonl"], capsys)
    assert code == 2 and "--html answers.jsonl would overwrite what is read" in err
    assert (place / "answers.jsonl").read_bytes() == before


def test_a_judge(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    with serving({"what?": [(200, "yes", 0.0)]}) as server:
        argv = ["score", "answers.jsonl", "--json", "--judge", server.url, "--judge-model", "m"]
        figures = [json.loads(run(argv, capsys)[1])["readings"]["per pair"]["score"] for _ in range(2)]
        assert len(server.asked) == 1, "the verdict is kept"
    assert figures == pytest.approx([2 / 3, 2 / 3]) and (place / "answers.jsonl.judge.jsonl").is_file()


def test_a_judge_that_does_not_answer(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    before = (place / "answers.jsonl").read_bytes()
    argv = ["score", "answers.jsonl", "--html", "page.html", "--judge", "http://127.0.0.1:1/v1", "--judge-model", "m"]
    code, out, err = run(argv, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("cooper: the judge m at http://127.0.0.1:1/v1 does not answer (Connection error.); ")
    assert (place / "answers.jsonl").read_bytes() == before and not (place / "page.html").exists()


def test_what_needs_a_judge_says_so(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    write_predictions(place / "vet.jsonl", [answered("mm-vet", "a cat", kind="open")])
    code, out, _ = run(["score", "vet.jsonl"], capsys)
    assert code == 0 and out.startswith("answers to mm-vet are graded by a judge: give --judge URL and --judge-model")
    assert "1 left out without a verdict" in out


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["nothing.jsonl"], "nothing.jsonl is no file"),
        (["other.jsonl"], "line 1, is no answer to a benchmark"),
        (["maps.jsonl"], "maps.jsonl holds figures of maps; run"),
        (["mine.jsonl"], "mine.jsonl holds answers to the benchmark 'mine', which is none of"),
        (["answers.jsonl", "--judge", "http://localhost:1"], "--judge URL and --judge-model NAME together"),
        (["answers.jsonl", "--html", "."], "--html names a file"),
        ([], "PREDICTIONS"),
    ],
)
def test_mistakes(argv: list[str], why: str, capsys: pytest.CaptureFixture[str], place: Path) -> None:
    (place / "other.jsonl").write_text('{"loss": 1}\n')
    (place / "maps.jsonl").write_text('{"index": "0", "figures": {}}\n')
    (place / "mine.jsonl").write_text('{"benchmark": "mine"}\n')
    code, out, err = run(["score", *argv], capsys)
    assert (code, out) == (2, "") and err.startswith("cooper: ") and err.count("\n") == 1 and why in err


def test_it_starts_without_torch() -> None:
    code = (
        "import sys; from cooper.cli import main; main(['score', 'answers.jsonl', '--html', 'page.html']); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=SAME_PACKAGE)
