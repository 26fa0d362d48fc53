"""Colours for numbered labels: the colour map of PASCAL VOC, which gives any two labels different colours.

Bits 0, 1, 2 of a label are the highest bits of red, green and blue; bits 3, 4, 5 the next highest, and so on. So 0 is
black, 1 is (128, 0, 0), 2 is (0, 128, 0), 3 is (128, 128, 0), 9 is (192, 0, 0).
"""

from __future__ import annotations

import numpy as np

from cooper.modalities import Segmentation


def label_colours(labels: np.ndarray) -> np.ndarray:
    """The colours of labels in 0 .. 2^24 - 1: uint8, one axis of 3 more."""
    bits = labels.astype(np.int64)[..., None] >> np.arange(24) & 1
    planes = bits.reshape(*labels.shape, 8, 3)  # the highest bit of each colour first
    return (planes << np.arange(7, -1, -1)[:, None]).sum(axis=-2).astype(np.uint8)


def numbered(classes: int) -> Segmentation:
    """The segmentation whose classes are called by their numbers, 1 .. `classes`, each in its colour."""
    colours = label_colours(np.arange(1, classes + 1))
    return Segmentation(tuple((f"class {k}", (int(r), int(g), int(b))) for k, (r, g, b) in enumerate(colours, 1)))
