"""`cooper ask`: a question about a picture, with the chain shown as it is made."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from cooper.commands.options import (
    Flag,
    FlowSteps,
    Guidance,
    OutFile,
    OutFolder,
    PicturePath,
    WithModel,
    options,
)
from cooper.commands.outputs import check_file, check_folder
from cooper.files import new_file
from cooper.policy import Mode, policy

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from cooper.api import Answer, Cooper
    from cooper.options import Options


@dataclass(frozen=True)
class Ask(WithModel):
    """Ask a question about a picture. The model thinks, draws maps where it needs them, and answers."""

    picture: PicturePath
    """Path of the picture (PNG, JPEG, WebP, BMP, TIFF, GIF), or - for standard input."""
    question: Annotated[Positional[str], arg(metavar="QUESTION")]
    """What to ask about it."""
    mode: Mode = "interleaved"
    """How to answer: direct, text (thinks), perception (draws, then answers) or interleaved (draws where it helps)."""
    max_turns: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the mode's)")] = None
    """Maximum number of turns the model may write; a map can be drawn between two turns."""
    flow_steps: FlowSteps = None
    """Calls of the model per map, one fewer than time points (the release's num_timesteps=50 is 49): more is slower and
    cleaner."""
    guidance: Guidance = None
    """Scales of text and image guidance while drawing; 1 is none."""
    temperature: float = 0.0
    """Randomness of the text; 0 always takes the likeliest token."""
    top_p: float = 1.0
    """Choose among the likeliest tokens that make up this share."""
    seed: int = 0
    """Seed of all randomness: the same seed gives the same chain."""
    samples: int = 1
    """Answers to sample and vote on; above 1, a temperature of 0 becomes 0.7."""
    out: OutFolder = None
    """Folder for the chain: maps as PNG (as drawn, and coloured) and .npy (values), and trace.json."""
    html: OutFile = None
    """Write the chain as one self-contained web page."""
    json: Flag = False
    """Print one JSON object in place of the chain."""

    def run(self) -> int:
        from cooper.images import load_image
        from cooper.trace import asked

        asked(self.question)
        given = self._options()
        if given.top_p < 1 and given.temperature == 0 and given.samples == 1:
            raise ValueError("--top-p chooses among what is sampled; give a --temperature above 0, too")
        way = policy(self.mode)
        if (self.flow_steps or self.guidance) and not way.calls:
            raise ValueError(f"--flow-steps and --guidance are about maps, and the mode {self.mode} draws none")
        if self.out is not None:
            check_folder(self.out)
            picture_at = Path(self.picture)  # which may be part of a chain that was kept there
            if re.match(r"\d\d-", picture_at.name) and picture_at.resolve().parent == self.out.resolve():
                raise ValueError(f"--out {self.out} would overwrite the picture; give another folder")
        if self.html is not None and self.out is not None:
            page, folder = self.html.resolve(), self.out.resolve()
            if page == folder:
                raise ValueError(f"--html {self.html} is the folder of --out; give the page a name of its own")
            if page.parent == folder and re.match(r"\d\d-|trace\.json$", page.name):
                raise ValueError(f"--html {self.html} may be what --out writes; give the page another name")
        if self.html is not None:
            check_file(self.html, "--html", self.picture)
        if self.picture != "-" and not os.path.exists(self.picture) and os.path.isfile(self.question):
            raise ValueError(f"{self.picture} does not exist; the picture comes first, then the question")
        picture = load_image(self.picture)

        answer = self._silent(picture) if self.json else self._shown(picture)
        maps = [] if self.out is None else answer.save(self.out)
        if self.html is not None:
            with new_file(self.html) as file:
                file.write_text(answer.page(self._title()), encoding="utf-8")
        if self.json:
            print(json.dumps(answer.to_dict([str(path) for path in maps])))
        return 0

    def _options(self) -> Options:
        return options(
            mode=self.mode, max_turns=self.max_turns, flow_steps=self.flow_steps, guidance=self.guidance,
            temperature=self.temperature, top_p=self.top_p, seed=self.seed, samples=self.samples,
        )  # fmt: skip

    def _silent(self, picture: np.ndarray) -> Answer:
        return self.load().ask(picture, self.question, self._options())

    def _shown(self, picture: np.ndarray) -> Answer:
        from rich.text import Text

        from cooper.commands.terminal import open_console

        console = open_console()
        with console.status(Text(f"loading {self.model}")):
            model = self.load()
        return self._streamed(model, picture, console) if self.samples == 1 else self._voted(model, picture, console)

    def _streamed(self, model: Cooper, picture: np.ndarray, console: Console) -> Answer:
        """One chain, shown while it is made."""
        from cooper.api import Answer
        from cooper.commands.chain import ChainView

        view = ChainView(console, model.model.config.codes)
        try:
            for event in model.stream(picture, self.question, self._options()):
                if isinstance(event, Answer):
                    view.answer(event)
                    return event
                view.show(event)
        finally:
            view.close()
        raise AssertionError("a stream ends with its answer")

    def _voted(self, model: Cooper, picture: np.ndarray, console: Console) -> Answer:
        """Many chains: how far they are, then the one that won, and the votes."""
        from cooper.api import Answer
        from cooper.commands.chain import ChainView, waiting
        from cooper.inference.rollout import Finished, FlowStep

        with waiting(console) as progress:
            bar = progress.add_task("thinking", total=self.samples)
            for event in model.stream(picture, self.question, self._options()):
                if isinstance(event, Answer):
                    break
                doing = f"drawing {event.modality}" if isinstance(event, FlowStep) else "thinking"
                progress.update(bar, advance=isinstance(event, Finished), description=doing)
        assert isinstance(event, Answer), "a stream ends with its answer"
        view = ChainView(console, model.model.config.codes)
        view.replay(event.trace)
        view.answer(event)
        return event

    def _title(self) -> str:
        """Of the page."""
        title = "standard input" if self.picture == "-" else Path(self.picture).name
        return title.encode("utf-8", "replace").decode()  # names of files need not be text

