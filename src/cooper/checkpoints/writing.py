"""Writing tensors one after the other, so that a checkpoint of any size needs the memory of its largest tensor."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from cooper.checkpoints.stored import DTYPES, Header
from cooper.files import new_file
from cooper.prompts import FILE as PROMPTS_FILE

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
#: files that go with weights of any layout
SIDECARS = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", PROMPTS_FILE)
#: what says which model lies in a folder: settings, words, and weights under all names that they are looked for under.
#: What a new model does not have of them must go, or that of the one before it is loaded in its place
OF_A_MODEL = (
    "config.json", "llm_config.json", "vit_config.json", "ae_config.json", "model_args.json", *SIDECARS,
    *(stem + end for stem in ("model", "ema", "ae")
      for end in (".safetensors", ".safetensors.index.json", "-*-of-*.safetensors")),
)  # fmt: skip
_WEIGHTS = tuple(name for name in OF_A_MODEL if name.endswith(".safetensors"))


def replaced_in(folder: Path) -> Sequence[str]:
    """Patterns of what goes from a folder when a model is written into it: what the model before it was, if one is
    there. Words alone may have been put there for the new one, and other things have a config.json, too."""
    return OF_A_MODEL if any(next(folder.glob(pattern), None) for pattern in _WEIGHTS) else ()


#: makes a tensor when its turn has come
Make = Callable[[str], Tensor]


def write_tensors(
    folder: Path, stem: str, headers: Mapping[str, Header], make: Make, shard_bytes: int | None = None,
    on_progress: Callable[[int, int], object] = lambda *_: None,
) -> list[Path]:  # fmt: skip
    """Writes `make(name)` of every header, in its dtype and shape, to STEM.safetensors in the folder, or, if they are
    more than `shard_bytes`, to several files and an index. `on_progress` is told bytes done and all bytes."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, header in headers.items():
        size = _bytes(header)
        if shard_bytes is not None and shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    total, done = sum(map(_bytes, headers.values())), 0
    paths = []
    for k, names in enumerate(shards, 1):
        whole = len(shards) == 1
        path = folder / (f"{stem}.safetensors" if whole else f"{stem}-{k:05}-of-{len(shards):05}.safetensors")
        with path.open("wb") as file:
            file.write(_header({name: headers[name] for name in names}))
            for name in names:
                header = headers[name]
                tensor = make(name)
                assert tuple(tensor.shape) == header.shape, name
                _check_range(name, tensor, header.dtype)
                data = tensor.detach().to(header.dtype).contiguous().flatten().view(torch.uint8)
                file.write(data.cpu().numpy().data)
                done += _bytes(header)
                on_progress(done, total)
        paths.append(path)
    if len(shards) > 1:
        places = {name: path.name for path, names in zip(paths, shards, strict=True) for name in names}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return paths


def save_tensors(tensors: Mapping[str, Tensor], path: Path, **metadata: str) -> None:
    """All at once, to a file that is whole or not there, with what is said of them in its header."""
    try:
        with new_file(path) as temporary:
            save_file(dict(tensors), temporary, metadata=metadata)
    except SafetensorError as error:  # what it says is of the disk
        raise OSError(f"{path} cannot be written: {error}") from None


def _check_range(name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    """Raises ValueError for numbers that would become infinite in float16; other dtypes have room for all."""
    if dtype == torch.float16 and tensor.dtype != dtype and tensor.numel():
        largest = max(-float(tensor.min()), float(tensor.max()))
        if largest > torch.finfo(dtype).max:
            raise ValueError(f"{name} holds {largest:.3g}, which is more than float16 can; choose bfloat16")


def _bytes(header: Header) -> int:
    return header.numbers * header.dtype.itemsize


def _header(tensors: Mapping[str, Header]) -> bytes:
    """What a safetensors file begins with: the length of a JSON object, and that object."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, header in tensors.items():
        end = at + _bytes(header)
        entries[name] = {"dtype": _NAMES[header.dtype], "shape": list(header.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of 8 bytes
    return struct.pack("<Q", len(text)) + text
