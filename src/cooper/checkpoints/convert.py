"""A checkpoint from one layout to another, tensor by tensor: the memory it takes is that of its largest tensor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial, reduce
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from cooper.checkpoints.adapters import Adapters
from cooper.checkpoints.checkpoint import Checkpoint
from cooper.checkpoints.keys import AUTOENCODER, TABLES, released_names, rows_of_parts
from cooper.checkpoints.native import write_config, write_tokenizer
from cooper.checkpoints.released import CONFIG_FILES, config_files
from cooper.checkpoints.stored import Header
from cooper.checkpoints.writing import SIDECARS, replaced_in, write_tensors
from cooper.files import new_folder
from cooper.model.unified import UnifiedModel, sincos_table

Layout: TypeAlias = Literal["native", "released"]
#: told how many bytes of how many are written
OnBytes: TypeAlias = Callable[[int, int], object]


def convert(
    found: Checkpoint, folder: Path, to: Layout, dtype: torch.dtype | None = None, shard_bytes: int | None = None,
    on_progress: OnBytes = lambda *_: None, adapters: Adapters | None = None,
) -> None:  # fmt: skip
    """Write a checkpoint into a folder in the layout `to`, as it is stored, or in `dtype` (but for the autoencoder,
    whose errors show in every map). `adapters` become part of the matrices that they are beside, which are in fp32 then
    unless there is a `dtype`. Weights of more than `shard_bytes` are cut into several files. A model that lies in the
    folder is replaced.

    Raises ValueError if the checkpoint is not whole, or the adapters are another model's.
    """
    found.check()
    found.tell_unused()
    tokenizer = found.tokenizer() if to == "native" else None
    config = found.config if adapters is None else adapters.adapted(found.config)
    main, ae = _native(found) if to == "native" else _released(found)
    if adapters is not None:
        main |= _adapted(found, adapters, to)
    if dtype is not None:
        main = {
            name: (header if name.startswith(AUTOENCODER) else Header(header.path, dtype, header.shape), make)
            for name, (header, make) in main.items()
        }
    total = sum(header.numbers * header.dtype.itemsize for header, _ in (*main.values(), *ae.values()))
    with new_folder(folder, replaced_in(folder)) as made:
        written = 0
        for stem, tensors in (("model" if to == "native" else "ema", main), ("ae", ae)):
            if tensors:
                write_tensors(
                    made, stem, {name: header for name, (header, _) in tensors.items()},
                    lambda name, of=tensors: of[name][1](),  # type: ignore[misc]
                    shard_bytes, lambda done, _, before=written: on_progress(before + done, total),  # type: ignore[misc]
                )  # fmt: skip
                written += sum(header.numbers * header.dtype.itemsize for header, _ in tensors.values())
        for name in SIDECARS:
            if (path := found.file(name)) is not None:
                shutil.copy(path, made / name)
        if tokenizer is not None:
            write_tokenizer(tokenizer, made / "tokenizer.json")
            write_config(config, made)
        elif found.family == "released" and config == found.config:  # they may say more than is known here
            for name in CONFIG_FILES:
                if (path := found.file(name)) is not None:
                    shutil.copy(path, made / name)
        else:
            for name, content in config_files(config).items():
                (made / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


_Tensors: TypeAlias = dict[str, tuple[Header, Callable[[], Tensor]]]


def _native(found: Checkpoint) -> tuple[_Tensors, _Tensors]:
    """Our names; a fused tensor is read from several."""
    if found.family == "native":
        return {name: (found.main.headers[name], partial(found.tensor, name)) for name in found.expected[0]}, {}
    out: _Tensors = {}
    for name, parts in released_names(found.config).items():
        headers = [found.main.headers[part] for part in parts]
        shape = (sum(h.shape[0] for h in headers), *headers[0].shape[1:])
        dtype = reduce(torch.promote_types, (h.dtype for h in headers))  # of several, none loses anything
        out[name] = Header(headers[0].path, dtype, shape), partial(found.tensor, name)
    for name in found.expected[1]:
        out[AUTOENCODER + name] = found.ae.headers[name], partial(found.tensor, AUTOENCODER + name)
    return out, {}


def _released(found: Checkpoint) -> tuple[_Tensors, _Tensors]:
    """Released names; several are rows of one of ours."""
    tables = {name: _table(found, ours, name) for ours, name in TABLES.items()}
    if found.family == "released":
        pairs = zip((found.main, found.ae), found.expected, strict=True)
        held, beside = ({k: (of.headers[k], partial(of.__getitem__, k)) for k in names} for of, names in pairs)
        return {**held, **tables}, beside  # type: ignore[return-value]
    main: _Tensors = {}
    ae: _Tensors = {}
    for name in released_names(found.config):
        header, whole = found.main.headers[name], partial(found.tensor, name)
        for part, shape, take in _parts(found, name, header.shape, whole):
            main[part] = Header(header.path, header.dtype, shape), take
    for name in found.expected[0]:
        if name.startswith(AUTOENCODER):
            ae[name.removeprefix(AUTOENCODER)] = found.main.headers[name], partial(found.tensor, name)
    return main | tables, ae


def _table(found: Checkpoint, ours: str, name: str) -> tuple[Header, Callable[[], Tensor]]:
    """A table of positions. Published files have it, though it follows from the sizes: others may ask for it."""
    if (header := found.main.headers.get(name)) is not None:
        return header, partial(found.main.__getitem__, name)
    config = found.config
    side = config.max_latent_side if ours == "latent_table" else config.vision.max_side
    like = next(iter(found.main.headers.values()))
    shape = (side**2, config.decoder.hidden)
    return Header(like.path, like.dtype, shape), partial(sincos_table, config.decoder.hidden, side)


def _adapted(found: Checkpoint, adapters: Adapters, to: Layout) -> _Tensors:
    """The matrices that have adapters, with these, under their names in the layout `to`."""
    with torch.device("meta"):
        model = UnifiedModel(found.config)
    adapters.check(model, found.tensor)
    out: _Tensors = {}
    for name in (f"{module}.weight" for module in adapters.modules):
        shape, whole = tuple(model.get_parameter(name).shape), partial(_with, found, adapters, name)
        parts = [(name, shape, whole)] if to == "native" else _parts(found, name, shape, whole)
        for part, cut, take in parts:
            out[part] = Header(found.folders[0], torch.float32, cut), take
    return out


def _with(found: Checkpoint, adapters: Adapters, name: str) -> Tensor:
    return adapters.applied(name, found.tensor(name))


def _parts(
    found: Checkpoint, name: str, shape: tuple[int, ...], whole: Callable[[], Tensor]
) -> Iterator[tuple[str, tuple[int, ...], Callable[[], Tensor]]]:
    """The released names that one of ours consists of, their shapes, and how to get them from the `whole`."""
    parts, start = released_names(found.config)[name], 0
    for part, n in zip(parts, rows_of_parts(name, found.config) if len(parts) > 1 else [shape[0]], strict=True):
        yield part, (n, *shape[1:]), partial(_rows, whole, start, n)
        start += n


def _rows(whole: Callable[[], Tensor], start: int, n: int) -> Tensor:
    return whole()[start : start + n]
