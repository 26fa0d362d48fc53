"""What maps mean to a model that was trained on sets of a user's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cooper.data.ade20k import AdeColours
from cooper.data.examples import Example
from cooper.data.map_rows import MapRows
from cooper.modalities import Depth, MapCodes, Modality, Segmentation, modality


def codes_after(sets: Iterable[Sequence[Example]], before: MapCodes) -> MapCodes:
    """The codes of a model that had those `before` and has learned these sets' maps.

    Depth of one range and scale is in metres; if there are several, nobody can tell which a drawing is in. Colours of
    segmentations are not the synthetic world's.
    """
    drawn = [kind for one in sets for kind in maps_in(one)]
    depths = {(kind.near, kind.far, kind.code) for kind in drawn if isinstance(kind, Depth)}
    codes = before
    if depths:
        near, far, code = min(depths)
        codes = replace(codes, depth=(near, far) if len(depths) == 1 else None, linear=code == "linear")
    return replace(codes, named=False) if any(isinstance(kind, Segmentation) for kind in drawn) else codes


def maps_in(examples: Sequence[Example]) -> Sequence[Modality]:
    """What a set has maps of."""
    if isinstance(examples, MapRows):
        return [examples.depth if kind == "depth" else modality(kind) for kind in examples.kinds()]
    kind = Segmentation() if isinstance(examples, AdeColours) else getattr(examples, "modality", None)
    return [] if kind is None else [kind]


def told_change(before: MapCodes, after: MapCodes) -> str:
    """What depth is for a model that is trained on, if that changes; "" if not."""
    old, new = ((codes.depth, codes.linear) for codes in (before, after))
    if old == new:
        return ""
    depth = f"{after.depth[0]:g} to {after.depth[1]:g} m" if after.depth else "no range that is known"
    return (
        f"depth will stand for {depth}, {'linear' if after.linear else 'logarithmic'}, as the data have it, and did "
        "not: lengths that are read off maps are wrong until that is learned"
    )
