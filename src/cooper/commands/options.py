"""Options that several commands share, and what is checked of them before anything slow begins."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from tyro.conf import Positional, arg

from cooper.model.config import Precision
from cooper.trace import asked

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


def check_drawing(flow_steps: int | None, guidance: tuple[float, float] | None) -> None:
    """Raises ValueError for what no map can be drawn with."""
    if flow_steps is not None and flow_steps < 1:
        raise ValueError(f"--flow-steps must be at least 1, not {flow_steps}")
    if guidance is not None and not all(isfinite(scale) and scale >= 0 for scale in guidance):
        raise ValueError(f"--guidance takes two scales of 0 or more (1 is none), not {guidance[0]:g} {guidance[1]:g}")


def check_asking(
    question: str, max_turns: int | None, temperature: float, top_p: float, samples: int, seed: int = 0
) -> None:  # fmt: skip
    """Raises ValueError for what nothing can be asked with."""
    asked(question)
    if seed < 0:
        raise ValueError(f"--seed must not be negative, as {seed} is")
    if max_turns is not None and max_turns < 1:
        raise ValueError(f"--max-turns must be at least 1, not {max_turns}")
    if not (isfinite(temperature) and temperature >= 0):
        raise ValueError(f"--temperature must be 0 or more, not {temperature:g}")
    if not 0 < top_p <= 1:
        raise ValueError(f"--top-p lies above 0 and at most at 1, not {top_p:g}")
    if samples < 1:
        raise ValueError(f"--samples must be at least 1, not {samples}")
    if top_p < 1 and temperature == 0 and samples == 1:
        raise ValueError("--top-p chooses among what is sampled; give a --temperature above 0, too")
