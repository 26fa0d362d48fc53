"""Adapters, applied whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cooper import Cooper
from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.convert import convert

ADAPTED = "base_model.model.decoder.layers.0.und.out."
PAIR = {ADAPTED + "lora_A.weight": torch.ones(2, 32), ADAPTED + "lora_B.weight": torch.ones(32, 2)}


def adapters(folder: Path, held: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    save_file(held, folder / "adapter_model.safetensors")
    return folder


def test_adapters_are_applied_whole_or_not_at_all(tmp_path: Path, native: Path) -> None:
    name, whole = "decoder.layers.0.und.out.weight", adapters(tmp_path / "whole", PAIR)
    held, before = (dict(Cooper.load(native, adapter=a).model.named_parameters()) for a in (whole, None))
    assert torch.allclose(held[name], before[name] + 4, atol=1e-5)
    # a small change, as learned at the paper's rate, beside weights in bf16: it is not rounded away
    convert(find(native), tmp_path / "half", "native", torch.bfloat16)
    small = adapters(tmp_path / "small", {k: t * (1e-5 if "_B" in k else 1) for k, t in PAIR.items()})
    held, before = (dict(Cooper.load(tmp_path / "half", adapter=a).model.named_parameters()) for a in (small, None))
    assert torch.allclose(held[name] - before[name], torch.tensor(4e-5), atol=1e-7)
    a, b = PAIR
    wrong: tuple[tuple[dict[str, torch.Tensor], str], ...] = (
        ({}, "missing: all$"),
        ({k.replace(".weight", ".default.weight"): t for k, t in PAIR.items()}, "out.lora_A.default.weight"),
        ({k.removeprefix("base_model.model."): t for k, t in PAIR.items()}, "missing: base_model.*lora_A.weight"),
        ({a: PAIR[a]}, f"missing: {b}$"), ({b: PAIR[b]}, f"missing: {b}$"),
        (PAIR | {ADAPTED + "bias": torch.ones(32)}, f"missing: {ADAPTED}bias$"),
        (PAIR | {"base_model.model.decoder.head.weight": torch.ones(3)}, "missing: base_model.model.decoder.head"),
        (PAIR | {f"base_model.model.embed.lora_embedding_{x}": torch.ones(3) for x in "AB"}, "embed.lora_embedding_A"),
        (PAIR | {f"{ADAPTED}{k}.bias": torch.ones(3) for k in range(5)}, "0.bias, .* and 2 more$"),
    )  # fmt: skip
    for k, (tensors_, why) in enumerate(wrong):
        with pytest.raises(ValueError, match=why) as caught:
            Cooper.load(native, adapter=adapters(tmp_path / f"{k}", tensors_))
        told = str(caught.value)
        assert "\n" not in told and told.startswith(f"{tmp_path}/{k}/adapter_model.safetensors must hold base_model.")
