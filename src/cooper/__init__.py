"""COOPER: models that look, draw what they need to see, think, and answer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cooper.api import Answer, Cooper, Map
    from cooper.checkpoints.adapters import OtherBaseWarning
    from cooper.checkpoints.checkpoint import UnusedWarning
    from cooper.images import ImageError
    from cooper.inference.rollout import Finished, FlowStep, MapDrawn, TokenWritten
    from cooper.options import OptionError, Options
    from cooper.policy import Policy
    from cooper.prompts import WordingWarning
    from cooper.trace import Drawing, Picture, Text, Trace

__all__ = [
    "Answer", "Cooper", "Drawing", "Finished", "FlowStep", "ImageError", "Map", "MapDrawn", "OptionError", "Options",
    "OtherBaseWarning", "Picture", "Policy", "Text", "TokenWritten", "Trace", "UnusedWarning", "WordingWarning",
]  # fmt: skip
_MODULES = {
    "cooper.checkpoints.adapters": ("OtherBaseWarning",),
    "cooper.checkpoints.checkpoint": ("UnusedWarning",),
    "cooper.images": ("ImageError",),
    "cooper.inference.rollout": ("Finished", "FlowStep", "MapDrawn", "TokenWritten"),
    "cooper.options": ("OptionError", "Options"),
    "cooper.policy": ("Policy",),
    "cooper.prompts": ("WordingWarning",),
    "cooper.trace": ("Drawing", "Picture", "Text", "Trace"),
}
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Public names are imported at first use: the command line and render workers start without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = next((module for module, names in _MODULES.items() if name in names), "cooper.api")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    """With those that are not imported yet, so that they can be completed."""
    return sorted({*globals(), *__all__})
