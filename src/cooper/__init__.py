"""COOPER: models that look, draw what they need to see, think, and answer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cooper.api import Answer, Cooper, Map, Options
    from cooper.trace import Drawing, Picture, Text, Trace

__all__ = ["Answer", "Cooper", "Drawing", "Map", "Options", "Picture", "Text", "Trace"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Public names are imported at first use: the command line and render workers start without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "cooper.trace" if name in ("Drawing", "Picture", "Text", "Trace") else "cooper.api"
    return getattr(importlib.import_module(module), name)
