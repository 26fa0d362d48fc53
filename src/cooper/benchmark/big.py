"""`cooper bench big`: what the published size takes of a machine without a GPU, on random weights.

A checkpoint of that shape is written in the released layout. A process of its own loads it and takes one turn: it looks
at a picture, writes, draws a map, looks at the map, and writes on.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from math import prod
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, TypeAlias

import torch
from torch import Tensor

from cooper.benchmark.machine import peak_gib, timed
from cooper.benchmark.script import Endless, RunStats, grid_of, picture, seen, words, write
from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.keys import to_released
from cooper.checkpoints.released import config_files
from cooper.checkpoints.stored import Header
from cooper.checkpoints.writing import write_tensors
from cooper.hardware import describe
from cooper.inference.flow import FlowSettings
from cooper.inference.sampler import generator
from cooper.inference.session import Session
from cooper.layout import Clean, Piece, tokens_of
from cooper.model.config import ImageSizes, ModelConfig, Precision
from cooper.model.unified import UnifiedModel

SHARD_BYTES = 4_000_000_000
#: side of the picture and of the map, in pixels, if the model has room for so many
SIDE = 256
#: tokens of the question, and of the turn that ends with the call for a map
QUESTION, WRITTEN = 20, 8
#: two steps, and no guidance
FLOW = FlowSettings(3)

#: told what is being done
OnLine: TypeAlias = Callable[[str], object]


def bench_big(
    config: ModelConfig, name: str, precision: Precision, folder: Path | None = None,
    on_progress: OnLine = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Seconds, and GiB of memory at most until the model is loaded and until the end, for a model of these sizes.

    The checkpoint is written below `folder` (None: the system's temporary folder) and removed, whatever happens.
    Raises ValueError if the disk has no room for it, MemoryError if the memory was not enough.
    """
    config = with_pictures(config, SIDE)
    headers = released_headers(config)
    size = sum(header.numbers * header.dtype.itemsize for of in headers.values() for header in of.values())
    where = Path(gettempdir()) if folder is None else folder
    free = shutil.disk_usage(where).free
    if free < size:
        raise ValueError(f"{where} has room for {free / 1e9:.1f} GB, and the checkpoint takes {size / 1e9:.1f}; "
                         "make room, or name a folder on another disk with --folder")  # fmt: skip
    with TemporaryDirectory(prefix="cooper-big-", dir=where) as made:
        seconds = timed(lambda: write_random(config, headers, Path(made), on_progress))
        return {
            "machine": describe(), "model": name, "precision": precision,
            "checkpoint_bytes": sum(file.stat().st_size for file in Path(made).iterdir()),
            "write_seconds": round(seconds, 3), **_in_its_own_process(made, precision, on_progress),
        }  # fmt: skip


def with_pictures(config: ModelConfig, side: int) -> ModelConfig:
    """The config for square pictures of `side` pixels, or of as many as its patches and position tables allow."""

    def sizes(patch: int, most: int) -> ImageSizes:
        pixels = min(side // patch, most) * patch
        return ImageSizes(pixels, pixels)

    return replace(
        config, latent_sizes=sizes(config.latent_stride, config.max_latent_side),
        vision_sizes=sizes(config.vision.patch, config.vision.max_side),
    )  # fmt: skip


def released_headers(config: ModelConfig) -> dict[str, dict[str, Header]]:
    """What a released checkpoint holds, by file: all in bf16, but the autoencoder in fp32."""
    with torch.device("meta"):
        own = dict(UnifiedModel(config).named_parameters())
    main, ae = to_released(own, config)
    return {
        stem: {name: Header(Path(), dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
        for stem, tensors, dtype in (("ema", main, torch.bfloat16), ("ae", ae, torch.float32))
    }


def write_random(
    config: ModelConfig, headers: Mapping[str, Mapping[str, Header]], folder: Path, on_progress: OnLine
) -> None:
    """Write a released checkpoint of random weights; there is never more than one tensor of it in memory."""
    weights = RandomWeights()
    for stem, of in headers.items():

        def tell(done: int, total: int, stem: str = stem) -> None:
            on_progress(f"writing {stem}, {done / 1e9:.1f} of {total / 1e9:.1f} GB")

        write_tensors(folder, stem, of, partial(weights.make, of), SHARD_BYTES, tell)
    for name, content in config_files(config).items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


class RandomWeights:
    """Random weights by the gigabyte: a stretch of normal numbers, read again and again from random places on."""

    LENGTH = 1 << 22

    def __init__(self) -> None:
        self.places = generator("places")
        self.normal = torch.randn(2 * self.LENGTH, generator=generator("weights"))

    def make(self, headers: Mapping[str, Header], name: str) -> Tensor:
        """Norms are 1, biases 0, and the rest N(0, 1 / inputs), so that what goes through a layer keeps its size."""
        header = headers[name]
        if len(header.shape) == 1:
            return torch.full(header.shape, float(name.endswith("weight")), dtype=header.dtype)
        made = torch.empty(header.numbers, dtype=header.dtype)
        for part in made.split(self.LENGTH):
            place = int(torch.randint(self.LENGTH, (), generator=self.places))
            torch.mul(self.normal[place : place + len(part)], prod(header.shape[1:]) ** -0.5, out=part)
        return made.view(header.shape)


def _in_its_own_process(folder: str, precision: Precision, on_progress: OnLine) -> dict[str, Any]:
    """`take_turn` in a new process, so that its memory is its own."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_send_turn, args=(folder, precision, there), daemon=True)
    # Ctrl-C reaches both, and this one then ends the other, which ignores what is ignored where it was started
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    there.close()  # it has its own: when the process ends, there is nothing more to receive
    try:
        while isinstance(message := here.recv(), str):
            on_progress(message)
        return message
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL:  # what systems do when memory runs out
            raise MemoryError from None
        raise RuntimeError(f"the process that measures ended with exit code {process.exitcode}") from None
    finally:
        process.kill()
        process.join()


def _send_turn(folder: str, precision: Precision, there: Connection) -> None:
    there.send(take_turn(folder, precision, there.send))


def take_turn(folder: str, precision: Precision, on_progress: OnLine) -> dict[str, Any]:
    """Load the model and let it take a turn; seconds of each part, and this process's memory at most."""
    stats = RunStats()

    def part(name: str) -> AbstractContextManager[None]:
        on_progress(name)
        return stats.part(name)

    with part("load"):
        model = find(folder).load(precision).for_inference()
    loaded, config, finite = peak_gib(), model.config, _watch(model)
    grid, sampling = grid_of(model, config.latent_sizes.longest), Endless(1.0, end=config.special.end)
    image = picture(config.latent_sizes.longest, 0)
    with part("encode the picture"), torch.no_grad():
        latents = model.encode(image[None])
    looked: list[Piece] = [Clean(latents[0], grid), seen(config, image)]
    with part("prefill"):
        opened = Session.open(model, [[*looked, words(model, QUESTION)]])
    # the turn, the map and a second turn, each with its frame
    room = sum(tokens_of(piece, config) + 2 for piece in looked)
    session = opened.fork(1, room + 2 * (WRITTEN + 2))
    with part("write"):
        write(session, WRITTEN, [0], sampling)
    with part("draw"):
        noise = torch.randn(latents.shape, generator=generator("map"))
        *_, latents = session.draw(noise, grid, FLOW)
    with part("decode the map"), torch.no_grad():
        image = model.decode(latents, grid)[0].clamp(-1, 1)
    with part("look at it"):
        session.read([[Clean(latents[0], grid), seen(config, image)]])
    with part("write on"):
        write(session, 1, [0], sampling, 1)
    seconds = stats.seconds
    return {
        "threads": torch.get_num_threads(), "load_seconds": round(seconds["load"], 3),
        "autoencoder_encode_seconds": round(seconds["encode the picture"], 3),
        "prefill_tokens": opened.context.length, "prefill_seconds": round(seconds["prefill"], 3),
        "seconds_per_token": round(seconds["write"] / WRITTEN, 4),
        "seconds_per_flow_step": round(seconds["draw"] / (FLOW.time_points - 1), 3),
        "autoencoder_decode_seconds": round(seconds["decode the map"], 3),
        "look_tokens": room, "look_seconds": round(seconds["look at it"], 3),
        "next_token_seconds": round(seconds["write on"], 4),
        "peak_gib_loaded": round(loaded, 2), "peak_gib": round(peak_gib(), 2),
        # the logits of each token, and the velocities of each step
        "finite": finite == [True] * (WRITTEN + 1 + FLOW.time_points - 1),
    }  # fmt: skip


def _watch(model: UnifiedModel) -> list[bool]:
    """Gets longer with all logits and velocities that are made from now on: whether they are finite."""
    finite: list[bool] = []
    for module in (model.decoder.head, model.latent_out):
        module.register_forward_hook(lambda _, inputs, output: finite.append(bool(output.isfinite().all())))
    return finite
