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
from cooper.model.unified import UnifiedModel, part_of
from cooper.prompts import FILE as PROMPTS_FILE


def described(found: Checkpoint) -> dict[str, Any]:
    """All that its headers tell, as JSON values. "bytes" are of the weights in each precision, and of what training
    holds where bf16 is fast. Activations come on top."""
    parts, lora, lacks = parameters(found.config), Lora(), _tokenizer_lacks(found)
    needs = {f"run in {precision}": weight_bytes(found.config, precision) for precision in PRECISIONS}
    needs["train all"] = training_bytes(found.config)
    needs[f"train LoRA of rank {lora.rank}"] = training_bytes(found.config, lora)
    return {
        "source": found.source, "family": found.family, "files": [str(p) for p in (*found.main.files, *found.ae.files)],
        "config": found.config.to_dict(),
        "published": found.published, "tokenizer": lacks is None, "prompts": found.file(PROMPTS_FILE) is not None,
        "dtypes": {str(dtype).removeprefix("torch."): n for dtype, n in found.dtypes.items()},
        "parameters": parts | {"all": sum(parts.values())}, "bytes": needs,
        "missing": found.missing + ([f"tokenizer ({lacks})"] if lacks else []), "unexpected": found.unexpected,
        "misshapen": found.misshapen, "no weights": found.whole_numbers,
    }  # fmt: skip


def _tokenizer_lacks(found: Checkpoint) -> str | None:
    """Why there is no tokenizer, if there is none."""
    try:
        found.tokenizer()
    except ValueError as error:
        return str(error)
    return None


def parameters(config: ModelConfig) -> dict[str, int]:
    """Numbers of parameters by part."""
    counts = dict.fromkeys(("embedding and head", "expert und", "expert gen", "vision", "autoencoder", "connectors"), 0)
    for name, p in _meta(config).named_parameters():
        counts[_part(name)] += p.numel()
    return counts


def _part(name: str) -> str:
    part = part_of(name)
    if part == "text":
        return "embedding and head" if name.startswith(("decoder.embed", "decoder.head")) else "expert und"
    if part == "drawing" and name.startswith("decoder."):
        return "expert gen"
    return "connectors" if part in ("drawing", "connector") else part


def weight_bytes(config: ModelConfig, precision: Precision) -> int:
    """Bytes of the weights as `put_in` keeps them."""
    total = 0
    for name, module in _meta(config).named_modules():
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        kind = quantised_as(name, module, precision)
        if kind is not None:
            assert isinstance(module, nn.Linear)
            weight = own.pop("weight")
            total += {Int8Linear: weight.numel() + 2 * weight.shape[0],
                      Int4Linear: weight.numel() // 2 + 4 * weight.numel() // Int4Linear.GROUP}[kind]  # fmt: skip
        total += sum(p.numel() for p in own.values()) * dtype_of(name, precision).itemsize
    return total


def training_bytes(config: ModelConfig, lora: Lora | None = None) -> int:
    """Bytes that supervised training on a user's own data holds between the two passes (`training.tuning`), computing
    in bf16.

    Of what is trained: weights, gradients, AdamW's two moments and an average, all in fp32. Under adapters the model is
    in bf16 beside that, its autoencoder in fp32; otherwise it is in fp32, with a copy in bf16 that computes, and has
    gradients of its own.
    """
    numbers = parameters(config)
    model, bf16 = weight_bytes(config, "fp32"), weight_bytes(config, "bf16")
    if lora is not None:
        return bf16 + 2 * numbers["autoencoder"] + 20 * adapter_parameters(config, lora)
    return model + bf16 + (16 + 2) * (sum(numbers.values()) - numbers["autoencoder"])


def _meta(config: ModelConfig) -> UnifiedModel:
    with torch.device("meta"):
        return UnifiedModel(config)
