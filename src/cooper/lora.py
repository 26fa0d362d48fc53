"""LoRA (Hu et al., 2022), by `peft`: small matrices beside the decoder's weights, which stay as they are.

A model with adapters off is the model that it was before, so it can be its own reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from cooper.checkpoints.writing import save_tensors
from cooper.files import new_file
from cooper.model.config import ModelConfig
from cooper.model.unified import UnifiedModel

if TYPE_CHECKING:
    from peft import LoraConfig

#: what peft puts before the names of a model's own modules in its files
PREFIX = "base_model.model."
#: what maps drawn with adapters stand for
CODES = "map_codes.json"
#: a few numbers of the weights that adapters were trained beside, by which these are known again
BASE = "base_weights.json"
_LOOKED_AT = 8


@dataclass(frozen=True)
class Lora:
    """What adapters are like, and where they are."""

    rank: int = 16
    alpha: float = 32.0
    """Adapters count alpha / rank."""
    experts: tuple[Literal["und", "gen"], ...] = ("und", "gen")
    """Which experts get adapters: `und` (text and vision), `gen` (drawing), or both."""

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.experts:
            raise ValueError(f"adapters need a rank of at least 1 and an expert; got {self.rank} and {self.experts}")


def add_adapters(model: UnifiedModel, lora: Lora, seed: int = 0) -> None:
    """Put adapters beside all matrices of these experts, in place, in fp32 whatever these are in. Until they are
    trained they change nothing.

    Raises ImportError without peft.
    """
    try:
        from peft import inject_adapter_in_model
    except ImportError:
        raise ImportError("adapters need an extra: pip install 'cooper-spatial[lora]'") from None

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(_config(lora), model)
    for name, p in model.named_parameters():
        if ".lora_" in name:
            p.data = p.data.float()  # peft makes them as the matrices are; small steps would be lost in bf16


def adapters_or_all(parameters: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Of these parameters those of adapters, if there are any."""
    return {k: p for k, p in parameters.items() if ".lora_" in k} or parameters


def adapter_parameters(config: ModelConfig, lora: Lora) -> int:
    """Numbers that adapters of a model of this size have."""
    with torch.device("meta"):
        matrices = UnifiedModel(config).named_modules()
        return sum(
            lora.rank * (m.in_features + m.out_features) for name, m in matrices
            if isinstance(m, nn.Linear) and re.fullmatch(_pattern(lora), name)
        )  # fmt: skip


@contextmanager
def without_adapters(model: UnifiedModel) -> Iterator[UnifiedModel]:
    """The model as it was before it had adapters."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]
    trained = [(p, p.requires_grad) for p in model.parameters()]  # peft would train all adapters afterwards
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield model
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for p, was in trained:
            p.requires_grad_(was)


def save_adapters(model: UnifiedModel, lora: Lora, folder: str | Path) -> None:
    """Write the adapters as peft does: `PeftModel.from_pretrained(model, folder)` puts them beside the same weights.
    What maps stand for, which they may have learned anew, is in a file beside them, and what these weights are known
    by in another."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parameters = dict(model.named_parameters())
    tensors = {
        PREFIX + name.replace(".default", ""): p.detach().contiguous()
        for name, p in parameters.items() if ".lora_" in name
    }  # fmt: skip
    _config(lora).save_pretrained(str(folder))
    with new_file(folder / CODES) as file:
        file.write_text(json.dumps(asdict(model.config.codes)) + "\n", encoding="utf-8")
    end = ".base_layer.weight"
    adapted = sorted(name.removesuffix(end) for name in parameters if name.endswith(end))
    with new_file(folder / BASE) as file:
        numbers = {name: numbers_of(parameters[f"{name}{end}"]) for name in (adapted[0], adapted[-1])}
        file.write_text(json.dumps(numbers) + "\n", encoding="utf-8")
    save_tensors(tensors, folder / "adapter_model.safetensors", format="pt")


def numbers_of(weight: Tensor) -> list[float]:
    """The first few of a matrix (rows, columns)."""
    return [float(number) for number in weight.detach().flatten()[:_LOOKED_AT]]


def merge_adapters(model: UnifiedModel) -> None:
    """Make the adapters part of the weights, in place. Those are in fp32 then: rounded to bf16, most of what was
    learned at a small rate would be lost."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)]:
        base: nn.Module = layer.get_base_layer()
        base.float()
        layer.merge(safe_merge=True)
        model.set_submodule(name, base)


def _config(lora: Lora) -> LoraConfig:
    from peft import LoraConfig

    return LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=_pattern(lora))  # type: ignore[arg-type]


def _pattern(lora: Lora) -> str:
    """The names of the matrices that have adapters."""
    return rf"decoder\.layers\.\d+\.({'|'.join(lora.experts)})\.(qkv|out|gate_up|down)"
