"""`docs/results.md` of all seeds whose results are kept beside it: tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from cooper.evaluation.predictions import Row
from cooper.files import new_file
from cooper.modalities import names
from cooper.reproduction import plots
from cooper.reproduction.claims import Answers, Figure, Finding, findings, score, share_calling
from cooper.reproduction.results import SeedResults
from cooper.reproduction.variants import VARIANTS, Plan, Variant
from cooper.scenes.question import GENERAL, SPATIAL, TASKS

#: (mean of the spatial sets, of all) in the paper's table (docs/method.md, section 7); spatial are SIBench, Q-Spatial+
#: and MMVP
PAPER = {"base": (55.14, 60.49), "PE": (57.46, 59.45), "RE": (55.94, 62.24), "COOPER": (62.05, 66.42)}
#: figures of drawn maps: where `evaluate_maps` has them, title
MAPS = (
    (("depth", "abs_rel"), "depth AbsRel"), (("depth", "delta1"), "depth delta1"),
    (("depth", "objects", "abs_rel"), "AbsRel of objects"), (("depth", "objects", "distances"), "distances, MRA"),
    (("segmentation", "miou"), "mIoU"),
)  # fmt: skip


def write_report(seeds: Sequence[SeedResults], plan: Plan, out: Path, command: str) -> Path:
    """Writes `results.md` and the plots in `results` into `out`; returns the path of the former."""
    variants = [v for v in plan.variants + plan.ablations if any(v.name in s.answers for s in seeds)]
    answers: dict[str, Answers] = {
        v.name: {s.seed: s.answers[v.name] for s in seeds if v.name in s.answers} for v in variants
    }
    stages = [stage for stage in plan.recipe.reinforced if any(stage in s.figures.logs for s in seeds)]
    logs = {stage: [s.figures.logs[stage] for s in seeds if stage in s.figures.logs] for stage in stages}
    folder = out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    # not the controls, whose plot nobody could read
    plots.scores(answers, [v.name for v in VARIANTS if v in variants], folder / "scores.png")
    deciding: dict[str, Answers] = {name: answers[name] for name in ("SFT only", "COOPER") if name in answers}
    if deciding:
        plots.calls(deciding, folder / "calls.png")
    if logs:
        plots.rewards(logs, folder / "rewards.png")
    plots.beside_the_paper(answers, PAPER, folder / "paper.png")
    path = out / "results.md"
    with new_file(path) as file:
        file.write_text("\n".join(_text(seeds, plan, variants, answers, logs, command)) + "\n", encoding="utf-8")
    return path


def _text(
    seeds: Sequence[SeedResults], plan: Plan, variants: Sequence[Variant], answers: Mapping[str, Answers],
    logs: Mapping[str, Sequence[Sequence[Row]]], command: str,
) -> list[str]:  # fmt: skip
    drawing = [v for v in variants if v.mode == "interleaved"]
    numbered = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(str(s.seed) for s in seeds)}"
    drawn = [stage for stage in plan.drawing if all(stage in s.figures.maps for s in seeds)]
    lines = [
        "# The paper's claims, in the synthetic world", "",
        f"Written by `{command}`, {numbered}. For each seed all models are trained {_begun(plan)} on"
        f" {plan.n_train} scenes{_told(plan)} and asked about {plan.n_test} test scenes of its own. Scores are means "
        "over tasks, times 100; lengths are scored by MRA, all else exactly. Brackets: 95 % bootstrap intervals over "
        "questions, for the models of these seeds.", "",
        "## Claims", "",
        *_table(
            ("claim", "paper", "wanted", "here", "holds"),
            [(f.claim, f.paper, f.wanted, f.found, _holds(f)) for f in findings(answers)],
        ),
        "", "![scores beside the paper's](results/paper.png)", "", "## Variants and controls", "",
        *_table(
            ("variant", "what it is", "spatial", "general", "all", "without an answer"),
            [
                (v.name, f"{v.about} (stage {v.stage}, mode {v.mode}{_fewer(answers[v.name], seeds)})",
                 *(_brackets(score(answers[v.name], tasks)) for tasks in (SPATIAL, GENERAL, TASKS)),
                 f"{_unanswered(answers[v.name]):.0%}")
                for v in variants
            ],
        ),
        "", "![scores by task](results/scores.png)", "", "### By task", "",
        *_table(
            ("task", *(v.name for v in variants)),
            [(task, *(_of_task(answers[v.name], task) for v in variants)) for task in TASKS],
        ),
    ]  # fmt: skip
    if drawing:
        lines += [
            "", f"### Share of the answers for which {' / '.join(names())} was drawn", "",
            *_table(
                ("task", *(v.name for v in drawing)),
                [(task, *(_calls(answers[v.name], task) for v in drawing)) for task in TASKS],
            ),
            "", "![calls by task](results/calls.png)",
        ]  # fmt: skip
    if drawn:
        lines += [
            "", "## Maps", "",
            f"Of the first {plan.n_maps} test scenes of each seed, drawn on demand; metric depth, no alignment. "
            "Distances to the camera are read off the map without a mistake, from the true pixels of each object: "
            "where they are no better than answers are, maps cannot help with them.", "",
            *_table(
                ("after", *(title for _, title in MAPS)),
                [
                    (stage, *(_mean(_at(s.figures.maps[stage], path) for s in seeds) for path, _ in MAPS))
                    for stage in drawn
                ],
            ),
        ]  # fmt: skip
    if logs:
        lines += [
            "", "## Reinforcement", "", "Mean answer reward of rollouts (sampled, on training questions).", "",
            *_table(
                ("stage", "first five steps", "last five steps"),
                [
                    (stage, *(_answers_of(of, part) for part in (slice(5), slice(-5, None))))
                    for stage, of in logs.items()
                ],
            ),
            "", "![rewards](results/rewards.png)",
        ]  # fmt: skip
    return [
        *lines, "", "## Time", "",
        "Hours of training, by stage and seed, beside whatever else ran there. By the clock: everything, rendering, "
        "drawing, flagging and asking, too; what seeds share (scenes, autoencoder, decoder, vision) counts for the "
        "seed that made it.", "",
        *(f"- Seed {s.seed}: {_machine(s)}" for s in seeds), "",
        *_hours(seeds), "",
        "Every answer, and the logs of reinforcement: the folders seed-K in [results](results).",
    ]  # fmt: skip


def _holds(finding: Finding) -> str:
    told = ["yes" if holds else "**no**" for holds in (finding.holds, finding.over_longer) if holds is not None]
    return told[0] if len(told) == 1 else f"{told[0]}; over base, longer: {told[1]}"


def _told(plan: Plan) -> str:
    ((answered, asked),) = {(s.mix.answered or plan.n_train, s.mix.asked) for s in plan.recipe.unified.values()}
    if answered == plan.n_train:
        return ""
    each = "all spatial answers and traces" if asked is None else f"{asked} spatial questions with answers and traces"
    return (
        f" ({each} of each of the first {answered} of them, and questions for reinforcement of the last "
        f"{plan.recipe.reinforced_on.scenes}; the vision transformer is taught no depth)"
    )


def _begun(plan: Plan) -> str:
    taken = plan.recipe.scratch and plan.recipe.scratch.autoencoder_of
    return f"around the autoencoder of `{taken}`, all else from nothing," if taken else "from nothing"


def _fewer(answers: Answers, seeds: Sequence[SeedResults]) -> str:
    """ "; seeds 0, 1" of a variant that not all seeds have yet."""
    return "" if len(answers) == len(seeds) else f"; seeds {', '.join(map(str, answers))}"


def _machine(seed: SeedResults) -> str:
    """Where its results were made, and by which source: seeds of several are no run of the same plan, strictly."""
    told = f"{seed.figures.machine['cpu']}, {seed.figures.machine['cores']} cores"
    return f"{told}, source {seed.figures.code}" if seed.figures.code else told


def _hours(seeds: Sequence[SeedResults]) -> list[str]:
    hours = [s.figures.hours for s in seeds]
    stages = list(dict.fromkeys(stage for of in hours for stage in of))
    return _table(("stage", *(f"seed {s.seed}" for s in seeds)), [
        (stage, *(f"{of.get(stage, 0):.2f}" for of in hours)) for stage in stages
    ])  # fmt: skip


def _answers_of(logs: Sequence[Sequence[Row]], part: slice) -> str:
    return _mean(row["reward/answer"] for log in logs for row in log[part])


def _at(figures: Mapping[str, Any], path: Sequence[str]) -> float:
    return reduce(lambda found, name: found[name], path, figures)  # type: ignore[arg-type,return-value]


def _mean(values: Iterable[float]) -> str:
    return f"{np.mean(list(values)):.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _brackets(figure: Figure) -> str:
    return f"{figure.points:.1f} ({figure.low:.1f} to {figure.high:.1f})"


def _of_task(answers: Answers, task: str) -> str:
    scores = [row["score"] for rows in answers.values() for row in rows if row["task"] == task]
    return f"{100 * np.mean(scores):.1f}" if scores else "-"


def _unanswered(answers: Answers) -> float:
    """Share of the questions that got no answer. 0..1."""
    return float(np.mean([row.get("answer") is None for rows in answers.values() for row in rows]))


def _calls(answers: Answers, task: str) -> str:
    if not any(row["task"] == task for rows in answers.values() for row in rows):
        return "-"
    return " / ".join(f"{share_calling(answers, (task,), call):.0%}" for call in names())
