"""COOPER: models that look, draw what they need to see, think, and answer."""

from cooper.api import Answer, Cooper, Map, Options
from cooper.trace import Drawing, Picture, Text, Trace

__all__ = ["Answer", "Cooper", "Drawing", "Map", "Options", "Picture", "Text", "Trace"]
__version__ = "0.1.0"
