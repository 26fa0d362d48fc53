"""`cooper scenes export`: questions about the synthetic world as a table, to be asked as benchmarks are."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from PIL import Image
from tyro.conf import arg

from cooper.commands.options import check_counts
from cooper.commands.outputs import check_file
from cooper.commands.terminal import progress_bars
from cooper.files import new_file

if TYPE_CHECKING:
    from cooper.scenes.chosen import Asked
    from cooper.scenes.question import Question

_COLUMNS = ("index", "image", "question", "answer", "type", "category", "group")


@dataclass(frozen=True)
class Export:
    """Write questions about scenes as a TSV file with their pictures in it, for `cooper eval tsv`."""

    out: Annotated[Path, arg(metavar="FILE")]
    """The table, a .tsv file."""
    n: int = 200
    """Scenes."""
    split: Literal["train", "validation", "test"] = "test"
    """The range of seeds that scenes come from."""
    start: Annotated[int | None, arg(metavar="SEED", help_behavior_hint="(default: the first of the split)")] = None
    """First seed."""
    questions: int = 3
    """Most questions a scene, each of another task."""
    size: int = 128
    """Height and width of the pictures, pixels."""

    def run(self) -> int:
        from cooper.scenes.chosen import choose_questions
        from cooper.scenes.scene_set import SceneSet

        check_counts(self, "n", "questions", "size")
        if self.out.suffix != ".tsv":
            raise ValueError(f"--out {self.out} does not end in .tsv; the table is a TSV file")
        check_file(self.out)
        with progress_bars() as show:
            scenes = SceneSet(self.n, self.split, self.start, self.size).load(show)
        asked = choose_questions(scenes, self.questions)
        with new_file(self.out) as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(rows_of(asked, [view.rgb for _, view in scenes]))
        print(f"{len(asked)} questions about {len(scenes)} scenes in {self.out}")
        return 0


def rows_of(asked: list[Asked], pictures: list[np.ndarray]) -> Iterator[tuple[str, ...]]:
    """The rows of the table. A picture is in the row of its first question; the others name that row's index. Questions
    about one scene are a group: they are easy or hard together."""
    first: dict[int, int] = {}
    for number, one in enumerate(asked):
        at = first.setdefault(one.index, number)
        image = png_base64(pictures[one.index]) if at == number else str(at)
        kind, answer = typed(one.question)
        yield str(number), image, one.question.text, answer, kind, one.question.task, str(one.seed)


def typed(question: Question) -> tuple[str, str]:
    """A question's type in the table, and its answer: lengths exactly, in metres."""
    if question.kind == "metres":
        return "Number", f"{question.value:.4f} m"
    if question.kind == "count":
        return "Number_Int", question.answer
    return ("YN" if question.answer in ("yes", "no") else "Word"), question.answer


def png_base64(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
