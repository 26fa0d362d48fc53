"""Folders of models: found, described, loaded, and told apart from what is none."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.checkpoints.folders import SPECIAL, same, tensors, weights_in
from tests.helpers import demand_call, picture, random_model, run_command, tokenizer
from tokenizers import Tokenizer

from cooper import Answer, Cooper
from cooper.checkpoints.checkpoint import UnusedWarning, find
from cooper.checkpoints.convert import convert
from cooper.checkpoints.inspect import described, weight_bytes
from cooper.checkpoints.native import save_native
from cooper.checkpoints.stored import weight_files
from cooper.inference.engine import Engine
from cooper.inference.rollout import FlowStep
from cooper.layout import Clean, Seen, Words
from cooper.modalities.codes import RELEASED as RELEASED_CODES
from cooper.model.config import PRECISIONS, FlowSettings, Precision
from cooper.model.precision import put_in
from cooper.model.presets import BAGEL_FLOW, bagel_7b
from cooper.model.unified import UnifiedModel
from cooper.policy import POLICIES, Policy
from cooper.prompts import FILE as PROMPTS_FILE
from cooper.prompts import Prompts


def theirs(model: UnifiedModel, folder: Path) -> Path:
    """A released folder of a model, with prompts."""
    save_native(model, tokenizer(), folder / "own", torch.float32)
    convert(find(folder / "own"), folder / "theirs", "released")
    Prompts({"interleaved": "Think."}, "Look.").save(folder / "theirs" / PROMPTS_FILE)
    return folder / "theirs"


def test_weights_and_settings_in_two_folders(tmp_path: Path, released: Path) -> None:
    """A fine-tune holds its weights alone; its base has all, and other weights."""
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    changed = {k: t + 1 for k, t in load_file(released / "ema.safetensors").items()}
    save_file(changed, tuned / "model.safetensors")
    with pytest.raises(ValueError, match="give the folder of the model they are based on with --base"):
        find(tuned)
    found = find(tuned, released, SPECIAL)
    assert found.main.files == (tuned / "model.safetensors",) and found.ae.files == (released / "ae.safetensors",)
    assert torch.equal(found.tensor("latent_in.bias"), changed["vae2llm.bias"])
    assert found.file("tokenizer.json") == released / "tokenizer.json"


def test_weights_that_are_not_found_are_not_the_bases(tmp_path: Path, released: Path, native: Path) -> None:
    """Or else the base would answer in the fine-tune's name."""
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    for there in (r"no \*.safetensors", "cooper_rl.safetensors"):
        why = f"tuned has no weights that could be put on the base .*: looked for ema.* or model.*, there is {there}"
        with pytest.raises(ValueError, match=why):
            find(tuned, released, SPECIAL)
        save_file({"x": torch.zeros(1)}, tuned / "cooper_rl.safetensors")
    with pytest.raises(ValueError, match="is a whole model of ours; leave the base"):
        find(native, released)
    (tuned / "cooper_rl.safetensors").rename(tuned / "ema.safetensors")
    with pytest.raises(ValueError, match="the base .* is a model of ours, and .*: cooper convert .* --to released"):
        find(tuned, native)


def test_what_lies_beside_weights_may_be_of_any_dtype(released: Path) -> None:
    held = load_file(released / "ema.safetensors")
    beside = {"position_ids": torch.zeros(4, dtype=torch.int32), "mask": torch.zeros(4, dtype=torch.bool)}
    save_file(held | beside, released / "ema.safetensors")
    with pytest.warns(UnusedWarning, match="2 tensors .* not used"):
        find(released, special=SPECIAL).load()
    name = next(iter(held))
    save_file(held | {name: held[name].to(torch.int32)}, released / "ema.safetensors")
    with pytest.raises(ValueError, match=rf"should hold weights as BF16 or F32, not as {name} \(torch.int32\)"):
        find(released, special=SPECIAL).load()


def test_saved_where_it_was_loaded_from(tmp_path: Path) -> None:
    """In bf16 the autoencoder is taken from what is stored, which is replaced then."""
    save_native(random_model(), tokenizer(), tmp_path / "own", torch.float32)
    before = tensors(tmp_path / "own")
    cooper = Cooper.load(tmp_path / "own", "bf16")
    other = find(tmp_path / "own")
    for folder in ("own", "copy", "own", "copy"):
        cooper.save_pretrained(tmp_path / folder)
        after = tensors(tmp_path / folder)
        assert all(torch.equal(after[k], t) for k, t in before.items() if k.startswith("autoencoder."))
    with pytest.raises(ValueError, match="own/model.safetensors has been written anew since it was opened; load the"):
        other.tensor("latent_in.bias")


def test_parts_of_weights(tmp_path: Path, released: Path) -> None:
    whole = load_file(released / "ema.safetensors")
    names = sorted(whole)
    (released / "ema.safetensors").unlink()
    for k, part in enumerate((names[::2], names[1::2]), 1):
        save_file({name: whole[name] for name in part}, released / f"ema-{k:05}-of-00002.safetensors")
    assert same(dict(find(released, special=SPECIAL).main), whole)
    (released / "ema-00002-of-00002.safetensors").rename(tmp_path / "away.safetensors")
    for numbered, why in (("99999", "and 99993 more of 99999 parts"), ("99999999999", "no part of"), ("²", "no part")):
        others = tmp_path / numbered
        others.mkdir()
        (others / f"model-00001-of-{numbered}.safetensors").touch()
        with pytest.raises(ValueError, match=why):
            weight_files(others, "model")
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
    assert about["no weights"] == []
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
    folder = theirs(random_model(flow=BAGEL_FLOW, codes=RELEASED_CODES), tmp_path)
    cooper = Cooper.load(folder, compat=compat)
    cooper.save_pretrained(tmp_path / "saved")
    assert find(tmp_path / "saved").config == find(folder).config, "how a model is run is not what it is"
    with pytest.raises(ValueError, match="draws maps as no published model does; compat released is for those"):
        Cooper.load(theirs(random_model(), tmp_path / "other"), compat="released")
    assert cooper.model.config.flow == flow and flow.guided_at(0.2) == guided_late
    monkeypatch.setitem(POLICIES, "drawn", Policy("drawn", None, ("depth",), 2, "Look."))
    demand_call(cooper, "depth", monkeypatch)
    flows: list[FlowSettings | None] = []
    draw = Engine.draw
    monkeypatch.setattr(Engine, "draw", lambda self, *a, **more: flows.append(self.flow) or draw(self, *a, **more))
    cooper.depth(picture(0).image)
    late = FlowSettings(50, 3.0, 3.0, 1.5, (0.4, 1.0), "global", noise=1.0)
    assert flows == [late if compat == "released" else flow], "as the release measures depth"
    *events, answer = cooper.stream(picture(0).image, "How far?", mode="drawn")
    assert [e.step for e in events if isinstance(e, FlowStep)] == list(range(1, flow.time_points))
    assert isinstance(answer, Answer)
    kinds = [type(piece) for piece in cooper.sequencer.pieces(answer.trace, cooper.sequencer.encoder(cooper.model))]
    # picture, through both either way; question; call; map; reflection; what the model wrote
    assert kinds == [Clean, Seen, Words, Words, *looks, Words, Words]


def test_missing_files_are_told(tmp_path: Path, released: Path, native: Path) -> None:
    with pytest.raises(ValueError, match="should be token 151644; is this Qwen2's tokenizer"):
        find(released).tokenizer()
    for name, why in (
        ("tokenizer.json", "has no tokenizer; looked for"), ("vit_config.json", "it lacks vit_config.json$"),
        ("ae.safetensors", "it lacks ae.safetensors$"),
    ):  # fmt: skip
        (released / name).rename(tmp_path / "away")
        with pytest.raises(ValueError, match=why):
            find(released, special=SPECIAL).tokenizer()
        (tmp_path / "away").rename(released / name)
    for name in ("vit_config.json", "ema.safetensors", "tokenizer.json"):
        (released / name).unlink()
    told = "lacks vit_config.json; ema.safetensors or model.safetensors; a tokenizer .tokenizer.json, or vocab.json, m"
    with pytest.raises(ValueError, match=f"released is not a whole model: it {told}"):
        find(released)
    (native / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="native is not a whole model: it lacks model.safetensors"):
        find(native)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty is no model folder; looked for config.json with model.safetensors"):
        find(tmp_path / "empty")


def test_saved_and_loaded_again(tmp_path: Path, native: Path) -> None:
    cooper = Cooper.load(native)
    cooper.save_pretrained(tmp_path / "saved", shard_bytes=50_000)
    assert len(list((tmp_path / "saved").glob("model-*.safetensors"))) > 1
    again = Cooper.from_pretrained(tmp_path / "saved")
    assert same(dict(again.model.named_parameters()), dict(cooper.model.named_parameters()))
    with pytest.raises(ValueError, match="quantised weights are not saved"):
        Cooper.load(native, "int8").save_pretrained(tmp_path / "eight")
    Cooper.load(native, "bf16").save_pretrained(tmp_path / "half")
    half, whole = tensors(tmp_path / "half"), tensors(native)
    for name, tensor in half.items():
        wanted = whole[name] if name.startswith("autoencoder.") else whole[name].bfloat16()
        assert tensor.dtype == wanted.dtype and torch.equal(tensor, wanted), name


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_a_model_is_loaded_in_the_dtype_that_is_asked_for(stored: torch.dtype, tmp_path: Path, native: Path) -> None:
    """Whatever it is stored in: left in fp32, a model that should answer in bf16 is only slow, and nothing tells."""
    convert(find(native), tmp_path / "stored", "native", stored)
    one, two = torch.float32, torch.bfloat16
    wanted: dict[Precision, set[torch.dtype]] = {"fp32": {one}, "bf16": {two}, "mixed": {one, two}}
    for precision, dtypes in wanted.items():
        model = Cooper.load(tmp_path / "stored", precision).model
        assert {p.dtype for p in model.parameters()} == dtypes and model.dtype == (two if precision == "bf16" else one)


def test_a_format_is_written_and_a_newer_one_refused(native: Path) -> None:
    path = native / "config.json"
    data = json.loads(path.read_text())
    assert data.pop("format") == 1
    known = find(native).config
    path.write_text(json.dumps(data))
    assert find(native).config == known, "one that does not tell is of the first"
    path.write_text(json.dumps(data | {"format": 2, "engine": "of tomorrow"}))
    with pytest.raises(ValueError, match=r"config\.json is of format 2, newer than 1, .*; update cooper$"):
        Cooper.load(native)
    path.write_text(json.dumps(data | {"format": "1"}))
    with pytest.raises(ValueError, match="is damaged: its format is no whole number"):
        find(native)


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


def test_what_belongs_to_no_model_is_not_replaced(tmp_path: Path, native: Path) -> None:
    """Adapters have their words, and many a project a config.json."""
    kept = {"adapter_model.safetensors": b"mine", "prompts.json": b"mine", "notes.txt": b"mine"}
    for name, content in kept.items():
        (tmp_path / name).write_bytes(content)
    Cooper.load(native).save_pretrained(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept


def test_a_folder_called_as_a_shipped_model_is(
    tmp_path: Path, native: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(native, "tiny")
    with pytest.warns(UserWarning, match=r"tiny is the shipped model; the one in the folder here .* is \./tiny"):
        assert find("tiny").folders != (Path("tiny"),)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find("./tiny").folders == find(Path("tiny")).folders == (Path("tiny"),)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_memory_is_told_before_it_is_taken(precision: str) -> None:
    model = put_in(random_model(), precision)  # type: ignore[arg-type]
    tables = {"latent_table", "vision_table"}
    held = [*model.parameters(), *(b for name, b in model.named_buffers() if name not in tables)]
    assert sum(t.numel() * t.element_size() for t in held) == weight_bytes(model.config, precision)  # type: ignore[arg-type]
    numbers = weight_bytes(bagel_7b(), "bf16") / 2
    assert 14.5e9 < numbers < 14.8e9, "what is published of the 7B's size"


def test_a_prompt_and_a_picture_go_through_every_precision(native: Path) -> None:
    picture = np.full((64, 64, 3), 99, np.uint8)
    for precision in ("int8", "int4"):
        assert Cooper.load(native, precision).ask(picture, "How many?", max_turns=1).tokens  # type: ignore[arg-type]


def test_texts_are_whole_whatever_was_once_done_with_the_tokenizer(tmp_path: Path, native: Path) -> None:
    """Transformers keeps in the file how a text was cut and padded last."""
    whole = Tokenizer.from_file(str(native / "tokenizer.json"))
    cut = Tokenizer.from_file(str(native / "tokenizer.json"))
    cut.enable_truncation(3)
    cut.enable_padding(length=12, pad_id=1)
    text = "How far is the red ball from the blue box?"
    assert len(cut.encode(text).ids) == 12 and cut.encode(text).ids[3:] == [1] * 9
    shutil.copytree(native, tmp_path / "cut")
    cut.save(str(tmp_path / "cut/tokenizer.json"))
    convert(find(tmp_path / "cut"), tmp_path / "converted", "native")
    for folder in ("cut", "converted"):
        assert Cooper.load(tmp_path / folder).sequencer.ids(text) == tuple(whole.encode(text).ids)
