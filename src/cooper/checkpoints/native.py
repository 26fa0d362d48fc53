"""Our own layout: a folder with `config.json`, `model.safetensors` (or its parts) and `tokenizer.json`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer

from cooper.checkpoints.stored import Header
from cooper.checkpoints.writing import OF_A_MODEL, write_tensors
from cooper.files import new_folder
from cooper.model.config import ModelConfig
from cooper.model.unified import UnifiedModel


def save_native(
    model: UnifiedModel, tokenizer: Tokenizer, folder: str | Path, dtype: torch.dtype, shard_bytes: int | None = None
) -> None:
    """Write a model in `dtype`; the autoencoder, whose errors show in every map, stays in fp32. In several files if it
    is more than `shard_bytes`. A model that lies in the folder is replaced."""
    folder = Path(folder)
    parameters = dict(model.named_parameters())
    headers = {
        name: Header(folder, torch.float32 if name.startswith("autoencoder.") else dtype, tuple(p.shape))
        for name, p in parameters.items()
    }
    with new_folder(folder, OF_A_MODEL) as made:
        write_tensors(made, "model", headers, parameters.__getitem__, shard_bytes)
        tokenizer.save(str(made / "tokenizer.json"))
        write_config(model.config, made)


def write_config(config: ModelConfig, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n", encoding="utf-8")
