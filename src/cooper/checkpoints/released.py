"""Loading a folder in the released layout (BAGEL family): the files COOPER's and BAGEL's authors publish.

    ema.safetensors or model.safetensors    decoder, vision transformer, connectors
    ae.safetensors                          autoencoder
    llm_config.json, vit_config.json        sizes
    ae_config.json, model_args.json         sizes that the published model fixes in code; only small models have them

The published autoencoder, latent patch and position tables are the defaults where the last two files are absent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor

from cooper.checkpoints.keys import from_released
from cooper.model.config import AutoencoderConfig, DecoderConfig, ModelConfig, SpecialTokens, VisionConfig
from cooper.model.presets import BAGEL_AUTOENCODER, BAGEL_SPECIAL
from cooper.model.unified import UnifiedModel, sincos_table

WEIGHTS = ("ema.safetensors", "model.safetensors")


def released_config(folder: str | Path, special: SpecialTokens = BAGEL_SPECIAL) -> ModelConfig:
    """The sizes a released folder states. Raises ValueError, naming the file, if one is missing or incomplete."""
    folder = Path(folder)
    llm, vit = _json(folder / "llm_config.json"), _json(folder / "vit_config.json")
    ae = _json(folder / "ae_config.json") if (folder / "ae_config.json").exists() else None
    args = _json(folder / "model_args.json") if (folder / "model_args.json").exists() else {}
    try:
        side = args.get("vit_max_num_patch_per_side", vit["image_size"] // vit["patch_size"])
        used = vit["num_hidden_layers"] + 1 + args.get("vit_select_layer", -2)
        return ModelConfig(
            DecoderConfig(
                llm["hidden_size"], llm["num_hidden_layers"], llm["num_attention_heads"], llm["num_key_value_heads"],
                llm["intermediate_size"], llm["vocab_size"], llm["rope_theta"], llm["rms_norm_eps"],
            ),
            VisionConfig(
                vit["hidden_size"], used, vit["num_attention_heads"], vit["intermediate_size"], vit["patch_size"],
                side, vit.get("layer_norm_eps", 1e-6),
            ),
            BAGEL_AUTOENCODER if ae is None else AutoencoderConfig(
                ae["ch"], tuple(ae["ch_mult"]), ae["num_res_blocks"], ae["z_channels"],
                scale=ae["scale_factor"], shift=ae["shift_factor"],
            ),
            special,
            args.get("latent_patch_size", 2),
            args.get("max_latent_size", 64),
            time_shift=args.get("timestep_shift", 1.0),
        )  # fmt: skip
    except KeyError as error:
        raise ValueError(f"{folder}: its config files lack {error}; is it a complete BAGEL-family folder?") from None


def load_released(
    folder: str | Path, special: SpecialTokens = BAGEL_SPECIAL, dtype: torch.dtype = torch.float32
) -> UnifiedModel:
    """The model of a released folder, every parameter in `dtype`.

    Raises ValueError if a file or a tensor is missing or has another shape than the configs say.
    """
    folder = Path(folder)
    config = released_config(folder, special)
    main_file = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    ae_file = folder / "ae.safetensors"
    if main_file is None or not ae_file.exists():
        looked = ", ".join((*WEIGHTS, ae_file.name))
        raise ValueError(f"{folder} does not hold the weights of a released model; looked for {looked}")
    with torch.device("meta"):
        model = UnifiedModel(config)
    names = [name for name, _ in model.named_parameters()]
    with safe_open(main_file, "pt") as main, safe_open(ae_file, "pt") as ae:
        try:
            state = from_released(
                config, names, lambda k: main.get_tensor(k).to(dtype), lambda k: ae.get_tensor(k).to(dtype)
            )
        except Exception as error:  # safetensors raises its own type, with the tensor's name
            raise ValueError(f"{folder}: {error}") from None
    return materialise(model, state)


def released_tokenizer(folder: str | Path, special: SpecialTokens = BAGEL_SPECIAL) -> Tokenizer:
    """The tokenizer of a released folder (`tokenizer.json`). Raises ValueError if it is not there or another one."""
    path = Path(folder) / "tokenizer.json"
    if not path.exists():
        raise ValueError(f"{folder} has no tokenizer.json; copy it there from the Qwen2 model the weights are based on")
    tokenizer = Tokenizer.from_file(str(path))
    if tokenizer.token_to_id("<|im_start|>") != special.begin:
        raise ValueError(f"{path}: <|im_start|> should be token {special.begin}; is this Qwen2's tokenizer?")
    return tokenizer


def materialise(model: UnifiedModel, state: dict[str, Tensor]) -> UnifiedModel:
    """Give a model built on the meta device its parameters, and its fixed tables. ValueError if shapes differ."""
    wrong = [k for k, p in model.named_parameters() if k not in state or state[k].shape != p.shape]
    if wrong:
        raise ValueError(f"the checkpoint does not fit its config: {', '.join(wrong[:5])} ({len(wrong)} tensors)")
    model.load_state_dict(state, assign=True, strict=False)
    config = model.config
    model.latent_table = sincos_table(config.decoder.hidden, config.max_latent_side)
    model.vision_table = sincos_table(config.decoder.hidden, config.vision.max_side)
    return model


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} has no {path.name}; a released folder needs it") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
