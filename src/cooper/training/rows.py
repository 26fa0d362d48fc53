"""Training rows of the unified model: one scene, many continuations.

A row holds a picture once and everything that is asked about it as branches: captions, small questions about places,
direct answers, maps to be drawn, worked traces. Each branch sees the picture and its own past, exactly what it will
see when the model is used, because `layout` makes it so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cooper.layout import Node, Noised, Piece, merge, tokens_of
from cooper.modalities import modality
from cooper.policy import POLICIES, Mode, Policy, policy
from cooper.scenes.captions import DESCRIBE, RECONSTRUCT, caption, grounded, listed, told
from cooper.scenes.chosen import choose_questions
from cooper.scenes.edits import edit
from cooper.scenes.moved import moved
from cooper.scenes.question import GENERAL, Question
from cooper.scenes.questions import ask_all
from cooper.scenes.render import View
from cooper.scenes.seen import look
from cooper.scenes.sums import some_sum
from cooper.scenes.targets import SceneImages
from cooper.scenes.worked import Turn, wanted, worked_turns
from cooper.scenes.world import Scene
from cooper.sequence import Sequencer, Target
from cooper.trace import Drawing, Picture, Segment, Text, Trace
from cooper.training.drawn import DrawnMaps
from cooper.training.latents import Latents
from cooper.training.noise import noised
from cooper.training.pointing import Mentions, Pointer, pointers
from cooper.training.settings import LATER, within
from cooper.view_dropout import blinded, hidden_view

T = TypeVar("T")


@dataclass(frozen=True)
class Mix:
    """What a stage's rows are made of."""

    tokens: int = 512
    """A row is filled with questions up to about this many tokens."""
    modes: tuple[tuple[str, float], ...] = (("direct", 1.0),)
    """(policy, share of the rows): the policy under which a row's questions are answered."""
    told: float = 0.0
    """Share of the rows in which a description in words replaces the picture, and questions are answered by reasoning.
    They are cheap, and teach the model to look things up and to reason."""
    sums: float = 0.0
    """Share of the rows that hold nothing but the last steps of traces, with made-up numbers (`cooper.scenes.sums`)."""
    questions: bool = True
    """Whether the tasks' questions are asked at all."""
    answered: int | None = None
    """So many scenes, the first ones, come with spatial answers. With pictures of the others no length, comparison or
    hidden thing is told: they have maps, names, places in the picture, and lists of what is there from left to right.
    (Rows without a picture are the same for all.) None: all come with everything."""
    answered_share: float = 0.5
    """Share of the rows that are about the former, if they are told apart. The other rows are about any."""
    asked: int | None = None
    """So many spatial questions are known of each scene that has spatial answers, always the same; besides them it is
    told what the other scenes are. None: all questions, lists and captions."""
    general: int | None = None
    """Most questions a row that are not spatial. None: as many as find room."""
    caption: float = 0.0
    """Share of the rows with a caption; only rows without a system prompt have what follows, too."""
    grounded: int = 0
    """Questions about places."""
    listed: int = 0
    """Lists of one thing about every object. Rows whose policy draws have one of them, and draw a map for it."""
    reconstruct: float = 0.0
    """Share of the rows in which the picture itself is drawn."""
    maps: float = 0.0
    """Share of the rows in which each map is drawn on demand."""
    noises: int = 1
    """Noise times at which each of these maps is drawn; the picture they share is most of the cost."""
    spread: float = 1.8
    """Deviation of the noise times' logit. Published models have 1, which hardly ever shows noise as it is where a
    drawing begins (two times in a thousand above 0.95); 1.8 is nearly uniform."""
    maps_alone: float = 0.0
    """Share of the rows that hold a picture and its maps on demand, and nothing else. The other shares, but for that of
    `read`, are of the rows that these two leave over."""
    read: float = 0.0
    """Share of the rows that practise reading maps: lists of how far and how large everything is behind a depth map in
    which each thing is elsewhere than in the picture (`cooper.scenes.moved`). They are of all scenes, since they tell
    nothing of what is true of the picture."""
    traced_targets: float = 0.0
    """Share of worked traces whose maps are also drawn, in their context."""
    object_weight: float = 1.0
    """What tokens of a target that show some of an object count in the flow loss; the room's count 1."""
    view_dropout: float = 0.0
    """Share of the picture's patches that is hidden from what is written after a map, so that the map has to be read
    (docs/method.md, section 9)."""
    by_eye: float = field(default=0.0, metadata=LATER)
    """Share of interleaved traces that answer without a map where one would help. Without any, SFT settles what is
    called, and the reward for calls has nothing left to choose from: all rollouts of a question call alike."""
    edited: float = field(default=0.0, metadata=LATER)
    """Share of the rows in which the picture is drawn changed, as an order says (`cooper.scenes.edits`)."""

    def __post_init__(self) -> None:
        within(
            self, 0, 1, "told", "sums", "answered_share", "caption", "reconstruct", "maps", "maps_alone", "read",
            "traced_targets", "view_dropout", "by_eye", "edited",
        )  # fmt: skip
        if self.edited and self.object_weight != 1:  # which tells objects from the room as they were
            raise ValueError(f"edited pictures need an object_weight of 1, not {self.object_weight:g}")
        for one, other in (("told", "sums"), ("maps_alone", "read")):
            if getattr(self, one) + getattr(self, other) > 1:
                raise ValueError(f"{one} and {other} are shares of the same rows, so at most 1 together")
        within(self, 1, math.inf, "tokens", "noises")
        within(self, 0, math.inf, "answered", "asked", "general", "grounded", "listed", "spread", "object_weight")
        for name, share in self.modes:
            policy(name)
            if not 0 <= share < math.inf:
                raise ValueError(f"the share of {name} in modes must be 0 or more, not {share:g}")
        if not sum(share for _, share in self.modes) > 0:
            raise ValueError("modes must have one with a share above 0")

    @property
    def draws_maps(self) -> bool:
        """Whether rows hold maps at all, and so need their latents."""
        return self.maps > 0 or any(POLICIES[name].calls for name, _ in self.modes)


class SceneRows:
    """Rows of a folder of shards and their latents: `nodes(i, rng)` lays scene i out as one row.

    `task_weights` says how often questions of each task are worked out, 1 if it does not say.
    """

    def __init__(
        self, images: SceneImages, latents: Latents, sequencer: Sequencer, mix: Mix, time_shift: float = 1.0,
        drawn: DrawnMaps | None = None, scenes: int | None = None, task_weights: Mapping[str, float] | None = None,
    ):  # fmt: skip
        self.images, self.latents, self.sequencer = images, latents, sequencer
        self.length = min(len(images), scenes or len(images), len(images if drawn is None else drawn))
        self.mix, self.time_shift, self.drawn = mix, time_shift, drawn
        self.task_weights = task_weights
        self.mentions = Mentions(sequencer.tokenizer)
        self._order: tuple[tuple[int, int], np.ndarray] | None = None

    def __len__(self) -> int:
        return self.length

    def row(self, k: int, seed: int, rng: np.random.Generator, pointing: bool) -> tuple[list[Node], list[Pointer]]:
        """Row k of endless training, and where its words point."""
        i = self.scene(k, seed)
        nodes = self.nodes(i, rng)
        patch = self.sequencer.config.vision.patch
        return nodes, pointers(nodes, *self.images.shards[i], patch, self.mentions) if pointing else []

    def scene(self, k: int, seed: int) -> int:
        """The scene of row k. Every epoch goes through all in an order of its own, or, if some are to come more often
        (`Mix.answered`), with some of them in the place of others."""
        epoch, at = divmod(k, len(self))
        if self._order is None or self._order[0] != (seed, epoch):
            rng = np.random.default_rng((seed, 1, epoch))
            order, answered = rng.permutation(len(self)), self.mix.answered
            if answered and answered < len(self):
                some = rng.random(len(self)) < self.mix.answered_share
                order[some] = rng.permutation(np.arange(some.sum()) % answered)
            self._order = (seed, epoch), order
        return int(self._order[1][at])

    def pictures(self, n: int) -> list[list[np.ndarray]]:
        """The first so many pictures, each with its maps, if maps are drawn; fewer if there are fewer."""
        if not self.mix.draws_maps:
            return []
        kinds = ("picture", *self.sequencer.config.modalities)
        return [[self.images.image(i, kind) for kind in kinds] for i in range(min(n, len(self.images)))]

    def orders(self, n: int) -> list[tuple[np.ndarray, list[tuple[str, np.ndarray]]]]:
        """Each of the first so many pictures, with orders to draw it as it is, and changed, if that is learned."""
        mix, found = self.mix, []
        for i in range(min(n, len(self.images)) if mix.reconstruct or mix.edited else 0):
            picture = self.images.image(i, "picture")
            again = [(RECONSTRUCT, picture)] if mix.reconstruct else []
            changed = [edit(*self.images.shards[i], np.random.default_rng(i))] if mix.edited else []
            found.append((picture, again + changed))
        return found

    def asked(self, n: int) -> list[tuple[np.ndarray, str, str]]:
        """A question about each of the first so many scenes, if any are learned."""
        if not self.mix.questions:
            return []
        scenes = [self.images.shards[i] for i in range(min(n, len(self.images)))]
        return [(scenes[a.index][1].rgb, a.question.text, a.question.answer) for a in choose_questions(scenes, 1)]

    @property
    def mode(self) -> str:
        return max(self.mix.modes, key=lambda one: one[1])[0]

    def nodes(self, i: int, rng: np.random.Generator) -> list[Node]:
        scene, view = self.images.shards[i]
        cached = _Cached(self.images, self.latents, self.drawn, i)
        names, shares = zip(*self.mix.modes, strict=True)
        policy = POLICIES[str(rng.choice(names, p=np.array(shares) / sum(shares)))]
        kind = self._kind(rng)
        if kind == "reading" and not look(scene, view).named:
            kind = "usual"
        sequences: list[list[Piece]] = []
        shared: dict[int, list[Piece]] = {}
        if self.mix.view_dropout and kind not in ("told", "sums"):  # which have no picture
            image = cached.image("picture")
            picture = self.sequencer.picture(image, cached.encode)
            shared[id(image)] = hidden_view(picture, self.mix.view_dropout, self.sequencer.config, rng)
        used = 0
        traces: Iterable[Trace]
        match kind:
            case "told":
                traces = self.told(scene, view, rng)
            case "sums":
                traces = self.sums(rng)
            case "maps":
                traces = self._demanded(cached)
            case "reading":
                traces = self.reading(scene, view, cached, rng)
            case "usual":
                traces = self.traces(i, policy, cached, rng)
        for trace in traces:
            pieces = self.sequencer.pieces(trace, cached.encode, self._target(i, rng), shared)
            if self.mix.view_dropout and trace.drawings:
                pieces = blinded(pieces)
            skip = 0 if not sequences else sum(p is q or p == q for p, q in zip(pieces, sequences[0], strict=False))
            used += sum(tokens_of(p, self.sequencer.config) + 2 for p in pieces[skip:])
            if sequences and used > self.mix.tokens:
                break
            sequences.append(pieces)
        return merge(sequences)

    def _kind(self, rng: np.random.Generator) -> str:
        mix = self.mix
        usual = 1 - mix.maps_alone - mix.read
        shares = {
            "told": usual * mix.told, "sums": usual * mix.sums, "usual": usual * (1 - mix.told - mix.sums),
            "maps": mix.maps_alone, "reading": mix.read,
        }  # fmt: skip
        return str(rng.choice([*shares], p=[*shares.values()]))

    def _demanded(self, cached: _Cached) -> Iterator[Trace]:
        """A picture, and a map of it that is to be drawn."""
        for name in self.sequencer.config.modalities * self.mix.noises:
            call, drawing = Text(modality(name).call), Drawing(name, cached.image(name), target=True, shown=False)
            yield Trace((Picture(cached.image("picture")), call, drawing))

    def told(self, scene: Scene, view: View, rng: np.random.Generator) -> list[Trace]:
        """Questions about a picture that is told in words."""
        policy = POLICIES["text"]
        start = Trace((Text(policy.system or "", "system"), Text(told(scene, view, rng))))
        questions = ask_all(scene, view, rng)
        return [
            start + worked(scene, view, questions[k], policy, None, False)
            for k in rng.permutation(len(questions))
        ]

    def reading(self, scene: Scene, view: View, cached: _Cached, rng: np.random.Generator) -> Iterator[Trace]:
        """Lists of what is read off a depth map that alone can tell, without end. Something can be named."""
        policy = POLICIES["interleaved"]
        start = Trace((Text(policy.system or "", "system"), Picture(cached.image("picture"))))
        scene, view = moved(scene, view, rng)
        cached.instead["depth"] = modality("depth").to_rgb(view.depth)
        while True:
            for one in listed(scene, view, rng):
                if one.maps == ("depth",):
                    turns = (wanted("depth"), Turn(one.answer))
                    yield start + segments_of(turns, one.question, policy, cached)

    def sums(self, rng: np.random.Generator) -> Iterator[Trace]:
        """Steps of reasoning without end."""
        start = Trace((Text(POLICIES["text"].system or "", "system"),))
        while True:
            known, follows = some_sum(rng)
            yield start + (Text(known), Text(follows, "model"))

    def traces(self, i: int, policy: Policy, cached: _Cached, rng: np.random.Generator) -> list[Trace]:
        """Everything a row of scene i could hold, most wanted first."""
        scene, view = self.images.shards[i]
        mix = self.mix
        start = Trace((*([Text(policy.system, "system")] if policy.system else []), Picture(cached.image("picture"))))
        traces: list[Trace] = []

        def add(*segments: Segment) -> None:
            traces.append(start + segments)

        answered = mix.answered is None or i < mix.answered
        everything = answered and mix.asked is None
        if policy.system is None:
            if rng.random() < mix.maps:
                traces += self._demanded(cached)
            if rng.random() < mix.reconstruct:
                add(Text(RECONSTRUCT), Drawing("picture", cached.image("picture"), target=True, shown=False))
            if mix.edited and rng.random() < mix.edited:
                order, cached.instead["edited"] = edit(scene, view, rng)
                add(Text(order), Drawing("picture", cached.instead["edited"], target=True, shown=False))
            if rng.random() < mix.caption:
                add(Text(DESCRIBE), Text(caption(scene, view, rng, everything), "model"))
            for question, answer in _several(mix.grounded, lambda: grounded(scene, view, rng, everything)):
                add(Text(question), Text(answer, "model"))
        if policy.calls or policy.system is None:
            lists = mix.listed if policy.system is None else min(1, mix.listed)
            for one in _several(lists, lambda: listed(scene, view, rng, everything)):
                turns = [*(wanted(m) for m in one.maps if m in policy.calls), Turn(one.answer)]
                target = rng.random() < mix.traced_targets
                traces.append(start + segments_of(turns, one.question, policy, cached, target))
        questions = [q for q in ask_all(scene, view, rng) if everything or q.task in GENERAL] if mix.questions else []
        known = self._known(scene, view) if mix.questions and answered and not everything else []
        if mix.general is not None:
            general = self._chosen([q for q in questions if q.task in GENERAL], rng)[: mix.general]
            questions = [q for q in questions if q.task not in GENERAL] + general
        for asked in (*self._chosen(known, rng), *self._chosen(questions, rng)):
            target = rng.random() < mix.traced_targets
            # a random number is drawn only where it decides: other stages keep theirs
            by_eye = mix.by_eye > 0 and policy.name == "interleaved" and rng.random() < mix.by_eye
            traces.append(start + worked(scene, view, asked, policy, cached, target, "text" if by_eye else None))
        return traces

    def _known(self, scene: Scene, view: View) -> list[Question]:
        """The spatial questions whose answers are known of a scene, if not all are."""
        rng = np.random.default_rng((1, scene.seed))
        questions = [q for q in ask_all(scene, view, rng) if q.task not in GENERAL]
        return [questions[k] for k in rng.permutation(len(questions))[: self.mix.asked]]

    def _chosen(self, questions: Sequence[Question], rng: np.random.Generator) -> list[Question]:
        """In random order; those of tasks that weigh more tend to come early, and late ones find no room in a row."""
        if self.task_weights is None:
            return [questions[k] for k in rng.permutation(len(questions))]
        weights = np.array([self.task_weights.get(question.task, 1.0) for question in questions])
        # drawn one after the other by weight, without putting back (Efraimidis and Spirakis, 2006)
        return [questions[k] for k in np.argsort(rng.exponential(size=len(questions)) / weights)]

    def _target(self, i: int, rng: np.random.Generator) -> Target:
        def target(tokens: Tensor, grid: tuple[int, int]) -> Noised:
            return noised(tokens, grid, rng, self.mix.spread, self.time_shift, self._weight(i, grid))

        return target

    def _weight(self, i: int, grid: tuple[int, int]) -> Tensor | None:
        """(tokens,): what each drawing token of scene i counts; None: all the same."""
        if self.mix.object_weight == 1:
            return None
        labels = self.images.shards.labels[i]
        cells = labels.reshape(grid[0], labels.shape[0] // grid[0], grid[1], -1)
        shows = torch.from_numpy((cells > 0).any(axis=(1, 3))).flatten()
        return torch.where(shows, self.mix.object_weight, 1.0)


def worked(
    scene: Scene, view: View, question: Question, policy: Policy, images: _Cached | None, target: bool,
    mode: Mode | None = None,
) -> Sequence[Segment]:  # fmt: skip
    """A worked trace after the picture: question, turns, maps, reflections. With `target`, maps are to be drawn. The
    turns are those of a `mode`; None: of the policy's."""
    turns = worked_turns(scene, view, question, mode or policy.name)  # type: ignore[arg-type]
    return segments_of(turns, question.text, policy, images, target)


def segments_of(
    turns: Sequence[Turn], question: str, policy: Policy, images: _Cached | None, target: bool = False
) -> list[Segment]:
    """A question and the model's turns as segments of a trace."""
    segments: list[Segment] = [Text(question)]
    for turn in turns:
        segments.append(Text(turn.text, "model"))
        if turn.draws:
            assert images is not None, "a row without a picture has no maps either"
            if target:
                segments.append(Drawing(turn.draws, images.image(turn.draws), target=True, shown=False))
            segments.append(Drawing(turn.draws, images.shown(turn.draws)))
            segments.append(Text(policy.reflection, "reflection"))
    return segments


def _several(number: int, make: Callable[[], list[T]]) -> list[T]:
    """So many of what `make` makes, which is asked again until there are enough, or it has none."""
    made: list[T] = []
    while len(made) < number and (more := make()):
        made += more
    return made[:number]


class _Cached:
    """The images of one scene, each made once, and their latents."""

    def __init__(self, images: SceneImages, latents: Latents, drawn: DrawnMaps | None, i: int):
        self.images, self.latents, self.drawn, self.i = images, latents, drawn, i
        self.made: dict[str, np.ndarray] = {}
        self.instead: dict[str, np.ndarray] = {}
        """Maps that traces show instead of the scene's, and pictures that are drawn instead."""
        self.encoded: dict[str, Tensor] = {}
        """The latents of those."""

    def image(self, kind: str) -> np.ndarray:
        if kind not in self.made:
            self.made[kind] = self.images.image(self.i, kind)
        return self.made[kind]

    def shown(self, kind: str) -> np.ndarray:
        """A map as traces show it: as the model drew it, or as it should be, unless there is another instead."""
        if kind not in self.instead:
            if self.drawn is None:
                return self.image(kind)
            self.instead[kind] = np.array(self.drawn.row(self.i, kind))
        return self.instead[kind]

    def encode(self, image: np.ndarray) -> Tensor:
        for kind, made in self.made.items():
            if made is image:
                return self.latents.tokens(self.i, kind)
        (kind,) = (kind for kind, shown in self.instead.items() if shown is image)
        if kind not in self.encoded:
            self.encoded[kind] = self.latents.encode(image[None])[0]
        return self.encoded[kind]
