"""An answer whose course is fixed in advance: so many tokens, one map, so many tokens. On any model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cooper.inference.flow import FlowSettings
from cooper.inference.sampler import Sampling, generator
from cooper.inference.session import Session
from cooper.layout import Clean, Piece, Seen, Words, tokens_of
from cooper.model.config import ModelConfig
from cooper.model.presets import PRESETS
from cooper.model.unified import UnifiedModel

T = TypeVar("T")
PARTS = ("read the prompt", "write", "draw", "decode the map", "look at it", "write again")
_FIRST_WORD = 4  # the ids before are the frame's


@dataclass(frozen=True)
class Endless(Sampling):
    """Sampling that never ends a turn: a turn's length is then its limit."""

    end: int = 1

    def choose(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        never = torch.arange(logits.shape[-1], device=logits.device) == self.end
        return super().choose(logits.float().masked_fill(never, float("-inf")), uniform)


@dataclass(frozen=True)
class Script:
    """What is read and written, in tokens, and how the map is drawn. The prompt has one square picture."""

    flow: FlowSettings
    picture: int
    """Side of the picture, in pixels."""
    system: int = 60
    question: int = 24
    turn: int = 48
    call: int = 12
    """The last tokens of the first turn, which text guidance leaves out."""
    reflection: int = 20


@dataclass
class RunStats:
    """What happened in a run of a script: seconds by part, the tokens written by row, and the cache's size."""

    seconds: dict[str, float] = field(default_factory=dict)
    tokens: list[list[int]] = field(default_factory=list)
    cache_bytes: int = 0

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


def random_model(preset: str) -> UnifiedModel:
    """A model of random weights. Raises ValueError, naming the presets, if there is none of that name."""
    if preset not in PRESETS:
        raise ValueError(f"no preset is called {preset!r}; choose from {', '.join(PRESETS)}")
    return UnifiedModel(PRESETS[preset]()).initialise().for_inference()


def words(model: UnifiedModel, number: int, *key: int | str) -> Words:
    """Random words."""
    vocabulary = model.config.decoder.vocabulary
    ids = torch.randint(_FIRST_WORD, vocabulary, (number,), generator=generator("words", number, *key))
    return Words(tuple(ids.tolist()))


def picture(side: int, seed: int) -> Tensor:
    """A random picture (3, side, side) in [-1, 1]."""
    return torch.rand(3, side, side, generator=generator("picture", seed)) * 2 - 1


def grid_of(model: UnifiedModel, side: int) -> tuple[int, int]:
    cells = side // model.config.latent_stride
    return cells, cells


def seen(config: ModelConfig, image: Tensor) -> Seen:
    """A square image (3, side, side) for the vision transformer, at the nearest size below that has whole patches and
    positions."""
    patch = config.vision.patch
    side = min(image.shape[-1] // patch, config.vision.max_side) * patch
    resized = image if side == image.shape[-1] else F.interpolate(image[None], (side, side), mode="bilinear")[0]
    return Seen(resized)


def prompt(model: UnifiedModel, script: Script, seed: int = 0) -> list[Piece]:
    """System text, a picture through both branches, and a question. Encoding the picture is part of it."""
    image = picture(script.picture, seed)
    with torch.no_grad():
        latents = model.encode(image[None].to(model.device))[0]
    return [
        words(model, script.system), Clean(latents, grid_of(model, script.picture)), seen(model.config, image),
        words(model, script.question, seed),
    ]  # fmt: skip


def play(model: UnifiedModel, script: Script, seeds: Sequence[int]) -> RunStats:
    """One rollout of the same question for each seed, all together."""
    stats, rows = RunStats(), len(seeds)
    sampling = Endless(1.0, end=model.config.special.end)
    grid = grid_of(model, script.picture)
    looked_at = tokens_of(seen(model.config, picture(script.picture, 0)), model.config)
    with stats.part(PARTS[0]):
        pieces = prompt(model, script)
        # both turns, the map and the reflection, each with its frame
        capacity = 2 * script.turn + looked_at + script.reflection + 4 * 2
        session = Session.open(model, [pieces]).fork(rows, capacity)
    with stats.part(PARTS[1]):
        stats.tokens = write(session, script.turn, seeds, sampling, 0)
    with stats.part(PARTS[2]):
        noise = torch.stack(
            [torch.randn(grid[0] * grid[1], model.config.latent_dim, generator=generator(s, "map")) for s in seeds]
        )
        texts = [[p for p in pieces if isinstance(p, Words)] + [Words(tuple(ids))] for ids in stats.tokens]
        without_call = [(script.turn - script.call, ()) for _ in seeds]
        *_, latents = session.draw(noise, grid, script.flow, without_call, texts)
    with stats.part(PARTS[3]), torch.no_grad():
        images = model.decode(latents, grid).clamp(-1, 1)
    with stats.part(PARTS[4]):
        reflection = words(model, script.reflection)
        session.read([[seen(model.config, image), reflection] for image in images])
    with stats.part(PARTS[5]):
        again = write(session, script.turn, seeds, sampling, 1)
    stats.tokens = [a + b for a, b in zip(stats.tokens, again, strict=True)]
    stats.cache_bytes = session.context.bytes
    return stats


def write(session: Session, tokens: int, seeds: Sequence[int], sampling: Sampling, turn: int = 0) -> list[list[int]]:
    """A turn of so many tokens in every row."""
    uniform = torch.stack([torch.rand(tokens, generator=generator(seed, "text", turn)) for seed in seeds])
    for _ in session.write([tokens] * len(seeds), uniform, sampling):
        pass
    return [turn.ids for turn in session.written]
