"""`cooper data`: prepare what models are trained on."""

from __future__ import annotations

import json as json_
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from cooper.commands.options import WithModel
from cooper.commands.outputs import check_file
from cooper.commands.terminal import progress_bars
from cooper.training.flags import Flagging


@dataclass(frozen=True)
class Flag(WithModel):
    """Find out by trying which questions about scenes maps help a model with. `cooper train reinforcement` does that by
    itself; what is written here is for looking at, and for its --data."""

    out: Annotated[Path, arg(metavar="FILE")]
    """JSON Lines file to write, with its pictures in a folder beside it; run again, the command goes on where it was
    interrupted."""
    n: int = 200
    """Scenes."""
    start: int | None = None
    """First seed; by default the first of the training scenes."""
    questions: int = 3
    """Most questions a scene, each of another task."""
    shards: Path | None = None
    """Folder of rendered scenes to read instead of rendering."""
    batch: int = 128
    """Answers that are worked on together."""
    flagging: Annotated[Flagging, arg(name="")] = field(default_factory=Flagging)
    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        from cooper.evaluation.scenes import choose_questions, load_scenes, seeds_of
        from cooper.training.flags import flag_questions

        check_file(self.out)
        if self.n < 1 or self.questions < 1 or self.batch < 1:
            raise ValueError(
                f"--n, --questions and --batch must be at least 1, not {self.n}, {self.questions} and {self.batch}"
            )
        cooper = self.load()
        with progress_bars() as show:
            scenes = load_scenes(seeds_of("train", self.start, self.n), 128, self.shards, show)
            asked = choose_questions(scenes, self.questions)
            counts = flag_questions(cooper, scenes, asked, self.out, self.flagging, self.batch, show, True)
        if self.json:
            print(json_.dumps({"file": str(self.out), "questions": sum(counts.values()), "flags": dict(counts)}))
        else:
            Console().print(", ".join(f"{name} {n}" for name, n in counts.most_common()))
        return 0
