"""Converting at the published size, 14.6 billion numbers: it takes the memory of a few tensors.

The sources are sparse files, all zeros but for the end of each tensor, so that they take no room on the disk; what is
written takes 29 GB of it.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models

from cooper.benchmark.big import released_headers
from cooper.checkpoints.keys import released_names
from cooper.checkpoints.native import write_config
from cooper.checkpoints.released import config_files
from cooper.checkpoints.stored import DTYPES, Header, Stored
from cooper.model.config import ModelConfig
from cooper.model.presets import bagel_7b
from cooper.model.unified import UnifiedModel

pytestmark = pytest.mark.slow
CONVERT = """
import sys
from cooper.benchmark.machine import peak_gib
from cooper.cli import main
assert main(["convert", *sys.argv[1:]]) == 0
print(peak_gib())
"""


def released(config: ModelConfig, folder: Path, dtype: torch.dtype) -> None:
    for stem, headers in released_headers(config).items():
        sparse(folder / f"{stem}.safetensors", {
            name: Header(h.path, dtype if stem == "ema" else h.dtype, h.shape) for name, h in headers.items()
        })  # fmt: skip
    for name, content in config_files(config).items():
        (folder / name).write_text(json.dumps(content))


def native(config: ModelConfig, folder: Path) -> None:
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in UnifiedModel(config).named_parameters()}
    sparse(folder / "model.safetensors", {
        name: Header(Path(), torch.float32 if name.startswith("autoencoder.") else torch.bfloat16, shape)
        for name, shape in shapes.items()
    })  # fmt: skip
    write_config(config, folder)


def sparse(path: Path, headers: Mapping[str, Header]) -> None:
    """A safetensors file of zeros; the last two numbers of a tensor are its own."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    entries, ends, at = {}, [], 0
    for name, header in headers.items():
        size = header.numbers * header.dtype.itemsize
        entries[name] = {"dtype": names[header.dtype], "shape": header.shape, "data_offsets": [at, at + size]}
        at += size
        ends.append((at, header.dtype))
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        start = file.tell()
        file.truncate(start + at)
        for k, (end, dtype) in enumerate(ends):
            own = torch.tensor([1 + k % 100, 1 + k // 100], dtype=dtype)
            file.seek(start + end - 2 * dtype.itemsize)
            file.write(own.view(torch.uint8).numpy().tobytes())


@pytest.mark.parametrize(
    ("to", "dtype"), [("native", torch.bfloat16), ("released", torch.bfloat16), ("native", torch.float32)]
)
def test_memory_of_converting(tmp_path: Path, to: str, dtype: torch.dtype) -> None:
    """The last case is a checkpoint of 58 GB, as weights come out of training; it becomes half as large."""
    config, source, made = bagel_7b(), tmp_path / "source", tmp_path / "made"
    source.mkdir()
    if to == "native":
        released(config, source, dtype)
    else:
        native(config, source)
    special = config.special
    words = {"w": 0, "<|im_start|>": special.begin, "<|im_end|>": special.end}
    Tokenizer(models.WordLevel(words, "w")).save(str(source / "tokenizer.json"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
    argv = [str(source), str(made), "--to", to, "--dtype", "bfloat16"]
    try:
        ran = subprocess.run([sys.executable, "-c", CONVERT, *argv], capture_output=True, text=True, env=environment)
        assert ran.returncode == 0, ran.stderr
        peak = float(ran.stdout.splitlines()[-1])
        print(f"{to} from {dtype}: {peak:.2f} GiB at most")
        assert peak < 4

        of = {"source": Stored(source.glob("*.safetensors")), "made": Stored(made.glob("*.safetensors"))}
        assert sum(h.numbers for h in of["made"].headers.values()) > 14.6e9
        for ours, theirs in released_names(config).items():
            name, other = (theirs[-1], ours) if to == "native" else (ours, theirs[-1])
            assert torch.equal(of["source"][name][-1:].bfloat16(), of["made"][other][-1:]), name
    finally:
        for path in tmp_path.rglob("*.safetensors"):  # pytest keeps folders of its last runs
            path.unlink()
