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
from cooper.evaluation.score_page import Named, counted, figure_texts, score_page, tables_of
from cooper.evaluation.summary import load_answers, summarise
from cooper.files import new_file


@dataclass(frozen=True)
class Score:
    """Score the answers to a benchmark, by every reading of it, with intervals and by category."""

    predictions: Annotated[Positional[Path], arg(metavar="PREDICTIONS")]
    """What `cooper eval NAME --out` wrote."""
    html: OutFile = None
    """Also write a web page."""
    judge: JudgeUrl = None
    """OpenAI-compatible server of a model that judges what rules cannot, such as http://localhost:8000/v1."""
    judge_model: JudgeName = None
    """That model. Its verdicts are kept beside the predictions, in PREDICTIONS.judge.jsonl."""
    json: Flag = False
    """Print one JSON object."""

    def run(self) -> int:
        if self.html is not None:
            check_file(self.html, "--html", self.predictions)
        if not self.predictions.is_file():
            raise ValueError(f"{self.predictions} is no file; give what `cooper eval NAME --out` wrote")
        judge = judge_of(self.judge, self.judge_model, self.predictions)
        summary = summarise(load_answers(self.predictions), judge)
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
    """What `summarise` gives, as tables."""
    if summary["note"]:
        console.print(Text(summary["note"]))
    title = f"{summary['benchmark']}: {summary['model']}, {summary['mode']}"
    for name, first, rows in tables_of(summary):
        console.print(_table(f"{title}, {name}", first, rows))
    console.print(Text(counted(summary)))


def _table(title: str, first: Sequence[str], rows: Sequence[Named]) -> Table:
    table = Table(title=Text(title))
    for head in (*first, "points", "95 % interval", "scores"):
        table.add_column(head, justify="left" if head in first else "right")
    for names, figure in rows:
        table.add_row(*(Text(cell) for cell in (*names, *figure_texts(figure))))
    return table
