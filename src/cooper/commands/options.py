"""Options that several commands share, and what is checked of them before anything slow begins."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from tyro.conf import Positional, arg

from cooper.model.config import Precision
from cooper.options import OptionError, Options

if TYPE_CHECKING:
    from cooper.api import Cooper

PicturePath: TypeAlias = Annotated[Positional[str], arg(metavar="PICTURE")]
FlowSteps: TypeAlias = Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the model's)")]
Guidance: TypeAlias = Annotated[
    tuple[float, float] | None, arg(metavar="TEXT IMAGE", help_behavior_hint="(default: the model's)")
]
OutFolder: TypeAlias = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")]
OutFile: TypeAlias = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
JudgeUrl: TypeAlias = Annotated[str | None, arg(metavar="URL", help_behavior_hint="")]
JudgeName: TypeAlias = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]
Flag: TypeAlias = Annotated[bool, arg(help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class WithModel:
    """A command that runs a model."""

    model: str = "tiny"
    """The shipped model "tiny", the folder of a model (ours, or BAGEL's family), or OWNER/NAME on the hub."""
    base: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint="")] = None
    """Folder or hub name of the model that fine-tuned weights are based on, for what their folder lacks."""
    adapter: OutFolder = None
    """Folder of LoRA adapters to put on it, as peft or `cooper train --lora` wrote them."""
    precision: Precision = "fp32"
    """What to compute in: mixed draws in bf16; int8 and int4 keep weights in so many bits. Smaller, less exact."""
    prompts: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: beside the weights)")] = None
    """The words that published weights were trained with (`cooper prompts import`)."""
    compat: Literal["consistent", "released"] = "consistent"
    """Whether a published model looks at maps and is guided as it was trained, or as its release does."""

    device: str = "cpu"
    """Where to compute: cpu, or cuda for a GPU."""

    def load(self) -> Cooper:
        from cooper.api import Cooper

        return Cooper.load(
            self.model, self.precision, base=self.base, adapter=self.adapter, prompts=self.prompts,
            compat=self.compat, device=self.device,
        )  # fmt: skip


def check_installed(*modules: str, extras: str) -> None:
    """Raises ImportError, naming the extras that have them, unless all these are installed."""
    if not all(map(find_spec, modules)):
        raise ImportError(f"this needs more: pip install 'cooper-spatial[{extras}]'")


def judge_named(url: str | None, model: str | None) -> tuple[str, str] | None:
    """The judge that is asked for, if one is. Raises ValueError if only half of it is given."""
    if url is None and model is None:
        return None
    if url is None or model is None:
        raise ValueError("a judge is --judge URL and --judge-model NAME together")
    return url, model


def options(**given: Any) -> Options:
    """`Options` of a command. Raises ValueError for what nothing can be asked or drawn with, by the option's name."""
    try:
        return Options(**given)
    except OptionError as error:
        raise ValueError(f"--{error.name.replace('_', '-')} {error.why}") from None


def check_counts(command: object, *names: str) -> None:
    """Raises ValueError if one of these numbers of a command is below 1; None leaves it to the command."""
    for name in names:
        value = getattr(command, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
