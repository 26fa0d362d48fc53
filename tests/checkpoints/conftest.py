"""A model in the released layout, and one in our own.

The former is of the reference numbers (tests/golden/a), which others wrote.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tests.checkpoints.folders import GOLDEN, SPECIAL
from tests.helpers import random_model, tokenizer
from tokenizers import Tokenizer, models

from cooper.checkpoints.native import save_native


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
