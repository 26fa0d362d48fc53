"""Kinds of maps the model can draw. A new one is one new file and one registration below."""

from cooper.modalities.base import MapView, Modality, by_tag, modality, names, register
from cooper.modalities.codes import MapCodes
from cooper.modalities.depth import Depth
from cooper.modalities.segmentation import Segmentation

register(Depth())
register(Segmentation())

__all__ = ["Depth", "MapCodes", "MapView", "Modality", "Segmentation", "by_tag", "modality", "names", "register"]
