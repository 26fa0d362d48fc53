"""Checkpoints in both layouts: found, described, loaded, converted, and told apart from what is none.

The released-layout folder of the reference numbers (tests/golden/a) is the one that others wrote.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.helpers import random_model, tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from cooper import Cooper
from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.convert import Layout, convert
from cooper.checkpoints.inspect import described, weight_bytes
from cooper.checkpoints.native import save_native
from cooper.checkpoints.released import released_tokenizer
from cooper.cli import main
from cooper.model.config import PRECISIONS, SpecialTokens
from cooper.model.precision import put_in
from cooper.model.presets import BAGEL_FLOW, bagel_7b

GOLDEN = Path(__file__).parents[1] / "golden" / "a"
IDS = json.loads((GOLDEN / "plan.json").read_text())["special_tokens"].values()
SPECIAL = SpecialTokens(*IDS)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """The golden folder, with a tokenizer of its ids."""
    folder = tmp_path / "released"
    folder.mkdir()
    for name in ("ema.safetensors", "ae.safetensors", "llm_config.json", "vit_config.json", "ae_config.json",
                 "model_args.json"):  # fmt: skip
        shutil.copy(GOLDEN / name, folder)
    words = {f"w{k}": k for k in range(316)} | {"<|im_start|>": SPECIAL.begin, "<|im_end|>": SPECIAL.end}
    Tokenizer(models.WordLevel(words, "w0")).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def native(tmp_path: Path) -> Path:
    save_native(random_model(), tokenizer(), tmp_path / "native", torch.float32)
    return tmp_path / "native"


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {k: t for path in sorted(folder.glob("*.safetensors")) for k, t in load_file(path).items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(t.dtype == b[k].dtype and torch.equal(t, b[k]) for k, t in a.items())


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
    tables = {"latent_pos_embed.pos_embed", "vit_pos_embed.pos_embed"}
    assert same({k: t for k, t in tensors(released).items() if k not in tables}, tensors(theirs))
    again = find(theirs)
    assert again.config == found.config, "what the layout has no place for is not lost"
    assert (theirs / "tokenizer.json").read_bytes() == (ours / "tokenizer.json").read_bytes()
    convert(again, tmp_path / "copy", "released")  # from a layout to itself: parts become one file
    assert same(tensors(tmp_path / "copy"), tensors(theirs)) and (tmp_path / "copy/ema.safetensors").exists()


def test_another_dtype_leaves_the_autoencoder(tmp_path: Path, released: Path) -> None:
    convert(find(released, special=SPECIAL), tmp_path / "half", "native", torch.bfloat16)
    half, whole = tensors(tmp_path / "half"), dict(find(released, special=SPECIAL).load().named_parameters())
    for name, tensor in half.items():
        wanted = whole[name].detach()
        assert torch.equal(tensor, wanted if name.startswith("autoencoder.") else wanted.bfloat16()), name
    assert find(tmp_path / "half").dtypes.keys() == {torch.float32, torch.bfloat16}


MEMORY = """
import sys
from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.convert import convert
from pathlib import Path
found = find(sys.argv[1])
found.missing
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
kept = convert(found, Path(sys.argv[2]), sys.argv[3]) if len(sys.argv) > 2 else found.load("int4")
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which is Linux's")
def test_memory_is_that_of_a_tensor_or_of_what_becomes_of_it(tmp_path: Path) -> None:
    # some 300 MB, in tensors of at most 34 MB; the largest of the 7B's is 2.2 GB in fp32
    decoder = random_model().config.decoder
    model = random_model(decoder=type(decoder)(1024, 2, 8, 4, 4096, 8192))
    save_native(model, tokenizer(), tmp_path / "a", torch.float32)
    assert (tmp_path / "a/model.safetensors").stat().st_size > 250_000_000
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}

    def taken(limit: int, *argv: object) -> int:
        """The least of three runs, or the first below the limit: when memory is given back is a matter of chance (97 to
        288 MB have been seen of the same loading)."""
        command, least = [sys.executable, "-c", MEMORY, *map(str, argv)], sys.maxsize
        for _ in range(3):
            ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            least = min(least, int(ran.stdout))
            if least < limit:
                break
        return least

    for argv in ((tmp_path / "a", tmp_path / "b", "released"), (tmp_path / "b", tmp_path / "c", "native")):
        assert taken(240_000_000, *argv) < 240_000_000
    becomes = weight_bytes(model.config, "int4")
    # holding on to what is replaced would take 280 MB more
    limit = becomes + 230_000_000
    assert becomes < 90_000_000 and becomes < taken(limit, tmp_path / "a") < limit


def test_weights_and_settings_in_two_folders(tmp_path: Path, released: Path) -> None:
    """A fine-tune holds its weights alone; its base has all, and other weights."""
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    changed = {k: t + 1 for k, t in load_file(released / "ema.safetensors").items()}
    save_file(changed, tuned / "model.safetensors")
    with pytest.raises(ValueError, match="name the folder of the model they are based on as the base"):
        find(tuned)
    found = find(tuned, released, SPECIAL)
    assert found.main.files == (tuned / "model.safetensors",) and found.ae.files == (released / "ae.safetensors",)
    assert torch.equal(found.tensor("latent_in.bias"), changed["vae2llm.bias"])
    assert found.file("tokenizer.json") == released / "tokenizer.json"


def test_parts_of_weights(tmp_path: Path, released: Path) -> None:
    whole = load_file(released / "ema.safetensors")
    names = sorted(whole)
    (released / "ema.safetensors").unlink()
    for k, part in enumerate((names[::2], names[1::2]), 1):
        save_file({name: whole[name] for name in part}, released / f"ema-{k:05}-of-00002.safetensors")
    assert same(dict(find(released, special=SPECIAL).main), whole)
    (released / "ema-00002-of-00002.safetensors").rename(tmp_path / "away.safetensors")
    with pytest.raises(ValueError, match="lacks ema-00002-of-00002.safetensors of 2 parts"):
        find(released, special=SPECIAL)
    (released / "ema.safetensors.index.json").write_text("[]")
    with pytest.raises(ValueError, match="is not an index of tensors"):
        find(released, special=SPECIAL)


def test_what_is_missing_or_too_much_is_told_by_name(released: Path) -> None:
    held = load_file(released / "ema.safetensors")
    held.pop("llm2vae.bias")
    held["lora.extra"] = torch.zeros(3)
    held["connector.fc1.bias"] = torch.zeros(5)
    save_file(held, released / "ema.safetensors")
    found = find(released, special=SPECIAL)
    about = described(found)
    assert about["missing"] == ["llm2vae.bias"] and about["unexpected"] == ["lora.extra"]
    assert about["misshapen"] == ["connector.fc1.bias: (5,) where the config asks for (64,)"]
    with pytest.raises(ValueError, match=r"released lacks llm2vae.bias \(cooper inspect tells all\)"):
        found.load()
    held["llm2vae.bias"] = torch.zeros(16)
    save_file(held, released / "ema.safetensors")
    with pytest.raises(ValueError, match="does not fit its config: connector.fc1.bias"):
        find(released, special=SPECIAL).load()


def test_a_published_model_is_run_in_its_own_way(released: Path) -> None:
    config = find(released, special=SPECIAL).config
    assert config.flow == BAGEL_FLOW == bagel_7b().flow and config.maps_through == "both"
    assert (config.turn_tokens, config.trace_tokens) == (bagel_7b().turn_tokens, bagel_7b().trace_tokens)


def broken(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("ema.safetensors", lambda b: b[:-100], "ema.safetensors is damaged or cut off"),
        ("ema.safetensors", lambda b: b[:5], "ema.safetensors is damaged or cut off"),
        ("llm_config.json", lambda b: b[:-9], "llm_config.json is not JSON"),
        ("llm_config.json", lambda b: b.replace(b"num_hidden_layers", b"layers"), "lack 'num_hidden_layers'"),
        ("tokenizer.json", lambda b: b[:-9], "tokenizer.json is damaged"),
    ],
)  # fmt: skip
def test_damaged_files_are_told(released: Path, name: str, change: Callable[[bytes], bytes], why: str) -> None:
    broken(released, name, change)
    with pytest.raises(ValueError, match=why):
        find(released, special=SPECIAL).tokenizer()


def test_missing_files_are_told(tmp_path: Path, released: Path, native: Path) -> None:
    with pytest.raises(ValueError, match="should be token 151644; is this Qwen2's tokenizer"):
        find(released).tokenizer()
    for name, why in (("tokenizer.json", "has no tokenizer; looked for"), ("vit_config.json", "has no vit_config.json"),
                      ("ae.safetensors", "looked for ae.safetensors")):  # fmt: skip
        (released / name).rename(tmp_path / "away")
        with pytest.raises(ValueError, match=why):
            find(released, special=SPECIAL).tokenizer()
        (tmp_path / "away").rename(released / name)
    (native / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="native is not a whole model: it lacks model.safetensors"):
        find(native)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty is no model folder; looked for config.json with model.safetensors"):
        find(tmp_path / "empty")


def test_a_tokenizer_from_the_files_it_was_made_of(tmp_path: Path) -> None:
    whole = Tokenizer(models.BPE())
    whole.normalizer = normalizers.NFC()
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")  # fmt: skip
    words = pre_tokenizers.Split(Regex(pattern), "isolated")
    whole.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    whole.decoder = decoders.ByteLevel()
    text = ["How far is the red ball from the blue box? 1.8 m, isn't it?\n\nÜber 12 cm."] * 3
    whole.train_from_iterator(text, trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    size = whole.get_vocab_size()
    whole.model.save(str(tmp_path))
    added = {str(size): "<|endoftext|>", str(size + 1): "<|im_start|>", str(size + 2): "<|im_end|>"}
    settings = {k: {"content": v, "special": True, "normalized": False} for k, v in added.items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": settings}))
    whole.add_special_tokens(list(added.values()))
    made = released_tokenizer((tmp_path,), SpecialTokens(size + 1, size + 2, 0, 0))
    for said in (*text, "<|im_start|>they'LL  go\t\n to 3  places<|im_end|>", "e\u0301 日本 🙂"):
        assert made.encode(said).ids == whole.encode(said).ids and made.decode(made.encode(said).ids) != ""


def test_a_model_of_the_hub(tmp_path: Path, native: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of the hub's cache, as it is on a disk; with no connection nothing else can be had."""
    snapshot = tmp_path / "hub/models--some--model/snapshots/0123abc"
    shutil.copytree(native, snapshot)
    (tmp_path / "hub/models--some--model/refs").mkdir()
    (tmp_path / "hub/models--some--model/refs/main").write_text("0123abc")
    script = "import sys; from cooper.checkpoints.checkpoint import find; print(find(sys.argv[1]).main.files[0])"
    environment = {
        **os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
    }  # fmt: skip
    done = [
        subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, env=environment)
        for name in ("some/model", "other/model")
    ]
    assert done[0].stdout.strip() == str(snapshot / "model.safetensors")
    assert "the model other/model is neither in the hub's cache nor can it be downloaded" in done[1].stderr
    with pytest.raises(ValueError, match="there is no model 'nothing'"):
        find("nothing")


def test_saved_and_loaded_again(tmp_path: Path, native: Path) -> None:
    cooper = Cooper.load(native)
    cooper.save_pretrained(tmp_path / "saved", shard_bytes=50_000)
    assert len(list((tmp_path / "saved").glob("model-*.safetensors"))) > 1
    again = Cooper.from_pretrained(tmp_path / "saved")
    assert same(dict(again.model.named_parameters()), dict(cooper.model.named_parameters()))
    with pytest.raises(ValueError, match="quantised weights are not saved"):
        Cooper.load(native, "int8").save_pretrained(tmp_path / "eight")


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    """Of the model that is found there."""
    return dict(find(folder).load().named_parameters())


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
        assert left - {"ae_config.json", "model_args.json"} == set(mine), (to, shard_bytes)
    assert all((out / name).read_bytes() == b"mine" for name in mine)
    shutil.copytree(other, out / "older")  # what is converted may lie below
    convert(find(out / "older"), out, "native", shard_bytes=500_000)
    assert same(weights_in(out), weights_in(other)) and same(weights_in(out / "older"), weights_in(other))


def test_saving_replaces_a_model_too(tmp_path: Path, native: Path) -> None:
    one, out = Cooper.load(native), tmp_path / "out"
    other = Cooper(random_model(1), one.sequencer, "other")
    for shard_bytes in (50_000, None, 90_000):
        one.save_pretrained(out)
        other.save_pretrained(out, shard_bytes)
        assert same(weights_in(out), dict(other.model.named_parameters())), shard_bytes
    convert(find(native), out, "released")
    other.save_pretrained(out)
    assert same(weights_in(out), dict(other.model.named_parameters())) and not list(out.glob("*ema*"))


def test_a_model_is_not_lost_to_one_that_fails(native: Path, released: Path) -> None:
    def full(done: int, total: int) -> None:
        if done > total / 2:
            raise OSError("no space left")

    before = {path: path.read_bytes() for path in native.iterdir()}
    with pytest.raises(OSError, match="no space left"):
        convert(find(released, special=SPECIAL), native, "released", shard_bytes=200_000, on_progress=full)
    assert {path: path.read_bytes() for path in native.iterdir()} == before


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


@pytest.mark.parametrize("precision", PRECISIONS)
def test_memory_is_told_before_it_is_taken(precision: str) -> None:
    model = put_in(random_model(), precision)  # type: ignore[arg-type]
    tables = {"latent_table", "vision_table"}
    held = [*model.parameters(), *(b for name, b in model.named_buffers() if name not in tables)]
    assert sum(t.numel() * t.element_size() for t in held) == weight_bytes(model.config, precision)  # type: ignore[arg-type]
    numbers = weight_bytes(bagel_7b(), "bf16") / 2
    assert 14.5e9 < numbers < 14.8e9, "what is published of the 7B's size"


def test_commands(tmp_path: Path, native: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(native), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["family"] == "native" and about["parameters"]["all"] == sum(about["dtypes"].values())
    assert main(["inspect", str(native)]) == 0 and "expert gen" in capsys.readouterr().out
    out = tmp_path / "out"
    assert main(["convert", str(native), str(out), "--to", "released", "--shard-size", "0.0001"]) == 0
    assert capsys.readouterr().out == f"{out}\n" and (out / "ema.safetensors.index.json").exists()
    assert main(["convert", str(out), str(tmp_path / "back"), "--to", "native"]) == 0
    assert same(tensors(tmp_path / "back"), tensors(native))
    capsys.readouterr()
    for wrong, why in (
        ([str(native), str(native), "--to", "native"], "write to another folder"),
        ([str(native), str(tmp_path / "x"), "--to", "native", "--shard-size", "-1"], "--shard-size must be above 0"),
        ([str(tmp_path / "none"), str(tmp_path / "x"), "--to", "native"], "there is no model"),
    ):  # fmt: skip
        assert main(["convert", *wrong]) == 2
        told = capsys.readouterr().err
        assert why in told and told.count("\n") == 1


def test_a_prompt_and_a_picture_go_through_every_precision(native: Path) -> None:
    picture = np.full((64, 64, 3), 99, np.uint8)
    for precision in ("int8", "int4"):
        assert Cooper.load(native, precision).ask(picture, "How many?", max_turns=1).tokens  # type: ignore[arg-type]
