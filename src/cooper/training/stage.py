"""What is particular to a stage of training; the loop is shared (`cooper.training.loop`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from PIL import Image
from torch import Tensor, nn

from cooper.training.processes import Share

M = TypeVar("M", bound=nn.Module)
#: losses, and figures to log, whose gradients add up to one update
Losses: TypeAlias = Iterable[tuple[Tensor, dict[str, float]]]


class Stage(ABC, Generic[M]):
    """What is particular to a stage."""

    name: str

    @abstractmethod
    def batch(self, step: int, share: Share) -> Any:
        """A process's share of the batch of a step: a pure function of the stage's seed and the arguments.

        Runs in a worker process.
        """

    @abstractmethod
    def updates(self, model: M, batch: Any) -> Iterable[Losses]:
        """The updates that a batch is good for, one or more. Each is asked for when the one before has been made."""

    def after(self, step: int, folder: Path) -> None:
        """Called after every step, in the first process; `folder` is the run's."""

    @abstractmethod
    def sheet(self, model: M) -> Image.Image | None:
        """A contact sheet of what the model does now; None if nothing of it can be drawn."""

    def page(self, model: M) -> str:
        """HTML of what the model says now, to lie beside the sheet; empty if it says nothing."""
        return ""

    @abstractmethod
    def trained(self, model: M) -> dict[str, nn.Parameter]:
        """The parameters that this stage changes, by name."""


class Supervised(Stage[M]):
    """A stage whose batches have a loss, which is one update."""

    @abstractmethod
    def loss(self, model: M, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and figures to log."""

    def updates(self, model: M, batch: Any) -> Iterable[Losses]:
        yield [self.loss(model, batch)]
