"""What came of a seed, in files small enough to keep and to pass on: the folder `results/seed-K` beside the report.

The report is made of these alone, so seeds that ran on several machines come together by copying their folders.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from cooper.evaluation.predictions import Row
from cooper.files import new_file
from cooper.training.settings import noted

_ANSWERS, _FIGURES = "predictions.jsonl.gz", "figures.json"


@dataclass(frozen=True)
class SeedFigures:
    """All that the report tells of a seed, but for its answers."""

    seed: int
    asked: Mapping[str, str]
    """By variant, a short name of what its answers hang on (`Plan.names`)."""
    maps: Mapping[str, Mapping[str, Any]]
    """Quality of drawn maps, by stage."""
    logs: Mapping[str, Sequence[Row]]
    """The log of each reinforcement stage."""
    hours: Mapping[str, float]
    """Of training, by stage; "by the clock" is everything."""
    machine: Mapping[str, Any]
    """Where it ended (`cooper.hardware.describe`)."""
    code: str = ""
    """A short name of the library's source when this was written (`source`); seeds of several are told apart."""


@dataclass(frozen=True)
class SeedResults:
    figures: SeedFigures
    answers: Mapping[str, Sequence[Row]]
    """By variant."""

    @property
    def seed(self) -> int:
        return self.figures.seed

    def save(self, folder: Path) -> None:
        with new_file(folder / _ANSWERS) as kept, kept.open("wb") as raw:
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:  # same answers, same bytes
                for name, rows in self.answers.items():
                    for row in rows:
                        file.write(f"{json.dumps({'variant': name, **row}, ensure_ascii=False)}\n".encode())
        with new_file(folder / _FIGURES) as file:
            file.write_text(json.dumps(asdict(self.figures), indent=1) + "\n", encoding="utf-8")

    def keep(self, folder: Path, planned: Collection[str]) -> None:
        """Save it, unless more of this seed's `planned` variants is there: another run may have come further. Variants
        that are not planned stay, with what is known of the stages they went through."""
        if not (folder / _FIGURES).exists():
            self.save(folder)
            return
        known = _load(folder)
        others = {name: rows for name, rows in known.answers.items() if name not in planned}
        if known.answers.keys() - others.keys() <= self.answers.keys():
            asked = {name: known.figures.asked[name] for name in others if name in known.figures.asked}
            ours, theirs = self.figures, known.figures
            figures = replace(
                ours, asked={**ours.asked, **asked}, logs={**theirs.logs, **ours.logs},
                maps={**theirs.maps, **ours.maps}, hours={**theirs.hours, **ours.hours},
            )  # fmt: skip
            replace(self, figures=figures, answers={**self.answers, **others}).save(folder)


def load_results(folder: Path) -> list[SeedResults]:
    """Those of all seeds that are there, in order. Raises ValueError if one's files cannot be read."""
    found = [_load(path.parent) for path in folder.glob(f"seed-*/{_FIGURES}")]
    return sorted(found, key=lambda results: results.seed)


def _load(folder: Path) -> SeedResults:
    try:
        figures = SeedFigures(**json.loads((folder / _FIGURES).read_text(encoding="utf-8")))
        answers: dict[str, list[Row]] = {}
        with gzip.open(folder / _ANSWERS, "rt", encoding="utf-8") as file:
            for row in map(json.loads, file):
                answers.setdefault(row.pop("variant"), []).append(row)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{folder} does not hold what came of a seed; move it away ({error})") from None
    return SeedResults(figures, answers)


@cache
def source() -> str:
    """The same for the same source of this library."""
    digest = hashlib.blake2b(digest_size=6)
    root = Path(str(resources.files("cooper")))
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def name_of(what: object) -> str:
    """The same for the same settings."""
    return hashlib.blake2b(noted(what).encode(), digest_size=6).hexdigest()
