"""The report of results made by hand: what it says of them, in words and tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from cooper.evaluation.predictions import Row
from cooper.evaluation.scores import bootstrap_interval
from cooper.reproduction import plots
from cooper.reproduction.known import Known
from cooper.reproduction.plots import comparable
from cooper.reproduction.report import text_of, write_report
from cooper.reproduction.results import SeedFigures, SeedResults
from cooper.reproduction.variants import FULL
from cooper.scenes.question import TASKS

N = 20


def rows(right: int, turns: Callable[[int], str] = str) -> list[Row]:
    """`right` of the 20 questions of each task; depth is called for in half of the answers about distances."""
    return [
        {"seed": k, "task": task, "question": f"{task}?", "score": float(k < right), "answer": "a", "turns": [turns(k)],
         "calls": ["depth"] if task == "distance_between" and k % 2 else []}
        for task in TASKS for k in range(N)
    ]  # fmt: skip


def seed(number: int, answers: Mapping[str, list[Row]], exploration: float = -0.1, **more: object) -> SeedResults:
    logs = {
        stage: [{
            "step": k, "reward/total": 1.0, "reward/answer": 0.5 + k % 2 / 10 + (k > 6) / 4, "reward/form": 1.0,
            "reward/exploration": exploration * (k == 3), "loss": 0.02 + off * (k == 7),
        } for k in range(12)] for stage, off in (("reinforcement", 0.0), ("no_exploration", 0.0004))
    }  # fmt: skip
    figures = SeedFigures(number, {}, {}, logs, {"base": 0.5}, {"cpu": "one", "cores": 2})
    return SeedResults(replace(figures, **more), answers)  # type: ignore[arg-type]


def report(*seeds: SeedResults) -> str:
    return text_of(Known(seeds, FULL, "cooper reproduce"))


def cells(text: str, under: str, row: str) -> list[str]:
    """Of the table under a heading."""
    part = text.split(f"# {under}\n")[1].split("\n#")[0]
    (line,) = re.findall(rf"^\| {re.escape(row)} \| (.*) \|$", part, re.MULTILINE)
    return line.split(" | ")


def test_every_score_by_task_has_its_interval(tmp_path: Path) -> None:
    answers = {"COOPER": rows(15), "SFT only": rows(12), "blank maps": rows(4), "COOPER, sampled": rows(10)}
    results = [seed(0, {**answers, "RE from base": rows(9)})]
    text = write_report(results, FULL, tmp_path, "cooper reproduce").read_text()
    assert text == report(*results)
    for under, scores in (
        ("Variants", (12, 15)), ("Controls", (15, 4)), ("Sampled", (15, 10)), ("Ablations", (12, 15, 9))
    ):  # fmt: skip
        for task in TASKS:
            found = cells(text, f"{under}, by task", task.replace("_", " "))
            for cell, right in zip(found, scores, strict=True):
                low, high = bootstrap_interval([float(k < right) for k in range(N)])
                assert cell == f"{5 * right:.1f} ({100 * low:.0f}-{100 * high:.0f})"
    # a difference of the same questions, surer than the scores
    assert re.fullmatch(r"-55\.0 \(-\d+\.\d to -\d+\.\d\)", cells(text, "Controls", "blank maps")[4])
    assert cells(text, "Variants", "COOPER")[4:] == ["-", "0.0% (0.0 to 1.6)"]
    assert "one question about a scene: 240 a seed, 20 of each task" in text.lower()
    for plot in ("scores", "controls", "sampled", "ablations"):
        assert f"](results/{plot}.png)" in text and (tmp_path / f"results/{plot}.png").stat().st_size > 5000


def test_shares_of_calls_have_intervals_and_none_is_told_once() -> None:
    text = report(seed(0, {"COOPER": rows(15)}))
    assert cells(text, "Variants, what is drawn", "distance between") == ["50% (30-70) / 0%"]
    assert cells(text, "Variants, what is drawn", "counting") == ["0% / 0%"]
    assert "of 20 or more answers, so 0% (0-16), and 100% is 100% (84-100)" in text


def test_maps_have_the_intervals_that_were_kept() -> None:
    def maps(off: float, span: float) -> dict[str, object]:
        def of(**means: float) -> dict[str, object]:
            known = {name: mean + off for name, mean in means.items()}
            return {**known, "intervals": {name: [mean - span, mean + 2 * span] for name, mean in known.items()}}

        depth = {**of(abs_rel=0.1, delta1=0.9), "objects": of(abs_rel=0.2, distances=0.7)}
        return {"reinforcement": {"depth": depth, "segmentation": of(miou=0.75)}}

    one = seed(0, {"COOPER": rows(15)}, maps=maps(0.0, 0.03))
    assert cells(report(one), "Maps", "reinforcement") == [
        "0.100 (0.070-0.160)", "0.900 (0.870-0.960)", "0.200 (0.170-0.260)", "0.700 (0.670-0.760)",
        "0.750 (0.720-0.810)",
    ]  # fmt: skip
    both = report(one, seed(1, {"COOPER": rows(15)}, maps=maps(0.02, 0.04)))
    assert cells(both, "Maps", "reinforcement")[0] == "0.110 (0.085-0.160)", "half of the root of the squares' sum"
    assert "![map quality by stage](results/maps.png)" in both
    fewer = report(one, seed(1, {"COOPER": rows(15)}))
    assert cells(fewer, "Maps", "reinforcement; seed 0") == cells(report(one), "Maps", "reinforcement")


def test_accuracy_within_a_run_has_an_interval() -> None:
    first, last, change = cells(report(seed(0, {"COOPER": rows(15)})), "Reinforcement", "COOPER (reinforcement)")
    assert first.startswith("0.540 (0.4") and last.startswith("0.810 (0.7")
    assert re.fullmatch(r"\+0\.270 \(\+0\.1\d\d to \+0\.3\d\d\)", change)
    late = report(seed(0, {"COOPER": rows(15)}), seed(1, {"base": rows(3)}, logs={}))
    assert cells(late, "Reinforcement", "COOPER (reinforcement); seed 0")[2] == change, "of those that have been there"


@pytest.mark.parametrize(("others", "one"), [(0, True), (1, True), (2, False), (N, False)])
def test_an_ablation_that_is_the_same_training_is_said_to_be(others: int, one: bool) -> None:
    """95 of 100 answers or more: one of the 20 to each task may differ."""
    answers = {
        "COOPER": rows(15), "SFT only": rows(15, lambda k: f"{k}" if k < 5 else "else"),
        "no exploration reward": rows(14, lambda k: "else" if k < others else f"{k}"),
    }  # fmt: skip
    text = report(seed(0, answers))
    assert f"{(N - others) * 12} of its 240 answers are COOPER's, word for word" in text
    assert "(of SFT only's answers 60 of 240)" in text
    assert "not zero in 1 of 12 steps; the losses of the two differ by at most 0.0004 in any step" in text
    assert "(mean size of the former's: 0.02)" in text
    assert ("compares one training with itself" in text) == one
    assert ("Here they are two, and on spatial tasks the one without that part differs by -5.0 (" in text) != one


def test_what_the_reward_for_calls_is_worth_is_told_where_calls_are_open() -> None:
    """Of the seeds that have both; depth is called for in half of the answers about the distance of two things."""
    names = ("SFT half by eye", "half by eye", "half by eye without exploration reward")
    both = {name: rows(right) for name, right in zip(names, (8, 15, 11), strict=True)}
    assert "where calls are open" not in report(seed(0, {name: both[name] for name in names[:2]}))
    log = [{
        "step": k, "reward/answer": 0.5, "reward/exploration": 0.1 * (k == 2), "exploration_differs": (k == 2) / 8,
        "loss": 0.0, "calls/depth/distance_between": k / 10, "calls/depth/negative": k / 20,
        "calls/segmentation/negative": k / 20,
    } for k in range(11)]  # fmt: skip
    logs = {"by_eye_reinforcement": log, "by_eye_no_exploration": [{**row, "calls/depth/size": 1.0} for row in log]}
    text = report(seed(0, {"COOPER": rows(15)}), seed(1, both, logs=logs))
    interval = r"\(\+\d+\.\d to \+\d+\.\d\)"
    assert re.search(
        rf"these models differ by \+20\.0 {interval} on spatial tasks \(over SFT half by eye: \+35\.0 {interval}\), "
        "seed 1; 240 of 240 answers are the same, word for word. In training, the exploration reward was not zero in 1 "
        "of 11 steps, and told rollouts of a question apart in 2 of 176 questions; the losses .*hardly been tried .*"
        "Rollouts about distances called for depth, in the first 5 steps 20% of them and in the last 80%; without "
        "that reward 20% and 80%. Rollouts to questions that maps are flagged to hurt called for a map, in the first "
        "5 steps 20% of them and in the last 80%; ", text,
    )  # fmt: skip
    more = [{**row, "exploration_differs": row["exploration_differs"] * 5} for row in log]
    tried = report(seed(1, both, logs={**logs, "by_eye_reinforcement": more}))
    assert "apart in 10 of 176" in tried and "hardly been tried" not in tried
    head = cells(text, "Open calls, by task", "task")
    assert head == [f"{name}, seed 1" for name in names], "seeds differ more than models"
    assert cells(text, "Open calls", f"{names[2]}, seed 1")[4].startswith("half by eye: -20.0 (")
    for name, points in (("SFT half by eye", "40.0"), (names[2], "55.0")):
        after = text.split("where calls are open")[1].splitlines()
        row = next(line for line in after if line.startswith(f"| {name} |"))
        assert re.search(rf"\| 25% \(.*\) \| 0% \(.*\) \| 0% \(.*\) \| {points} \(", row), row


def test_an_ablation_is_compared_over_the_seeds_that_have_it() -> None:
    late = seed(1, {"COOPER": rows(15)}, logs={})
    text = report(seed(0, {"COOPER": rows(15), "no exploration reward": rows(15)}), late)
    assert "240 of its 240 answers" in text and "1 of 12 steps" in text
    assert "Is \"no exploration" not in report(late)


def test_an_ablation_stands_beside_the_same_seed_of_the_others() -> None:
    """A mean over other seeds beside it would show how seeds differ."""
    one = seed(0, {"COOPER": rows(15), "SFT only": rows(12), "no exploration reward": rows(15)})
    text = report(one, seed(1, {"COOPER": rows(5), "SFT only": rows(6)}))
    for under in ("Ablations, by task", "Ablations, what is drawn"):
        head = cells(text, under, "task")
        assert head == ["SFT only, seed 0", "COOPER, seed 0", "no exploration reward, seed 0"]
    assert [cell.split(" (")[0] for cell in cells(text, "Ablations, by task", "counting")] == ["60.0", "75.0", "75.0"]
    assert cells(text, "Ablations", "COOPER, seed 0")[1].startswith("75.0 (")
    assert cells(text, "Variants", "COOPER")[1].startswith("50.0 (")


def test_plots_are_of_the_seeds_that_all_have() -> None:
    answers = {"base": {0: rows(15), 1: rows(3)}, "COOPER": {0: rows(12)}, "RE": {2: rows(4)}}
    shown, seeds = comparable(answers, ["base", "COOPER"])
    assert shown == {"base": {0: rows(15)}, "COOPER": {0: rows(12)}} and seeds == "seed 0"
    assert comparable(answers, ["base"]) == ({"base": answers["base"]}, "seeds 0, 1")
    assert comparable(answers, ["base", "RE"]) == (answers, "not of the same seeds")


@pytest.mark.parametrize(("names", "rows_of_names"), [(3, 1), (10, 2), (1, 1)])
def test_all_that_is_shown_is_named_within_the_picture(
    names: int, rows_of_names: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: shown.append(figure))
    plots.scores({f"a model with a name, {k}": {0: rows(9)} for k in range(names)}, tmp_path / "scores.png")
    ((figure,),) = (shown,)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
    assert len({round(text.get_window_extent().y0) for text in legend.get_texts()}) == rows_of_names
