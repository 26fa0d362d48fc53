"""LoRA adapters at inference: merged into the weights while these are read, before any quantisation."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from cooper.checkpoints.stored import Stored
from cooper.lora import BASE, CODES, PREFIX, numbers_of
from cooper.modalities import MapCodes
from cooper.model.config import ModelConfig, tuples
from cooper.model.typed import check_fields
from cooper.model.unified import UnifiedModel

#: Settings of peft that make something else of adapters than a product beside a matrix.
_OTHER_KINDS = (
    "use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "alora_invocation_tokens", "kasa_config", "use_qalora",
    "use_bdlora",
)  # fmt: skip
#: Ways of beginning that leave the matrix as it is. Of others (PiSSA, OLoRA, LoftQ) the adapters belong beside another.
_BESIDE_THE_BASE = (True, False, "gaussian", "orthogonal", "eva")
_A, _B = ".lora_A.weight", ".lora_B.weight"
#: The file by which adapters are known.
ADAPTER_CONFIG = "adapter_config.json"


class OtherBaseWarning(UserWarning):
    """Adapters are put on other weights than they were trained beside."""


class Adapters:
    """Adapters that peft (or `save_adapters`) wrote, to be made part of weights as these are read.

    `codes` is what maps stand for that are drawn with them, if they tell. Raises ValueError if the folder does not hold
    LoRA adapters of this form.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        path, weights = self.folder / ADAPTER_CONFIG, self.folder / "adapter_model.safetensors"
        if not (path.is_file() and weights.is_file()):
            raise ValueError(f"{folder} holds no adapters; looked for {path.name} and {weights.name}")
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            rank, alpha = config["r"], config["lora_alpha"]
            kinds = [name for name in _OTHER_KINDS if config.get(name)]
            if (begun := config.get("init_lora_weights", True)) not in _BESIDE_THE_BASE:
                kinds.append(f"init_lora_weights={begun}")
            if config["peft_type"] != "LORA" or kinds:
                raise ValueError(f"adapters of the kind {' '.join([config['peft_type'], *kinds])} are not understood")
            if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1 or not math.isfinite(alpha):
                raise ValueError(f"r is {rank!r}, which is no rank, or lora_alpha is {alpha!r}, which is no number")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is no LoRA's: {error}") from None
        self.stored, self.rank, self.scale = Stored([weights]), rank, alpha / rank
        self.modules = {
            name.removeprefix(PREFIX).removesuffix(_A) for name in self.stored if name.endswith(_A)
        }  # fmt: skip
        pairs = {f"{PREFIX}{name}{end}" for name in self.modules for end in (_A, _B)}
        odd = sorted(pairs ^ set(self.stored))
        if odd or not pairs:  # to apply a part of it, or nothing, would be another model without a word
            names = ", ".join(odd[:3] or ["all"]) + (f" and {len(odd) - 3} more" if len(odd) > 3 else "")
            raise ValueError(
                f"{weights} must hold {PREFIX}MATRIX{_A} and {PREFIX}MATRIX{_B} for each matrix, and nothing else; "
                f"train without bias and modules_to_save, and save with peft. Too much or missing: {names}"
            )

        self.codes = _codes(self.folder / CODES)
        self.base = _base(self.folder / BASE)

    def adapted(self, config: ModelConfig) -> ModelConfig:
        """The config of a model with them: they may have learned other maps than it drew."""
        return config if self.codes is None else replace(config, codes=self.codes)

    def check(self, model: UnifiedModel, tensor: Callable[[str], Tensor]) -> None:
        """Raises ValueError if they are not beside matrices of this model. Warns (`OtherBaseWarning`) if a `tensor` of
        that name is another one than they were trained beside, as far as they tell: it would be changed by what
        somebody learned about that, and nothing would look wrong."""
        shapes = {k.removesuffix(".weight"): p.shape for k, p in model.named_parameters()}
        for name in sorted(self.modules):
            a, b = (self.stored.headers[f"{PREFIX}{name}{end}"].shape for end in (_A, _B))
            if len(a) != 2 or len(b) != 2 or not a[0] == b[1] == self.rank:
                sizes = f"{list(b)} and {list(a)}, and r is {self.rank}"
                raise ValueError(f"{self.folder} is damaged: the matrices beside {name} are {sizes}")
            if shapes.get(name) != (b[0], a[1]):
                raise ValueError(f"{self.folder} holds adapters of another model: {name} is {b[0]} x {a[1]} there")
        for name in self.base.keys() & self.modules:
            here, there = map(torch.tensor, (numbers_of(tensor(f"{name}.weight")), self.base[name]))
            # far enough from what rounding to bf16 does
            if here.shape != there.shape or not torch.allclose(here, there, rtol=0.02, atol=1e-6):
                told = f"{self.folder} was trained beside other weights than these; name the model it is for"
                warnings.warn(told, OtherBaseWarning, stacklevel=4)  # of Cooper.load's caller
                break

    def applied(self, name: str, weight: Tensor) -> Tensor:
        """A parameter with its adapter, if it has one, in fp32: rounded to what it is stored in, most of a small change
        would be lost."""
        module = name.removesuffix(".weight")
        if module == name or module not in self.modules:
            return weight
        a, b = (self.stored[f"{PREFIX}{module}{end}"].float() for end in (_A, _B))
        return torch.addmm(weight.float(), b, a, alpha=self.scale)


def _base(path: Path) -> dict[str, list[float]]:
    """Numbers by the names of matrices; none are told by what others wrote."""
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): [float(number) for number in numbers] for name, numbers in told.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} does not tell the weights beside which adapters belong: {error}") from None


def _codes(path: Path) -> MapCodes | None:
    if not path.is_file():
        return None
    try:
        made = MapCodes(**tuples(json.loads(path.read_text(encoding="utf-8"))))
        check_fields(made)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} does not tell what maps stand for: {error}") from None
    return made
