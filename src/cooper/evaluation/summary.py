"""What the answers to a benchmark come to: its figures with intervals, overall and by category. Needs no model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from cooper.data.options import LETTERS
from cooper.evaluation import scene_answers
from cooper.evaluation.benchmarks import BENCHMARKS, Reading
from cooper.evaluation.clusters import mean_of_means
from cooper.evaluation.extraction import answer_in, final_text
from cooper.evaluation.items import NUMBERS, Kind
from cooper.evaluation.judge import Claim, Judge
from cooper.evaluation.predictions import Row, whole_lines
from cooper.evaluation.scene_answers import benchmark_row, is_of_scenes
from cooper.evaluation.scores import wilson
from cooper.quantities import parse_number

READINGS = {**{name: b.readings for name, b in BENCHMARKS.items()}, scene_answers.NAME: scene_answers.READINGS}
#: What rows of one run share, and a summary tells.
RUN = ("benchmark", "data", "questions", "mode", "model", "weights", "settings")
#: What is read of each row.
FIELDS = {
    "index": str, "category": list, "prompt": str, "truth": str, "options": list, "kind": str, "group": str,
    "size": int, "turns": list,
}  # fmt: skip


def load_answers(path: Path) -> list[Row]:
    """The rows of a file of predictions of a benchmark, or of scenes, each question once; a last line that was cut off
    is passed over.

    Raises ValueError if it is no such file, holds nothing, rows of different runs, or two answers to a question.
    """
    rows: list[Row] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(whole_lines(path.read_bytes().decode("utf-8", "surrogateescape")), 1):
        row: Any = None
        try:
            line.encode()
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode()  # half a letter, as "\ud800", can be neither shown nor sent
            row = benchmark_row(row) if is_of_scenes(row) else row
            known = row["benchmark"] in READINGS and {*RUN} <= row.keys() and _typed(row)
        except (ValueError, KeyError, TypeError, RecursionError):
            known = False
        if isinstance(row, dict) and isinstance(name := row.get("benchmark"), str) and name not in READINGS:
            raise ValueError(
                f"{path} holds answers to the benchmark {name!r}, which is none of {', '.join(READINGS)}; score it "
                "where that is"
            )
        if isinstance(row, dict) and "figures" in row:
            raise ValueError(f"{path} holds figures of maps; run `cooper eval` again as it was to see them")
        if not known:
            raise ValueError(f"{path}, line {number}, is no answer to a benchmark; give what `cooper eval NAME` wrote")
        different = [name for name in RUN if rows and row[name] != rows[0][name]]
        if different:
            name = different[0]
            raise ValueError(f"{path} holds answers of {name} {rows[0][name]!r} and {row[name]!r}; give one run's")
        before = lines.setdefault(row["index"], number)
        if before != number:
            if row["turns"] == next(r["turns"] for r in rows if r["index"] == row["index"]):
                continue
            raise ValueError(
                f"{path}, line {number}, answers question {row['index']} otherwise than line {before}; leave one out"
            )
        rows.append(row)
    if not rows:
        raise ValueError(f"{path} holds no answers")
    if rows[0]["benchmark"] == scene_answers.NAME:  # of which there are as many as were asked
        rows = [{**row, "questions": str(len(rows))} for row in rows]
    return rows


def _typed(row: Row) -> bool:
    """Whether the fields hold what `FIELDS` says, and the truth what its kind has."""
    typed = all(isinstance(row[name], kind) for name, kind in FIELDS.items()) and row["kind"] in get_args(Kind)
    if not typed or not all(isinstance(row[name], str) for name in RUN) or not row["questions"].isdecimal():
        return False
    texts = (*row["category"], *row["options"], *row["turns"])
    truth, choices = row["truth"], LETTERS[: len(row["options"]) or None]
    number = parse_number(truth) if row["kind"] in NUMBERS else None
    fits = truth in list(choices) if row["kind"] == "choice" else number is not None or row["kind"] not in NUMBERS
    if row["kind"] == "length" and number is not None and number[0] <= 0:
        return False
    return fits and all(isinstance(text, str) for text in texts)


@dataclass(frozen=True)
class Judged:
    """A row, the answer that rules read in it, and how right a judge finds it where a judge decides."""

    row: Row
    answer: str | None
    by_judge: bool
    right: float | None = None

    @property
    def no_answer(self) -> bool:
        return self.answer is None and (not self.by_judge or self.row["kind"] == "open")

    @property
    def no_verdict(self) -> bool:
        return self.by_judge and self.right is None

    def score(self, reading: Reading) -> float | None:
        """0..1, or None without a verdict."""
        return self.right if self.by_judge else reading.grade(self.row["kind"], self.answer, self.row["truth"])


def summarise(rows: Sequence[Row], judge: Judge | None = None) -> dict[str, Any]:
    """Figures of answers of one run, as JSON values; scores are in 0..1.

    "readings" has the figure of each reading, "categories" those of each category. A figure has a "score" with its 95 %
    "interval", which resamples whole groups (Wilson's, of their number, if all are right or all are wrong; None of one
    group, or of scores that are otherwise all alike, which cannot tell); "n", how many scores that is the mean of
    (without any, the first two are None); and "incomplete", how many groups lack a question and so are not in it.
    "no_answer" is the number of answers in which nothing was found; they are wrong. "no_verdict" is the number of those
    that only a judge could score and that have no verdict; they are left out. Open questions need the `judge`, who is
    also asked whether an answer is right that no rule can read.
    """
    judged = judged_rows(rows, judge)
    return {**_counts(judged, judge), **figures_of(rows, lambda reading, name: _figure(within(judged, name), reading))}


def compare(
    rows: Sequence[Row], others: Sequence[Row], judge: Judge | None = None, others_judge: Judge | None = None
) -> dict[str, Any]:
    """By how much the answers of one run are better than those of another to the same questions, as JSON values.

    As `summarise`, of the questions that both have answered; "against" tells the other run, and its "no_answer". A
    figure has the "score" of the first run, "against", that of the other, and "difference", with its 95 % "interval":
    each question's difference is taken, so what makes a question hard for both counts for neither (None if all
    differences are the same, as of equal answers, which resampling would be sure of, however few). "no_verdict" counts
    questions that either lacks one for. Raises ValueError if they were not asked the same questions.
    """
    for name in ("benchmark", "data"):
        if rows[0][name] != others[0][name]:
            raise ValueError(f"they answer different questions: of {name} {rows[0][name]!r} and {others[0][name]!r}")
    both = {row["index"] for row in rows} & {row["index"] for row in others}
    if not both:
        raise ValueError("there is no question that both answer")
    ours, theirs = (
        sorted(judged_rows([row for row in side if row["index"] in both], its), key=lambda j: str(j.row["index"]))
        for side, its in ((rows, judge), (others, others_judge))
    )
    if unlike := next((a for a, b in zip(ours, theirs, strict=True) if _asked(a.row) != _asked(b.row)), None):
        raise ValueError(f"question {unlike.row['index']} was not the same for both")
    return {
        **_counts(ours, judge, theirs),
        "against": {**{name: others[0][name] for name in RUN}, "no_answer": sum(j.no_answer for j in theirs)},
        **figures_of(
            [j.row for j in ours],
            lambda reading, name: _difference(within(ours, name), within(theirs, name), reading),
        ),
    }  # fmt: skip


def _asked(row: Row) -> tuple[Any, ...]:
    """What makes a question the same one."""
    return tuple(row[name] for name in ("prompt", "truth", "kind", "options", "category", "group", "size"))


def _counts(judged: Sequence[Judged], judge: Judge | None, others: Sequence[Judged] = ()) -> dict[str, Any]:
    """`others` are the answers of another run to the same questions, which is compared."""
    first, note = judged[0].row, ""
    unknown = {j.row["index"] for j in (*judged, *others) if j.no_verdict}
    if judge is None and any(j.row["kind"] == "open" and j.no_verdict for j in judged):
        note = f"answers to {first['benchmark']} are graded by a judge: give --judge URL and --judge-model NAME"
    return {
        **{name: first[name] for name in RUN}, "questions": int(first["questions"]), "answers": len(judged),
        "judge": judge.model if judge else None,
        "no_answer": sum(j.no_answer for j in judged), "no_verdict": len(unknown), "note": note,
    }  # fmt: skip


def figures_of(rows: Sequence[Row], figure: Callable[[Reading, str | None], dict[str, Any]]) -> dict[str, Any]:
    """A figure by each reading, and by those without levels of each category, whose name `figure` is given."""
    readings = READINGS[rows[0]["benchmark"]]
    categories = dict.fromkeys(name for row in rows for name in row["category"])
    return {
        "readings": {r.name: figure(r, None) for r in readings},
        "categories": {name: {r.name: figure(r, name) for r in readings if not r.levels} for name in categories},
    }


def within(judged: Sequence[Judged], category: str | None) -> list[Judged]:
    """Those of a category; all, without one."""
    return [j for j in judged if category is None or category in j.row["category"]]


def judged_rows(rows: Sequence[Row], judge: Judge | None) -> list[Judged]:
    judged: list[Judged] = []
    graded: dict[int, Claim] = {}
    unread: dict[int, Claim] = {}
    for k, row in enumerate(rows):
        if row["benchmark"] == scene_answers.NAME and "score" in row:
            judged.append(Judged(row, row["answer"], True, row["score"]))
            continue
        text, is_open = final_text(row["turns"]), row["kind"] == "open"
        answer = answer_in(row["kind"], text, row["options"], row["truth"])
        # an empty answer is wrong, whoever judges
        judged.append(Judged(row, answer, is_open, 0.0 if is_open and judge is not None else None))
        if text and (is_open or answer is None):
            (graded if is_open else unread)[k] = Claim(row["prompt"], _truth(row), text)
    if judge is None:
        return judged
    rights: list[tuple[dict[int, Claim], Sequence[float | None]]] = [
        (graded, judge.grades(list(graded.values()))),
        (unread, judge.verdicts(list(unread.values()))),
    ]
    for asked, found in rights:
        for k, right in zip(asked, found, strict=True):
            judged[k] = replace(judged[k], by_judge=True, right=None if right is None else float(right))
    return judged


def _truth(row: Row) -> str:
    """The true answer in words: "B. the chair" where the options are known."""
    if row["kind"] != "choice" or not row["options"]:
        return row["truth"]
    return f"{row['truth']}. {row['options'][LETTERS.index(row['truth'])]}"


def _figure(judged: Sequence[Judged], reading: Reading) -> dict[str, Any]:
    scored, incomplete = _scores(judged, reading)
    known = [(row, score) for row, score in scored if score is not None]
    if not known:
        return {"score": None, "interval": None, "n": 0, "incomplete": incomplete}
    (mean, *ends), groups = _mean(known, reading), len({row["group"] for row, _ in known})
    different = {score for _, score in known}
    alike = len(different) == 1  # no resample is another one
    interval = list(wilson(mean, groups)) if alike and different <= {0, 1} else None if alike or groups == 1 else ends
    return {"score": mean, "interval": interval, "n": len(known), "incomplete": incomplete}


def _difference(ours: Sequence[Judged], theirs: Sequence[Judged], reading: Reading) -> dict[str, Any]:
    """Both are of the same questions, in the same order."""
    scored, incomplete = _scores(ours, reading)
    known = [
        (row, score, other) for (row, score), (_, other) in zip(scored, _scores(theirs, reading)[0], strict=True)
        if score is not None and other is not None
    ]  # fmt: skip
    figure = {"score": None, "against": None, "difference": None, "interval": None, "n": 0, "incomplete": incomplete}
    if not known:
        return figure
    ours_mean, theirs_mean, (mean, low, high) = (
        _mean([(row, score) for row, score, _ in known], reading)[0],
        _mean([(row, other) for row, _, other in known], reading)[0],
        _mean([(row, score - other) for row, score, other in known], reading),
    )
    alike = len({score - other for _, score, other in known}) == 1 or len({row["group"] for row, _, _ in known}) == 1
    interval = None if alike else [low, high]
    new = {"score": ours_mean, "against": theirs_mean, "difference": mean, "interval": interval, "n": len(known)}
    return figure | new


def _scores(judged: Sequence[Judged], reading: Reading) -> tuple[list[tuple[Row, float | None]], int]:
    """What a reading scores, and how many groups lack a question."""
    scored = [(j.row, j.score(reading)) for j in judged if reading.counts(j.row)]
    return _whole_groups(scored, reading.part) if reading.whole_groups else (scored, 0)


def _mean(scored: Sequence[tuple[Row, float]], reading: Reading) -> tuple[float, float, float]:
    paths = [tuple(row["category"][: reading.levels]) for row, _ in scored]
    return mean_of_means([score for _, score in scored], paths, [row["group"] for row, _ in scored])


def _whole_groups(
    scored: Sequence[tuple[Row, float | None]], part: Callable[[Row], str]
) -> tuple[list[tuple[Row, float | None]], int]:
    """A score for each part of each whole group, and how many groups are not whole. One wrong answer decides, whatever
    the rest."""
    groups: dict[str, list[tuple[Row, float | None]]] = {}
    for row, score in scored:
        groups.setdefault(row["group"], []).append((row, score))
    whole = [group for group in groups.values() if len(group) >= group[0][0]["size"]]
    scores: list[tuple[Row, float | None]] = []
    parts: dict[tuple[str, str], list[tuple[Row, float | None]]] = {}
    for row, score in (one for group in whole for one in group):
        parts.setdefault((row["group"], part(row)), []).append((row, score))
    for group in parts.values():
        wrong = any(score is not None and score < 1 for _, score in group)
        unknown = any(score is None for _, score in group)
        scores.append((group[0][0], 0.0 if wrong else None if unknown else 1.0))
    return scores, len(groups) - len(whole)
