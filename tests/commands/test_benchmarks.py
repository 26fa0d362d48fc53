"""`cooper eval NAME`: answers that are kept, an evaluation that goes on, rows that are broken."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.tables import coded, png, write_table
from tests.helpers import Ran, run_command

from cooper.cli import COMMANDS, Group
from cooper.evaluation.benchmarks import BENCHMARKS

Ask = Callable[..., "Ran"]
needs_mujoco = pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs the extra [scenes]")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder but for a table of four questions, two of which cannot be asked."""
    monkeypatch.chdir(tmp_path)
    row = {"question": "Is there a red ball?", "answer": "yes", "type": "YN", "category": "existence"}
    write_table(tmp_path / "four.tsv", [
        {"index": "0", "image": coded(0), **row}, {"index": "1", "image": "gone.png", **row},
        {"index": "2", "image": "0", **row}, {"index": "3", "image": "0", **row, "type": "Essay"},
    ])  # fmt: skip
    return tmp_path


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], model: str) -> Ask:
    """Asks the untrained model the four questions."""

    def ask(*argv: str, mode: str = "direct") -> Ran:
        return run_command(capsys, "eval", "tsv", "--data", "four.tsv", "--model", model, "--mode", mode, *argv)

    return ask


def kept(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_every_benchmark_has_its_command() -> None:
    group = COMMANDS.members["eval"]
    assert isinstance(group, Group) and set(group.members) == {"scenes", *BENCHMARKS, "depth", "segmentation"}


def test_answers_are_kept_and_scored(ask: Ask, capsys: pytest.CaptureFixture[str], model: str) -> None:
    ran = ask("--out", "new/answers.jsonl", "--seed", "5", "--json")
    summary = json.loads(ran.out)
    assert ran.code == 0 and (summary["answers"], summary["questions"], summary["broken"]) == (2, 4, 2)
    assert ran.err.strip().count("\n") == 1 and "four.tsv, row 2: gone.png does not exist" in ran.err
    assert "four.tsv, row 4: its type 'Essay' is none of" in ran.err
    rows = kept("new/answers.jsonl")
    assert [(row["index"], row["seed"]) for row in rows] == [("0", 5), ("2", 7)]
    assert rows[0] | dict.fromkeys(("turns", "answer", "reason", "seconds", "weights", "settings")) == {
        "index": "0", "category": ["existence"], "prompt": "Is there a red ball?", "truth": "yes", "options": [],
        "kind": "yes_no", "group": "0", "size": 1, "turns": None, "answer": None, "calls": [], "reason": None,
        "seed": 5, "seconds": None, "benchmark": "tsv", "data": "four.tsv", "questions": "4", "mode": "direct",
        "model": model, "weights": None, "settings": None,
    }  # fmt: skip
    assert rows[0]["settings"].startswith("seed 5, fp32, ") and len(rows[0]["turns"]) == 1
    scored = run_command(capsys, "score", "new/answers.jsonl", "--json")
    assert json.loads(scored.out) == {k: v for k, v in summary.items() if k not in ("broken", "others")}
    assert "mean over questions" in ask("--seed", "5").out


def test_an_interrupted_evaluation_goes_on(ask: Ask) -> None:
    assert ask("--out", "a.jsonl", "--limit", "1").code == 0
    (first,) = kept("a.jsonl")
    with Path("a.jsonl").open("a") as file:
        file.write('{"index": "2", "category"')  # killed while it wrote
    assert ask("--out", "a.jsonl").code == 0
    rows = kept("a.jsonl")
    assert rows[0] == first, "what was answered is not asked again"
    assert [row["index"] for row in rows] == ["0", "2"]
    again = Path("a.jsonl").read_bytes()
    assert ask("--out", "a.jsonl").code == 0 and Path("a.jsonl").read_bytes() == again
    fewer = json.loads(ask("--out", "a.jsonl", "--limit", "1", "--json").out)
    assert fewer["answers"] == 1, "of those in the file, only what was asked for counts"


@pytest.mark.parametrize("held", ['{"accuracy": 0.91, "note": "my only copy"}', "words without an end", "[1, 2]"])
def test_other_files_are_not_taken_for_answers(held: str, ask: Ask) -> None:
    Path("mine.json").write_text(held)
    ran = ask("--out", "mine.json")
    assert ran.code == 2 and "mine.json, line 1, is not an answer; choose another file" in ran.err
    assert Path("mine.json").read_text() == held


@pytest.mark.parametrize("changed", [
    {"answer": "no"}, {"question": "Is there a blue ball?"}, {"type": "Word"}, {"category": "balls"}, {"group": "all"},
])  # fmt: skip
def test_answers_to_what_has_changed_since_are_refused(changed: dict[str, str], ask: Ask, place: Path) -> None:
    """A table whose answers were corrected in place has the same name and the same number of questions."""
    assert ask("--out", "a.jsonl").code == 0
    before = Path("a.jsonl").read_bytes()
    row = {"question": "Is there a red ball?", "answer": "yes", "type": "YN", "category": "existence", **changed}
    write_table(place / "four.tsv", [{"index": str(k), "image": coded(0), **row} for k in range(4)])
    ran = ask("--out", "a.jsonl")
    assert ran.code == 2 and "a.jsonl answers another question 0 than this" in ran.err
    assert Path("a.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("argv", "mode", "why"),
    [
        ((), "text", "is of mode 'direct', not 'text'"), (("--seed", "1"), "direct", "is of settings 'seed 0, "),
        (("--precision", "mixed"), "direct", "is of "), (("--prompts", "words.json"), "direct", "is of settings"),
    ],
)  # fmt: skip
def test_predictions_of_another_run_are_refused(
    argv: Sequence[str], mode: str, why: str, ask: Ask
) -> None:
    Path("words.json").write_text('{"reflection": "Look."}')
    assert ask("--out", "a.jsonl", "--limit", "1").code == 0
    before = Path("a.jsonl").read_bytes()
    ran = ask("--out", "a.jsonl", *argv, mode=mode)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1) and why in ran.err
    assert Path("a.jsonl").read_bytes() == before


def test_a_judge_that_does_not_answer_is_found_out_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str], place: Path, model: str
) -> None:
    row = {"index": "0", "image": coded(0), "question": "What is it?", "answer": "a cat", "capability": "rec"}
    write_table(place / "vet.tsv", [row])
    argv = ("eval", "mm-vet", "--data", "vet.tsv", "--model", model, "--mode", "direct", "--out", "a.jsonl")
    ran = run_command(capsys, *argv, "--judge", "http://127.0.0.1:1/v1", "--judge-model", "m")
    assert (ran.code, ran.out) == (2, "") and ran.err.splitlines()[-1].startswith(
        "cooper: the judge m at http://127.0.0.1:1/v1 does not answer (Connection error.); is it running"
    )
    assert not Path("a.jsonl").exists()


def test_a_folder_of_pictures(capsys: pytest.CaptureFixture[str], place: Path, model: str) -> None:
    (place / "mmvp/MMVP Images").mkdir(parents=True)
    rows = [{"Index": k, "Question": "Which?", "Options": "(a) red (b) blue", "Correct Answer": "(a)"} for k in (1, 2)]
    for k in (1, 2):
        (place / f"mmvp/MMVP Images/{k}.jpg").write_bytes(png(k))
    write_table(place / "mmvp/Questions.csv", rows)
    summary = json.loads(run_command(capsys, "eval", "mmvp", "--data", "mmvp", "--model", model, "--json").out)
    assert summary["answers"] == 2 and summary["readings"]["per pair"]["n"] == 1 and summary["broken"] == 0


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["tsv"], "--data"),
        (["tsv", "--data", "none.tsv"], "none.tsv does not exist"),
        (["tsv", "--data", __file__], "no table that can be read"),
        (["tsv", "--data", "four.tsv", "--strict"], "row 4: its type 'Essay' is none of"),
        (["tsv", "--data", "four.tsv", "--limit", "0"], "--limit must be at least 1, not 0"),
        (["tsv", "--data", "four.tsv", "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["tsv", "--data", "four.tsv", "--out", "."], "--out names a file"),
        (["tsv", "--data", ".", "--out", "a.jsonl"], "a.jsonl is, or lies in, the --data that is read"),
        (["scenes", "--shards", "rendered", "--size", "256"], "--size is for rendering"),
        (["tsv", "--data", "four.tsv", "--judge", "http://localhost:1"], "--judge-model NAME together"),
        (["tsv", "--data", "four.tsv", "--mode", "dream"], "direct"),
        (["mmvp", "--data", "four.tsv"], "holds no question that can be asked; "),
        (["imagenet"], "choose from scenes, sibench"),
    ],
)
def test_mistakes(
    argv: list[str], why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cooper.api.Cooper.load", lambda *_: pytest.fail("the model was loaded"))
    ran = run_command(capsys, "eval", *argv)
    assert (ran.code, ran.out) == (2, "") and ran.err.startswith("cooper: ") and ran.err.count("\n") == 1
    assert why in ran.err


def test_no_picture_at_all(capsys: pytest.CaptureFixture[str], place: Path, model: str) -> None:
    row = {"index": "0", "image": "gone.png", "question": "Is it?", "answer": "yes", "type": "YN"}
    write_table(place / "gone.tsv", [row])
    argv = ("eval", "tsv", "--data", "gone.tsv", "--model", model)
    ran = run_command(capsys, *argv)
    assert ran.code == 2 and "no question of gone.tsv could be asked" in ran.err
    strict = run_command(capsys, *argv, "--strict")
    assert strict.code == 2 and strict.err.endswith("gone.tsv, row 1: gone.png does not exist; check the path\n")


@needs_mujoco
def test_exported_scenes_score_as_scenes_do(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    ran = run_command(capsys, "scenes", "export", "--n", "2", "--questions", "12", "--out", "new/scenes.tsv")
    assert ran.code == 0 and ran.out.endswith(" questions about 2 scenes in new/scenes.tsv\n")
    exported = run_command(capsys, "eval", "tsv", "--data", "new/scenes.tsv", "--mode", "direct", "--json")
    argv = ("eval", "scenes", "--n", "2", "--questions", "12", "--mode", "direct", "--no-maps", "--json")
    scenes = run_command(capsys, *argv)
    summary, result = json.loads(exported.out), json.loads(scenes.out)
    assert summary["no_answer"] == 0
    by_task = {name: figures["mean over questions"] for name, figures in summary["categories"].items()}
    assert {name: (f["score"], f["n"]) for name, f in by_task.items()} == {
        name: (pytest.approx(row["score"]), row["n"]) for name, row in result["tasks"].items()
    }  # fmt: skip
    assert len(by_task) > 8 and summary["readings"]["mean over categories"]["score"] == pytest.approx(result["mean"])
    sampled = (*argv, "--out", "sampled.jsonl", "--temperature", "1")
    assert run_command(capsys, *sampled).code == 0
    assert all(row["temperature"] == "1" for row in map(json.loads, Path("sampled.jsonl").read_text().splitlines()))
    refused = run_command(capsys, *sampled[:-1], "-1")
    assert refused.err == "cooper: the temperature must be a number and not negative; got -1.0\n"
    assert summary["broken"] == 0 and 0 < result["mean"] < 1
    argv = ("eval", "tsv", "--data", "new/scenes.tsv", "--mode", "perception", "--limit", "1", "--out", "a.jsonl")
    run_command(capsys, *argv)
    row, *others = kept("a.jsonl")
    assert {one["group"] for one in others} == {row["group"]}, "about the same scene"
    assert row["calls"] == ["depth", "segmentation"] and len(row["turns"]) == 3
    assert row["answer"] and row["answer"] in row["turns"][-1], "as it was read, beside what was written"
    wrong = run_command(capsys, "scenes", "export", "--out", "scenes.csv")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1) and "does not end in .tsv" in wrong.err
