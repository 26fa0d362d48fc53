"""What a model's files hold, found out from their headers: which family, what sizes, what is missing or too much.

A native folder (`config.json`, `model.safetensors` or its parts, `tokenizer.json`) holds our own names. A released one
(BAGEL's family, and COOPER's weights) is described in `released`; it may lie in two folders, a fine-tune's weights in
one and everything else in the other.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor

from cooper.checkpoints.adapters import ADAPTER_CONFIG, Adapters
from cooper.checkpoints.hub import HUB_WEIGHT_PATTERNS, fetched, is_hub_id
from cooper.checkpoints.keys import AUTOENCODER, TABLES, released_names, to_released
from cooper.checkpoints.native import FORMAT, reading_tokenizer
from cooper.checkpoints.released import (
    AE_STEMS,
    CONFIGS,
    MAIN_STEMS,
    config_in,
    lacking,
    named,
    released_config,
    released_tokenizer,
)
from cooper.checkpoints.stored import Stored, weight_files
from cooper.files import shipped
from cooper.model.config import ModelConfig, Precision, SpecialTokens
from cooper.model.precision import put_in
from cooper.model.presets import BAGEL_SPECIAL
from cooper.model.unified import UnifiedModel, sincos_table


class UnusedWarning(UserWarning):
    """Files of a model hold more than it is made of."""


@dataclass(frozen=True)
class Checkpoint:
    """A model that has been found; nothing but headers and settings has been read."""

    source: str
    """As it was asked for."""
    family: Literal["native", "released"]
    folders: tuple[Path, ...]
    """Where a file is looked for, in this order."""
    config: ModelConfig
    main: Stored
    ae: Stored
    """Of a native checkpoint, nothing: its one file holds all."""

    @cached_property
    def expected(self) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
        """Names and shapes that the config asks for, as they are stored: the main file's and the autoencoder's."""
        with torch.device("meta"):
            own = dict(UnifiedModel(self.config).named_parameters())
        main, ae = (own, {}) if self.family == "native" else to_released(own, self.config)
        return {k: tuple(t.shape) for k, t in main.items()}, {k: tuple(t.shape) for k, t in ae.items()}

    @property
    def fingerprint(self) -> str:
        """A short name of the weights, as `Stored` has it: found without reading them all."""
        return "-".join(part.fingerprint for part in (self.main, self.ae) if part)

    @property
    def missing(self) -> list[str]:
        return [name for want, there in self._pairs() for name in want if name not in there]

    @property
    def unexpected(self) -> list[str]:
        """Tensors that no part of the model is made of. The position tables are not counted: they are formulas."""
        known = set(TABLES.values())
        return [name for want, there in self._pairs() for name in there if name not in want and name not in known]

    @property
    def misshapen(self) -> list[str]:
        """"name: (shape) where the config asks for (shape)"."""
        return [
            f"{name}: {there.headers[name].shape} where the config asks for {shape}"
            for want, there in self._pairs() for name, shape in want.items()
            if name in there and there.headers[name].shape != shape
        ]  # fmt: skip

    def _pairs(self) -> Sequence[tuple[Mapping[str, tuple[int, ...]], Stored]]:
        return list(zip(self.expected, (self.main, self.ae), strict=True))

    @property
    def dtypes(self) -> Counter[torch.dtype]:
        """How many numbers are stored in which dtype."""
        found: Counter[torch.dtype] = Counter()
        for header in (*self.main.headers.values(), *self.ae.headers.values()):
            found[header.dtype] += header.numbers
        return found

    @property
    def whole_numbers(self) -> list[str]:
        """"name (dtype)" of what should be weights."""
        return [
            f"{name} ({there.headers[name].dtype})" for want, there in self._pairs() for name in want
            if name in there and not there.headers[name].dtype.is_floating_point
        ]  # fmt: skip

    @property
    def published(self) -> bool:
        """Whether its maps are those of published models, in whatever layout: it knows other words than the tiny
        model."""
        return self.config.codes.coloured

    def check(self) -> None:
        """Raises ValueError if tensors are missing, have other shapes than the config says, or are no weights."""
        for names, what in (
            (self.missing, "lacks"), (self.misshapen, "does not fit its config:"),
            (self.whole_numbers, "should hold weights as BF16 or F32, not as"),
        ):  # fmt: skip
            if names:
                raise ValueError(f"{self.source} {what} {_first(names, '; ')}")

    def tensor(self, name: str) -> Tensor:
        """One of our parameters, read now, in the dtype it is stored in."""
        if self.family == "native":
            return self.main[name]
        if name.startswith(AUTOENCODER):
            return self.ae[name.removeprefix(AUTOENCODER)]
        parts = [self.main[part] for part in self._names[name]]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @cached_property
    def _names(self) -> dict[str, tuple[str, ...]]:
        return released_names(self.config)

    def file(self, name: str) -> Path | None:
        """A file of that name beside the weights, if there is one."""
        return next((folder / name for folder in self.folders if (folder / name).is_file()), None)

    def tokenizer(self) -> Tokenizer:
        """Raises ValueError if it is not there, or is another one."""
        tokenizer = self._tokenizer()
        known, has = tokenizer.get_vocab_size(), self.config.decoder.vocabulary
        if known > has:
            raise ValueError(f"{self.source} has {has} tokens, and its tokenizer knows {known}; it is another model's")
        return tokenizer

    def _tokenizer(self) -> Tokenizer:
        if self.family == "released":
            return released_tokenizer(self.folders, self.config.special)
        path = self.file("tokenizer.json")
        if path is None:
            raise ValueError(f"{self.source} is not whole: it lacks tokenizer.json")
        with reading_tokenizer(path):
            return Tokenizer.from_file(str(path))

    def tell_unused(self) -> None:
        """Warns (`UnusedWarning`) of tensors that no part of the model is made of."""
        if unused := self.unexpected:
            what = f"tensor of {self.source} is" if len(unused) == 1 else f"tensors of {self.source} are"
            told = f"{len(unused)} {what} not used: {_first(unused, ', ')}"
            warnings.warn(told, UnusedWarning, stacklevel=4)  # of Cooper.load's caller

    def load(
        self, precision: Precision = "fp32", adapters: Adapters | None = None, device: str | torch.device = "cpu"
    ) -> UnifiedModel:
        """The model, with the adapters as part of its weights, on a device, read module by module: there is never more
        of it in memory than what it becomes.

        Raises ValueError if it is not whole, or the adapters are another model's. Warns (`UnusedWarning`) of tensors
        that no part of the model is made of.
        """
        self.check()
        self.tell_unused()
        with torch.device("meta"):
            model = UnifiedModel(self.config)
        device = torch.device(device)
        if adapters is None:
            put_in(model, precision, self.tensor, device)
        else:
            adapters.check(model, self.tensor)
            put_in(model, precision, lambda name: adapters.applied(name, self.tensor(name)), device)
        model.latent_table = sincos_table(self.config.decoder.hidden, self.config.max_latent_side).to(device)
        model.vision_table = sincos_table(self.config.decoder.hidden, self.config.vision.max_side).to(device)
        return model


def _first(names: Sequence[str], between: str) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{between.join(names[:5])}{more} (cooper inspect tells all)"


def find(source: str | Path, base: str | Path | None = None, special: SpecialTokens = BAGEL_SPECIAL) -> Checkpoint:
    """What is meant by a source: a shipped model, a folder, or a model on the hub (`OWNER/NAME`).

    `base` (likewise) has what a folder of fine-tuned weights lacks. `special` are the frame's ids in a released model's
    tokenizer. Raises ValueError, saying what was looked for, if no model is there.
    """
    folders: tuple[Path, ...] = (_folder(source),)
    native = folders[0] / "config.json"
    if native.is_file() and (config := _native_config(native)) is not None:
        if base is not None:
            raise ValueError(f"{source} is a whole model of ours; leave the base {base} out")
        files = weight_files(folders[0], "model")
        if not files:
            raise ValueError(f"{source} is not a whole model: it lacks model.safetensors")
        return Checkpoint(str(source), "native", folders, config, Stored(files), Stored(()))
    if base is not None:
        if not _weights(folders, MAIN_STEMS):  # the base's would answer in its name
            there = ", ".join(sorted(path.name for path in folders[0].glob("*.safetensors"))) or "no *.safetensors"
            raise ValueError(
                f"{source} has no weights that could be put on the base {base}: looked for "
                f"{named(MAIN_STEMS)}, there is {there}"
            )
        # of a base on the hub, nothing is fetched that the folder has
        wanted = () if _weights(folders, AE_STEMS) else tuple(f"{stem}*.safetensors" for stem in AE_STEMS)
        folders += (_folder(base, wanted),)
        if (other := folders[1] / "config.json").is_file() and _native_config(other) is not None:
            raise ValueError(
                f"the base {base} is a model of ours, and a base is in BAGEL's layout: cooper convert {base} FOLDER "
                "--to released"
            )
    if (folders[0] / ADAPTER_CONFIG).is_file():
        raise ValueError(f"{folders[0]} holds LoRA adapters; name the model they are for, and them with --adapter")
    if not any((folder / CONFIGS[0]).is_file() for folder in folders):
        looked = f"config.json with model.safetensors (a model of ours), or {', '.join(CONFIGS)} (BAGEL's family)"
        where = " and ".join(map(str, folders))
        raise ValueError(f"{where} is no model folder; looked for {looked}. If these weights are a fine-tune, give the "
                         "folder of the model they are based on with --base, too (in Python: base=...)")  # fmt: skip
    if names := lacking(folders):
        raise ValueError(f"{' and '.join(map(str, folders))} is not a whole model: it lacks {'; '.join(names)}")
    main, ae = (Stored(_weights(folders, stems)) for stems in (MAIN_STEMS, AE_STEMS))
    return Checkpoint(str(source), "released", folders, released_config(folders, special), main, ae)


def _weights(folders: Sequence[Path], stems: Sequence[str]) -> list[Path]:
    """The first there are."""
    return next((found for folder in folders for stem in stems if (found := weight_files(folder, stem))), [])


def _folder(source: str | Path, weights: Sequence[str] = HUB_WEIGHT_PATTERNS) -> Path:
    folder = Path(source)
    if isinstance(source, str) and (own := shipped(source)) is not None:
        if (folder / "config.json").is_file():
            warnings.warn(
                f"{source} is the shipped model; the one in the folder here of that name is ./{source}", stacklevel=4
            )
        return own
    if str(source).strip() and folder.exists():  # no name at all would be the folder that one is in
        if folder.is_dir():
            return folder
        beside = f", such as {folder.parent}" if folder.suffix == ".safetensors" else ""
        raise ValueError(f"{source} is a file; a model is a folder{beside}")
    if is_hub_id(str(source)):
        return fetched(str(source), weights)
    apart = "" if isinstance(source, str) else " (the shipped model is the text 'tiny', and no path)"
    raise ValueError(f"there is no model {str(source)!r}: give tiny, a model's folder, or OWNER/NAME on the hub{apart}")


def _native_config(path: Path) -> ModelConfig | None:
    """None: this file describes another kind of model."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or "decoder" not in data:
            return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}; copy or download it again") from None
    made = data.pop("format", FORMAT)
    if type(made) is not int:
        raise ValueError(f"{path} is damaged: its format is no whole number; copy or download it again")
    if made > FORMAT:
        raise ValueError(f"{path} is of format {made}, newer than {FORMAT}, the last that is known here; update cooper")
    return config_in(path, data)
