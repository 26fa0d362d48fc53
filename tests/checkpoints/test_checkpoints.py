"""Checkpoints in both layouts: found, described, loaded, converted, and told apart from what is none.

The released-layout folder of the reference numbers (tests/golden/a) is the one that others wrote.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.helpers import picture, random_model, run_command, tokenizer
from tests.hub_server import hub
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from cooper import Answer, Cooper
from cooper.checkpoints.checkpoint import UnusedWarning, find
from cooper.checkpoints.convert import Layout, convert
from cooper.checkpoints.inspect import described, weight_bytes
from cooper.checkpoints.native import save_native
from cooper.checkpoints.released import released_tokenizer
from cooper.checkpoints.stored import Stored
from cooper.cli import main
from cooper.inference.engine import Drew
from cooper.layout import Clean, Seen, Words
from cooper.modalities import modality
from cooper.modalities.codes import RELEASED as RELEASED_CODES
from cooper.model.config import PRECISIONS, FlowSettings, SpecialTokens
from cooper.model.precision import put_in
from cooper.model.presets import BAGEL_FLOW, bagel_7b
from cooper.model.unified import UnifiedModel
from cooper.policy import POLICIES, Policy
from cooper.prompts import FILE as PROMPTS_FILE
from cooper.prompts import Prompts

GOLDEN = Path(__file__).parents[1] / "golden" / "a"
IDS = json.loads((GOLDEN / "plan.json").read_text())["special_tokens"].values()
SPECIAL = SpecialTokens(*IDS)
NO_HEADS = {"hidden": 4, "layers": 1, "heads": 0, "kv_heads": 1, "ffn": 4, "vocabulary": 4}


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


def theirs(model: UnifiedModel, folder: Path) -> Path:
    """A released folder of a model, with prompts."""
    save_native(model, tokenizer(), folder / "own", torch.float32)
    convert(find(folder / "own"), folder / "theirs", "released")
    Prompts({"interleaved": "Think."}, "Look.").save(folder / "theirs" / PROMPTS_FILE)
    return folder / "theirs"


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


def test_what_is_held_is_told_by_the_headers(released: Path) -> None:
    stored = Stored([released / "ema.safetensors"])
    (released / "ema.safetensors").unlink()
    assert "vae2llm.bias" in stored and "vae2llm.bios" not in stored and len(list(stored)) == len(stored.headers)


MEMORY = """
import sys
from cooper.benchmark.machine import peak_gib
from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.convert import convert
from pathlib import Path
found = find(sys.argv[1])
found.missing
before = peak_gib()
kept = convert(found, Path(sys.argv[2]), sys.argv[3]) if len(sys.argv) > 2 else found.load("int4")
print(int((peak_gib() - before) * 2**30))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's own peak")
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


def test_tensors_that_are_not_used_are_told_when_they_are_loaded(
    native: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Cooper.load(native)
    for folder, stem in ((native, "model"), (theirs(random_model(), tmp_path), "ae")):
        path = folder / f"{stem}.safetensors"
        whole = load_file(path)
        save_file(whole | {"odd": torch.zeros(1)}, path)
        with pytest.warns(UnusedWarning, match=rf"^1 tensor of {folder} is not used: odd \(cooper inspect tells all"):
            Cooper.load(folder)
        save_file(whole | {f"lora.{k}": torch.zeros(1) for k in range(7)}, path)
        names = "lora.0, lora.1, lora.2, lora.3, lora.4 and 2 more"
        with pytest.warns(UnusedWarning, match=f"^7 tensors of {folder} are not used: {names} "):
            Cooper.load(folder)
    Image.fromarray(picture(0).image).save(tmp_path / "room.png")
    argv = ("ask", str(tmp_path / "room.png"), "How many?", "--mode", "direct", "--model", str(native))
    asked = run_command(capsys, *argv)
    assert asked.code == 0 and asked.err.count("\n") == 1
    assert asked.err.startswith(f"cooper: note: 7 tensors of {native} are not used: lora.0, ")


def test_a_published_model_is_run_in_its_own_way(released: Path) -> None:
    config = find(released, special=SPECIAL).config
    assert config.flow == BAGEL_FLOW == bagel_7b().flow and config.maps_through == "both"
    assert (config.turn_tokens, config.trace_tokens) == (bagel_7b().turn_tokens, bagel_7b().trace_tokens)


@pytest.mark.parametrize(
    ("compat", "flow", "looks", "guided_late"),
    [
        ("consistent", FlowSettings(30, 3.0, 4.0, 2.0, (0.4, 1.0), "global", noise=1.0), (Clean, Seen), False),
        ("released", FlowSettings(50, 3.0, 4.0, 2.0, (0.0, 1.0), "text_channel", noise=1.0), (Seen,), True),
    ],
)
def test_what_compat_selects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compat: Any, flow: FlowSettings, looks: tuple[type, ...],
    guided_late: bool,
) -> None:  # fmt: skip
    cooper = Cooper.load(theirs(random_model(flow=BAGEL_FLOW, codes=RELEASED_CODES), tmp_path), compat=compat)
    assert cooper.model.config.flow == flow and flow.guided_at(0.2) == guided_late
    call = cooper.sequencer.prompts.call(modality("depth"))
    monkeypatch.setitem(POLICIES, "drawn", Policy("drawn", None, ("depth",), 2, "Look.", given=(call,)))
    *events, answer = cooper.stream(picture(0).image, "How far?", mode="drawn")
    assert [e.step for e in events if isinstance(e, Drew)] == list(range(1, flow.time_points))
    assert isinstance(answer, Answer)
    kinds = [type(piece) for piece in cooper.sequencer.pieces(answer.trace, cooper.sequencer.encoder(cooper.model))]
    # picture, through both either way; question; call; map; reflection; what the model wrote
    assert kinds == [Clean, Seen, Words, Words, *looks, Words, Words]


def broken(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("ema.safetensors", lambda b: b[:-100], "ema.safetensors is damaged or cut off"),
        ("ema.safetensors", lambda b: b[:5], "ema.safetensors is damaged or cut off"),
        ("llm_config.json", lambda b: b[:-9], "llm_config.json is not JSON"),
        ("llm_config.json", lambda b: b.replace(b"num_hidden_layers", b"x"), "llm_config.json lacks 'num_hidden_lay"),
        ("tokenizer.json", lambda b: b[:-9], "tokenizer.json is damaged"),
    ],
)  # fmt: skip
def test_damaged_files_are_told(released: Path, name: str, change: Callable[[bytes], bytes], why: str) -> None:
    broken(released, name, change)
    with pytest.raises(ValueError, match=why):
        find(released, special=SPECIAL).tokenizer()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("llm_config.json", [], r"should hold settings by name \({...}\), not \[\]"),
        ("vit_config.json", None, "should hold settings by name .* not null"),
        ("model_args.json", [], "should hold settings by name .* not"),
        ("model_args.json", "cooper", "should hold settings by name .* not"),
        ("ae_config.json", [{}], "should hold settings by name .* not"),
        ("llm_config.json", {"hidden_size": "64"}, 'hidden_size should be a whole number above 0, not "64"'),
        ("llm_config.json", {"vocab_size": "320"}, "vocab_size should be a whole number"),
        ("llm_config.json", {"num_attention_heads": 0}, "num_attention_heads should be a whole number above 0, not 0"),
        ("llm_config.json", {"num_attention_heads": 3}, "hidden_size must be a multiple of the heads"),
        ("llm_config.json", {"rope_theta": None}, "rope_theta should be a number, not null"),
        ("vit_config.json", {"patch_size": 0}, "patch_size should be a whole number above 0"),
        ("vit_config.json", {"image_size": True}, "image_size should be a whole number above 0, not true"),
        ("vit_config.json", {"num_hidden_layers": 2.5}, "num_hidden_layers should be a whole number above 0, not 2.5"),
        ("ae_config.json", {"ch_mult": 2.5}, "ch_mult should be a whole number above 0, not 2.5"),
        ("ae_config.json", {"ch_mult": [1, "2"]}, 'ch_mult should be a whole number above 0, not "2"'),
        ("ae_config.json", {"scale_factor": []}, r"scale_factor should be a number, not \[\]"),
        ("model_args.json", {"max_latent_size": "16"}, "max_latent_size should be a whole number"),
        ("model_args.json", {"vit_select_layer": {}}, "vit_select_layer should be a number"),
        ("model_args.json", {"cooper": []}, "is damaged: "),
        ("model_args.json", {"cooper": {"decoder": {}}}, "is damaged: not a model config"),
        ("model_args.json", {"cooper": bagel_7b().to_dict() | {"decoder": NO_HEADS}}, "is damaged: "),
    ],
)  # fmt: skip
def test_settings_that_are_none(
    released: Path, name: str, content: Any, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, which names the file; a dict is what differs in it."""
    whole = json.loads((released / name).read_text())
    (released / name).write_text(json.dumps(whole | content if isinstance(content, dict) else content))
    ran = run_command(capsys, "inspect", str(released))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert re.search(f"{re.escape(str(released / name))}.* {why}", ran.err), ran.err


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


FIND = """
import sys
from cooper.checkpoints.checkpoint import find
for source in sys.argv[1:]:
    found = find(source, "some/base")
    assert not (found.missing or found.unexpected or found.misshapen) and found.tokenizer()
    print(*(path.parent.name for path in (*found.main.files, *found.ae.files)))
"""


def test_of_a_base_on_the_hub_only_what_will_be_read_is_fetched(tmp_path: Path, native: Path) -> None:
    """A base has all; what is fetched of its weights is what the folder that is based on it lacks."""
    convert(find(native), tmp_path / "base", "released")
    held = {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()}
    folders = {"both": ("ema.safetensors", "ae.safetensors"), "tuned": ("ema.safetensors",), "none": ()}
    for folder, names in folders.items():
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(tmp_path / "base" / name, tmp_path / folder)
    settings = {name for name in held if name.endswith(".json")}
    assert held.keys() - settings == {"ema.safetensors", "ae.safetensors"}

    def ran(environment: dict[str, str], *folders: str) -> str:
        run = [sys.executable, "-c", FIND, *(str(tmp_path / folder) for folder in folders)]
        done = subprocess.run(run, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with hub({"some/base": held | {"weights.bin": b"0", "run.py": b"1"}}) as server:
        environment = server.environment(tmp_path / "home")
        before = ran(environment, "both", "tuned")
        assert set(server.sent[:-1]) == settings and server.sent[-1] == "ae.safetensors"
    # what was fetched is enough without a connection
    assert ran(environment | {"HF_HUB_OFFLINE": "1"}, "both", "tuned") == before
    both, tuned = before.splitlines()
    assert both == "both both" and re.fullmatch(r"tuned [0-9a-f]{40}", tuned)
    with hub({"some/base": held}) as server:
        ran(server.environment(tmp_path / "new"), "none")
        assert set(server.sent) == held.keys()


PUSH = """
import sys
from cooper import Cooper
cooper = Cooper.load(sys.argv[1])
print(cooper.push_to_hub("some/model", private=True))
again = Cooper.load("some/model")
for a, b in zip(cooper.model.parameters(), again.model.parameters(), strict=True):
    assert a.equal(b)
"""


def test_pushed_to_the_hub_and_fetched_again(tmp_path: Path, native: Path) -> None:
    """What another model left there would be loaded in its place; what is no model's stays."""
    before = {"ema.safetensors": b"old", "llm_config.json": b"{}", "README.md": b"# model", "train.py": b""}
    with hub({"some/model": before}) as server:
        run, environment = [sys.executable, "-c", PUSH, str(native)], server.environment(tmp_path / "home")
        done = subprocess.run(run, capture_output=True, text=True, env=environment)
        assert done.returncode == 0 and done.stdout == f"{environment['HF_ENDPOINT']}/some/model\n", done.stderr
        assert server.repos["some/model"].keys() == {
            "README.md", "train.py", "config.json", "model.safetensors", "tokenizer.json"
        }  # fmt: skip
        assert server.made == [{"name": "model", "organization": "some", "visibility": "private"}]
    gone = subprocess.run(run, capture_output=True, text=True, env=environment)
    assert gone.stderr.splitlines()[-1].startswith("ValueError: some/model cannot be pushed to the hub: "), gone.stderr


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
