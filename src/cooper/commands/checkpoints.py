"""`cooper inspect` and `cooper convert`: what a checkpoint is, and the same in another layout."""

from __future__ import annotations

import json as json_
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Literal

from rich.table import Table
from tyro.conf import Positional, arg

from cooper.checkpoints.checkpoint import Checkpoint, find
from cooper.commands.options import Flag, OutFolder
from cooper.commands.outputs import check_folder
from cooper.commands.terminal import open_console, progress_bars


@dataclass(frozen=True)
class Inspect:
    """What a checkpoint is, told from its headers: family, sizes, what is missing, and the memory that it needs."""

    source: Annotated[Positional[str], arg(metavar="MODEL")]
    """A shipped model, a folder, or OWNER/NAME on the hub."""
    base: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint="")] = None
    """The model that fine-tuned weights are based on."""
    json: Flag = False
    """Print one JSON object."""

    def run(self) -> int:
        from cooper.checkpoints.inspect import described

        about = described(find(self.source, self.base))
        if self.json:
            print(json_.dumps(about))
            return 0
        console = open_console()
        stored = ", ".join(f"{n / 1e6:,.1f} M parameters in {dtype}" for dtype, n in about["dtypes"].items())
        files = f"{len(about['files'])} file{'s' if len(about['files']) != 1 else ''}"
        console.print(f"{about['source']}: {about['family']} layout, {files}, {stored}", markup=False)
        for path in about["files"]:
            console.print(f"  {path}", markup=False)
        parts = Table("part", "parameters", title="parameters")
        for name, count in about["parameters"].items():
            parts.add_row(name, f"{count:,}")
        needs = Table("to", "memory", title="weights, and what training keeps beside them")
        for name, amount in about["bytes"].items():
            needs.add_row(name, f"{amount / 2**30:,.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:,.1f} MiB")
        console.print(parts, needs, soft_wrap=False)
        if about["published"]:
            words = "its own" if about["prompts"] else "the tiny model's (see cooper prompts import)"
            console.print(f"addressed in {words} words")
        for what in ("missing", "misshapen", "no weights", "unexpected"):
            for name in about[what]:
                console.print(f"{what}: {name}", markup=False)
        return 0


@dataclass(frozen=True)
class Convert:
    """Write a checkpoint in another layout or dtype, or with adapters as part of it, tensor by tensor. Without --dtype
    every other number stays as it is."""

    source: Annotated[Positional[str], arg(metavar="MODEL")]
    """A shipped model, a folder, or OWNER/NAME on the hub."""
    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Where to write it. A model that lies there is replaced."""
    to: Literal["native", "released"]
    """The layout: ours, or that of BAGEL's family."""
    base: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint="")] = None
    """The model that fine-tuned weights are based on."""
    adapter: OutFolder = None
    """Folder of LoRA adapters to make part of it. The matrices that have them are in fp32 then, without --dtype."""
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None, arg(help_behavior_hint="(default: as stored)")
    ] = None
    """Of all but the autoencoder, which stays as it is."""
    shard_size: Annotated[float | None, arg(metavar="GB", help_behavior_hint="(default: one file)")] = None
    """Most gigabytes of one file."""

    def run(self) -> int:
        import torch

        from cooper.checkpoints.adapters import Adapters
        from cooper.checkpoints.convert import convert

        if self.shard_size is not None and not 0 < self.shard_size < inf:
            raise ValueError(f"--shard-size is a number above 0, not {self.shard_size:g}")
        check_folder(self.folder, "FOLDER")
        found: Checkpoint = find(self.source, self.base)
        if self.folder.resolve() in {folder.resolve() for folder in found.folders}:
            raise ValueError(f"{self.folder} is where the checkpoint lies; write to another folder")
        dtype = None if self.dtype is None else getattr(torch, self.dtype)
        adapters = None if self.adapter is None else Adapters(self.adapter)
        size = None if self.shard_size is None else int(self.shard_size * 1e9)
        with progress_bars() as show:
            convert(found, self.folder, self.to, dtype, size, lambda done, total: show("bytes", done, total), adapters)
        print(self.folder)
        return 0
