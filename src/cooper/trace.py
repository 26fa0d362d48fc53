"""A `Trace`: text, pictures and drawings in the order in which they are read and made.

A prompt, a training sample, a rollout, an evaluation record and a web page are all a Trace. It is immutable and it
serialises to a folder (`trace.json` plus images), so that what was seen can be seen again, exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from cooper.files import new_file, save_array
from cooper.turns import answer_of

Role: TypeAlias = Literal["system", "user", "model", "reflection"]
ROLES: tuple[Role, ...] = ("system", "user", "model", "reflection")
#: of what `trace.json` says, and how
_VERSION = 1


@dataclass(frozen=True)
class Text:
    """A piece of text. What the `model` wrote is trained on (cross-entropy); everything else is only read.

    `ids` are the tokens it was written with, where they are known: text that is tokenised again need not give the same
    ones, and a replayed rollout must. A text that was `cut` ran out of tokens before its end.
    """

    text: str
    role: Role = "user"
    ids: tuple[int, ...] | None = field(default=None, repr=False)
    cut: bool = False


@dataclass(frozen=True, eq=False)
class Picture:
    """An image the model looks at: uint8 RGB (height, width, 3)."""

    image: np.ndarray

    def __post_init__(self) -> None:
        _check_image(self.image)

    def __repr__(self) -> str:
        return f"Picture({_size(self.image)})"


@dataclass(frozen=True, eq=False)
class Drawing:
    """A map the model drew, or (with `target`) is to learn to draw.

    `image` is the map as RGB, uint8 (height, width, 3). `latent` is the autoencoder's latent the model ended with,
    float32 (channels, height / 8, width / 8); where it is present it is what is fed back, so that a replayed rollout
    sees exactly what the rollout saw. A `target` is also drawn from noise in training (flow loss); a target that
    is not `shown` is drawn and never looked at. `drawn` is the map as it was drawn, where `image`, which is looked at,
    is another picture of it, such as a coloured one.
    """

    modality: str
    image: np.ndarray
    latent: np.ndarray | None = None
    target: bool = False
    shown: bool = True
    drawn: np.ndarray | None = None

    @property
    def as_drawn(self) -> np.ndarray:
        """What the map's values are read from."""
        return self.image if self.drawn is None else self.drawn

    def __post_init__(self) -> None:
        _check_image(self.image)
        if self.drawn is not None:
            _check_image(self.drawn)
        if not (self.target or self.shown):
            raise ValueError("a Drawing must be a target, or shown, or both")

    def __repr__(self) -> str:
        return f"Drawing({self.modality!r}, {_size(self.image)})"


Segment: TypeAlias = Text | Picture | Drawing


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an image is uint8 (height, width, 3); this one is {image.dtype} {image.shape}")


def _size(image: np.ndarray) -> str:
    """Width x height, as people tell sizes of pictures."""
    return f"{image.shape[1]} x {image.shape[0]}"


@dataclass(frozen=True)
class Trace:
    """An immutable, interleaved sequence. `meta` holds what else is known (task, seed, mode ...), JSON values only."""

    segments: tuple[Segment, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.segments))

    def __add__(self, segments: Segment | Iterable[Segment]) -> Trace:
        added = (segments,) if isinstance(segments, (Text, Picture, Drawing)) else tuple(segments)
        return replace(self, segments=self.segments + added)

    @property
    def turns(self) -> tuple[str, ...]:
        """What the model wrote, turn by turn."""
        return tuple(s.text for s in self.segments if isinstance(s, Text) and s.role == "model")

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        return tuple(s for s in self.segments if isinstance(s, Drawing))

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(s for s in self.segments if isinstance(s, Picture))

    @property
    def answer(self) -> str | None:
        """The answer of the last turn, or None if it gives none. `\\boxed{...}` wins over the rest of the answer."""
        return answer_of(self.turns[-1]) if self.turns else None

    def save(self, folder: str | Path) -> None:
        """Write `trace.json` and one PNG (and latent) per image into `folder`, which is made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        for i, segment in enumerate(self.segments):
            if isinstance(segment, Text):
                written: dict[str, Any] = {"type": "text", "role": segment.role, "text": segment.text}
                if segment.ids is not None:
                    written["ids"] = list(segment.ids)
                if segment.cut:
                    written["cut"] = True
                rows.append(written)
                continue
            kind = "picture" if isinstance(segment, Picture) else segment.modality
            row: dict[str, Any] = {"type": "picture", "image": f"{i:02d}-{kind}.png"}
            Image.fromarray(segment.image).save(folder / row["image"])
            if isinstance(segment, Drawing):
                row |= {"type": "drawing", "modality": kind, "target": segment.target, "shown": segment.shown}
                if segment.drawn is not None:
                    row["drawn"] = f"{i:02d}-{kind}-drawn.png"
                    Image.fromarray(segment.drawn).save(folder / row["drawn"])
                if segment.latent is not None:
                    row["latent"] = f"{i:02d}-{kind}.latent.npy"
                    save_array(folder / row["latent"], segment.latent)
            rows.append(row)
        text = json.dumps({"version": _VERSION, "meta": self.meta, "segments": rows}, indent=1, ensure_ascii=False)
        with new_file(folder / "trace.json") as file:
            file.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Trace:
        """Read what `save` wrote. Raises ValueError if the folder does not hold a trace, or one of a newer version."""
        folder = Path(folder)
        try:
            data = json.loads((folder / "trace.json").read_text(encoding="utf-8"))
            version = data["version"] if "version" in data else _VERSION
            if type(version) is not int:
                raise ValueError("its version is no whole number")
            if version <= _VERSION:
                if not isinstance(data["meta"], dict):
                    raise ValueError("its meta is no object")
                return cls(tuple(_segment(folder, row) for row in data["segments"]), data["meta"])
        except (
            OSError, KeyError, TypeError, ValueError, EOFError, SyntaxError, RecursionError, TokenError,
            Image.DecompressionBombError,
        ) as error:  # fmt: skip
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{folder} does not hold a trace (trace.json and its images): {why}") from None
        raise ValueError(
            f"{folder} holds a trace of version {version}, newer than {_VERSION}, the last that is known here; "
            "update cooper"
        )


def _segment(folder: Path, row: dict[str, Any]) -> Segment:
    """A segment from its row in `trace.json`."""
    if row["type"] == "text":
        if row["role"] not in ROLES or not isinstance(row["text"], str):
            raise ValueError(f"a text has a string and a role of {', '.join(ROLES)}")
        row["text"].encode()  # JSON may hold half a letter, which no tokenizer takes
        ids = row.get("ids")
        if ids is not None and not (isinstance(ids, list) and all(type(i) is int and i >= 0 for i in ids)):
            raise ValueError("the tokens of a text are a list of whole numbers")
        return Text(row["text"], row["role"], None if ids is None else tuple(ids), bool(row.get("cut", False)))
    if row["type"] not in ("picture", "drawing"):
        raise ValueError(f"no segment is of type {row['type']!r}")
    image = np.asarray(Image.open(_inside(folder, row["image"]), formats=("PNG",)).convert("RGB"))
    if row["type"] == "picture":
        return Picture(image)
    path = row.get("latent")
    latent = np.load(_inside(folder, path), allow_pickle=False) if path else None
    if not isinstance(latent, np.ndarray | None):
        raise ValueError(f"{path} holds more than one array")
    plain = isinstance(row["modality"], str) and re.fullmatch(r"[\w-]{1,64}", row["modality"])
    if not plain or any(type(row[name]) is not bool for name in ("target", "shown")):
        raise ValueError("a drawing has the name of its modality, and is a target or shown, or not")
    drawn = None
    if "drawn" in row:
        drawn = np.asarray(Image.open(_inside(folder, row["drawn"]), formats=("PNG",)).convert("RGB"))
    return Drawing(row["modality"], image, latent, row["target"], row["shown"], drawn)


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if path.resolve().parent != folder.resolve():
        raise ValueError(f"it names a file outside its folder: {name}")
    return path


#: Characters of the longest question.
MAX_QUESTION = 2000


def asked(question: str) -> str:
    """A question as it is put to a model. Raises ValueError if it is empty, far too long, or no text."""
    try:
        question.encode()
    except (UnicodeEncodeError, AttributeError):
        raise ValueError(f"the question is no text that can be read: {question!r:.60}") from None
    if not question.strip():
        raise ValueError("the question is empty; ask something about the picture")
    if len(question) > MAX_QUESTION:
        raise ValueError(f"the question has {len(question)} characters; ask in at most {MAX_QUESTION}")
    return question.strip()
