"""`cooper data`: prepare what models are trained on."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.console import Console
from tyro.conf import arg

from cooper.commands.options import Flag as Switch
from cooper.commands.options import WithModel, check_counts
from cooper.commands.outputs import check_apart, check_file
from cooper.commands.terminal import progress_bars
from cooper.training.flags import Flagging

if TYPE_CHECKING:
    from cooper.progress import OnProgress
    from cooper.training.asked import Numbered


@dataclass(frozen=True)
class Flag(WithModel):
    """Find out by trying which questions maps help a model with: questions about scenes, or your own. What is written
    is a table of questions to look at and, without the rows whose flag is null (docs/tuning.md), for `cooper train
    reinforcement --data`. (Without --data, that command flags questions about scenes by itself.)"""

    out: Annotated[Path, arg(metavar="FILE")]
    """JSON Lines file to write, with its pictures in a folder beside it; run again, the command goes on where it was
    interrupted."""
    data: Annotated[str | None, arg(metavar="[NAME=]PATH", help_behavior_hint="(default: scenes)")] = None
    """Your own questions with answers (docs/data.md). Rows that cannot be read are told and passed over."""
    n: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 200 scenes, all rows)")] = None
    """Scenes, or first rows of --data."""
    start: Annotated[int | None, arg(metavar="SEED", help_behavior_hint="(default: the first to train on)")] = None
    """First scene."""
    questions: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 3)")] = None
    """Most questions a scene, each of another task."""
    shards: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder of rendered scenes to read instead of rendering."""
    batch: int = 128
    """Answers that are worked on together."""
    flagging: Annotated[Flagging, arg(name="")] = field(default_factory=Flagging)
    json: Switch = False
    """Print one JSON object."""

    def run(self) -> int:
        from cooper.training.flags import SCENES, flag_questions

        check_file(self.out)
        pictures = self.out.with_suffix("")
        held = any(pictures.iterdir()) if pictures.is_dir() else pictures.exists()
        if held and not self.out.exists():
            raise ValueError(f"{pictures} is there already, and pictures would be written into it; give another --out")
        if self.out.suffix != ".jsonl":
            raise ValueError(f"--out names a JSON Lines file with the ending .jsonl, not {self.out}")
        check_counts(self, "n", "questions", "batch")
        broken: list[str] = []
        own = None if self.data is None else self._of(self.data, broken)
        cooper = self.load()  # before scenes are rendered
        with progress_bars() as show:
            total, questions = own or self._of_scenes(show)
            source = SCENES if self.data is None else self.data
            counts = flag_questions(
                cooper, questions, total, self.out, self.flagging, self.batch, show, True, source
            )
        if not counts:
            raise ValueError(f"none of the {len(broken)} rows can be read; the first: {broken[0]}")
        if self.json:
            found = {"questions": sum(counts.values()), "flags": dict(counts), "broken": len(broken)}
            print(json_.dumps({"file": str(self.out), **found}))
        else:
            told = [f"{name} {n}" for name, n in counts.most_common()]
            Console().print(", ".join(told + ([f"{len(broken)} rows that cannot be read"] if broken else [])))
        return 0

    def _of_scenes(self, show: OnProgress) -> tuple[int, Iterable[Numbered]]:
        from cooper.scenes.chosen import choose_questions
        from cooper.scenes.scene_set import SceneSet
        from cooper.training.asked import about_scenes

        scenes = SceneSet(self.n or 200, "train", self.start, shards=self.shards).load(show)
        asked = choose_questions(scenes, self.questions or 3)
        return len(asked), about_scenes(scenes, asked)

    def _of(self, data: str, broken: list[str]) -> tuple[int, Iterable[Numbered]]:
        from cooper.data.sets import named, open_set
        from cooper.data.tables import BadRow
        from cooper.training.asked import pictured_rows

        for name in ("start", "questions", "shards"):
            if getattr(self, name) is not None:
                raise ValueError(f"--{name} is for scenes; --data has its own questions")

        def tell(error: BadRow) -> None:
            broken.append(str(error))
            print(f"cooper: passed over: {error}", file=sys.stderr)

        name, path = named(data)
        check_apart(self.out, path)
        examples = open_set(name, path)
        if not len(examples):
            raise ValueError(f"{path} has no rows")
        n = min(self.n or len(examples), len(examples))
        return n, pictured_rows(examples, n, tell)
