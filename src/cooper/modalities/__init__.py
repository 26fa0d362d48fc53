"""Kinds of maps the model can draw.

What a new one means is one new file and one registration below. To train and to score it takes more: a model's config
and modes that name it, its truth in the data, and its place in the evaluation (CONTRIBUTING.md lists the files).
"""

from cooper.modalities.base import MapView, Modality, by_tag, modality, names, register
from cooper.modalities.codes import MapCodes
from cooper.modalities.depth import Depth
from cooper.modalities.segmentation import Segmentation

register(Depth())
register(Segmentation())

__all__ = ["Depth", "MapCodes", "MapView", "Modality", "Segmentation", "by_tag", "modality", "names", "register"]
