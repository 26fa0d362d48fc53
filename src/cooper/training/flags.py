"""Which questions maps help with: measured, not assumed.

A question is answered several times with maps and without. The rule is ours (the paper's is not public:
docs/method.md, section 4): what is always right or always wrong has nothing to teach and is dropped; of the others,
maps help if the mean score with them is higher by a threshold, and by twice what chance explains (its standard error),
and hurt if it is lower by as much. Where no map was drawn, none made a difference.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from tyro.conf import arg

from cooper.api import Cooper
from cooper.data.examples import Flag
from cooper.evaluation.predictions import Predictions, Row, fingerprint, key_of
from cooper.files import new_file
from cooper.inference.engine import Engine, Settings
from cooper.inference.sampler import Sampling
from cooper.policy import policy
from cooper.progress import OnProgress
from cooper.scenes.targets import SceneImages
from cooper.trace import Picture, Text, Trace
from cooper.training.asked import Numbered
from cooper.training.reinforcement import PicturedQuestion
from cooper.training.rewards import Record
from cooper.training.rewards.answer import answer_reward

#: what questions are about that are not a user's own
SCENES = "scenes"


@dataclass(frozen=True)
class Flagging:
    """How questions are flagged."""

    samples: int = 8
    """Answers with maps, and as many without. Of four, one that happens to differ would be a quarter."""
    tau: float = 0.2
    """How much the mean scores differ, at least, if maps help or hurt."""
    with_maps: str = "interleaved"
    """The mode that draws. (An answer for which it drew nothing counts all the same: that is how it will answer.)"""
    without: str = "text"
    """The mode that does not."""
    drop: Annotated[bool, arg(help_behavior_hint="")] = True
    """Give no flag (null) to what is always right or always wrong; with --no-drop it counts among what maps make no
    difference with.
    """

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 < self.tau < math.inf:
            raise ValueError(f"samples must be at least 1, and tau above 0; got {self.samples} and {self.tau:g}")
        if not policy(self.with_maps).calls or policy(self.without).calls:
            raise ValueError(f"{self.with_maps} must be a mode that draws maps, and {self.without} one that does not")


def flag_of(with_maps: Sequence[float], without: Sequence[float], tau: float, drew: bool = True) -> Flag | None:
    """The flag of a question with these scores (0..1), or None if it is always right or always wrong. `drew`: whether a
    map was drawn for any of the former."""
    scores = [*with_maps, *without]
    if min(scores) >= 1 or max(scores) <= 0:
        return None
    if not drew:
        return "boundary"
    gain = float(np.mean(with_maps) - np.mean(without))
    error = math.sqrt(sum(float(np.var(group)) / max(len(group) - 1, 1) for group in (with_maps, without)))
    # 0.75 - 0.55 is a hair below 0.2
    enough = max(tau, 2 * error) - 1e-9
    return "positive" if gain >= enough else "negative" if gain <= -enough else "boundary"


def flag_questions(
    cooper: Cooper, questions: Iterable[Numbered], total: int, out: Path, settings: Flagging = Flagging(),
    batch: int = 128, on_progress: OnProgress = lambda *_: None, pictures: bool = False, source: str = SCENES,
) -> Counter[str]:  # fmt: skip
    """Answer questions, `total` at most, with maps and without, and write them with their flags to `out` (JSON Lines),
    and `pictures`, if they are wanted, into a folder beside it, which makes it a table of questions (docs/data.md).

    Questions that are in the file already are not asked again. Returns how often each flag was given, "dropped" among
    them. Raises ValueError if the file holds something else, or answers of another model, about another `source` (where
    that is not scenes, each number has one question), to other questions of the same numbers, or of other settings.
    """
    run = {"weights": fingerprint(cooper.model), "flagging": repr(settings), "source": source}
    with Predictions(out, run, key_of if source == SCENES else lambda row: row["seed"]) as kept:
        engine = Engine(cooper.model, cooper.sequencer, Settings(Sampling(1.0), batch=batch))
        missing = (one for one in questions if not _answered(*one, kept))
        at_once = max(1, batch // settings.samples)
        while part := list(islice(missing, at_once)):
            (with_maps, drew), (without, _) = (
                _scores(engine, part, mode, settings.samples) for mode in (settings.with_maps, settings.without)
            )
            rows = [_row(*one, settings) for one in zip(part, with_maps, drew, without, strict=True)]
            if pictures:  # whose folder is this file's from now on
                out.parent.mkdir(parents=True, exist_ok=True)
                out.touch()
                rows = [{"image": _picture(*one, out), **row} for one, row in zip(part, rows, strict=True)]
            kept.add(rows)
            on_progress("questions", len(kept.rows), total)
        return Counter(str(row["flag"] or "dropped") for row in kept.rows.values())


def _answered(number: int, asked: PicturedQuestion, kept: Predictions) -> bool:
    """Whether the file has that question. Raises ValueError if it has another one in its place."""
    row = kept.of({"seed": number, "task": asked.record.task, "question": asked.record.question})
    if row is None:
        return False
    told = (asked.record.question, asked.record.answer, _digest(asked.image))
    if told != tuple(row.get(name) for name in ("question", "answer", "picture")):
        raise ValueError(f"{kept.path} is about another question {number} than this; choose another file")
    return True


def _digest(image: np.ndarray) -> str:
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=6).hexdigest()


def _scores(
    engine: Engine, questions: Sequence[Numbered], mode: str, samples: int
) -> tuple[list[list[float]], list[bool]]:
    """Of every question, the score of each answer in that mode, and whether a map was drawn for any."""
    prompts = [Trace((Picture(asked.image), Text(asked.record.question))) for _, asked in questions]
    seeds = [number * samples + k for number, _ in questions for k in range(samples)]
    rollouts = engine.run(prompts, engine.sequencer.prompts.policy(mode), samples=samples, seeds=seeds)
    groups = [rollouts[i : i + samples] for i in range(0, len(rollouts), samples)]
    scores = [
        [answer_reward(r.trace, asked.record) for r in group]
        for (_, asked), group in zip(questions, groups, strict=True)
    ]
    return scores, [any(r.trace.drawings for r in group) for group in groups]


def _picture(number: int, asked: PicturedQuestion, beside: Path) -> str:
    """Writes the picture; returns where, as the file beside it has it."""
    path = beside.with_suffix("") / f"{number}.png"
    with new_file(path) as temporary:  # what is there may be of another file of that name
        Image.fromarray(asked.image).save(temporary)
    return f"{path.parent.name}/{path.name}"


def _row(
    numbered: Numbered, with_maps: Sequence[float], drew: bool, without: Sequence[float], settings: Flagging
) -> Row:  # fmt: skip
    seed, record = numbered[0], numbered[1].record
    flag = flag_of(with_maps, without, settings.tau, drew) or (None if settings.drop else "boundary")
    return {
        "seed": seed, "task": record.task, "question": record.question, "answer": record.answer,
        "kind": record.kind, "value": record.value, "flag": flag, "picture": _digest(numbered[1].image),
        "with": [round(s, 4) for s in with_maps], "without": [round(s, 4) for s in without],
    }  # fmt: skip


def task_weights(path: Path) -> dict[str, float]:
    """How often to ask questions of each task, 1 on average, so that maps help with, hurt, and make no difference to
    about as many: what the task's questions in that file count on average, if the three flags count the same together.

    Whole tasks are weighted, not questions: a few answers say little of one question. What is always right or always
    wrong makes no difference.
    """
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    flags = [(row["task"], row["flag"] or "boundary") for row in rows]
    counts = Counter(flag for _, flag in flags)
    tasks = Counter(task for task, _ in flags)
    weights = dict.fromkeys(tasks, 0.0)
    for task, flag in flags:
        weights[task] += len(rows) / (len(counts) * counts[flag] * tasks[task])
    return weights


def flagged_questions(path: Path, images: SceneImages) -> list[PicturedQuestion]:
    """The questions of a file that `flag_questions` wrote, with their pictures; dropped ones are left out.

    Raises ValueError if the file is something else, has no question left, or is about scenes that `images` lacks.
    """
    index = {int(seed): i for i, seed in enumerate(images.shards.seeds[:])}
    found: list[PicturedQuestion] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            seed, flag = row["seed"], row["flag"]
            if flag is None:
                continue
            record = Record(row["question"], row["answer"], row["kind"], row["value"], flag, row["task"])
        except (json.JSONDecodeError, KeyError, TypeError):
            raise ValueError(f"{path}, line {number}, is not a question flagged by `cooper data flag`") from None
        if seed not in index:
            raise ValueError(f"{path}, line {number}, is about scene {seed}, which is not among the shards")
        found.append(PicturedQuestion(images.image(index[seed], "picture"), record))
    if not found:
        raise ValueError(f"{path} has no question that teaches anything; flag more")
    return found
