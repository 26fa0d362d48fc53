"""Our own layout: a folder with `config.json`, `model.safetensors` and `tokenizer.json`. Nothing is ever unpickled."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from cooper.checkpoints.released import materialise
from cooper.model.config import ModelConfig
from cooper.model.unified import UnifiedModel

FILES = ("config.json", "model.safetensors", "tokenizer.json")


def save_native(model: UnifiedModel, tokenizer: Tokenizer, folder: str | Path, dtype: torch.dtype) -> None:
    """Write a model in `dtype`; the autoencoder, whose errors show in every map, stays in fp32."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: p.detach().to(torch.float32 if name.startswith("autoencoder.") else dtype).contiguous()
        for name, p in model.named_parameters()
    }
    temporary = folder / "model.safetensors.tmp"
    save_file(tensors, temporary, metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), indent=1) + "\n", encoding="utf-8")
    temporary.rename(folder / "model.safetensors")


def load_native(folder: str | Path, dtype: torch.dtype = torch.float32) -> tuple[UnifiedModel, Tokenizer]:
    """What `save_native` wrote, every parameter in `dtype`. Raises ValueError if the folder is not whole."""
    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} is not a model folder: it lacks {', '.join(missing)}")
    try:
        config = ModelConfig.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        tensors = load_file(folder / "model.safetensors")
    except (ValueError, AttributeError, SafetensorError) as error:
        raise ValueError(f"{folder} is damaged: {error}") from None
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises nothing more particular
        raise ValueError(f"{folder / 'tokenizer.json'} is damaged: {error}") from None
    with torch.device("meta"):
        model = UnifiedModel(config)
    return materialise(model, {k: t.to(dtype) for k, t in tensors.items()}), tokenizer
