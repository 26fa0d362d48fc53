"""`docs/results.md` of all seeds that are finished: tables, plots, and every answer in one compressed file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cooper.evaluation.predictions import Row
from cooper.files import new_file
from cooper.reproduction import plots
from cooper.reproduction.claims import Answers, Figure, findings, score, share_calling
from cooper.reproduction.seed import Seed
from cooper.reproduction.variants import VARIANTS, Variant
from cooper.scenes.question import GENERAL, SPATIAL, TASKS

#: (mean of the spatial sets, of all) in the paper's table, method section 7; spatial are SIBench, Q-Spatial+ and MMVP
PAPER = {"base": (55.14, 60.49), "PE": (57.46, 59.45), "RE": (55.94, 62.24), "COOPER": (62.05, 66.42)}
#: figures of drawn maps: (map, figure, title)
MAPS = (
    ("depth", "abs_rel", "depth AbsRel"), ("depth", "delta1", "depth delta1"), ("segmentation", "miou", "mIoU"),
)  # fmt: skip


def write_report(seeds: Sequence[Seed], variants: Sequence[Variant], out: Path, command: str) -> Path:
    """Writes `results.md` and the folder `results` into `out`; returns the path of the former."""
    asked = {v.name: {s.seed: _rows(s.predictions(v)) for s in seeds if s.predictions(v).exists()} for v in variants}
    variants = [v for v in variants if asked[v.name]]
    answers: dict[str, Answers] = {v.name: asked[v.name] for v in variants}
    folder = out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    _keep_predictions(answers, folder / "predictions.jsonl.gz")
    maps = {stage: [json.loads(s.maps(stage).read_text()) for s in seeds] for stage in seeds[0].plan.drawing}
    logs = {
        stage: [_rows(s.space.stage(stage) / "log.jsonl") for s in seeds if s.trained(stage)]
        for stage in seeds[0].recipe.reinforced
    }
    # not the controls, whose plot nobody could read
    plots.scores(answers, [v.name for v in VARIANTS if v in variants], folder / "scores.png")
    plots.calls({name: answers[name] for name in ("SFT only", "COOPER") if name in answers}, folder / "calls.png")
    logs = {stage: of for stage, of in logs.items() if of}
    plots.rewards(logs, folder / "rewards.png")
    plots.beside_the_paper(answers, PAPER, folder / "paper.png")
    path = out / "results.md"
    with new_file(path) as file:
        file.write_text("\n".join(_text(seeds, variants, answers, maps, logs, command)) + "\n", encoding="utf-8")
    return path


def _text(
    seeds: Sequence[Seed], variants: Sequence[Variant], answers: Mapping[str, Answers],
    maps: Mapping[str, list[dict[str, Any]]], logs: Mapping[str, list[list[Row]]], command: str,
) -> list[str]:  # fmt: skip
    plan = seeds[0].plan
    lines = [
        "# The paper's claims, in the synthetic world", "",
        f"Written by `{command}`, seeds {', '.join(str(s.seed) for s in seeds)}. For each seed all models are trained "
        f"from nothing on {plan.n_train} scenes and asked about {plan.n_test} test scenes of its own. Scores are means "
        "over tasks, times 100; lengths are scored by MRA, all else exactly. Brackets: 95 % bootstrap intervals over "
        "questions, for the models of these seeds.", "",
        "## Claims", "",
        *_table(
            ("claim", "paper", "wanted", "here", "holds"),
            [(f.claim, f.paper, f.wanted, f.found, "yes" if f.holds else "**no**") for f in findings(answers)],
        ),
        "", "![scores beside the paper's](results/paper.png)", "", "## Variants and controls", "",
        *_table(
            ("variant", "what it is", "spatial", "general", "all"),
            [
                (v.name, f"{v.about} (stage {v.stage}, mode {v.mode}{_fewer(answers[v.name], seeds)})",
                 *(_brackets(score(answers[v.name], tasks)) for tasks in (SPATIAL, GENERAL, TASKS)))
                for v in variants
            ],
        ),
        "", "![scores by task](results/scores.png)", "", "### By task", "",
        *_table(
            ("task", *(v.name for v in variants)),
            [(task, *(_of_task(answers[v.name], task) for v in variants)) for task in TASKS],
        ),
        "", "### Share of the answers for which depth / segmentation was drawn", "",
        *_table(
            ("task", *(v.name for v in variants if v.mode == "interleaved")),
            [
                (task, *(_calls(answers[v.name], task) for v in variants if v.mode == "interleaved"))
                for task in TASKS
            ],
        ),
        "", "![calls by task](results/calls.png)", "", "## Maps", "",
        f"Of the first {plan.n_maps} test scenes of each seed, drawn on demand; metric depth, no alignment.", "",
        *_table(
            ("after", *(title for *_, title in MAPS)),
            [
                (stage, *(f"{np.mean([seed[kind][figure] for seed in of]):.3f}" for kind, figure, _ in MAPS))
                for stage, of in maps.items()
            ],
        ),
        "", "## Reinforcement", "", "Mean answer reward of rollouts (sampled, on training questions).", "",
        *_table(
            ("stage", "first five steps", "last five steps"),
            [(stage, *(_answers_of(of, part) for part in (slice(5), slice(-5, None)))) for stage, of in logs.items()],
        ),
        "", "![rewards](results/rewards.png)", "", "## Time", "",
        "Hours of training, by stage and seed, on the machine it ran on, beside whatever else ran there. The first "
        "three stages are shared by all seeds. By the clock: everything, rendering, drawing, flagging and asking, too; "
        "what seeds share counts for the seed that made it.", "",
        *_hours(seeds), "",
        "Every answer: [results/predictions.jsonl.gz](results/predictions.jsonl.gz).",
    ]  # fmt: skip
    return lines


def _fewer(answers: Answers, seeds: Sequence[Seed]) -> str:
    """ "; seeds 0, 1" of a variant that not all seeds have yet."""
    return "" if len(answers) == len(seeds) else f"; seeds {', '.join(map(str, answers))}"


def _hours(seeds: Sequence[Seed]) -> list[str]:
    hours = [s.hours() for s in seeds]
    stages = list(dict.fromkeys(stage for of in hours for stage in of))
    return _table(("stage", *(f"seed {s.seed}" for s in seeds)), [
        (stage, *(f"{of.get(stage, 0):.2f}" for of in hours)) for stage in stages
    ])  # fmt: skip


def _answers_of(logs: list[list[Row]], part: slice) -> str:
    return f"{np.mean([row['reward/answer'] for log in logs for row in log[part]]):.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _brackets(figure: Figure) -> str:
    return f"{figure.points:.1f} ({figure.low:.1f} to {figure.high:.1f})"


def _of_task(answers: Answers, task: str) -> str:
    scores = [row["score"] for rows in answers.values() for row in rows if row["task"] == task]
    return f"{100 * np.mean(scores):.1f}" if scores else "-"


def _calls(answers: Answers, task: str) -> str:
    if not any(row["task"] == task for rows in answers.values() for row in rows):
        return "-"
    return " / ".join(f"{share_calling(answers, (task,), call):.0%}" for call in ("depth", "segmentation"))


def _rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _keep_predictions(answers: Mapping[str, Answers], path: Path) -> None:
    # same answers, same bytes
    with new_file(path) as kept, kept.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for name, by_seed in answers.items():
            for seed, rows in by_seed.items():
                for row in rows:
                    line = json.dumps({"variant": name, "run_seed": seed, **row}, ensure_ascii=False)
                    file.write(f"{line}\n".encode())
