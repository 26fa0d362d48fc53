"""`cooper score`: figures of the answers that `cooper eval` kept. Starts without torch and needs no model."""

from __future__ import annotations

import json as json_
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional, arg

from cooper.commands.options import Flag, JudgeName, JudgeUrl, OutFile, judge_named
from cooper.commands.outputs import check_file
from cooper.evaluation.judge import Judge
from cooper.evaluation.score_page import Named, columns_of, counted, figure_texts, score_page, tables_of, title_of
from cooper.evaluation.summary import compare, load_answers, summarise
from cooper.files import new_file


@dataclass(frozen=True)
class Score:
    """Score the answers to a benchmark, by every reading of it, with intervals and by category; or compare two runs."""

    predictions: Annotated[Positional[Path], arg(metavar="PREDICTIONS")]
    """What `cooper eval NAME --out` wrote."""
    against: Annotated[Path | None, arg(metavar="PREDICTIONS", help_behavior_hint="")] = None
    """Another run's answers to the same questions: tell by how much the first are better, question by question."""
    html: OutFile = None
    """Also write a web page."""
    judge: JudgeUrl = None
    """OpenAI-compatible server of a model that judges what rules cannot, such as http://localhost:8000/v1."""
    judge_model: JudgeName = None
    """That model. Its verdicts are kept beside the predictions, in PREDICTIONS.judge.jsonl."""
    json: Flag = False
    """Print one JSON object."""

    def run(self) -> int:
        for path in filter(None, (self.predictions, self.against)):
            if self.html is not None:
                check_file(self.html, "--html", path)
            if not path.is_file():
                raise ValueError(f"{path} is no file; give what `cooper eval NAME --out` wrote")
        rows = load_answers(self.predictions)
        judge = judge_of(self.judge, self.judge_model, self.predictions)
        if self.against is None:
            summary = summarise(rows, judge)
        else:
            others = load_answers(self.against)
            summary = compare(rows, others, judge, judge_of(self.judge, self.judge_model, self.against))
        if self.html is not None:
            with new_file(self.html) as file:
                file.write_text(score_page(summary), encoding="utf-8")
        if self.json:
            print(json_.dumps(summary))
        else:
            show(summary, Console())
        return 0


def judge_of(url: str | None, model: str | None, predictions: Path | None) -> Judge | None:
    """The judge that is asked for, if one is, whose verdicts are kept beside the predictions.

    Raises ValueError if only half of it is given.
    """
    named = judge_named(url, model)
    if named is None:
        return None
    kept = None if predictions is None else predictions.with_name(f"{predictions.name}.judge.jsonl")
    return Judge(*named, cache=kept)


def show(summary: dict[str, Any], console: Console) -> None:
    """What `summarise` or `compare` gives, as tables."""
    if summary["note"]:
        console.print(Text(summary["note"]))
    for name, first, rows in tables_of(summary):
        console.print(_table(f"{title_of(summary)}, {name}", first, rows, columns_of(summary)))
    console.print(Text(counted(summary)))


def _table(title: str, first: Sequence[str], rows: Sequence[Named], columns: Sequence[str]) -> Table:
    table = Table(title=Text(title))
    for head in (*first, *columns):
        table.add_column(head, justify="left" if head in first else "right", overflow="fold")
    for names, figure in rows:
        table.add_row(*(Text(cell) for cell in (*names, *figure_texts(figure))))
    return table
