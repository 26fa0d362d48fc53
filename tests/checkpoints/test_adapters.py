"""Adapters, applied whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.checkpoints.folders import SPECIAL, same, tensors

from cooper import Cooper
from cooper.checkpoints.adapters import Adapters
from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.convert import Layout, convert
from cooper.cli import main
from cooper.lora import CODES
from cooper.modalities import MapCodes

ADAPTED = "base_model.model.decoder.layers.0.und.out."
PAIR = {ADAPTED + "lora_A.weight": torch.ones(2, 32), ADAPTED + "lora_B.weight": torch.ones(32, 2)}


def adapters(folder: Path, held: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    save_file(held, folder / "adapter_model.safetensors")
    return folder


def test_adapters_are_applied_whole_or_not_at_all(tmp_path: Path, native: Path) -> None:
    name, whole = "decoder.layers.0.und.out.weight", adapters(tmp_path / "whole", PAIR)
    with pytest.raises(ValueError, match="whole holds LoRA adapters; name the model they are for, and them with --ad"):
        find(whole)
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


@pytest.mark.parametrize(
    ("settings", "shapes", "why"),
    [
        ({"r": 0}, None, "r is 0, which is no rank"), ({"r": "2"}, None, "r is '2'"), ({"r": None}, None, "r is None"),
        ({"lora_alpha": "x"}, None, "is no LoRA's"), ({"lora_alpha": float("nan")}, None, "lora_alpha is nan"),
        ({"init_lora_weights": "pissa"}, None, "adapters of the kind LORA init_lora_weights=pissa are not understood"),
        ({"use_qalora": True}, None, "LORA use_qalora are not understood"),
        ({"r": 16}, None, "matrices beside .*out are .*, and r is 16"),
        ({}, [(32,), (32, 2)], r"are \[32, 2\] and \[32\]"), ({}, [(2, 32), (32, 3)], r"are \[32, 3\] and \[2, 32\]"),
    ],
)  # fmt: skip
def test_damaged_adapters_are_told(
    settings: dict[str, object], shapes: list[tuple[int, ...]] | None, why: str, tmp_path: Path, native: Path
) -> None:
    tensors_ = PAIR if shapes is None else {k: torch.ones(s) for k, s in zip(PAIR, shapes, strict=True)}
    folder = adapters(tmp_path / "damaged", tensors_)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | settings))
    with pytest.raises(ValueError, match=why):
        Cooper.load(native, adapter=folder)


@pytest.mark.parametrize("to", ["native", "released"])
def test_adapters_become_part_of_what_is_written(tmp_path: Path, released: Path, native: Path, to: Layout) -> None:
    # the second is three of the released layout's
    changed = {"decoder.layers.0.und.out.weight", "decoder.layers.1.gen.qkv.weight"}
    for source in (released, native):
        found, out = find(source, special=SPECIAL), tmp_path / f"of-{source.name}"
        before = dict(found.load().named_parameters())
        pairs = {}
        for name in sorted(changed):
            (rows, columns), module = before[name].shape, name.removesuffix(".weight")
            pairs[f"base_model.model.{module}.lora_A.weight"] = torch.randn(2, columns)
            pairs[f"base_model.model.{module}.lora_B.weight"] = torch.randn(rows, 2)
        own = adapters(tmp_path / f"beside-{source.name}", pairs)
        convert(found, out, to, adapters=Adapters(own))
        written = dict(find(out, special=SPECIAL).load().named_parameters())
        assert {name for name in before if not torch.equal(written[name], before[name])} == changed
        assert same(written, dict(found.load(adapters=Adapters(own)).named_parameters()))
        (own / CODES).write_text(json.dumps({"depth": [0.5, 65.0], "linear": True}))
        convert(found, tmp_path / f"coded-{source.name}", to, adapters=Adapters(own))
        coded = find(tmp_path / f"coded-{source.name}", special=SPECIAL).config
        assert coded.codes == MapCodes((0.5, 65.0), linear=True), "what its maps stand for"
        assert replace(coded, codes=found.config.codes) == found.config
        (own / CODES).unlink()
    convert(find(native), tmp_path / "half", "native", torch.bfloat16)
    convert(find(tmp_path / "half"), tmp_path / "mixed", to, adapters=Adapters(own))
    parts = {f"language_model.model.layers.1.self_attn.{x}_proj_moe_gen.weight" for x in "qkv"}
    parts |= {"language_model.model.layers.0.self_attn.o_proj.weight"}
    stored = {name: t.dtype for name, t in tensors(tmp_path / "mixed").items() if not name.startswith("autoencoder.")}
    exact = {name for name, dtype in stored.items() if dtype == torch.float32 and "layers" in name}
    assert exact == (changed if to == "native" else parts), "rounded, most of a small change would be lost"


def test_the_command_that_writes_them(tmp_path: Path, native: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, out = adapters(tmp_path / "own", PAIR), tmp_path / "out"
    assert main(["convert", str(native), str(out), "--to", "native", "--adapter", str(own)]) == 0
    assert same(*(dict(Cooper.load(m, adapter=a).model.named_parameters()) for m, a in ((native, own), (out, None))))
    other = adapters(tmp_path / "other", {k.replace("out", "none"): t for k, t in PAIR.items()})
    capsys.readouterr()
    assert main(["convert", str(native), str(out), "--to", "native", "--adapter", str(other)]) == 2
    told = capsys.readouterr().err
    assert "adapters of another model" in told and told.count("\n") == 1
    assert same(*(dict(Cooper.load(m, adapter=a).model.named_parameters()) for m, a in ((native, own), (out, None))))
