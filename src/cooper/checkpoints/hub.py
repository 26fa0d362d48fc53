"""Models on the Hugging Face hub, by `huggingface_hub`: its cache, its offline mode, its login."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cooper.checkpoints.writing import OF_A_MODEL

#: What of a repository is a model: weights; settings, tokenizer, card. Nothing that would have to be executed.
HUB_WEIGHT_PATTERNS = ("*.safetensors",)
CARD = "README.md"
HUB_SIDECAR_PATTERNS = ("*.json", "*.txt", "*.md")


def is_hub_id(source: str) -> bool:
    """Whether this can be the name of a repository: OWNER/NAME."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", source) is not None and not source.startswith((".", "~"))


def fetched(name: str, weights: Sequence[str] = HUB_WEIGHT_PATTERNS) -> Path:
    """The folder of a model of the hub, downloaded unless it is in the cache. Of its weights only those that match one
    of the patterns `weights` are asked for. Raises ValueError if it cannot be had."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[*weights, *HUB_SIDECAR_PATTERNS]))
    except LocalEntryNotFoundError:
        raise ValueError(
            f"there is no folder {name!r} here, and the model {name} is neither in the hub's cache nor can it be "
            "downloaded now; check the name and the connection, or give a folder"
        ) from None
    except Exception as error:  # what a broken connection raises changes with huggingface_hub's version
        raise ValueError(f"{name} cannot be had from the hub: {_first_line(error)}") from None


def push(folder: Path, name: str, card: str, private: bool = False) -> str:
    """Upload a model's folder as the repository `name`, made if need be; returns its address. Its README is the `card`,
    unless there is one.

    Raises ValueError if the hub refuses, or is not there.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if not api.file_exists(name, CARD):
            (folder / CARD).write_text(card, encoding="utf-8")
        # as in a folder, what is left of an earlier model there would be loaded in the place of this one
        api.upload_folder(
            repo_id=name, folder_path=folder, allow_patterns=[*HUB_WEIGHT_PATTERNS, *HUB_SIDECAR_PATTERNS],
            delete_patterns=list(OF_A_MODEL),
        )  # fmt: skip
    except Exception as error:  # as above
        raise ValueError(f"{name} cannot be pushed to the hub: {_first_line(error)}") from None
    return f"{api.endpoint}/{name}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
