"""A chain in a folder: a trace, and beside its maps what people and programs want of them, colours and values."""

from __future__ import annotations

import glob
from pathlib import Path

from PIL import Image

from cooper.files import new_folder, save_array
from cooper.modalities import MapCodes
from cooper.trace import Drawing, Text, Trace


def save_chain(trace: Trace, codes: MapCodes, folder: Path) -> list[Path]:
    """Write a trace and, per map, its coloured view and its values; returns the paths of the views.

    `Trace.save` writes trace.json and NN-depth.png, the map as it was drawn; beside it come NN-depth-view.png, coloured
    for people, and NN-depth.npy: float32 metres for depth (relative, 0 to 1, if the model draws no metres), int32
    labels for segmentation. A chain that lies in the folder is replaced.
    """
    names = []
    with new_folder(folder, _chain_in(folder)) as made:  # an earlier chain's maps are none of this one's
        trace.save(made)
        for i, segment in enumerate(trace.segments):
            if isinstance(segment, Drawing):
                kind, stem = codes.modality(segment.modality), f"{i:02d}-{segment.modality}"
                Image.fromarray(kind.view(segment.as_drawn).image).save(made / f"{stem}-view.png")
                save_array(made / f"{stem}.npy", kind.to_values(segment.as_drawn))
                names.append(f"{stem}-view.png")
    return [folder / name for name in names]


def _chain_in(folder: Path) -> list[str]:
    """The names of the images that `save_chain` wrote to a folder; none if it holds no chain."""
    try:
        segments = Trace.load(folder).segments
    except ValueError:
        return []
    stems = [
        glob.escape(f"{i:02d}-{segment.modality if isinstance(segment, Drawing) else 'picture'}")
        for i, segment in enumerate(segments) if not isinstance(segment, Text)
    ]  # fmt: skip
    return [stem + end for stem in stems for end in (".png", "-drawn.png", "-view.png", ".npy", ".latent.npy")]
