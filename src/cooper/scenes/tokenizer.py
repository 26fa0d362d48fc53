"""The tiny model's tokenizer: byte-level BPE learned from the texts of the synthetic world.

Digits are tokens of their own, so that numbers are read and written digit by digit. Tags are single tokens but plain
text, as in the published models: they are decoded like any other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from cooper.modalities import modality
from cooper.policy import MODES, POLICIES
from cooper.scenes.captions import DESCRIBE, RECONSTRUCT, caption, grounded, listed
from cooper.scenes.questions import ask_all
from cooper.scenes.shards import Shards
from cooper.scenes.worked import worked_turns

FRAME = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
TAGS = ("think", "answer")
#: one digit, or letters with the space before them, or other marks
_WORDS = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+")


def texts(shards: Shards, number: int) -> Iterator[str]:
    """Every kind of text the model meets, from the first `number` scenes."""
    for policy in POLICIES.values():
        yield from (t for t in (policy.system, policy.reflection) if t)
    yield DESCRIBE
    yield RECONSTRUCT
    for i in range(min(number, len(shards))):
        scene, view = shards[i]
        rng = np.random.default_rng(i)
        yield caption(scene, view, rng)
        for question, answer in grounded(scene, view, rng):
            yield question
            yield answer
        for one in listed(scene, view, rng):
            yield one.question
            yield one.answer
        for q in ask_all(scene, view, rng):
            yield q.text
            for mode in MODES:
                for turn in worked_turns(scene, view, q, mode):
                    yield turn.text


def train_tokenizer(shards: Shards, vocabulary: int, modalities: tuple[str, ...], number: int = 1000) -> Tokenizer:
    """A tokenizer of at most `vocabulary` tokens; the frame tokens come first, as `OWN_SPECIAL` says."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(_WORDS, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    names = (*TAGS, *(modality(name).tag for name in modalities))
    tags = [AddedToken(f"<{s}{name}>", special=False, normalized=False) for name in names for s in ("", "/")]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(tags) - 1, special_tokens=list(FRAME), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts(shards, number), trainer)
    tokenizer.add_tokens([*tags, AddedToken("\\boxed{", special=False, normalized=False)])
    return tokenizer
