"""`docs/results.md` of all seeds whose results are kept beside it: tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cooper.files import new_file
from cooper.modalities import names
from cooper.reproduction import cells, plots
from cooper.reproduction.claims import (
    Answers,
    Finding,
    findings,
    in_percent,
    numbered,
    score,
    share,
)
from cooper.reproduction.exploration import STEPS, open_calls, settled_calls
from cooper.reproduction.known import Column, Known
from cooper.reproduction.logs import Log, accuracy, gain
from cooper.reproduction.results import SeedResults
from cooper.reproduction.variants import Plan, Variant
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
    known = Known(seeds, plan, command)
    answers = known.answers
    folder = out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    for group in known.groups:
        plots.scores(_titled(known.compared(group)), folder / f"{group.plot}.png")
    deciding: dict[str, Answers] = {name: answers[name] for name in ("SFT only", "COOPER") if name in answers}
    if deciding:
        plots.calls(deciding, folder / "calls.png")
    if known.logs:
        plots.rewards(_reinforced(known), folder / "rewards.png")
    plots.beside_the_paper(answers, PAPER, folder / "paper.png")
    if drawn := _drawn(known):
        plots.maps({
            title: {stage: [cells.measured(maps, path) for maps in of.values()] for stage, of in drawn.items()}
            for path, title in MAPS
        }, folder / "maps.png")  # fmt: skip
    path = out / "results.md"
    with new_file(path) as file:
        file.write_text(text_of(known), encoding="utf-8")
    return path


def text_of(known: Known) -> str:
    """The report but for its pictures, in Markdown."""
    parts = (_head, _claims, _variants, _by_task, _calls, _maps, _reinforcement, _time)
    return "\n".join(line for part in parts for line in part(known)) + "\n"


def _head(known: Known) -> list[str]:
    plan, seeds = known.plan, known.seeds
    missing = [v.name for v in plan.variants + plan.ablations if v not in known.variants]
    chains = [plan.recipe.path(stage) for stage in dict.fromkeys(v.stage for v in known.variants)]
    # not those that another one goes on from
    chains = [chain for chain in chains if not any(other[: len(chain)] == chain != other for other in chains)]
    return [
        "# The paper's claims, in the synthetic world", "",
        cells.prose(f"""
            Written by `{known.command}`, {numbered([s.seed for s in seeds])}. A tiny model is trained through every
            stage of the paper and
            asked about pictures of rendered rooms with a few plain objects, whose depth, objects and answers are
            known exactly.
        """), "",
        "## How to read this", "",
        cells.prose(f"""
            - **Seed.** One whole repetition: all models are trained {_begun(plan)} with random numbers of their own,
            and asked about {plan.n_test} test scenes of their own, none of which was trained on. All seeds train on
            the same {plan.n_train} scenes. {_told(plan)}
        """),
        f"- **Questions.** {_asked(known)} Every variant of a seed is asked the same ones.",
        cells.prose(f"""
            - **Score.** 0 to 100. Lengths and distances are scored by mean relative accuracy (MRA): the share of the
            thresholds 5 %, 10 % .. 50 % that the relative error stays below. All other answers are right or wrong,
            and a question without an answer scores 0. In a mean over tasks each task counts the same. Spatial tasks:
            {cells.listed(SPATIAL)}. General tasks: {cells.listed(GENERAL)}.
        """),
        cells.prose(f"""
            - **Interval.** In brackets, always 95 %. Scores: bootstrap, 2000 resamples of the questions within each
            task and seed. Differences between variants: the same, of the differences question by question; two
            scores whose intervals overlap can still clearly differ. Shares of answers: Wilson. An interval
            tells how far other questions would move the figure of these very models. It does not tell how far models
            of other seeds would{"" if len(seeds) > 1 else ", and one seed tells nothing about that"}. There are many
            comparisons here, and no interval is widened for that.
        """),
        cells.prose("""
            - **Mode**, how a model is asked. *direct*: the answer alone. *text*: it thinks in words, then answers.
            *perception*: depth and segmentation are drawn, then it answers. *interleaved*: it thinks, may call for a
            map, is shown the map that it has drawn, and goes on; whether it draws, and what, is its own decision.
        """),
        cells.prose(f"""
            - **Stage**, what a model was trained in last. Each goes on from the one before:
            {"; ".join(" > ".join(chain) for chain in chains)}. The paper's stage 1 is "perception" and "answers"
            here, its stage 2 "interleaved", supervised on worked traces (SFT), and "reinforcement" (GRPO).
        """),
        *([f"- **Planned and not asked yet:** {', '.join(missing)}."] if missing else []), "",
    ]  # fmt: skip


def _claims(known: Known) -> list[str]:
    return [
        "## Claims", "",
        cells.prose(f"""
            Differences are in points of score. {_bases(known.plan)} "holds" is whether the figure is what "wanted"
            says, which was fixed before any model was trained, unless it says otherwise; its interval counts only
            where "wanted" names it. Where there are two ways of seeing it, each is judged: gains over base also over
            "base, longer", rollouts also against greedy answers, and what maps gain also over calls that are forbidden,
            which nothing had practised. The paper's figures are of a model of 7 billion parameters, on benchmarks of
            photographs, and come without intervals.
        """), "",
        *cells.table(
            ("claim", "paper", "wanted", "here", "holds"),
            [(f.claim, f.paper, f.wanted, f.found, _holds(f)) for f in findings(known.answers)],
        ),
        "", "![scores beside the paper's](results/paper.png)", "",
    ]  # fmt: skip


def _variants(known: Known) -> list[str]:
    lines = [
        "## Variants and controls", "",
        cells.prose("""
            Mean scores over the spatial tasks, the general ones, and all. "spatial, difference": how much better than
            COOPER, or whatever is named, on the same spatial questions. "without an answer": share of the questions.
        """), "",
    ]  # fmt: skip
    for group in known.groups:
        lines += [
            f"### {group.title}", "", group.about, "",
            *cells.table(
                ("variant", "what it is", "spatial", "general", "all", "spatial, difference", "without an answer"),
                [
                    (title, f"{v.about} (stage {v.stage}, mode {v.mode})",
                     *(cells.brackets(score(of, tasks)) for tasks in (SPATIAL, GENERAL, TASKS)),
                     _minus(known, v, of),
                     in_percent(share(of, lambda row: row.get("answer") is None), 1))
                    for title, v, of in known.compared(group)
                ],
            ), "",
        ]  # fmt: skip
    return [*lines, *settled_calls(known), *open_calls(known)]


def _minus(known: Known, variant: Variant, of: Answers) -> str:
    if variant.name == variant.against:
        return "-"
    told = cells.minus(of, known.answers.get(variant.against, {}), SPATIAL)
    return told if variant.against == "COOPER" or told == "-" else f"{variant.against}: {told}"


def _by_task(known: Known) -> list[str]:
    lines = [
        "## By task", "",
        f"Scores, with intervals in whole points: of each task {_per_task(known)} questions are asked in a seed.", "",
    ]  # fmt: skip
    for group in known.groups:
        lines += [
            f"### {group.title}, by task", "",
            *cells.tasks(_titled(known.compared(group)), cells.of_task), "",
            f"![{group.title.lower()}: score by task, with intervals](results/{group.plot}.png)", "",
        ]  # fmt: skip
    return lines


def _calls(known: Known) -> list[str]:
    drawing = [v for v in known.variants if v.mode == "interleaved"]
    if not drawing:
        return []
    given = [
        sum(row["task"] == task for rows in known.answers[v.name].values() for row in rows)
        for v in drawing for task in TASKS
    ]  # fmt: skip
    fewest = min(n for n in given if n)
    none = share({0: [{}] * fewest}, lambda _: False)
    lines = [
        "## What is drawn", "",
        cells.prose(f"""
            Share of the answers for which {" / ".join(names())} was drawn, of the variants that decide that
            themselves. 0% without brackets is of {fewest} or more answers, so 0% (0-{none.high:.0f}), and 100% is
            100% ({100 - none.high:.0f}-100). What a control shows for a map cannot change whether the first one is
            called for.
        """), "",
    ]  # fmt: skip
    for group in known.groups:
        deciding = _titled(of for of in known.compared(group) if of.variant in drawing)
        if any(v in drawing for v in group.variants):
            lines += [f"### {group.title}, what is drawn", "", *cells.tasks(deciding, cells.drawn), ""]
    return [*lines, "![calls by task](results/calls.png)", ""]


def _titled(columns: Iterable[Column]) -> dict[str, Answers]:
    return {of.title: of.answers for of in columns}


def _drawn(known: Known) -> dict[str, dict[int, Mapping[str, Any]]]:
    """What maps are like, by stage and seed, of the stages and seeds that have measured it."""
    stages = {
        stage: {s.seed: s.figures.maps[stage] for s in known.seeds if stage in s.figures.maps}
        for stage in known.plan.drawing
    }
    return {stage: of for stage, of in stages.items() if of}


def _maps(known: Known) -> list[str]:
    drawn = _drawn(known)
    if not drawn:
        return []

    def row(stage: str) -> tuple[str, ...]:
        of = drawn[stage]
        return (stage + cells.fewer(of, known.seeds), *(cells.of_seeds([*of.values()], path) for path, _ in MAPS))

    return [
        "## Maps", "",
        cells.prose(f"""
            Of the first {known.plan.n_maps} test scenes of each seed, drawn on demand by the model after each stage;
            intervals: bootstrap over scenes. Depth is compared in metres, without alignment to the truth. AbsRel:
            mean of the relative error of pixels (less is better), over whole pictures and over objects alone; delta1:
            share of the pixels that are within a factor of 1.25; mIoU: overlap of objects in the segmentation, by
            best assignment. "distances, MRA": score, out of 1, of distances to the camera that are read off the map
            without a mistake, from the true pixels of each object: where it is no better than that of answers, maps
            cannot help with distances.
        """), "",
        *cells.table(("after", *(title for _, title in MAPS)), [row(stage) for stage in drawn]), "",
        "![map quality by stage](results/maps.png)", "",
    ]  # fmt: skip


def _reinforced(known: Known) -> dict[str, list[Log]]:
    """Logs of reinforcement, by what the model is called that came of it."""
    return {known.of(stage) + cells.fewer(of, known.seeds): [*of.values()] for stage, of in known.logs.items()}


def _reinforcement(known: Known) -> list[str]:
    if not known.logs:
        return []
    (questions, rollouts), *_ = {(s.questions, s.rollouts) for s in known.plan.recipe.reinforced.values()}
    return [
        "## Reinforcement", "",
        cells.prose(f"""
            Accuracy during training: the mean answer reward (0 to 1) of the rollouts, which are sampled, on training
            questions. A step has {questions} questions with {rollouts} rollouts each, and steps differ by what they
            happen to ask. Intervals are over steps, Student's for means and Welch's for the change. Where that of the
            change includes 0, these steps alone show no gain; the claim above is judged by test questions.
            {_scaled(known.plan)}
        """), "",
        *cells.table(
            ("variant (stage)", f"first {STEPS} steps", f"last {STEPS} steps", "change"),
            [
                (name, *(cells.mean(accuracy(of, part)) for part in (slice(STEPS), slice(-STEPS, None))),
                 cells.mean(change, "+") if (change := gain(of, STEPS)) else "-")
                for name, of in _reinforced(known).items()
            ],
        ),
        "", "![rewards](results/rewards.png)", "",
        cells.prose("""
            Faint: each step; strong: the mean of the last ten. Rewards (on the left) are sums of parts that RE and
            COOPER weigh differently, so they are not to be compared.
        """), "",
    ]  # fmt: skip


def _scaled(plan: Plan) -> str:
    if all(s.optimisation.scale_lr is None for s in plan.recipe.reinforced.values()):
        return ""
    return """
        The scale of all logits, which makes a model surer, is a parameter of its own here, with a higher rate than the
        weights have; the paper has no such thing.
    """


def _time(known: Known) -> list[str]:
    return [
        "## Time", "",
        cells.prose("""
            Hours of training, by stage. The machines did other work at the same time, so these are no benchmark. A
            stage that no variant above comes from was begun and is not done. "by the clock" is the whole seed, with
            rendering, drawing maps for traces, measuring which questions maps help with, and asking; a part that was
            killed is not in it, so it may be less than the sum. What all seeds share (scenes, autoencoder, decoder,
            vision) was made once, and is listed with every seed; by the clock it counts for the seed that made it.
        """), "",
        *(f"- Seed {s.seed}: {_machine(s)}" for s in known.seeds), "",
        *_hours(known), "",
        "Every answer, and the logs of reinforcement: the folders seed-K in [results](results).",
    ]  # fmt: skip


def _holds(finding: Finding) -> str:
    told = {by: "yes" if holds else "**no**" for by, holds in finding.holds.items()}
    return "; ".join(f"{by}: {verdict}" if by else verdict for by, verdict in told.items())


def _bases(plan: Plan) -> str:
    early = """
        Base is asked as it is when stage 1 begins, its learning rate not lowered yet, as that of all others has been:
        that may cost it points.
    """
    return f"""
        "base, longer" is base trained on with as many rows of answers as stage 1 has, and without maps: what stage 1
        gains over base may be gained by those rows alone, what it gains over "base, longer" is not. What comes of the
        worked traces after that is neither's: RE, which has no maps, tells how much that is.
        {early if plan.recipe.unified["base"].optimisation.decay == 0 else ""}
    """


def _told(plan: Plan) -> str:
    ((answered, asked),) = {(s.mix.answered or plan.n_train, s.mix.asked) for s in plan.recipe.unified.values()}
    if answered == plan.n_train:
        return ""
    each = "all spatial questions" if asked is None else f"{asked} spatial questions"
    return f"""
        All of these have pictures, true maps, and lists of what is there, from left to right. Supervised stages see
        answers and worked traces for {each} about each of the first {answered} only; reinforcement asks about the last
        {plan.recipe.reinforced_on.scenes} of all, and is rewarded by their true answers. The vision transformer has
        learned no depth before.
    """


def _begun(plan: Plan) -> str:
    taken = plan.recipe.scratch and plan.recipe.scratch.autoencoder_of
    return f"around the autoencoder of `{taken}`, all else from nothing," if taken else "from nothing"


def _counts(known: Known) -> list[int]:
    """Questions of each task and seed that has any."""
    of_first = next(iter(known.answers.values()), {})
    counted = [sum(row["task"] == task for row in rows) for rows in of_first.values() for task in TASKS]
    return [n for n in counted if n]


def _asked(known: Known) -> str:
    one = "one question" if known.plan.questions == 1 else f"at most {known.plan.questions} questions"
    totals = sorted({len(rows) for of in known.answers.values() for rows in of.values()})
    return f"{one} about a scene: {cells.from_to(totals)} a seed, {_per_task(known)} of each task.".capitalize()


def _per_task(known: Known) -> str:
    return cells.from_to(_counts(known))


def _machine(seed: SeedResults) -> str:
    """Where its results were last added to, and by which source."""
    told = f"{seed.figures.machine['cpu']}, {seed.figures.machine['cores']} cores"
    return f"{told}, last added to by source {seed.figures.code}" if seed.figures.code else told


def _hours(known: Known) -> list[str]:
    hours = [s.figures.hours for s in known.seeds]
    order = known.plan.recipe.stages
    stages = list(dict.fromkeys(stage for of in hours for stage in of))
    # what is no stage of the plan, and the sum, where they were
    stages = [s for s in order if s in stages] + [s for s in stages if s not in order]
    return cells.table(("stage", *(f"seed {s.seed}" for s in known.seeds)), [
        (stage, *(f"{of[stage]:.2f}" if stage in of else "-" for of in hours)) for stage in stages
    ])  # fmt: skip
