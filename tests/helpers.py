"""What tests of the core share: a model of a few thousand weights, a tokenizer, pictures, and a scripted writer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor, nn

from cooper.api import Cooper
from cooper.cli import main
from cooper.evaluation.predictions import Predictions
from cooper.inference.sampler import Demand, Sampling, generator
from cooper.layout import Batch
from cooper.modalities import modality
from cooper.model.presets import OWN_SPECIAL, dummy
from cooper.model.unified import UnifiedModel
from cooper.scenes.questions import plural
from cooper.scenes.tokenizer import train_tokenizer
from cooper.scenes.world import COLORS, SHAPES
from cooper.sequence import Sequencer
from cooper.trace import Picture


@cache
def tokenizer() -> Tokenizer:
    """The tiny model's kind of tokenizer, learned from the prompts alone (no scenes, so nothing is rendered).

    Colours and shapes are tokens, as they are where scenes were seen.
    """
    made = train_tokenizer([], 512, ("depth", "segmentation"), number=0)  # type: ignore[arg-type]
    nouns = (*SHAPES, "object")
    words = (*COLORS, *nouns, *map(plural, nouns), "no", "more")
    made.add_tokens([AddedToken(space + word, normalized=False) for space in (" ", "") for word in words])
    return made


def random_model(seed: int = 0, **changes: Any) -> UnifiedModel:
    """The `dummy` preset, with `changes` to its config, and all of its weights such that they matter.

    Training begins with norms of one, biases of zero, flat logits and no velocity; tests would not see a mistake there.
    """
    model = UnifiedModel(replace(dummy(), **changes)).initialise(seed)
    weights = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=weights), alpha=0.1)
            elif name.endswith(("embed.weight", "head.weight", "positions.weight", "latent_out.weight")):
                parameter.normal_(0, 0.3, generator=weights)
    return model.eval()


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


def run_command(capsys: pytest.CaptureFixture[str], *argv: str) -> Ran:
    """What the command in `argv` prints, run in this process."""
    capsys.readouterr()
    code = main(argv)
    captured = capsys.readouterr()
    return Ran(code, captured.out, captured.err)


def sequencer(model: UnifiedModel) -> Sequencer:
    return Sequencer(tokenizer(), model.config)


def picture(seed: int, height: int = 48, width: int = 64) -> Picture:
    """Noise, as a picture of the user's."""
    return Picture(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def in_sequence(model: UnifiedModel, batch: Batch, und: Tensor, gen: Tensor | None) -> list[Tensor]:
    """What the hidden states of a batch say, per row: (tokens, vocabulary + latent_dim) in sequence order.

    The logits stand in the first columns of `und` tokens, the velocity in the last ones of `gen` tokens; the rest is 0.
    """
    config = model.config
    streams = [nn.functional.pad(model.logits(und), (0, config.latent_dim))]
    if gen is not None:
        streams.append(nn.functional.pad(model.velocity(gen), (config.decoder.vocabulary, 0)))
    outputs = []
    for row, order in zip(torch.cat(streams, dim=1), batch.order, strict=True):
        real = order >= 0
        outputs.append(row[real][order[real].argsort()])
    return outputs


@contextmanager
def decoder_calls(model: UnifiedModel) -> Iterator[list[tuple[Any, Any]]]:
    """Records (inputs, outputs) of every call of the decoder."""
    calls: list[tuple[Any, Any]] = []
    handle = model.decoder.register_forward_hook(lambda _, inputs, outputs: calls.append((inputs, outputs)))
    try:
        yield calls
    finally:
        handle.remove()


def tokens_of_call(call: tuple[Any, Any]) -> int:
    """Tokens, of all rows, that went through the decoder in a call."""
    _, _, positions, _ = call[0]
    return positions.numel()


@dataclass(frozen=True)
class Scripted(Sampling):
    """A stand-in for the model's will: forces token ids, recorded with the probabilities the model gives them.

    `script` has, per seed of a rollout, the ids of its turns, or None for a turn that is sampled freely; the end of a
    turn is forced too. A row is known by its random numbers, so the batch may be of any shape and order.
    """

    script: Mapping[int, Sequence[Sequence[int] | None]] = field(default_factory=dict)
    turn_tokens: int = 96

    def choose(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        free, _ = super().choose(logits, uniform)
        forced = [self._places.get(u, i) for u, i in zip(uniform.tolist(), free.tolist(), strict=True)]
        ids = torch.tensor(forced, device=logits.device)
        log_p = torch.log_softmax(logits.float() / (self.temperature or 1.0), dim=-1)
        return ids, log_p.gather(-1, ids[:, None])[:, 0]

    @cached_property
    def _places(self) -> dict[float, int]:
        """Random number -> the id to be written where it comes up."""
        places: dict[float, int] = {}
        for seed, turns in self.script.items():
            for turn, ids in enumerate(turns):
                if ids is not None:
                    numbers = torch.rand(self.turn_tokens, generator=generator(seed, "text", turn)).tolist()
                    assert not places.keys() & set(numbers), "a random number came twice: take another seed"
                    places |= dict(zip(numbers, [*ids, OWN_SPECIAL.end], strict=False))
        return places


def flagged(cooper, questions, total, path, settings, on_progress):  # type: ignore[no-untyped-def]
    """All questions, as if maps helped with them: a model of a moment answers none, and all would be dropped."""
    records = [(seed, asked.record) for seed, asked in questions]
    assert len(records) == total
    with Predictions(path, {}) as kept:
        kept.add([
            {"seed": seed, "task": r.task, "question": r.question, "answer": r.answer, "kind": r.kind, "value": r.value,
             "flag": "positive"} for seed, r in records if not kept.rows
        ])  # fmt: skip
    return Counter()


def demand_call(cooper: Cooper, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the first turn calls for that map, whatever the weights would say."""
    config, call = cooper.model.config, cooper.sequencer.ids(cooper.sequencer.prompts.call(modality(name)))
    others = {*range(config.decoder.vocabulary)} - {call[0]}
    demand, settings = Demand(((*call, config.special.end),), tuple(others)), cooper._settings
    monkeypatch.setattr(cooper, "_settings", lambda *args: replace(settings(*args), demand=demand))
