"""`cooper eval NAME`: ask a model the questions of a benchmark, keep its answers, and score them."""

from __future__ import annotations

import json as json_
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from rich.console import Console
from tyro.conf import arg

from cooper.commands.options import Flag, JudgeName, JudgeUrl, OutFile, WithModel, check_counts, options
from cooper.commands.outputs import check_apart, check_file
from cooper.commands.score import judge_of, show
from cooper.commands.terminal import progress_bars, tell_left_out
from cooper.evaluation.benchmarks import BENCHMARKS
from cooper.evaluation.questions import Questions
from cooper.evaluation.summary import summarise
from cooper.policy import Mode


@dataclass(frozen=True)
class EvalBenchmark(WithModel):
    """What all benchmarks have in common."""

    benchmark: ClassVar[str]

    data: Annotated[Path, arg(metavar="FILE")]
    """The benchmark's table, or the folder that it is in."""
    mode: Mode = "interleaved"
    """How questions are answered."""
    out: OutFile = None
    """JSON Lines file to keep every answer in, for `cooper score`; run again, the evaluation goes on where it was
    interrupted."""
    limit: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: all)")] = None
    """Ask only the first questions, and what belongs together with them: a pair, rotations, a scene's."""
    seed: int = 0
    """Of the noise that maps are drawn from."""
    batch: int = 32
    """Questions that are worked on together."""
    strict: Flag = False
    """End at the first row that cannot be used, instead of leaving it out."""
    judge: JudgeUrl = None
    """OpenAI-compatible server of a model that judges what rules cannot, such as http://localhost:8000/v1."""
    judge_model: JudgeName = None
    """That model. Its verdicts are kept beside the answers, in OUT.judge.jsonl."""
    json: Flag = False
    """Print one JSON object."""

    def run(self) -> int:
        check_counts(self, "limit")
        options(seed=self.seed, batch=self.batch)
        if self.out is not None:
            check_file(self.out)
            check_apart(self.out, self.data)
        judge = judge_of(self.judge, self.judge_model, self.out)
        questions = Questions(BENCHMARKS[self.benchmark], self.data, self.limit, self.strict)
        if judge is not None:
            judge.check()

        from cooper.evaluation.answering import answer_all, run_of
        from cooper.evaluation.predictions import Predictions
        from cooper.inference.engine import Engine, Settings

        cooper = self.load()
        engine = Engine(cooper.model, cooper.sequencer, Settings(batch=self.batch))
        run = run_of(engine, questions, self.mode, cooper.name, self.precision, self.seed)
        with progress_bars() as show_progress, Predictions(self.out, run, key=lambda row: row["index"]) as answers:
            rows = answer_all(engine, questions, self.mode, answers, self.seed, show_progress)
        tell_left_out(questions.broken, "rows")
        if questions.others:
            print(f"left out: {questions.others} rows that are none of {self.benchmark}", file=sys.stderr)
        if not rows:
            raise ValueError(f"no question of {self.data} could be asked; check where its pictures are")
        summary = {**summarise(rows, judge), "broken": len(questions.broken), "others": questions.others}
        if self.json:
            print(json_.dumps(summary))
        else:
            show(summary, Console())
        return 0


class Sibench(EvalBenchmark):
    """SIBench, questions about single pictures: the folder of its TSV files, a setting each, with its pictures."""

    benchmark = "sibench"


class QSpatial(EvalBenchmark):
    """Q-Spatial: lengths in photographs, as Parquet."""

    benchmark = "q-spatial"


class Mmvp(EvalBenchmark):
    """MMVP: Questions.csv beside the folder "MMVP Images", or Parquet. Scored per pair and per question."""

    benchmark = "mmvp"


class Mmbench(EvalBenchmark):
    """MMBench V1.1: its TSV. Every rotation of the options is asked. Scored circular and plain."""

    benchmark = "mmbench"


class MmVet(EvalBenchmark):
    """MM-Vet: its TSV or Parquet. Needs a judge to be scored."""

    benchmark = "mm-vet"


class Vsi(EvalBenchmark):
    """VSI-Bench's questions about frames: its rows, with a picture each."""

    benchmark = "vsi"


class CvBench(EvalBenchmark):
    """CV-Bench: Parquet, or JSON Lines beside the folder "img"."""

    benchmark = "cv-bench"


class ThreeDsr(EvalBenchmark):
    """3DSRBench: its TSV. Scored by whole questions (right in all rotations; in those of the mirrored picture,
    too) and plain."""

    benchmark = "3dsrbench"


class Tsv(EvalBenchmark):
    """Any table of image, question and answer, and index and type if it has them, such as `cooper scenes export`
    writes."""

    benchmark = "tsv"
