"""`cooper bench engine`: reading, writing and drawing by themselves, and what rollouts save by sharing a question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from cooper.benchmark.machine import gflop, matmul_peak, randomised, timed
from cooper.benchmark.script import Endless, Script, grid_of, play, prompt, words, write
from cooper.hardware import describe, threads
from cooper.inference.flow import FlowSettings
from cooper.inference.sampler import generator
from cooper.inference.session import Session
from cooper.layout import Clean, Seen, tokens_of
from cooper.model.config import Precision
from cooper.model.precision import put_in
from cooper.model.unified import UnifiedModel

BATCHES = (1, 8, 32)
MAP_BATCHES = (1, 8)
TIME_POINTS = (12, 50)
#: without guidance, and with the published scales
GUIDANCE = {"none": (1.0, 1.0), "4.0/2.0": (4.0, 2.0)}
DECODED = 64
ROLLOUTS = 8


def bench_engine(
    model: UnifiedModel,
    name: str,
    thread_count: int,
    dtype: Precision = "fp32",
    repeats: int = 3,
    on_progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Medians of `repeats` runs after a warm-up. The prompt is a system text, a picture and a question.

    Prefill counts the prompt's tokens, its picture already encoded; decode counts what is written after it, 64 tokens a
    row, every row with a prompt of its own; a map is drawn on demand of a picture, and decoded.
    """
    if repeats < 1:
        raise ValueError("a benchmark needs at least one repeat")
    randomised(model)
    put_in(model, dtype)
    with threads(thread_count):
        peak = matmul_peak(dtype)
        bench = _Bench(model, repeats, peak, on_progress)
        return {
            "machine": describe(), "model": name, "dtype": dtype, "threads": thread_count, "repeats": repeats,
            "peak_gflops": round(peak, 1), "prompt_tokens": bench.prompt_tokens,
            "prefill": [bench.prefill(b) for b in BATCHES], "decode": [bench.decode(b) for b in BATCHES],
            "maps": [
                bench.maps(b, points, guidance) for points in TIME_POINTS for guidance in GUIDANCE for b in MAP_BATCHES
            ],
            "rollouts": bench.rollouts(), "cache": bench.cache(),
        }  # fmt: skip


class _Bench:
    def __init__(self, model: UnifiedModel, repeats: int, peak: float, on_progress: Callable[[str], None]):
        self.model, self.repeats, self.peak, self.on_progress = model, repeats, peak, on_progress
        # the tiny model's own way of drawing
        self.script = Script(FlowSettings(), model.config.latent_sizes.longest)
        self.prompts = [prompt(model, self.script, seed) for seed in range(max(*BATCHES, *MAP_BATCHES))]
        self.prompt_tokens = sum(tokens_of(piece, model.config) + 2 for piece in self.prompts[0])

    def prefill(self, batch: int) -> dict[str, Any]:
        def read() -> None:
            Session.open(self.model, self.prompts[:batch])

        self.on_progress(f"prefill, batch {batch}")
        return {"batch": batch, **self._speed(read, "tokens_per_second", batch * self.prompt_tokens)}

    def decode(self, batch: int) -> dict[str, Any]:
        opened = Session.open(self.model, self.prompts[:batch])
        sampling = Endless(1.0, end=self.model.config.special.end)

        def decode() -> None:
            write(opened.fork(1, DECODED + 2), DECODED, range(batch), sampling)

        self.on_progress(f"decode, batch {batch}")
        return {"batch": batch, **self._speed(decode, "tokens_per_second", batch * DECODED)}

    def maps(self, batch: int, points: int, guidance: str) -> dict[str, Any]:
        text_scale, image_scale = GUIDANCE[guidance]
        flow = replace(self.script.flow, time_points=points, text_scale=text_scale, image_scale=image_scale)
        grid = grid_of(self.model, self.script.picture)
        call = words(self.model, self.script.call)
        pictures = [[p for p in row if isinstance(p, (Clean, Seen))] for row in self.prompts[:batch]]
        session = Session.open(self.model, pictures).fork(1, self.script.call + 2)
        session.read_turn([call.ids] * batch)
        shape = grid[0] * grid[1], self.model.config.latent_dim
        noise = torch.stack([torch.randn(shape, generator=generator(seed, "map")) for seed in range(batch)])

        def draw() -> None:
            without_call: list[tuple[int, tuple[int, ...]]] = [(0, ())] * batch
            *_, latents = session.draw(noise, grid, flow, without_call, [[call]] * batch)
            with torch.no_grad():
                self.model.decode(latents, grid)

        self.on_progress(f"maps, batch {batch}, {points} time points, guidance {guidance}")
        head = {"batch": batch, "time_points": points, "guidance": guidance}
        return {**head, **self._speed(draw, "seconds_per_map", batch)}

    def rollouts(self) -> dict[str, Any]:
        """One question, eight rollouts of the same lengths: all together, and one after another."""
        self.on_progress("rollouts")
        seeds = range(ROLLOUTS)
        together = play(self.model, self.script, seeds)
        alone = [play(self.model, self.script, [seed]) for seed in seeds]
        same = [a.tokens[0] == row for a, row in zip(alone, together.tokens, strict=True)]
        group = median(timed(lambda: play(self.model, self.script, seeds)) for _ in range(self.repeats))
        apart = median(
            timed(lambda: [play(self.model, self.script, [seed]) for seed in seeds]) for _ in range(self.repeats)
        )
        return {
            "rollouts": ROLLOUTS, "time_points": self.script.flow.time_points, "together_seconds": round(group, 4),
            "one_after_another_seconds": round(apart, 4), "ratio": round(apart / group, 2), "same_tokens": all(same),
        }  # fmt: skip

    def cache(self) -> dict[str, Any]:
        """Bytes of keys and values: of a token, and of eight rollouts with the shared prompt and if it were copied."""
        session = Session.open(self.model, [self.prompts[0]])
        of_prompt = session.context.bytes
        shared = play(self.model, self.script, range(ROLLOUTS)).cache_bytes
        return {
            "bytes_per_token": of_prompt // session.context.links[0].block.capacity, "prompt_bytes": of_prompt,
            "rollouts_bytes": shared, "rollouts_bytes_if_copied": shared + (ROLLOUTS - 1) * of_prompt,
        }  # fmt: skip

    def _speed(self, run: Callable[[], object], name: str, amount: int) -> dict[str, Any]:
        """Amount per second, or seconds per amount, as the name says, and the share of the peak that is reached."""
        run()
        seconds = median(timed(run) for _ in range(self.repeats))
        speed = seconds / amount if name.startswith("seconds") else amount / seconds
        return {name: round(speed, 5), "peak_share": round(gflop(run) / seconds / self.peak, 4)}
