"""The report's pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from cooper.evaluation.predictions import Row
from cooper.files import new_file
from cooper.modalities import names as modalities
from cooper.reproduction import claims
from cooper.reproduction.claims import Answers, numbered, score, share_calling
from cooper.reproduction.logs import Mean
from cooper.scenes.question import SPATIAL, TASKS

matplotlib.use("Agg")  # no screen
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


def scores(answers: Mapping[str, Answers], path: Path) -> None:
    """Score by task, a bar for each variant, with intervals."""
    names = list(answers)
    answers, seeds = comparable(answers, names)
    figure, axis = plt.subplots(figsize=(13, 4.5), layout="constrained")
    asked = [task for task in TASKS if all(_has(answers[name], task) for name in names)]
    width = 0.8 / len(names)
    for k, name in enumerate(names):
        found = [score(answers[name], (task,)) for task in asked]
        at = np.arange(len(asked)) + (k - len(names) / 2 + 0.5) * width
        axis.bar(at, [f.points for f in found], width, yerr=_off(found), label=name, error_kw={"linewidth": 0.7})
    axis.set_xticks(np.arange(len(asked)), [task.replace("_", "\n") for task in asked])
    axis.set_ylabel("score (95 % intervals)")
    axis.set_ylim(0, 105)
    axis.set_title(seeds, loc="right", fontsize="medium")
    _rules(axis)
    _legend(figure, axis)
    _save(figure, path)


def calls(answers: Mapping[str, Answers], path: Path) -> None:
    """Share of the answers with each map, by task, with intervals."""
    figure, axes = plt.subplots(1, len(answers), figsize=(11, 4), sharey=True, squeeze=False, layout="constrained")
    for axis, (name, of) in zip(axes[0], answers.items(), strict=True):
        asked = [task for task in TASKS if _has(of, task)]
        width = 0.8 / len(modalities())
        for k, call in enumerate(modalities()):
            found = [share_calling(of, (task,), call) for task in asked]
            at = np.arange(len(asked)) + (k - len(modalities()) / 2 + 0.5) * width
            shares = [f.points for f in found]
            axis.bar(at, shares, width, yerr=_off(found), label=call, error_kw={"linewidth": 0.7})
        axis.set_xticks(np.arange(len(asked)), [task.replace("_", " ") for task in asked], rotation=60, ha="right")
        axis.set_title(name)
        _rules(axis)
    axes[0][0].set_ylabel("% of answers (95 % intervals)")
    _legend(figure, axes[0][0])
    _save(figure, path)


def maps(figures: Mapping[str, Mapping[str, Sequence[Mean]]], path: Path) -> None:
    """A panel for each figure of map quality, by its name: a point for each stage and seed, with its interval."""
    figure, axes = plt.subplots(1, len(figures), figsize=(2.9 * len(figures), 3.4), squeeze=False, layout="constrained")
    for axis, (title, stages) in zip(axes[0], figures.items(), strict=True):
        for k, seeds in enumerate(stages.values()):
            at = k + 0.16 * (np.arange(len(seeds)) - (len(seeds) - 1) / 2)
            off = np.array([(m.mean - m.low, m.high - m.mean) for m in seeds]).T
            axis.errorbar(at, [m.mean for m in seeds], yerr=np.maximum(off, 0), fmt="o", markersize=4, capsize=2)
        axis.set_xticks(np.arange(len(stages)), list(stages), rotation=30, ha="right")
        axis.set_xlim(-0.6, len(stages) - 0.4)
        axis.set_title(title)
        _rules(axis)
    axes[0][0].set_ylabel("each seed (95 % intervals)")
    _save(figure, path)


def rewards(logs: Mapping[str, Sequence[Sequence[Row]]], path: Path) -> None:
    """Reward and its parts over the steps of each reinforced model, the mean over seeds."""
    parts = {"reward/total": "reward", "reward/answer": "answer", "reward/form": "form"}
    figure, axes = plt.subplots(1, len(parts), figsize=(13, 4), layout="constrained")
    # one may lie upon another
    styles = ("-", "-", "-", (0, (4, 2)), ":")
    for axis, (key, title) in zip(axes, parts.items(), strict=True):
        for k, (name, of) in enumerate(logs.items()):
            steps = min(len(log) for log in of)
            values = np.mean([[row.get(key, np.nan) for row in log[:steps]] for log in of], axis=0)
            # a step's questions differ by more than what a step teaches
            at, few = np.arange(1, steps + 1), min(10, steps)
            smooth = np.convolve(values, np.ones(few) / few, "valid")
            (line,) = axis.plot(at[few - 1 :], smooth, linestyle=styles[k % len(styles)], label=name)
            axis.plot(at, values, color=line.get_color(), alpha=0.25, linewidth=0.8)
        axis.set_title(title)
        axis.set_xlabel("step")
        _rules(axis)
    _legend(figure, axes[0])
    _save(figure, path)


def beside_the_paper(answers: Mapping[str, Answers], paper: Mapping[str, tuple[float, float]], path: Path) -> None:
    """Means over spatial tasks and over all, here and in the paper (on other questions: compare differences)."""
    names = [name for name in paper if name in answers]
    answers, seeds = comparable(answers, names)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for k, (axis, title, tasks) in enumerate(zip(axes, ("spatial", "all"), (SPATIAL, TASKS), strict=True)):
        here = [score(answers[name], tasks) for name in names]
        at = np.arange(len(names))
        axis.bar(at - 0.2, [paper[name][k] for name in names], 0.4, label="paper, 7B, real benchmarks")
        axis.bar(at + 0.2, [f.points for f in here], 0.4, yerr=_off(here), label="here, tiny, synthetic world")
        axis.set_xticks(at, names)
        axis.set_title(f"{title}, {seeds}")
        axis.set_ylim(0, 100)
        _rules(axis)
    axes[0].set_ylabel("score (here: 95 % intervals)")
    _legend(figure, axes[0])
    _save(figure, path)


def comparable(answers: Mapping[str, Answers], names: Sequence[str]) -> tuple[Mapping[str, Answers], str]:
    """The answers of these variants in the seeds that all of them have, and which those are: seeds differ more than
    variants do. If there is no such seed, each has its own."""
    shared = sorted(set[int]().union(*answers.values()).intersection(*(answers[name] for name in names)))
    if not shared:
        return answers, "not of the same seeds"
    return {name: {seed: answers[name][seed] for seed in shared} for name in names}, numbered(shared)


def _off(found: Sequence[claims.Figure]) -> np.ndarray | None:
    """How far intervals reach below and above their points (2, n); rounding may put an end on the wrong side."""
    off = np.array([(f.points - f.low, f.high - f.points) for f in found])
    return np.maximum(off, 0).T if found else None


def _legend(figure: Figure, axis: Axes) -> None:
    """Above all panels, what is shown in this one, in as few rows as the picture has room for."""
    handles, labels = axis.get_legend_handles_labels()
    for rows in range(1, len(labels) + 1):
        columns = math.ceil(len(labels) / rows)
        legend = figure.legend(handles, labels, ncols=columns, loc="outside upper center", frameon=False)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _rules(axis: Axes) -> None:
    """Faint lines to read heights by, behind everything."""
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)


def _has(answers: Answers, task: str) -> bool:
    """Whether every seed was asked about it: a few scenes may offer none of a kind."""
    return all(any(row["task"] == task for row in rows) for rows in answers.values())


def _save(figure: Figure, path: Path) -> None:
    with new_file(path) as file:
        figure.savefig(file, dpi=110)
    plt.close(figure)
