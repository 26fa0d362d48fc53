"""Answers: the loop of writing, drawing, looking and writing on, for many traces at once.

All traces of a batch write their turn together; those that called for a map draw together, look at it, and go on. What
a trace becomes depends on its prompt and its seed alone, not on the batch it is in, up to rounding, which is coarse
where numbers have fewer bits than fp32.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cooper.hardware import SMALL, lanes, side_by_side
from cooper.inference.flow import FlowSettings
from cooper.inference.rollout import Event, Finished, FlowStep, MapDrawn, OnEvent, Reason, Rollout, Shown, TokenWritten
from cooper.inference.sampler import Demand, Sampling, generator
from cooper.inference.session import Session, Written
from cooper.layout import Clean, Piece, Words, tokens_of
from cooper.modalities import by_tag, modality
from cooper.model.autoencoder import pixels_of, unpatchify
from cooper.model.unified import UnifiedModel
from cooper.policy import Policy
from cooper.sequence import Encode, Sequencer
from cooper.trace import Drawing, Picture, Text, Trace
from cooper.turns import answer_of, calls_of
from cooper.view_dropout import hidden_view, seeded

#: Fewest rows for which a thread of their own was measured to be worth it (docs/log.md, "Answering on two cores").
LANE = 16


@dataclass(frozen=True)
class Settings:
    """How the engine samples and what it spends on a trace."""

    sampling: Sampling = Sampling()
    flow: FlowSettings | None = None
    """How maps are drawn; None: as the model's config has it."""
    turn_tokens: int | None = None
    """Most tokens of one turn; None: as the model's config has it."""
    trace_tokens: int | None = None
    """Most tokens the model may write in a trace, all turns together; None: as the model's config has it."""
    batch: int = 32
    """Most traces that are advanced together, by all threads."""
    demand: Demand | None = None
    """What the first turn must have before it may end, for experiments: what does a model say that must call for a map
    (or, by `Sampling.banned`, may not)?"""
    view_dropout: float = 0.0
    """Share of the picture that is hidden from what is written after a map (`cooper.view_dropout`); for rollouts to
    learn from."""


@dataclass
class _Row:
    """A trace on its way."""

    number: int
    trace: Trace
    seed: int
    turns: list[Written] = field(default_factory=list)
    call: str | None = None
    """The map that it has called for."""
    reason: Reason | None = None

    @property
    def tokens(self) -> int:
        return sum(len(turn.ids) for turn in self.turns)


def _blank(image: np.ndarray) -> Tensor:
    return torch.zeros(0)


class Engine:
    """Runs traces under a policy on a model."""

    def __init__(self, model: UnifiedModel, sequencer: Sequencer, settings: Settings = Settings()):
        self.model, self.sequencer, self.settings = model, sequencer, settings
        of_model = model.config
        self.flow = settings.flow or of_model.flow
        self.trace_tokens = settings.trace_tokens or of_model.trace_tokens
        self.turn_tokens = min(settings.turn_tokens or of_model.turn_tokens, self.trace_tokens)

    def run(
        self, prompts: Sequence[Trace], policy: Policy, *, samples: int = 1, seeds: Sequence[int] | None = None,
        shown: Shown | None = None, on_event: OnEvent | None = None,
    ) -> list[Rollout]:  # fmt: skip
        """`samples` rollouts of every prompt, next to each other. A prompt is a trace that ends in a question.

        `seeds` has one seed per rollout (default: 0, 1, ...). `shown` may put another map in the place of one that was
        drawn, before the model looks at it. Raises ValueError for an empty prompt or too few seeds.
        """
        seeds = self._checked(prompts, samples, seeds)
        number = self._lanes(len(prompts), samples)
        ends = [len(prompts) * i // number for i in range(number + 1)]
        together = max(1, self.settings.batch // samples // number)

        done: dict[int, Rollout] = {}
        ended = threading.Event()

        def finish(part: range) -> None:
            try:
                for event in self._batches(prompts, part, together, policy, samples, seeds, shown):
                    if isinstance(event, Finished):
                        done[event.number] = event.rollout
                    if on_event is not None:
                        on_event(event)
                    if ended.is_set():
                        return
            except BaseException:
                ended.set()
                raise

        try:
            side_by_side([partial(finish, range(a, b)) for a, b in zip(ends, ends[1:], strict=False)])
        finally:
            ended.set()  # interrupted: no thread goes on with what nobody waits for
        return [done[i] for i in sorted(done)]

    def stream(
        self, prompts: Sequence[Trace], policy: Policy, *, samples: int = 1, seeds: Sequence[int] | None = None,
        shown: Shown | None = None,
    ) -> Iterator[Event]:  # fmt: skip
        """As `run`, event by event."""
        seeds = self._checked(prompts, samples, seeds)
        together = max(1, self.settings.batch // samples)
        yield from self._batches(prompts, range(len(prompts)), together, policy, samples, seeds, shown)

    def _checked(self, prompts: Sequence[Trace], samples: int, seeds: Sequence[int] | None) -> list[int]:
        """One seed per rollout."""
        if samples < 1:
            raise ValueError(f"samples must be at least 1, not {samples}")
        total = len(prompts) * samples
        seeds = list(range(total)) if seeds is None else list(seeds)
        if len(seeds) != total:
            raise ValueError(f"{len(prompts)} prompts with {samples} samples need {total} seeds, not {len(seeds)}")
        if any(not any(isinstance(s, Text) for s in prompt.segments) for prompt in prompts):
            raise ValueError("a prompt needs a question: a trace with at least one text")
        return seeds

    def _lanes(self, prompts: int, samples: int) -> int:
        """Into how many threads prompts are dealt out, each advancing a share of a batch by itself: products of a small
        model are too small for several threads, which would wait for each other."""
        decoder, rows = self.model.config.decoder, min(prompts * samples, self.settings.batch)
        number = lanes(min(prompts, rows // LANE, max(1, self.settings.batch // samples)))
        small = rows / number * decoder.hidden * 2 * decoder.ffn < SMALL
        return number if small and self.model.device.type == "cpu" else 1

    def _batches(
        self, prompts: Sequence[Trace], part: range, together: int, policy: Policy, samples: int, seeds: list[int],
        shown: Shown | None,
    ) -> Iterator[Event]:  # fmt: skip
        at_once = min(samples, self.settings.batch)  # of one prompt
        for i in range(part.start, part.stop, together):
            some = prompts[i : min(i + together, part.stop)]
            end, step = (i + len(some)) * samples, len(some) * at_once
            views = seeds[i * samples : end : samples]
            for first in range(i * samples, end, step):
                yield from self._run_batch(some, policy, seeds[first : min(first + step, end)], views, first, shown)

    def draw(self, pictures: Sequence[np.ndarray], name: str, *, seeds: Sequence[int] | None = None) -> list[Drawing]:
        """A map of each picture (uint8 RGB), drawn on demand: the prompt is the picture and the call, nothing else."""
        return self.follow(pictures, [self.sequencer.prompts.call(modality(name))] * len(pictures), name, seeds)

    def follow(
        self, pictures: Sequence[np.ndarray], orders: Sequence[str], name: str = "picture",
        seeds: Sequence[int] | None = None,
    ) -> list[Drawing]:  # fmt: skip
        """What an order says is to be drawn of each picture (uint8 RGB), such as the picture changed; it is called
        `name`. The prompt is the picture and the order, nothing else."""
        drawings: list[Drawing] = []
        for i in range(0, len(pictures), self.settings.batch):
            part = slice(i, i + self.settings.batch)
            part_seeds = [0] * len(pictures[part]) if seeds is None else seeds[part]
            drawings += self._follow_batch(pictures[part], orders[part], name, part_seeds)
        return drawings

    def _follow_batch(
        self, pictures: Sequence[np.ndarray], orders: Sequence[str], name: str, seeds: Sequence[int]
    ) -> list[Drawing]:
        encode = self.sequencer.encoder(self.model)
        seen = [self.sequencer.pieces(Trace((Picture(image),)), encode) for image in pictures]
        ids = [self.sequencer.ids(order) for order in orders]
        session = Session.open(self.model, seen).fork(1, max(map(len, ids)) + 2)
        session.read_turn(ids)
        rows = [
            _Row(k, Trace((Picture(image), Text(order, "model"))), seed, [Written(list(own), [], True)], name)
            for k, (image, order, own, seed) in enumerate(zip(pictures, orders, ids, seeds, strict=True))
        ]
        events = self._draw(session, rows, list(range(len(rows))), 0)
        drawn = {event.number: event.drawing for event in events if isinstance(event, MapDrawn)}
        return [drawn[k] for k in range(len(rows))]

    def _run_batch(
        self, prompts: Sequence[Trace], policy: Policy, seeds: list[int], views: list[int], first: int,
        shown: Shown | None,
    ) -> Iterator[Event]:  # fmt: skip
        """Rollouts from number `first` on, equally many of each prompt; `views` are seeds of what is hidden of it."""
        samples = len(seeds) // len(prompts)
        began = time.perf_counter()
        encode = self.sequencer.encoder(self.model)
        system = [Text(policy.system, "system")] if policy.system else []
        traces = [Trace((*system, *prompt.segments), prompt.meta) for prompt in prompts]
        prompted = [
            self.sequencer.pieces(trace, encode, shared=self.views(trace, encode, seed))
            for trace, seed in zip(traces, views, strict=True)
        ]
        opened = Session.open(self.model, prompted)
        session = opened.fork(samples, self._capacity(policy, traces, len(seeds)))
        rows = [_Row(first + k, traces[k // samples], seed) for k, seed in enumerate(seeds)]
        for turn in range(policy.max_turns):
            yield from self._write(session, rows, turn, self._demand(policy, turn))
            for row in rows:
                if row.reason is not None:
                    continue
                row.reason, row.call = self._judge(row, policy, last=turn == policy.max_turns - 1)
                if row.reason is not None:
                    seconds = time.perf_counter() - began
                    yield Finished(row.number, Rollout(row.trace, row.reason, row.seed, row.turns, seconds))
            going = [i for i, row in enumerate(rows) if row.reason is None]
            if not going:
                return
            if len(going) <= len(rows) // 2:  # the finished ones cost more than copying the rest
                session, rows, going = session.select(going), [rows[i] for i in going], list(range(len(going)))
            yield from self._draw(session, rows, going, turn)
            session.blind = self.settings.view_dropout > 0
            pieces: list[list[Piece]] = [[] for _ in rows]
            reflection = Text(policy.reflection, "reflection")
            for i in going:
                *before, drawing = rows[i].trace.segments
                assert isinstance(drawing, Drawing)
                drawing = self.model.config.codes.looked_at(drawing)
                if shown is not None:
                    drawing = shown(rows[i].number, drawing)
                rows[i].trace = Trace((*before, drawing), rows[i].trace.meta)
                looked = self.sequencer.pieces(Trace((drawing,)), encode)
                pieces[i] = [*looked, Words(self.sequencer.ids(policy.reflection), blind=session.blind)]
                rows[i].trace += reflection
            session.read(pieces)

    def views(self, trace: Trace, encode: Encode, seed: int) -> dict[int, list[Piece]]:
        """The pieces of a prompt's pictures with what is hidden of them, as `Sequencer.pieces` takes them, if anything
        is; `seed` is that of the prompt's first rollout."""
        share = self.settings.view_dropout
        if not share:
            return {}
        rng = seeded(seed)
        return {
            id(s.image): hidden_view(self.sequencer.picture(s.image, encode), share, self.model.config, rng)
            for s in trace.pictures
        }  # fmt: skip

    def _capacity(self, policy: Policy, traces: Sequence[Trace], rows: int) -> int:
        """Columns that a batch can come to after its prompts: rows are padded to the longest of each stream."""
        turns = min(policy.max_turns, self.trace_tokens)  # each has a token
        between = 0
        if turns > 1:
            # a map has the size that it is drawn at, which may be many times that of a small picture
            shapes = {self.sequencer.drawn_shape(s.image) for trace in traces for s in trace.pictures[:1]}
            maps = [Drawing("", np.zeros(shape, dtype=np.uint8)) for shape in shapes]
            shown = [self.sequencer.drawing(drawing, _blank, None) for drawing in maps]
            for gen in (False, True):
                streams = ([p for p in pieces if isinstance(p, Clean) == gen] for pieces in shown)
                between += max((sum(tokens_of(p, self.model.config) + 2 for p in s) for s in streams), default=0)
            between += len(self.sequencer.ids(policy.reflection)) + 2
        written = min(turns * self.turn_tokens, rows * self.trace_tokens)  # each turn is as long as its longest row
        return written + turns * 2 + (turns - 1) * between  # after the last turn nothing is drawn

    def _demand(self, policy: Policy, turn: int) -> Demand | None:
        """What a turn must have before it may end."""
        if policy.answers_last and turn == policy.max_turns - 1:
            tags = (modality(name).tag for name in self.sequencer.callable_in(policy))
            opening = self.sequencer.opening("answer", "think", *tags)
            if opening is not None:
                return Demand((opening[:1],), (*opening[1:], self.model.config.special.end))
        return None if turn else self.settings.demand

    def _write(self, session: Session, rows: list[_Row], turn: int, demand: Demand | None) -> Iterator[Event]:
        s = self.settings
        most = self.turn_tokens
        limits = [0 if row.reason is not None else min(most, self.trace_tokens - row.tokens) for row in rows]
        uniform = torch.stack([torch.rand(most, generator=generator(row.seed, "text", turn)) for row in rows])
        for step in session.write(limits, uniform, s.sampling, demand):
            yield from (TokenWritten(rows[i].number, token) for i, token in step)
        for row, written in zip(rows, session.written, strict=True):
            if row.reason is None:
                row.turns.append(written)
                text = self.sequencer.text(written.ids)
                row.trace += Text(text, "model", tuple(written.ids), cut=not written.ended)

    def _judge(self, row: _Row, policy: Policy, last: bool) -> tuple[Reason | None, str | None]:
        """Why a trace ends with its latest turn, or the map it calls for."""
        text = row.trace.turns[-1]
        if not row.turns[-1].ended:
            return "length", None
        if answer_of(text) is not None:
            return "answered", None
        calls = calls_of(text)
        called = by_tag(calls[0].tag, self.sequencer.callable_in(policy)) if calls else None
        if called is None or not row.trace.pictures:  # without a picture there is nothing to draw a map of
            return "malformed", None
        return ("turns", None) if last else (None, called.name)

    def _draw(self, session: Session, rows: list[_Row], going: list[int], turn: int) -> Iterator[Event]:
        """Draw the maps that the rows in `going` called for; each trace gets its Drawing."""
        flow = self.flow
        for grid, members in self._by_grid(rows, going).items():
            shape = (grid[0] * grid[1], self.model.config.latent_dim)
            noise = flow.noise * torch.stack(
                [torch.randn(shape, generator=generator(rows[i].seed, "map", turn)) for i in members]
            )
            without_call = [self._without_call(rows[i]) for i in members] if flow.text_scale != 1 else None
            texts = [self._texts(rows[i].trace) for i in members] if flow.image_scale != 1 else None
            walk = session.select(members).draw(noise, grid, flow, without_call, texts)
            latents = noise
            for step, moved in enumerate(walk, 1):
                latents = moved
                for i in members:
                    yield FlowStep(rows[i].number, rows[i].call, step, flow.time_points - 1)  # type: ignore[arg-type]
            for i, drawing in zip(members, self._finish(latents, grid, [rows[i].call for i in members]), strict=True):
                rows[i].trace += drawing
                yield MapDrawn(rows[i].number, drawing)

    def _by_grid(self, rows: list[_Row], going: list[int]) -> dict[tuple[int, int], list[int]]:
        grids: dict[tuple[int, int], list[int]] = {}
        for i in going:
            grids.setdefault(self.sequencer.latent_grid(rows[i].trace.pictures[0].image), []).append(i)
        return grids

    def _finish(self, tokens: Tensor, grid: tuple[int, int], calls: list[str | None]) -> list[Drawing]:
        """Drawing tokens (rows, tokens, latent_dim) as drawings."""
        with torch.no_grad():
            rgb = pixels_of(self.model.decode(tokens, grid))
        latents = unpatchify(tokens.float().cpu(), grid, self.model.config.latent_patch).numpy()
        return [Drawing(call, np.ascontiguousarray(rgb[k]), latents[k]) for k, call in enumerate(calls) if call]

    def _without_call(self, row: _Row) -> tuple[int, tuple[int, ...]]:
        """The latest turn without its call, or nothing of an order that has none, as (tokens it shares with the turn,
        tokens it goes on with)."""
        text = row.trace.turns[-1]
        calls = calls_of(text)
        shorter = self.sequencer.ids(text[: calls[0].start] if calls else "")
        ids = row.turns[-1].ids
        keep = 0
        while keep < min(len(ids), len(shorter)) and ids[keep] == shorter[keep]:
            keep += 1
        return keep, shorter[keep:]

    def _texts(self, trace: Trace) -> list[Words]:
        return [
            Words(self.sequencer.ids(s.text) if s.ids is None else s.ids) for s in trace.segments if isinstance(s, Text)
        ]
