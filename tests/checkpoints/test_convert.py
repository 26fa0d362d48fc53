"""From one layout to the other and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.checkpoints.folders import SPECIAL, same, tensors, weights_in
from tests.helpers import random_model, tokenizer

from cooper.checkpoints.checkpoint import UnusedWarning, find
from cooper.checkpoints.convert import Layout, convert
from cooper.checkpoints.native import save_native
from cooper.cli import main
from cooper.prompts import Prompts, load_prompts


@pytest.mark.parametrize("shard_bytes", [None, 500_000])
def test_there_and_back_is_bit_exact(tmp_path: Path, released: Path, shard_bytes: int | None) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    convert(find(released, special=SPECIAL), ours, "native", shard_bytes=shard_bytes)
    assert len(list(ours.glob("model*.safetensors"))) == (1 if shard_bytes is None else 9)
    assert (ours / "model.safetensors.index.json").exists() == (shard_bytes is not None)
    found = find(ours)
    assert found.family == "native" and not (found.missing or found.unexpected or found.misshapen)
    loaded = [dict(one.load().named_parameters()) for one in (find(released, special=SPECIAL), found)]
    assert same(*loaded)
    convert(found, theirs, "released", shard_bytes=shard_bytes)
    before, after = tensors(released), tensors(theirs)
    tables = {"latent_pos_embed.pos_embed", "vit_pos_embed.pos_embed"}  # which ours has not: they are formulas
    assert same(*({k: t for k, t in one.items() if k not in tables} for one in (before, after)))
    for name in tables:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
    again = find(theirs)
    assert again.config == found.config, "what the layout has no place for is not lost"
    assert (theirs / "tokenizer.json").read_bytes() == (ours / "tokenizer.json").read_bytes()
    convert(again, tmp_path / "copy", "released")  # from a layout to itself: parts become one file
    assert same(tensors(tmp_path / "copy"), after) and (tmp_path / "copy/ema.safetensors").exists()


def test_another_dtype_leaves_the_autoencoder(tmp_path: Path, released: Path) -> None:
    convert(find(released, special=SPECIAL), tmp_path / "half", "native", torch.bfloat16)
    half, whole = tensors(tmp_path / "half"), dict(find(released, special=SPECIAL).load().named_parameters())
    for name, tensor in half.items():
        wanted = whole[name].detach()
        assert torch.equal(tensor, wanted if name.startswith("autoencoder.") else wanted.bfloat16()), name
    assert find(tmp_path / "half").dtypes.keys() == {torch.float32, torch.bfloat16}


def test_a_model_that_lies_in_the_folder_is_replaced(tmp_path: Path, native: Path) -> None:
    out, other, mine = tmp_path / "out", tmp_path / "other", ("README.md", "adapter_model.safetensors", "model.json")
    save_native(random_model(1), tokenizer(), other, torch.float32)
    convert(find(native), out, "native")
    for name in mine:
        (out / name).write_bytes(b"mine")
    ways: list[tuple[Layout, int | None]] = [
        ("native", 500_000), ("native", 200_000), ("released", None), ("released", 200_000), ("native", None),
        ("released", 500_000),
    ]  # fmt: skip
    for k, (to, shard_bytes) in enumerate(ways):
        source, new = (other, native)[k % 2], tmp_path / f"new{k}"
        for folder in (new, out):
            convert(find(source), folder, to, shard_bytes=shard_bytes)
        assert find(out).family == to and same(weights_in(out), weights_in(source)), (to, shard_bytes)
        left = {path.name for path in out.iterdir()} - {path.name for path in new.iterdir()}
        assert left == set(mine), (to, shard_bytes)
    assert all((out / name).read_bytes() == b"mine" for name in mine)
    shutil.copytree(other, out / "older")  # what is converted may lie below
    convert(find(out / "older"), out, "native", shard_bytes=500_000)
    assert same(weights_in(out), weights_in(other)) and same(weights_in(out / "older"), weights_in(other))


@pytest.mark.parametrize("to", ["native", "released"])
def test_the_words_of_a_model_go_with_it(tmp_path: Path, native: Path, to: Layout) -> None:
    out = tmp_path / "out"
    out.mkdir()
    Prompts({"interleaved": "Words of another."}).save(out / "prompts.json")
    (out / "vocab.json").write_text("{}")
    convert(find(native), out, to)
    assert load_prompts(out / "prompts.json").system, "words alone may have been put there for this model"
    convert(find(native), out, to)
    assert not (out / "prompts.json").exists() and not (out / "vocab.json").exists()
    Prompts({"interleaved": "Its own."}).save(native / "prompts.json")
    convert(find(native), out, to)
    assert load_prompts(out / "prompts.json").system == {"interleaved": "Its own."}


def test_what_is_not_known_of_a_released_model_stays(tmp_path: Path, released: Path) -> None:
    path = released / "llm_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"qk_norm": True, "layer_module": "X"}))
    held = load_file(released / "ema.safetensors")
    save_file(held | {"more.weight": torch.zeros(2)}, released / "ema.safetensors")
    with pytest.warns(UnusedWarning, match="1 tensor of .* is not used: more.weight"):
        convert(find(released, special=SPECIAL), tmp_path / "copy", "released")
    with pytest.warns(UnusedWarning, match="more.weight"):
        convert(find(released, special=SPECIAL), tmp_path / "own", "native")
    own = load_file(tmp_path / "own/model.safetensors")
    save_file(own | {"more.weight": torch.zeros(2)}, tmp_path / "own/model.safetensors")
    with pytest.warns(UnusedWarning, match="more.weight"):
        convert(find(tmp_path / "own"), tmp_path / "again", "native")
    assert not find(tmp_path / "copy", special=SPECIAL).unexpected and not find(tmp_path / "again").unexpected
    for name in ("llm_config.json", "vit_config.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (released / name).read_bytes()
    assert find(tmp_path / "copy", special=SPECIAL).config == find(released, special=SPECIAL).config


def test_parts_of_several_dtypes_become_one_that_loses_nothing(tmp_path: Path, native: Path) -> None:
    convert(find(native), tmp_path / "theirs", "released", torch.bfloat16)
    held = tensors(tmp_path / "theirs")
    main_ = {k: t for k, t in held.items() if not k.startswith(("encoder.", "decoder."))}
    wide = "language_model.model.layers.0.self_attn.k_proj.weight"
    held[wide] = held[wide].float() + 1e-6
    save_file({k: held[k] for k in main_}, tmp_path / "theirs/ema.safetensors")
    convert(find(tmp_path / "theirs"), tmp_path / "ours", "native")
    convert(find(tmp_path / "ours"), tmp_path / "back", "released")
    back = tensors(tmp_path / "back")
    assert all(torch.equal(back[k].float(), t.float()) for k, t in held.items())


def test_what_a_dtype_has_no_room_for_is_told(
    tmp_path: Path, native: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = tensors(native)
    held["decoder.embed.weight"][0, 0] = 1e5
    save_file(held, native / "model.safetensors")
    argv = ["convert", str(native), str(tmp_path / "half"), "--to", "native", "--dtype"]
    assert main([*argv, "float16"]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.endswith("decoder.embed.weight holds 1e+05, which is more than float16 can; choose bfloat16")
    assert not (tmp_path / "half").exists() and main([*argv, "bfloat16"]) == 0


def test_a_model_is_not_lost_to_one_that_fails(native: Path, released: Path) -> None:
    def full(done: int, total: int) -> None:
        if done > total / 2:
            raise OSError("no space left")

    before = {path: path.read_bytes() for path in native.iterdir()}
    with pytest.raises(OSError, match="no space left"):
        convert(find(released, special=SPECIAL), native, "released", shard_bytes=200_000, on_progress=full)
    assert {path: path.read_bytes() for path in native.iterdir()} == before


def test_commands(tmp_path: Path, native: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(native), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["family"] == "native" and about["parameters"]["all"] == sum(about["dtypes"].values())
    assert main(["inspect", str(native)]) == 0 and "expert gen" in capsys.readouterr().out
    words = (native / "tokenizer.json").read_bytes()
    (native / "tokenizer.json").unlink()
    assert main(["inspect", str(native)]) == 0
    assert "missing: tokenizer (" in " ".join(capsys.readouterr().out.split())
    (native / "tokenizer.json").write_bytes(words)
    out = tmp_path / "out"
    assert main(["convert", str(native), str(out), "--to", "released", "--shard-size", "0.0001"]) == 0
    assert capsys.readouterr().out == f"{out}\n" and (out / "ema.safetensors.index.json").exists()
    assert main(["convert", str(out), str(tmp_path / "back"), "--to", "native"]) == 0
    assert same(tensors(tmp_path / "back"), tensors(native))
    capsys.readouterr()
    for wrong, why in (
        ([str(native), str(native), "--to", "native"], "write to another folder"),
        ([str(native), str(tmp_path / "x"), "--to", "native", "--shard-size", "inf"], "--shard-size is a number"),
        ([str(tmp_path / "none"), str(tmp_path / "x"), "--to", "native"], "there is no model"),
    ):  # fmt: skip
        assert main(["convert", *wrong]) == 2
        told = capsys.readouterr().err
        assert why in told and told.count("\n") == 1
