"""Training a model further on sets of a user's own: one stage, from a checkpoint to a checkpoint.

Supervised stages learn from maps, questions with answers and traces; reinforcement from questions with answers.
"""

from __future__ import annotations

import copy
import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf, nan
from pathlib import Path

import torch

from cooper.api import Cooper
from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.native import save_native
from cooper.data.codes import codes_after, maps_in, told_change
from cooper.data.examples import Example
from cooper.data.mixture import Mixture, Unbroken
from cooper.data.sets import named, open_set
from cooper.data.tables import BadRow
from cooper.evaluation.judge import Judge
from cooper.hardware import check_device, fast_dtype
from cooper.model.config import Precision
from cooper.training.asked import AskedRows, pictured
from cooper.training.examples import ExampleRows, Shaping
from cooper.training.loop import STATE, Trainer
from cooper.training.pipeline import adapted, claim, once, reinforce
from cooper.training.processes import run_in
from cooper.training.reinforcement import Reinforcement
from cooper.training.rewards import RewardFunction
from cooper.training.unified import StageSettings, UnifiedStage

#: the file in a stage's folder that names what could not be read
BROKEN = "broken.txt"
#: So many rows of a set, the first ones, are looked at to know what it holds.
_LOOKED_AT = 10


@dataclass(frozen=True)
class Part:
    """A set of a mixture, and its weight."""

    where: str
    """As `cooper.data.sets.named` takes it, or for the `reader` a path."""
    weight: float = 1.0
    reader: Callable[[Path], Sequence[Example]] | None = field(default=None, repr=False)
    """Opens the set, if it is none of those that have a name, or with options: `functools.partial(QuestionRows,
    fields=...)`, or a function of one's own, which other processes import."""

    @classmethod
    def parse(cls, text: str) -> Part:
        """[NAME=]PATH[@WEIGHT]. Raises ValueError for a weight that is no number above 0."""
        where, at, weight = text.rpartition("@")
        if not at or "/" in weight:  # the sign is part of the path
            return cls(text)
        try:
            number = float(weight)
        except ValueError:
            number = nan
        if not 0 < number < inf:
            raise ValueError(f"{text!r}: the weight after @ is {weight!r}; give a number above 0")
        return cls(where, number)

    @property
    def named(self) -> tuple[str, str]:
        """What the set is called, and where it is."""
        if self.reader is None:
            return named(self.where)
        # of a partial, what it is a part of
        return getattr(getattr(self.reader, "func", self.reader), "__qualname__", "own"), self.where

    @property
    def fingerprint(self) -> str:
        """The same for the same table; of a folder, for the same names and sizes directly in it: what lies deeper may
        take long to look through. What a reader of one's own makes of no file has none."""
        digest, path = hashlib.blake2b(digest_size=6), Path(self.named[1])
        if path.is_file():
            with path.open("rb") as file:
                while block := file.read(1 << 24):
                    digest.update(block)
        elif path.is_dir():
            inside = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(path) if entry.is_file())
            digest.update(repr(inside).encode())
        return digest.hexdigest()

    def open(self) -> tuple[Sequence[Example], float]:
        return open_set(*self.named) if self.reader is None else self.reader(Path(self.where)), self.weight


@dataclass(frozen=True)
class Tuning:
    """What is trained, on what, and where."""

    run: Path
    """Folder of the run."""
    name: str
    settings: StageSettings | Reinforcement
    data: tuple[Part, ...]
    start: str = "tiny"
    """The model to begin with."""
    base: str | None = None
    prompts: Path | None = None
    shaping: Shaping = field(default_factory=Shaping)
    strict: bool = False
    """Whether the first broken row ends it; otherwise it is told, passed over and counted."""
    judge: tuple[str, str] | None = None
    """Server and name of a model that judges answers in words (reinforcement)."""
    device: str = "cpu"
    """Where the model is trained, as PyTorch names it."""

    @property
    def precision(self) -> Precision:
        """What the model is loaded in. Under adapters its own weights stay as they are, and bf16 is what published
        ones are in; in reinforcement, what is learned from must be as likely as when it was sampled."""
        supervised = isinstance(self.settings, StageSettings) and self.settings.lora is not None
        return "bf16" if supervised and fast_dtype(torch.device(self.device)) == torch.bfloat16 else "fp32"


def tune(
    tuning: Tuning, processes: int = 1, quiet: bool = False, more: Mapping[str, RewardFunction] | None = None
) -> Path:
    """Train, or go on training, or just tell the folder of what has been trained: RUN/NAME/model. Reinforcement may
    have `more` rewards, by name; other processes find them where they were imported from.

    Raises ValueError for sets that cannot be opened, and for what cannot be learned from them.
    """
    check_device(tuning.device)
    found = find(tuning.start, tuning.base)
    found.check()
    sets = [part.open()[0] for part in tuning.data]  # what is wrong is told before anything slow begins
    for part, examples in zip(tuning.data, sets, strict=True):
        name, path = part.named
        if isinstance(tuning.settings, Reinforcement):
            _check_asked(examples)
        for kind in maps_in(examples):
            if kind.name not in found.config.modalities:
                drawn = ", ".join(found.config.modalities)
                raise ValueError(f"{path} has maps of {kind.name}, and all that {tuning.start} draws is {drawn}")
        if not quiet:
            print(f"cooper: {path}: {len(examples)} examples of the set {name}", file=sys.stderr)
    before = found.config.codes
    if not quiet and (change := told_change(before, codes_after(sets, before))):
        print(f"cooper: {change}", file=sys.stderr)
    run_in(processes, tuning.run, _train, tuning, more, quiet=quiet)
    return tuning.run / tuning.name / "model"


def _check_asked(examples: Sequence[Example]) -> None:
    """Raises ValueError if the first of them that can be read is no question: a set is of one kind, and one that is
    seldom drawn would end the run late."""
    for i in range(min(len(examples), _LOOKED_AT)):
        with suppress(BadRow):
            pictured(examples[i])
            return


def broken_in(folder: Path) -> list[str]:
    """What a stage, whose folder this is, could not read of its sets: which row, and why."""
    path = folder / BROKEN
    return sorted(set(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []


def _train(tuning: Tuning, more: Mapping[str, RewardFunction] | None, quiet: bool) -> None:
    folder, settings = tuning.run / tuning.name, tuning.settings
    parts = [part.open() for part in tuning.data]
    of: dict[str, object] = {"start model": find(tuning.start, tuning.base).fingerprint}
    of["rows"] = [len(rows) for rows, _ in parts]
    if more:
        of["more rewards"] = sorted(more)
    if own := [part.named[0] for part in tuning.data if part.reader]:
        of["readers"] = own
    claim(
        folder, settings, tuning.data, tuning.start, tuning.base, tuning.prompts, tuning.shaping,
        tuning.judge and tuning.judge[1], of=of, later={"data": [part.fingerprint for part in tuning.data]},
    )  # fmt: skip
    cooper = Cooper.load(
        tuning.start, tuning.precision, base=tuning.base, prompts=tuning.prompts, device=tuning.device
    )
    if not (folder / STATE).exists():
        once(lambda: (folder / BROKEN).unlink(missing_ok=True))  # begun anew: rows may have been mended since
    model = cooper.model.train().requires_grad_(True)
    if tuning.precision != "fp32":  # the autoencoder is handed on as it is; its errors show in every map
        exact = find(tuning.start, tuning.base).tensor
        model.autoencoder.float().load_state_dict(
            {name: exact(f"autoencoder.{name}") for name in model.autoencoder.state_dict()}
        )
    model.config = replace(model.config, codes=codes_after((examples for examples, _ in parts), model.config.codes))
    sequencer = replace(cooper.sequencer, config=model.config)
    mixture: Mixture[Example] = Mixture(parts, settings.seed)
    unbroken = Unbroken(mixture, Noting(folder, quiet), tuning.strict)
    with adapted(model, settings, folder):
        if isinstance(settings, StageSettings):
            rows = ExampleRows(unbroken, copy.deepcopy(model.autoencoder).cpu(), sequencer, tuning.shaping)
            # nobody has said where the things are that words name
            settings, device = replace(settings, point_weight=0.0), model.device.type
            supervised = UnifiedStage(tuning.name, rows, rows, settings, device)
            Trainer(
                model, supervised, settings.optimisation, folder, dtype=fast_dtype(model.device),
                sheet_every=settings.sheet_every,
            ).run(quiet)  # fmt: skip
        else:
            judge = None if tuning.judge is None else Judge(*tuning.judge, cache=folder / "judge.jsonl")
            asked = AskedRows(unbroken, judge is not None)
            reinforce(model, asked, sequencer, settings, tuning.name, folder, judge, quiet, more)

    def keep() -> None:
        # what was trained is in fp32: rounded to bf16, little would be left of what is learned at the paper's rates
        save_native(model, sequencer.tokenizer, folder / "model", prompts=sequencer.prompts)

    once(keep)


@dataclass(frozen=True)
class Noting:
    """Tells of a broken row, once, on standard error and in a file: rows are read in several processes."""

    folder: Path
    quiet: bool

    def __call__(self, error: BadRow) -> None:
        if str(error) in broken_in(self.folder):
            return
        with (self.folder / BROKEN).open("a", encoding="utf-8") as file:
            file.write(f"{error}\n")
        if not self.quiet:
            print(f"cooper: passed over: {error}", file=sys.stderr)
