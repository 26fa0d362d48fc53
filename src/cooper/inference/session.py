"""Rows that read, write and draw, all at once, over one cache. What to do when is the engine's business."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cooper.hardware import threads_for
from cooper.inference.cache import CachedAttention, Context
from cooper.inference.drawing import Velocities
from cooper.inference.flow import FlowSettings, integrate
from cooper.inference.sampler import Demand, PendingDemands, Sampling
from cooper.layout import Batch, Piece, Words, chain, collate, lay_out
from cooper.model.packed import embed
from cooper.model.unified import UnifiedModel


@dataclass
class Written:
    """A turn of one row: token ids without the frame, their log-probabilities, and whether it came to its end."""

    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    ended: bool = False


class Session:
    """A batch of rows and what they have read so far (`context`)."""

    def __init__(self, model: UnifiedModel, context: Context):
        self.model, self.context = model, context
        self.blind = False
        """Whether what is written from now on does not see what is hidden of pictures (view dropout)."""
        self.written: list[Written] = []
        """The latest turn of each row, while it is written and afterwards."""
        self.turn_column = 0
        """Column of the last block at which the latest turn begins (with its frame)."""
        self.turn_position = context.positions
        """Rotary position of that beginning, per row."""

    @classmethod
    def open(cls, model: UnifiedModel, rows: Sequence[Sequence[Piece]]) -> Session:
        """New rows that have read these pieces; they cannot read on, only be forked."""
        batch = collate([lay_out(chain(row), model.config) for row in rows], model.config)
        capacity = batch.order.shape[1]
        session = cls(model, Context.empty(len(rows), model.config.decoder, capacity, model.dtype, model.device))
        session._read(batch)
        return session

    def fork(self, copies: int, capacity: int) -> Session:
        """Each row `copies` times, with room for `capacity` more tokens each; what was read is shared."""
        part = Session(self.model, self.context.fork(copies, self.model.config.decoder, capacity))
        part.blind = self.blind
        return part

    def select(self, rows: list[int]) -> Session:
        """Some of the rows, to go on separately."""
        part = Session(self.model, self.context.select(rows))
        part.turn_column, part.turn_position = self.turn_column, self.turn_position[rows]
        part.blind = self.blind
        return part

    def read(self, rows: Sequence[Sequence[Piece]]) -> None:
        """Every row reads its pieces, which may be none."""
        if not any(rows):
            return
        starts = self.context.positions.tolist()
        layouts = [lay_out(chain(row), self.model.config, start) for row, start in zip(rows, starts, strict=True)]
        self._read(collate(layouts, self.model.config))

    @torch.no_grad()
    def _read(self, batch: Batch) -> None:
        und, gen = embed(self.model, batch)
        device = self.model.device
        attend = CachedAttention(self.context, batch.allowed.to(device), batch.blind.to(device))
        self.model.decoder(und, gen, batch.positions.to(device), attend)
        self.context = self.context.grown(
            batch.order.shape[1], batch.valid.to(device), batch.ends.to(device), batch.hidden.to(device)
        )

    def read_turn(self, rows: Sequence[Sequence[int]]) -> None:
        """Read a given turn, as if it had been written: token ids without the frame; empty for rows that have none."""
        self.turn_column, self.turn_position = self.context.links[-1].length, self.context.positions
        self.read([[Words(tuple(ids), blind=self.blind)] if ids else [] for ids in rows])

    @torch.no_grad()
    def write(
        self, limits: Sequence[int], uniform: Tensor, sampling: Sampling, demand: Demand | None = None
    ) -> Iterator[list[tuple[int, int]]]:
        """Write a turn in every row whose limit is above 0, until it ends or the limit of tokens is reached.

        `uniform` (rows, highest limit) holds the random numbers of each row. Yields the (row, token) pairs of each
        step; `written` then holds the turns. The end of a turn is read into the cache with it.
        """
        special, decoder, device = self.model.config.special, self.model.config.decoder, self.model.device
        self.turn_column, self.turn_position = self.context.links[-1].length, self.context.positions
        self.written, demands = [Written() for _ in limits], PendingDemands(demand, len(limits))
        pending = [special.begin if limit > 0 else None for limit in limits]
        uniform = uniform.to(device)
        blind = torch.ones(len(limits), 1, dtype=torch.bool, device=device) if self.blind else None
        for step in range(max(limits) + 1):
            active = torch.tensor([p is not None for p in pending], device=device)
            ids = torch.tensor([[p or 0] for p in pending], device=device)
            attend = CachedAttention(self.context, None, blind)
            positions = self.context.positions
            with threads_for(len(limits) * decoder.hidden * 2 * decoder.ffn):
                hidden, _ = self.model.decoder(self.model.embed_text(ids), None, positions[:, None], attend)
            self.context = self.context.grown(1, active[:, None], positions + active)
            if all(p is None or p == special.end for p in pending):
                break
            assert hidden is not None
            drawn = uniform[:, min(step, uniform.shape[1] - 1)]
            logits = self.model.logits(hidden[:, 0])
            chosen, log_p = sampling.choose(logits, drawn)
            demands.settle(logits, chosen, log_p)
            made: list[tuple[int, int]] = []
            for r, (token, p) in enumerate(zip(chosen.tolist(), log_p.tolist(), strict=True)):
                if pending[r] is None or pending[r] == special.end:
                    pending[r] = None
                    continue
                turn = self.written[r]
                turn.log_probabilities.append(p)
                if token == special.end:
                    turn.ended, pending[r] = True, token
                    continue
                turn.ids.append(token)
                made.append((r, token))
                pending[r] = token if len(turn.ids) < limits[r] else None
            if made:
                yield made
            if all(p is None for p in pending):
                break

    @torch.no_grad()
    def draw(
        self, noise: Tensor, grid: tuple[int, int], settings: FlowSettings,
        without_call: Sequence[tuple[int, Sequence[int]]] | None = None,
        texts: Sequence[Sequence[Words]] | None = None,
    ) -> Iterator[Tensor]:  # fmt: skip
        """Draw a map in every row from `noise` (rows, tokens, latent_dim); yields the latents after every flow step.

        Text guidance needs `without_call`: for each row, how many tokens of the latest turn a turn without the call
        shares, and the tokens with which that turn goes on. Image guidance needs `texts`: each row's texts alone.
        All branches go through the model in one pass, and nothing of a drawing stays in the cache.
        """
        contexts = [self.context]
        if settings.text_scale != 1:
            if without_call is None:
                raise ValueError("text guidance needs the turn without its call; pass it, or set the text scale to 1")
            contexts.append(self._without_call(without_call))
        if settings.image_scale != 1:
            if texts is None:
                raise ValueError("image guidance needs the texts without the picture; pass them, or set its scale to 1")
            contexts.append(Session.open(self.model, texts).context)
        noise = noise.to(self.model.device)
        velocities = Velocities(self.model, contexts, noise, grid)

        def velocity(x: Tensor, t: float, guided: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
            parts = iter(velocities(x, t, len(contexts) if guided else 1))
            v = next(parts)
            without_text = next(parts) if guided and settings.text_scale != 1 else None
            return v, without_text, next(parts) if guided and settings.image_scale != 1 else None

        yield from integrate(velocity, noise, settings)

    def _without_call(self, turns: Sequence[tuple[int, Sequence[int]]]) -> Context:
        """The context in which the latest turn of each row keeps so many tokens and goes on with others, to its end."""
        kept = torch.tensor([keep for keep, _ in turns], device=self.model.device)
        columns = torch.arange(self.context.links[-1].length, device=self.model.device)
        hidden = columns > self.turn_column + kept[:, None]
        shorter = self.context.without(hidden, self.turn_position + 1 + kept)
        capacity = max(len(rest) for _, rest in turns) + 1
        branch = Session(self.model, shorter.fork(1, self.model.config.decoder, capacity))
        branch.read([[Words(tuple(rest), begin=False, blind=self.blind)] for _, rest in turns])
        return branch.context
