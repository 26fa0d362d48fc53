"""The released layout's files, whole and damaged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.checkpoints.folders import SPECIAL
from tests.helpers import random_model, run_command, tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.convert import convert
from cooper.checkpoints.native import save_native
from cooper.checkpoints.released import released_tokenizer
from cooper.model.config import ImageSizes, SpecialTokens
from cooper.model.presets import BAGEL_FLOW, bagel_7b, dummy

NO_HEADS = {"hidden": 4, "layers": 1, "heads": 0, "kv_heads": 1, "ffn": 4, "vocabulary": 4}


def test_a_published_model_is_run_in_its_own_way(released: Path) -> None:
    config = find(released, special=SPECIAL).config
    assert config.flow == BAGEL_FLOW == bagel_7b().flow and config.maps_through == "both"
    assert (config.turn_tokens, config.trace_tokens) == (bagel_7b().turn_tokens, bagel_7b().trace_tokens)


def broken(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))


def panicking(content: bytes) -> bytes:
    """A tokenizer that its library does not refuse, but ends at."""
    normalizer = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    return json.dumps(json.loads(content) | {"normalizer": normalizer}).encode()


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("ema.safetensors", lambda b: b[:-100], "ema.safetensors is damaged or cut off"),
        ("ema.safetensors", lambda b: b[:5], "ema.safetensors is damaged or cut off"),
        ("llm_config.json", lambda b: b[:-9], "llm_config.json is not JSON"),
        ("llm_config.json", lambda b: b.replace(b"num_hidden_layers", b"x"), "llm_config.json lacks 'num_hidden_lay"),
        ("tokenizer.json", lambda b: b[:-9], "tokenizer.json is damaged"),
        ("tokenizer.json", panicking, "tokenizer.json is damaged: Precompiled"),
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
        ("vit_config.json", {"num_attention_heads": 5}, "hidden_size must be a multiple of num_attention_heads"),
        ("ae_config.json", {"ch_mult": []}, "ch_mult is empty"),
        ("ae_config.json", {"ch_mult": 2.5}, "ch_mult should be a whole number above 0, not 2.5"),
        ("ae_config.json", {"ch_mult": [1, "2"]}, 'ch_mult should be a whole number above 0, not "2"'),
        ("ae_config.json", {"scale_factor": []}, r"scale_factor should be a number, not \[\]"),
        ("model_args.json", {"max_latent_size": "16"}, "max_latent_size should be a whole number"),
        ("model_args.json", {"vit_select_layer": -99}, "vit_select_layer leaves none of . layers"),
        ("model_args.json", {"vit_select_layer": {}}, "vit_select_layer should be a number"),
        ("model_args.json", {"vit_select_layer": -2.5}, "vit_select_layer should be a whole number, not -2.5"),
        ("model_args.json", {"vit_select_layer": 10**400}, "vit_select_layer is 10*, which is no number to compute"),
        ("llm_config.json", {"rms_norm_eps": float("nan")}, "rms_norm_eps is nan, which is no number to compute with"),
        ("llm_config.json", {"num_hidden_layers": 10**30}, "say what cannot be: decoder.layers is .* up to 10,000,000"),
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


def test_settings_that_are_read_in_the_place_of_others_agree_with_them(tmp_path: Path) -> None:
    """What was converted from our own layout says everything twice."""
    seeing = replace(dummy().vision, patch=14)  # as in all models of that layout, which says nothing of pictures' sizes
    model = random_model(vision=seeing, vision_sizes=ImageSizes(112, 56))
    save_native(model, tokenizer(), tmp_path / "own", torch.float32)
    convert(find(tmp_path / "own"), tmp_path / "theirs", "released")
    path = tmp_path / "theirs/llm_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rope_theta": 5e5, "more": 1}))
    with pytest.raises(ValueError, match=r'llm_config.json has rope_theta 500000.0, and "cooper" in .*_args.json'):
        find(tmp_path / "theirs")
    args = json.loads((tmp_path / "theirs/model_args.json").read_text())
    del args["cooper"]
    (tmp_path / "theirs/model_args.json").write_text(json.dumps(args))
    assert find(tmp_path / "theirs").config.decoder.rope_theta == 5e5
    # as transformers 5 writes it
    settings = json.loads(path.read_text())
    rope = {"rope_type": "default", "rope_theta": settings.pop("rope_theta")}
    path.write_text(json.dumps(settings | {"rope_parameters": rope}))
    assert find(tmp_path / "theirs").config.decoder.rope_theta == 5e5
    path.write_text(json.dumps(settings | {"rope_parameters": rope | {"rope_type": "yarn"}}))
    with pytest.raises(ValueError, match="llm_config.json: rotary positions of the kind 'yarn' are not understood"):
        find(tmp_path / "theirs")


def test_a_tokenizer_of_another_model_is_told(tmp_path: Path, released: Path) -> None:
    save_native(random_model(), tokenizer(), tmp_path / "own", torch.float32)
    whole = Tokenizer.from_file(str(tmp_path / "own/tokenizer.json"))
    whole.add_tokens([f"word{k}" for k in range(600)])
    whole.save(str(tmp_path / "own/tokenizer.json"))
    with pytest.raises(ValueError, match=r"has 512 tokens, and its tokenizer knows \d+; it is another model's"):
        find(tmp_path / "own").tokenizer()
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (released / name).write_text("{}")
    (released / "tokenizer.json").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="tokenizer_config.json lacks its added tokens"):
        released_tokenizer((released,))


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
