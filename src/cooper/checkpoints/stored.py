"""Tensors in safetensors files: one file, or several that share an index, as large checkpoints are published.

Only headers are read until a tensor is asked for. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

#: safetensors' names of dtypes, of those that models are published in, and of what may lie beside their weights
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


#: bytes at the beginning and at the end of a tensor that its fingerprint is made of
_LOOKED_AT = 4096


@dataclass(frozen=True)
class Header:
    """What a file says of a tensor before it is read."""

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        return prod(self.shape)


class Stored(Mapping[str, Tensor]):
    """The tensors of these files by name; `headers` are what is known without reading them.

    Raises ValueError, naming the file, if one is damaged or cut off, or if two hold the same tensor.
    """

    def __init__(self, files: Iterable[Path]):
        self.files = tuple(files)
        self.headers: dict[str, Header] = {}
        self._starts: dict[str, int] = {}
        self._read: dict[Path, tuple[int, ...]] = {}
        for path in self.files:
            try:
                path.open("rb").close()  # safetensors takes what may not be read for what is not there
                self._read[path] = _version(path.stat())
                entries, first = _entries(path)
            except PermissionError:
                raise ValueError(f"{path} may not be read; check the permissions of the file and its folder") from None
            except (SafetensorError, OSError) as error:
                raise ValueError(f"{path} is damaged or cut off ({error}); copy or download it again") from None
            for name, entry in entries.items():
                if name in self.headers:
                    raise ValueError(f"{path} and {self.headers[name].path} both hold {name}; remove one of them")
                self.headers[name] = Header(path, _dtype(path, name, entry["dtype"]), tuple(entry["shape"]))
                self._starts[name] = first + entry["data_offsets"][0]

    def __getitem__(self, name: str) -> Tensor:
        """Read into memory of its own. Mapped by PyTorch, a file would count as memory as a whole, and be refused where
        it is larger than that, as the published model's is for many (safetensors #528)."""
        header = self.headers[name]
        tensor = torch.empty(header.shape, dtype=header.dtype)
        data = tensor.view(-1).view(torch.uint8).numpy().data
        with header.path.open("rb") as file:
            if _version(os.fstat(file.fileno())) != self._read[header.path]:  # tensors lie elsewhere now
                raise ValueError(f"{header.path} has been written anew since it was opened; load the model again")
            file.seek(self._starts[name])
            if file.readinto(data) < len(data):
                raise ValueError(f"{header.path} has become shorter; copy or download it again")
        return tensor

    @cached_property
    def fingerprint(self) -> str:
        """A short name of what is stored, found quickly however much that is: of names, dtypes, shapes, and the first
        and last numbers of every tensor. Training changes those of most, so two models hardly ever share it."""
        digest = hashlib.blake2b(digest_size=6)
        for name, header in sorted(self.headers.items()):
            digest.update(f"{name} {header.dtype} {header.shape}".encode())
            first, size = self._starts[name], header.numbers * header.dtype.itemsize
            with header.path.open("rb") as file:
                for start in (first, max(first, first + size - _LOOKED_AT)):
                    file.seek(start)
                    digest.update(file.read(min(_LOOKED_AT, size)))
        return digest.hexdigest()

    def __contains__(self, name: object) -> bool:
        return name in self.headers  # a mapping would read the tensor to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self.headers)

    def __len__(self) -> int:
        return len(self.headers)


def _version(stat: os.stat_result) -> tuple[int, ...]:
    """Changes when a file is replaced or written to."""
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _entries(path: Path) -> tuple[dict[str, Any], int]:
    """What a file's header says of each tensor, and where the first one begins. Raises SafetensorError if the file does
    not hold what it says."""
    with safe_open(path, "np"):
        pass
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entries: dict[str, Any] = json.loads(file.read(length))
    entries.pop("__metadata__", None)
    return entries, 8 + length


def _dtype(path: Path, name: str, dtype: str) -> torch.dtype:
    if dtype not in DTYPES:
        raise ValueError(f"{path} holds {name} in {dtype}, which cannot be read; convert it to BF16 first")
    return DTYPES[dtype]


def weight_files(folder: Path, stem: str) -> list[Path]:
    """The files of a folder that hold the weights called `stem`: STEM.safetensors; or those that
    STEM.safetensors.index.json names; or STEM-00001-of-00002.safetensors and so on. Empty if there are none.

    Raises ValueError if a part of several is missing.
    """
    whole, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            if any(Path(name).name != name for name in names):
                raise ValueError("parts lie in the folder itself")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise ValueError(f"{index} is not an index of tensors (weight_map); copy or download it again") from None
        found = [folder / name for name in names]
    else:
        found = sorted(folder.glob(f"{stem}-*-of-*.safetensors"))
        if found:
            number = found[0].name.removesuffix(".safetensors").rpartition("-of-")[2]
            if not re.fullmatch("[0-9]{1,5}", number):
                raise ValueError(f"{found[0]} is no part of some weights by its name, such as {stem}-00001-of-00002")
            width = len(number)
            found = [folder / f"{stem}-{k:0{width}}-of-{number}.safetensors" for k in range(1, int(number) + 1)]
    missing = [path.name for path in found if not path.is_file()]
    if missing:
        told = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise ValueError(f"{folder} lacks {told} of {len(found)} parts; copy or download them, too")
    return found
