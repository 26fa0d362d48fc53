"""A folder in the released layout (BAGEL family): the files that COOPER's and BAGEL's authors publish.

    ema.safetensors or model.safetensors    decoder, vision transformer, connectors; one file, or parts with an index
    ae.safetensors                          autoencoder
    llm_config.json, vit_config.json        sizes
    ae_config.json, model_args.json         sizes that the published model fixes in code; only small models have them
    tokenizer.json                          or vocab.json, merges.txt and tokenizer_config.json, which say the same

The published autoencoder, latent patch and position tables are the defaults where `ae_config` and `model_args` are
absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from cooper.checkpoints.native import reading_tokenizer
from cooper.checkpoints.stored import weight_files
from cooper.modalities.codes import RELEASED as RELEASED_CODES
from cooper.model.config import AutoencoderConfig, DecoderConfig, ModelConfig, SpecialTokens, VisionConfig
from cooper.model.presets import BAGEL_AUTOENCODER, BAGEL_FLOW, BAGEL_SPECIAL, BAGEL_TOKENS

#: Names of weight files without their ends; averaged weights, which are what is used, before others.
MAIN_STEMS = ("ema", "model")
AE_STEMS = ("ae",)
CONFIGS = ("llm_config.json", "vit_config.json")
CONFIG_FILES = (*CONFIGS, "ae_config.json", "model_args.json")
_TOKENIZER = "tokenizer.json, or vocab.json, merges.txt and tokenizer_config.json"
#: how Qwen2's tokenizer cuts text into words, before it looks them up
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def released_config(folders: Sequence[Path], special: SpecialTokens = BAGEL_SPECIAL) -> ModelConfig:
    """The sizes that a released model's folders state. Raises ValueError, naming the file, if one is missing,
    incomplete, or says what cannot be a size."""
    llm, vit = (_settings(folders, name) for name in CONFIGS)
    ae, args = (
        _settings(folders, name) if _find(folders, name) else None for name in ("ae_config.json", "model_args.json")
    )
    args = args or _Settings(Path("model_args.json"), {})
    if "cooper" in args.values:
        config = config_in(args.path, args.values["cooper"])
        says = config_files(config)
        for settings in (llm, vit, *([] if ae is None else [ae])):
            _check_agree(settings, says[settings.path.name], args.path)
        return config
    side = args.size("vit_max_num_patch_per_side", vit.size("image_size") // vit.size("patch_size"))
    used = vit.size("num_hidden_layers") + 1 + args.whole("vit_select_layer", -2)
    heads, kv_heads = llm.size("num_attention_heads"), llm.size("num_key_value_heads")
    if llm.size("hidden_size") % heads or heads % kv_heads:
        raise ValueError(f"{llm.path}: hidden_size must be a multiple of the heads, and these of num_key_value_heads")
    if vit.size("hidden_size") % vit.size("num_attention_heads"):
        raise ValueError(f"{vit.path}: hidden_size must be a multiple of num_attention_heads")
    if used < 1:
        raise ValueError(f"{args.path}: vit_select_layer leaves none of {vit.size('num_hidden_layers')} layers")
    config = ModelConfig(
        DecoderConfig(
            llm.size("hidden_size"), llm.size("num_hidden_layers"), heads, kv_heads, llm.size("intermediate_size"),
            llm.size("vocab_size"), _rope_theta(llm), llm.number("rms_norm_eps"),
        ),
        VisionConfig(
            vit.size("hidden_size"), used, vit.size("num_attention_heads"), vit.size("intermediate_size"),
            vit.size("patch_size"), side, vit.number("layer_norm_eps", 1e-6),
        ),
        BAGEL_AUTOENCODER if ae is None else AutoencoderConfig(
            ae.size("ch"), ae.sizes("ch_mult"), ae.size("num_res_blocks"), ae.size("z_channels"),
            ae.size("num_groups", 32), scale=ae.number("scale_factor"), shift=ae.number("shift_factor"),
        ),
        special,
        args.size("latent_patch_size", 2),
        args.size("max_latent_size", 64),
        time_shift=args.number("timestep_shift", 1.0),
        codes=RELEASED_CODES,
        flow=BAGEL_FLOW,
        turn_tokens=BAGEL_TOKENS[0],
        trace_tokens=BAGEL_TOKENS[1],
    )  # fmt: skip
    try:
        config.check()
    except ValueError as error:
        raise ValueError(f"{llm.path} and the files beside it say what cannot be: {error}") from None
    return config


def _rope_theta(llm: _Settings) -> float:
    """Of rotary positions, by itself or, as transformers 5 writes it, among their parameters. Raises ValueError for
    other positions."""
    rope = llm.values.get("rope_parameters") or llm.values.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else rope
    if kind != "default":
        raise ValueError(f"{llm.path}: rotary positions of the kind {kind!r} are not understood")
    return llm.number("rope_theta", rope.get("rope_theta") if isinstance(rope, dict) else None)


def lacking(folders: Sequence[Path]) -> list[str]:
    """What a released model's folders must hold and do not, in words; that there is no tokenizer is told with the rest,
    and alone when it is asked for."""
    names = [name for name in CONFIGS if _find(folders, name) is None]
    for stems in (MAIN_STEMS, AE_STEMS):
        if not any(weight_files(folder, stem) for folder in folders for stem in stems):
            names.append(named(stems))
    return [*names, f"a tokenizer ({_TOKENIZER})"] if names and not _tokenizer_files(folders) else names


def named(stems: Sequence[str]) -> str:
    """Of files of weights."""
    return " or ".join(f"{stem}.safetensors" for stem in stems)


def _check_agree(settings: _Settings, wanted: Mapping[str, Any], other: Path) -> None:
    """Raises ValueError if a settings file says something else than what is read in its place."""
    for name, value in wanted.items():
        if settings.values.get(name, value) != value:
            raise ValueError(
                f"{settings.path} has {name} {json.dumps(settings.values[name])[:40]}, and \"cooper\" in {other} says "
                f"{json.dumps(value)[:40]}; change it there, too, or take \"cooper\" out"
            )


def config_in(path: Path, data: Any) -> ModelConfig:
    """What `ModelConfig.to_dict` gave, out of a file. Raises ValueError, naming the file, if it is something else."""
    try:
        return ModelConfig.from_dict(data)
    except (ValueError, AttributeError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"{path} is damaged: {error}; copy or download it again") from None


def config_files(config: ModelConfig) -> dict[str, dict[str, Any]]:
    """The inverse of `released_config`: what each settings file of a released folder says. What the layout has no place
    for is in `model_args.json`, which other programs do not read."""
    d, v, a = config.decoder, config.vision, config.autoencoder
    return {
        "llm_config.json": {
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "hidden_size": d.hidden,
            "num_hidden_layers": d.layers, "num_attention_heads": d.heads, "num_key_value_heads": d.kv_heads,
            "intermediate_size": d.ffn, "vocab_size": d.vocabulary, "rope_theta": d.rope_theta,
            "rms_norm_eps": d.norm_eps, "tie_word_embeddings": False,
        },
        "vit_config.json": {
            "model_type": "siglip_vision_model", "hidden_act": "gelu_pytorch_tanh", "hidden_size": v.hidden,
            "num_hidden_layers": v.layers + 1, "num_attention_heads": v.heads, "intermediate_size": v.ffn,
            "num_channels": 3, "patch_size": v.patch, "image_size": v.patch * v.max_side, "layer_norm_eps": v.norm_eps,
        },
        "ae_config.json": {
            "ch": a.channels, "ch_mult": list(a.multipliers), "num_res_blocks": a.blocks, "z_channels": a.latent,
            "num_groups": a.groups, "scale_factor": a.scale, "shift_factor": a.shift,
        },
        "model_args.json": {
            "vit_select_layer": -2, "vit_max_num_patch_per_side": v.max_side, "latent_patch_size": config.latent_patch,
            "max_latent_size": config.max_latent_side, "timestep_shift": config.time_shift, "cooper": config.to_dict(),
        },
    }  # fmt: skip


def released_tokenizer(folders: Sequence[Path], special: SpecialTokens = BAGEL_SPECIAL) -> Tokenizer:
    """The tokenizer of a released model. Raises ValueError if its files are not there, damaged, or another model's."""
    where = " and ".join(map(str, folders))
    files = _tokenizer_files(folders)
    if not files:
        raise ValueError(
            f"{where} has no tokenizer; looked for {_TOKENIZER}. Copy them from the Qwen2.5 model that the weights are "
            "based on"
        )
    added = _added_tokens(files[2]) if len(files) > 1 else []
    with reading_tokenizer(files[0]):
        tokenizer = _from_parts(files[0], files[1], added) if len(files) > 1 else Tokenizer.from_file(str(files[0]))
    if tokenizer.token_to_id("<|im_start|>") != special.begin:
        raise ValueError(f"{where}: <|im_start|> should be token {special.begin}; is this Qwen2's tokenizer?")
    return tokenizer


def _tokenizer_files(folders: Sequence[Path]) -> list[Path]:
    """The one that says all, or else its three parts, or nothing."""
    if (whole := _find(folders, "tokenizer.json")) is not None:
        return [whole]
    parts = [_find(folders, name) for name in ("vocab.json", "merges.txt", "tokenizer_config.json")]
    there = [path for path in parts if path is not None]
    return there if len(there) == len(parts) else []


def _added_tokens(settings: Path) -> list[AddedToken]:
    """Those that a tokenizer_config.json adds, in order. Raises ValueError if it is damaged."""
    try:
        added = json.loads(settings.read_text(encoding="utf-8"))["added_tokens_decoder"]
        return [
            AddedToken(token["content"], normalized=token["normalized"], special=token["special"])
            for _, token in sorted(added.items(), key=lambda item: int(item[0]))
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{settings} lacks its added tokens ({error!r}); copy or download it again") from None


def _from_parts(vocabulary: Path, merges: Path, added: Sequence[AddedToken]) -> Tokenizer:
    """What Qwen2's tokenizer.json would say, from the files that it was made of."""
    tokenizer = Tokenizer(BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for token in added:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer


def _find(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


@dataclass(frozen=True)
class _Settings:
    """What a settings file says; reading what is not there, and has no default, is a ValueError that names the file."""

    path: Path
    values: dict[str, Any]

    def number(self, name: str, default: float | None = None) -> float:
        found = self._value(name, default)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise ValueError(f"{self.path}: {name} should be a number, not {json.dumps(found)[:40]}")
        if not abs(found) < 1e30:
            raise ValueError(f"{self.path}: {name} is {str(found)[:40]}, which is no number to compute with")
        return found

    def whole(self, name: str, default: int) -> int:
        found = self.number(name, default)
        if found != int(found):
            raise ValueError(f"{self.path}: {name} should be a whole number, not {json.dumps(found)[:40]}")
        return int(found)

    def size(self, name: str, default: int | None = None) -> int:
        return self._checked(name, self._value(name, default))

    def sizes(self, name: str) -> tuple[int, ...]:
        found = self._value(name, None)
        if found == []:
            raise ValueError(f"{self.path}: {name} is empty")
        return tuple(self._checked(name, size) for size in (found if isinstance(found, list) else [found]))

    def _checked(self, name: str, found: Any) -> int:
        if type(found) is not int or found < 1:  # to Python, true is an int
            raise ValueError(f"{self.path}: {name} should be a whole number above 0, not {json.dumps(found)[:40]}")
        return found

    def _value(self, name: str, default: float | None) -> Any:
        if name in self.values or default is not None:
            return self.values.get(name, default)
        raise ValueError(f"{self.path} lacks {name!r}; is it a complete BAGEL-family folder?")


def _settings(folders: Sequence[Path], name: str) -> _Settings:
    path = _find(folders, name)
    if path is None:
        raise ValueError(f"{' and '.join(map(str, folders))} has no {name}; a released model needs it")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold settings by name ({{...}}), not {json.dumps(values)[:40]}")
    return _Settings(path, values)
