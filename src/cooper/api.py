"""The way in: load a model, ask it, let it draw."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from PIL import Image

from cooper.chain import save_chain
from cooper.checkpoints.adapters import Adapters
from cooper.checkpoints.card import model_card
from cooper.checkpoints.checkpoint import Checkpoint, find
from cooper.checkpoints.hub import push
from cooper.checkpoints.native import save_native
from cooper.files import new_file, save_array
from cooper.hardware import check_device
from cooper.images import ImageSource, load_image
from cooper.inference.engine import Engine, Settings
from cooper.inference.flow import RELEASED, changed, on_demand
from cooper.inference.rollout import Event, Finished, OnEvent, Rollout
from cooper.inference.sampler import Sampling
from cooper.inference.spelling import Spelling
from cooper.modalities import MapCodes, MapView, Modality
from cooper.modalities.base import at_size
from cooper.modalities.codes import RELEASED as RELEASED_CODES
from cooper.model.config import FlowSettings, Precision
from cooper.model.precision import check_precision, quantised
from cooper.model.unified import UnifiedModel
from cooper.options import Options
from cooper.page import trace_page
from cooper.policy import Policy
from cooper.prompts import FILE as PROMPTS_FILE
from cooper.prompts import Prompts, WordingWarning, load_prompts
from cooper.quantities import quantity
from cooper.sequence import Sequencer
from cooper.trace import Picture, Text, Trace, asked
from cooper.turns import calls_of
from cooper.voting import vote

#: whether published weights are run as they are trained and asked here, or as their release runs them
Compat: TypeAlias = Literal["consistent", "released"]


@dataclass(frozen=True)
class Answer:
    """An answer and how it came about."""

    answer: str
    """What the model answered; empty if it gave no answer."""
    value: float | None
    """The number in the answer, if there is one."""
    unit: str | None
    """Its unit."""
    trace: Trace
    """The whole chain: picture, question, turns and maps."""
    reason: str
    """Why it ended: answered, malformed, length or turns."""
    mode: str
    """The name of the way it was answered in."""
    model: str
    seed: int
    tokens: int
    """Tokens the model wrote, over all samples."""
    seconds: float
    """Wall-clock time of this answer; of questions answered together, their total divided evenly."""
    votes: dict[str, int] = field(default_factory=dict)
    """Answers and how often they were given, if more than one sample was drawn."""
    codes: MapCodes = field(default=MapCodes(), repr=False)
    """How the colours of the chain's maps encode values."""

    @property
    def text(self) -> str:
        """The answer; where there is none, the last turn as it was written. For clients that take text alone."""
        turns = self.trace.turns
        return self.answer or (turns[-1] if turns else "")

    @property
    def maps(self) -> list[Map]:
        """The maps of the chain, in order, at the size of its picture, which is its first."""
        return [
            _map(self.codes.modality(drawing.modality), drawing.as_drawn, self.trace.pictures[0].image)
            for drawing in self.trace.drawings
        ]

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        """The whole chain, where a notebook shows the answer."""
        return f'<iframe srcdoc="{escape(self.page())}" style="width: 100%; height: 40em; border: 0"></iframe>'

    def page(self, title: str | None = None) -> str:
        """The HTML of the whole chain, as one self-contained page; its title is the answer, unless another is given."""
        return trace_page(self.trace, title=self.text if title is None else title, maps=self.codes.view)

    def save(self, folder: str | Path) -> list[Path]:
        """Write the chain into a folder, which is made if need be: the trace, which `Trace.load` reads, and of each map
        NN-depth-view.png, coloured, and NN-depth.npy, its values. A chain that lies there is replaced. Returns the
        paths of the coloured maps, in order."""
        return save_chain(self.trace, self.codes, Path(folder))

    def to_dict(self, maps: Sequence[str | None] = ()) -> dict[str, Any]:
        """The answer as JSON values. `maps` are the paths at which the maps were saved, in order."""
        drawings = iter([*maps, *[None] * len(self.trace.drawings)])
        drawn = iter(self.trace.drawings)
        turns = []
        for text in self.trace.turns:
            drawing = next(drawn, None) if calls_of(text) else None
            path = next(drawings) if drawing else None
            turns.append({"text": text, "call": drawing.modality if drawing else None, "map": path})
        return {
            "answer": self.answer, "value": self.value, "unit": self.unit, "reason": self.reason, "votes": self.votes,
            "mode": self.mode, "model": self.model, "seed": self.seed, "turns": turns, "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Map:
    """A drawn map, at the picture's own size."""

    modality: str
    values: np.ndarray
    """Depth: float32 (height, width), larger is farther. Segmentation: int32 (height, width), 0 is background."""
    unit: str | None
    """What the values are in: "m" for metric depth, None for labels and for depth that is only relative."""
    view: MapView
    """The map as a person wants to see it, at the size it was drawn."""
    kind: Modality
    """What the values mean."""

    def __repr__(self) -> str:
        height, width = self.values.shape
        return f"Map({self.modality!r}, {width} x {height}, {self.values.dtype}, unit={self.unit!r})"

    @property
    def labels(self) -> np.ndarray:
        """The values of a segmentation. Raises ValueError for a map of numbers, such as depth."""
        if not np.issubdtype(self.values.dtype, np.integer):
            raise ValueError(f"{self.modality} has numbers, not labels; take `values`")
        return self.values

    def save(self, path: str | Path) -> None:
        """Write the values (FILE.npy) or the map in colours (FILE.png), at the picture's size; the file is whole or not
        there. Raises ValueError for another ending."""
        path = Path(path)
        ending = path.suffix.lower()
        if ending not in (".npy", ".png"):
            raise ValueError(f"{path} ends in neither .npy (values) nor .png (colours); name a file with one")
        with new_file(path) as file:
            if ending == ".npy":
                save_array(file, self.values)
                return
            height, width = self.values.shape
            # colours of areas must not be mixed
            how = Image.Resampling.NEAREST if self.view.legend is not None else Image.Resampling.BILINEAR
            Image.fromarray(self.view.image).resize((width, height), how).save(file, "PNG")


def _map(kind: Modality, rgb: np.ndarray, picture: np.ndarray) -> Map:
    """A drawing as a map of the picture, at its size."""
    return Map(kind.name, at_size(kind.to_values(rgb), *picture.shape[:2]), kind.unit, kind.view(rgb), kind)


class Cooper:
    """A model that looks, draws what it needs to see, thinks, and answers.

    >>> model = Cooper.load("tiny")
    >>> result = model.ask("room.png", "How far is the red ball?")
    >>> result.answer, result.value, result.trace
    """

    def __init__(self, model: UnifiedModel, sequencer: Sequencer, name: str, stored: Checkpoint | None = None):
        """`stored` is what the model was loaded from."""
        self.model, self.sequencer, self.name = model.for_inference(), sequencer, name
        self._stored = stored

    def __repr__(self) -> str:
        return f"Cooper({self.name!r})"

    @classmethod
    def load(
        cls, source: str | Path = "tiny", precision: Precision = "fp32", *, base: str | Path | None = None,
        adapter: str | Path | None = None, prompts: str | Path | None = None, compat: Compat = "consistent",
        device: str = "cpu",
    ) -> Cooper:  # fmt: skip
        """The shipped model `tiny`, a folder (our own layout, or a published model's of the BAGEL family), or a model
        on the hub (`OWNER/NAME`).

        `base` is the model that fine-tuned weights are based on, for what their folder lacks. `adapter` is a folder of
        LoRA adapters, as peft writes them, which become part of the weights. `precision` is what it
        then computes in (`cooper.model.precision`). `prompts` is a file of the words it was trained with; by default
        `prompts.json` beside the weights. With `compat` "released" a published model does what its release does where
        that differs: maps are looked at through the vision transformer alone, and drawn as in its benchmarks. `device`
        is where it computes, such as "cuda".

        Raises ValueError, naming what is missing, if it cannot be loaded, for an unknown precision, compat or device,
        and for compat "released" of a model that is no published one. Warns (`WordingWarning`) if a published model is
        addressed in our words, for want of its own, (`UnusedWarning`) of tensors in its files that it is not made of,
        and (`OtherBaseWarning`) of adapters that were trained beside other weights.
        """
        check_precision(precision)
        if compat not in get_args(Compat):
            raise ValueError(f"unknown compat {compat!r}; choose one of {', '.join(get_args(Compat))}")
        where = check_device(device)
        found = find(source, base)
        path = found.file(PROMPTS_FILE) if prompts is None else Path(prompts)
        words = Prompts() if path is None else load_prompts(path)
        if path is None and found.published:
            warnings.warn(
                f"{source} has no {PROMPTS_FILE}: it is addressed in the tiny model's words, which it was not trained "
                "with. Make the file from your copy of the release: cooper prompts import FILE.py",
                WordingWarning, stacklevel=2,
            )
        config, tokenizer = found.config, found.tokenizer()
        if compat == "released":
            if config.codes != RELEASED_CODES:
                raise ValueError(f"{source} draws maps as no published model does; compat released is for those")
            config = replace(config, maps_through="vision", flow=RELEASED)
        adapters = None if adapter is None else Adapters(adapter)
        if adapters is not None:
            config = adapters.adapted(config)
        model = replace(found, config=config).load(precision, adapters, where)
        name = str(source) if adapter is None else f"{source} + {adapter}"
        return cls(model, Sequencer(tokenizer, config, words), name, found)

    from_pretrained = load

    def save_pretrained(self, folder: str | Path, shard_bytes: int | None = None) -> None:
        """Save the model in our native layout, which `load` reads, in the precision it has in memory. The autoencoder
        of a bf16 model is copied unrounded from the checkpoint it was loaded from. `compat` is not saved. Raises
        ValueError if the weights are quantised."""
        if quantised(self.model):
            raise ValueError("quantised weights are not saved; load the model in another precision and save that")
        prompts, stored, config = self.sequencer.prompts, self._stored, self.model.config
        rounded = next(self.model.autoencoder.parameters()).itemsize < 4
        if stored is not None:
            config = replace(config, maps_through=stored.config.maps_through, flow=stored.config.flow)
        exact = stored.tensor if rounded and stored is not None else None
        save_native(self.model, self.sequencer.tokenizer, folder, None, shard_bytes, prompts, config, exact)
        if stored is not None and Path(folder).resolve() in {one.resolve() for one in stored.folders}:
            self._stored = find(folder)  # what it was loaded from is no more

    def push_to_hub(self, name: str, private: bool = False) -> str:
        """Save the model and upload it to the hub as `OWNER/NAME`, with a short card unless it has one there; returns
        its address. Raises ValueError if the hub refuses."""
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, shard_bytes=5 * 10**9)
            return push(Path(folder), name, model_card(name, self.model), private)

    def policy(self, mode: str | Policy) -> Policy:
        """A way of answering, in the words that this model was trained with; one's own as it is. Raises ValueError,
        naming the known ones, if there is no mode, or no map that it calls for, of that name."""
        return self.sequencer.prompts.policy(mode)

    def ask(self, image: ImageSource, question: str, options: Options = Options(), **changes: Any) -> Answer:
        """Answer a question about a picture. Options may be given by name: `ask(image, question, mode="direct")`."""
        return self.ask_many([(image, question)], options, **changes)[0]

    def ask_many(
        self, questions: Sequence[tuple[ImageSource, str]], options: Options = Options(), **changes: Any
    ) -> list[Answer]:
        """Answer many (picture, question) pairs, in batches."""
        prompts = [prompt_of(load_image(image), question) for image, question in questions]
        return self.answer_many(prompts, options, **changes)

    def answer_many(
        self, prompts: Sequence[Trace], options: Options = Options(), *, seeds: Sequence[int] | None = None,
        on_event: OnEvent | None = None, **changes: Any,
    ) -> list[Answer]:  # fmt: skip
        """As `ask_many`, for ready-made prompts: a picture, then a question of any length. `seeds` has a seed for each,
        in the place of the options' one. `on_event` is told what `stream` yields, perhaps in another thread; rollouts
        are numbered as they come, `samples` of each prompt."""
        options = _changed(options, changes)
        engine, policy, seeds = self._prepared(options, [options.seed] * len(prompts) if seeds is None else seeds)
        began = time.perf_counter()
        spelling = Spelling(self.sequencer.text)
        told = None if on_event is None else lambda event: on_event(spelling(event))
        rollouts = engine.run(prompts, policy, samples=options.samples, seeds=seeds, on_event=told)
        seconds = (time.perf_counter() - began) / max(len(prompts), 1)
        groups = [rollouts[i : i + options.samples] for i in range(0, len(rollouts), options.samples)]
        return [self._answer(group, policy.name, seconds) for group in groups]

    def stream(
        self, image: ImageSource, question: str, options: Options = Options(), **changes: Any
    ) -> Iterator[Event | Answer]:
        """As `ask`, but yields what happens when it happens (tokens with their text, flow steps, maps), and the Answer
        last."""
        options = _changed(options, changes)
        prompt = prompt_of(load_image(image), question)
        engine, policy, seeds = self._prepared(options, [options.seed])
        began = time.perf_counter()
        rollouts = []
        events = engine.stream([prompt], policy, samples=options.samples, seeds=seeds)
        for event in map(Spelling(self.sequencer.text), events):
            if isinstance(event, Finished):
                rollouts.append(event.rollout)
            yield event
        rollouts.sort(key=lambda r: r.seed)
        yield self._answer(rollouts, policy.name, time.perf_counter() - began)

    def depth(
        self, image: ImageSource, *, flow_steps: int | None = None, guidance: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> Map:  # fmt: skip
        """The depth of a picture: `values` in `unit`. As `draw` otherwise."""
        return self.draw(image, "depth", flow_steps=flow_steps, guidance=guidance, seed=seed)

    def segment(
        self, image: ImageSource, *, flow_steps: int | None = None, guidance: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> Map:  # fmt: skip
        """The objects of a picture: `labels`, 0 for background. As `draw` otherwise."""
        return self.draw(image, "segmentation", flow_steps=flow_steps, guidance=guidance, seed=seed)

    def draw(
        self, image: ImageSource, name: str, *, flow_steps: int | None = None,
        guidance: tuple[float, float] | None = None, seed: int = 0,
    ) -> Map:  # fmt: skip
        """Draw a map of any modality this model supports. The rest means what it does in `Options`; None keeps what
        the model draws with. Raises ValueError for a modality that it does not draw, and as `Options` does."""
        return self.draw_many([image], name, flow_steps=flow_steps, guidance=guidance, seed=seed)[0]

    def draw_many(
        self, images: Sequence[ImageSource], name: str, *, flow_steps: int | None = None,
        guidance: tuple[float, float] | None = None, seed: int = 0,
    ) -> list[Map]:  # fmt: skip
        """A map of each picture, as `draw` draws it, in batches. Each begins with the noise of the seed."""
        options = Options(flow_steps=flow_steps, guidance=guidance, seed=seed)
        if name not in self.model.config.modalities:
            raise ValueError(f"{self.name} does not draw {name!r}; it draws {', '.join(self.model.config.modalities)}")
        pictures = [load_image(image) for image in images]
        engine = Engine(self.model, self.sequencer, self._settings(options, on_demand(self.model.config.flow)))
        drawings = engine.draw(pictures, name, seeds=[options.seed] * len(pictures))
        kind = self.model.config.codes.modality(name)
        return [_map(kind, drawing.image, picture) for picture, drawing in zip(pictures, drawings, strict=True)]

    def _settings(self, options: Options, flow: FlowSettings | None = None) -> Settings:
        flow = changed(flow or self.model.config.flow, options.flow_steps, options.guidance)
        temperature = 0.7 if options.samples > 1 and options.temperature == 0 else options.temperature
        return Settings(
            Sampling(temperature, options.top_p), flow, turn_tokens=options.max_tokens, batch=options.batch
        )

    def _prepared(self, options: Options, firsts: Sequence[int]) -> tuple[Engine, Policy, list[int]]:
        """What answers, how, and the seed of each sample: of each prompt those from its first on."""
        policy = self.policy(options.mode)
        if options.max_turns is not None:
            policy = replace(policy, max_turns=options.max_turns)
        seeds = [first + k for first in firsts for k in range(options.samples)]
        return Engine(self.model, self.sequencer, self._settings(options)), policy, seeds

    def _answer(self, rollouts: list[Rollout], mode: str, seconds: float) -> Answer:
        """Of the samples of one question."""
        best, votes = rollouts[0], {}
        answer = best.trace.answer or ""
        if len(rollouts) > 1:
            result = vote([rollout.trace.answer for rollout in rollouts])
            best, answer, votes = rollouts[result.chosen], result.answer, result.votes
        value, unit = quantity(answer) or (None, None)
        meta = {"model": self.name, "mode": mode, "seed": best.seed, "seconds": round(seconds, 3)}
        return Answer(
            answer, value, unit, replace(best.trace, meta={**best.trace.meta, **meta}), best.reason, mode,
            self.name, best.seed, sum(r.tokens for r in rollouts), seconds, votes, self.model.config.codes,
        )  # fmt: skip


def _changed(options: Options, changes: Mapping[str, Any]) -> Options:
    if not isinstance(options, Options):
        raise TypeError(f"options are Options(...) or have names, as mode=..., and {options!r} has none")
    return replace(options, **changes)


def prompt_of(image: np.ndarray, question: str) -> Trace:
    """A prompt: the picture, then the question. Raises ValueError if the question is empty or far too long."""
    return Trace((Picture(image), Text(asked(question))))
