"""Models compute in lower precisions, close to what they compute in fp32."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.helpers import random_model, sequencer
from torch import nn

from cooper import Cooper
from cooper.inference.engine import Engine, Settings
from cooper.inference.policy import policy
from cooper.model.config import PRECISIONS, Precision
from cooper.model.precision import Int8Linear, put_in
from cooper.trace import Picture, Text, Trace

FP32 = random_model().for_inference()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 96), (8, 96), (3, 3, 96), (70, 96), (1, 40), (1, 8)])
def test_eight_bits_are_one_percent_off(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(shape[-1], 24, bias).requires_grad_(False)
    linear.weight[5] = 0.0
    x = torch.randn(shape)
    exact, close = linear(x), Int8Linear(linear)(x)
    assert close.shape == exact.shape and close.dtype == torch.float32
    assert 0 < (close - exact).norm() / exact.norm() < 0.02


@pytest.mark.parametrize("precision", PRECISIONS)
def test_whole_chains_work_in_every_precision(precision: Precision) -> None:
    model = put_in(copy.deepcopy(FP32), precision)
    ids = torch.arange(4, 12)[None]
    exact, close = (m.logits(m.embed_text(ids)).float() for m in (FP32, model))
    assert (close - exact).norm() / exact.norm() < 0.03
    tokens = sequencer(model)
    prompt = Trace((Picture(np.full((64, 64, 3), 99, np.uint8)), Text("How many?")))
    (rollout,) = Engine(model, tokens, Settings(batch=2)).run([prompt], policy("perception"), seeds=[1])
    assert rollout.trace.turns
    drawings = Engine(model, tokens).draw([np.full((64, 64, 3), 99, np.uint8)], "depth")
    latent = drawings[0].latent
    assert latent is not None and np.isfinite(latent).all()
    reference = Engine(FP32, tokens).draw([np.full((64, 64, 3), 99, np.uint8)], "depth")[0].latent
    assert reference is not None and np.abs(latent - reference).mean() < 0.05 * np.abs(reference).mean()


def test_only_writing_is_in_eight_bits() -> None:
    model = put_in(copy.deepcopy(FP32), "int8")
    eight = {name for name, m in model.named_modules() if isinstance(m, Int8Linear)}
    assert "decoder.head" in eight and all(".und." in name for name in eight - {"decoder.head"})
    assert len(eight) == 4 * FP32.config.decoder.layers + 1
    assert (model.dtype, model.drawing_dtype) == (torch.float32, torch.bfloat16)
    norm = F.rms_norm(torch.ones(1, FP32.config.decoder.hidden), (FP32.config.decoder.hidden,))
    assert model.logits(norm).dtype == torch.float32


def test_an_unknown_precision_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ValueError, match="unknown precision 'fp8'; choose one of fp32, bf16, mixed, int8"):
        Cooper.load("/nowhere", "fp8")  # type: ignore[arg-type]
