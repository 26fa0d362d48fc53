"""Models compute in lower precisions, close to what they compute in fp32."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.helpers import random_model, sequencer
from torch import nn

from cooper import Cooper
from cooper.checkpoints.checkpoint import find
from cooper.inference.engine import Engine, Settings
from cooper.model import quantised
from cooper.model.config import PRECISIONS, Precision
from cooper.model.precision import put_in
from cooper.model.quantised import Int4Linear, Int8Linear
from cooper.model.unified import UnifiedModel
from cooper.policy import policy
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


def test_eight_bits_are_multiplied_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tokens: what the bits stand for is never there as a whole."""
    linear, x = nn.Linear(96, 200).requires_grad_(False), torch.randn(70, 96)
    eight = Int8Linear(linear)
    whole = eight(x)
    monkeypatch.setattr(quantised, "_outputs", lambda inputs: 64)
    assert torch.allclose(eight(x), whole, atol=1e-5) and whole.shape == (70, 200)


def test_kernels_that_pytorch_has_no_more_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(96, 64).requires_grad_(False), torch.randn(3, 96)
    made = (Int8Linear, Int4Linear)
    expected = [kind(linear)(x) for kind in made]
    for name in ("_INT8", "_INT4", "_INT4_PACK"):
        monkeypatch.setattr(quantised, name, None)
    for kind, by_kernel in zip(made, expected, strict=True):
        assert (kind(linear)(x) - by_kernel).norm() < 0.01 * by_kernel.norm(), "but for rounding to bf16"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_whole_chains_work_in_every_precision(precision: Precision) -> None:
    model = put_in(copy.deepcopy(FP32), precision)
    ids = torch.arange(4, 12)[None]
    exact, close = (m.logits(m.embed_text(ids)).float() for m in (FP32, model))
    assert (close - exact).norm() / exact.norm() < (0.12 if precision == "int4" else 0.03)
    tokens = sequencer(model)
    prompt = Trace((Picture(np.full((64, 64, 3), 99, np.uint8)), Text("How many?")))
    (rollout,) = Engine(model, tokens, Settings(batch=2)).run([prompt], policy("perception"), seeds=[1])
    assert rollout.trace.turns
    drawings = Engine(model, tokens).draw([np.full((64, 64, 3), 99, np.uint8)], "depth")
    latent = drawings[0].latent
    assert latent is not None and np.isfinite(latent).all()
    reference = Engine(FP32, tokens).draw([np.full((64, 64, 3), 99, np.uint8)], "depth")[0].latent
    assert reference is not None
    assert np.abs(latent - reference).mean() < (0.25 if precision == "int4" else 0.05) * np.abs(reference).mean()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_the_decoders_matrices_are_in_few_bits(precision: Precision) -> None:
    config = replace(FP32.config, decoder=replace(FP32.config.decoder, ffn=64))
    model = put_in(UnifiedModel(config).initialise(), precision)
    few = {name for name, m in model.named_modules() if isinstance(m, (Int8Linear, Int4Linear))}
    assert "decoder.head" in few and len(few) == 2 * 4 * config.decoder.layers + 1
    assert (model.dtype, model.drawing_dtype) == (torch.float32, torch.bfloat16)
    norm = F.rms_norm(torch.ones(1, config.decoder.hidden), (config.decoder.hidden,))
    assert model.logits(norm).dtype == torch.float32


def test_a_model_can_be_put_in_a_precision_from_where_it_is_stored() -> None:
    """Module by module, and it is the model that it becomes when it was loaded whole."""
    stored = dict(FP32.named_parameters())
    for precision in PRECISIONS:
        with torch.device("meta"):
            empty = UnifiedModel(FP32.config)
        made = put_in(empty, precision, lambda name: stored[name].detach().bfloat16()).state_dict()
        whole = put_in(copy.deepcopy(FP32).bfloat16(), precision).state_dict()
        assert made.keys() == whole.keys()
        for name, tensor in made.items():
            assert torch.equal(tensor, whole[name]) and tensor.dtype == whole[name].dtype, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_four_bits(dtype: torch.dtype, bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 48, bias).requires_grad_(False)
    linear.weight[5] = 0.0  # a row without a scale
    linear.weight[6, :32] += 3  # a group far from zero
    levels = torch.randint(0, 16, (48, 96))
    made = Int4Linear(linear.to(dtype))
    for shape in ((1, 96), (3, 3, 96), (70, 96)):
        x = torch.randn(shape).to(dtype)
        exact, close = linear(x), made(x)
        assert close.shape == exact.shape and close.dtype == dtype and not close.isnan().any()
        assert 0.01 < (close - exact).norm() / exact.norm() < 0.1
    unpacked = quantised._unpack(quantised._pack(levels))
    assert torch.equal(unpacked, levels.to(unpacked.dtype)), "what is multiplied with elsewhere"
    scales = made.scales.float()
    assert torch.equal(quantised.dequantised(unpacked, scales), quantised.dequantised(levels, scales))
    x = torch.eye(96, dtype=dtype)
    on_cpu = made(x) if made.bias is None else made(x) - made.bias
    levels = (linear.weight.float().unflatten(1, (-1, 32)) - made.scales[..., 1].T[..., None].float())
    levels = (levels / made.scales[..., 0].T[..., None].float() + 8).round().clamp(0, 15).flatten(1)
    weights = quantised.dequantised(levels.int(), made.scales.float())
    assert (weights - on_cpu.float().T).abs().max() < 0.03
    large = nn.Linear(8192, 512 + 512 + 32, bias).requires_grad_(False)  # rounded in parts of 512 outputs
    x, made = torch.randn(3, 8192), (Int8Linear(large), Int4Linear(large))
    for part in (slice(0, 512), slice(512, 1024), slice(1024, None)):
        assert all(0.001 < (m(x) - large(x))[:, part].norm() / large(x)[:, part].norm() < 0.12 for m in made)
    assert Int4Linear.fits(linear) and not any(Int4Linear.fits(nn.Linear(*size)) for size in ((48, 48), (96, 40)))


@pytest.mark.parametrize("bias", [True, False])
def test_four_bits_where_no_kernel_knows_them(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on a CPU weights are multiplied with in 16 bits, some outputs at a time."""
    torch.manual_seed(0)
    linear, x = nn.Linear(8192, 512 + 512 + 32, bias).requires_grad_(False), torch.randn(3, 8192)
    here = Int4Linear(linear)(x)
    monkeypatch.setattr(quantised, "_INT4", None)
    sizes: list[int] = []
    multiply = F.linear
    monkeypatch.setattr(F, "linear", lambda x, weight, *bias: sizes.append(len(weight)) or multiply(x, weight, *bias))
    there = Int4Linear(linear)(x)
    assert (there - here).norm() / here.norm() < 0.01 and sizes == [512, 512, 32]


def test_an_unknown_precision_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ValueError, match="unknown precision 'fp8'; choose one of fp32, bf16, mixed, int8, int4"):
        Cooper.load("/nowhere", "fp8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown compat 'release'; choose one of consistent, released"):
        Cooper.load("/nowhere", compat="release")  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["fp32", "mixed", "int8"])
def test_all_of_a_model_is_put_on_its_device(precision: str) -> None:
    """PyTorch's device without memory stands for a GPU, which may not be here: nothing must be left behind."""
    model = find("tiny").load(precision, device="meta")  # type: ignore[arg-type]
    left = [k for k, t in [*model.named_parameters(), *model.named_buffers()] if t.device.type != "meta"]
    assert not left and model.device.type == "meta"
    assert {model.latent_table.device.type, model.vision_table.device.type} == {"meta"}
