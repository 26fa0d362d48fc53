"""Our own layout: a folder with `config.json`, `model.safetensors` (or its parts) and `tokenizer.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from cooper.checkpoints.keys import AUTOENCODER
from cooper.checkpoints.stored import Header
from cooper.checkpoints.writing import replaced_in, write_tensors
from cooper.files import new_file, new_folder
from cooper.model.config import ModelConfig
from cooper.model.unified import UnifiedModel
from cooper.prompts import FILE as PROMPTS_FILE
from cooper.prompts import Prompts

#: of `config.json` and of the files beside it; one that does not tell is of format 1
FORMAT = 1


def save_native(
    model: UnifiedModel, tokenizer: Tokenizer, folder: str | Path, dtype: torch.dtype | None = None,
    shard_bytes: int | None = None, prompts: Prompts | None = None, config: ModelConfig | None = None,
    exact: Callable[[str], Tensor] | None = None,
) -> None:  # fmt: skip
    """Write a model in `dtype`, or each parameter in its own; the autoencoder, whose errors show in every map, in fp32,
    with the values that `exact` gives for its parameters' names, if it was rounded. With `config` in the place of the
    model's. In several files if it is more than `shard_bytes`. A model that lies in the folder is replaced, with the
    words that it knew."""
    folder = Path(folder)
    parameters: dict[str, Tensor] = dict(model.named_parameters())

    def value(name: str) -> Tensor:
        return exact(name) if exact is not None and name.startswith(AUTOENCODER) else parameters[name]

    headers = {
        name: Header(folder, torch.float32 if name.startswith(AUTOENCODER) else dtype or p.dtype, tuple(p.shape))
        for name, p in parameters.items()
    }
    with new_folder(folder, replaced_in(folder)) as made:
        write_tensors(made, "model", headers, value, shard_bytes)
        write_tokenizer(tokenizer, made / "tokenizer.json")
        write_config(config or model.config, made)
        if prompts is not None and prompts != Prompts():
            prompts.save(made / PROMPTS_FILE)


def write_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """As its own `save` does, whose errors are no OSError."""
    with new_file(path) as file:
        file.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")


@contextmanager
def reading_tokenizer(path: Path) -> Iterator[None]:
    """Raises ValueError, naming the file, for whatever the tokenizers library finds in one: it raises nothing more
    particular than Exception, and of some damage its Rust code panics, which Python is not to catch as one."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"{path} is damaged: {error}") from None


def write_config(config: ModelConfig, folder: Path) -> None:
    data = {"format": FORMAT, **config.to_dict()}
    (folder / "config.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
