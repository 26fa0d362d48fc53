"""Folders of models: the golden one, and what is in one."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from cooper.checkpoints.checkpoint import find
from cooper.model.config import SpecialTokens

GOLDEN = Path(__file__).parents[1] / "golden" / "a"
IDS = json.loads((GOLDEN / "plan.json").read_text())["special_tokens"].values()
SPECIAL = SpecialTokens(*IDS)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {k: t for path in sorted(folder.glob("*.safetensors")) for k, t in load_file(path).items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(t.dtype == b[k].dtype and torch.equal(t, b[k]) for k, t in a.items())


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    """Of the model that is found there."""
    return dict(find(folder).load().named_parameters())
