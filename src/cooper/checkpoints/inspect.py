"""What a checkpoint is, for a person or a program: parameters by part, and memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cooper.checkpoints.checkpoint import Checkpoint
from cooper.lora import Lora, adapter_parameters
from cooper.model.config import PRECISIONS, ModelConfig, Precision
from cooper.model.precision import dtype_of, quantised_as
from cooper.model.quantised import Int4Linear, Int8Linear
from cooper.model.unified import UnifiedModel


def described(found: Checkpoint) -> dict[str, Any]:
    """All that its headers tell, as JSON values. "bytes" are of the weights in each precision, and of training: weights
    in bf16, and of what is trained a copy in fp32, a gradient and AdamW's two moments. Activations come on top."""
    parts, lora = parameters(found.config), Lora()
    trained = sum(n for name, n in parts.items() if name != "autoencoder")
    adapters = adapter_parameters(found.config, lora)
    needs = {f"run in {precision}": weight_bytes(found.config, precision) for precision in PRECISIONS}
    needs["train all"] = needs["run in bf16"] + 14 * trained
    needs[f"train LoRA of rank {lora.rank}"] = needs["run in bf16"] + 14 * adapters
    return {
        "source": found.source, "family": found.family, "files": [str(p) for p in (*found.main.files, *found.ae.files)],
        "config": found.config.to_dict(),
        "tokenizer": any(found.file(name) is not None for name in ("tokenizer.json", "vocab.json")),
        "dtypes": {str(dtype).removeprefix("torch."): n for dtype, n in found.dtypes.items()},
        "parameters": parts | {"all": sum(parts.values())}, "bytes": needs,
        "missing": found.missing, "unexpected": found.unexpected, "misshapen": found.misshapen,
    }  # fmt: skip


def parameters(config: ModelConfig) -> dict[str, int]:
    """Numbers of parameters by part."""
    counts = dict.fromkeys(("embedding and head", "expert und", "expert gen", "vision", "autoencoder", "connectors"), 0)
    for name, p in _meta(config).named_parameters():
        counts[_part(name)] += p.numel()
    return counts


def _part(name: str) -> str:
    if name.startswith(("vision.", "autoencoder.")):
        return name.partition(".")[0]
    if name.startswith(("decoder.embed", "decoder.head")):
        return "embedding and head"
    if name.startswith("decoder."):
        return "expert gen" if ".gen." in name or "norm_gen" in name else "expert und"
    return "connectors"


def weight_bytes(config: ModelConfig, precision: Precision) -> int:
    """Bytes of the weights as `put_in` keeps them."""
    total = 0
    for name, module in _meta(config).named_modules():
        own = dict(module.named_parameters(recurse=False))
        kind = quantised_as(name, module, precision)
        if kind is not None:
            assert isinstance(module, nn.Linear)
            weight = own.pop("weight")
            total += {Int8Linear: weight.numel() + 2 * weight.shape[0],
                      Int4Linear: weight.numel() // 2 + 4 * weight.numel() // Int4Linear.GROUP}[kind]  # fmt: skip
        total += sum(p.numel() for p in own.values()) * dtype_of(name, precision).itemsize
    return total


def _meta(config: ModelConfig) -> UnifiedModel:
    with torch.device("meta"):
        return UnifiedModel(config)
