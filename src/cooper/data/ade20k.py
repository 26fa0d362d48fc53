"""ADE20K: photos of everything, with labels that are numbers (the challenge of 2016) or colours (the full set)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cooper.data.examples import MapExample
from cooper.data.maps import (
    Pairs,
    check_png,
    coloured_example,
    labels_example,
    listed,
    picture_at,
    read_bytes,
    stored_png,
)
from cooper.data.palette import numbered


class AdeLabels(Pairs):
    """`ADEChallengeData2016`: 150 classes; 0 is anything else, and counts as background."""

    modality = numbered(150)

    def __init__(self, root: str | Path, split: Literal["training", "validation"] = "training"):
        pictures = listed(root, f"images/{split}/*.jpg")
        labels = Path(root) / "annotations" / split
        super().__init__((picture, labels / f"{picture.stem}.png") for picture in pictures)

    def _read(self, picture: Path, truth: Path) -> MapExample:
        return labels_example(
            picture_at(picture), stored_png(read_bytes(truth, picture), truth), self.modality, picture
        )


class AdeColours(Pairs):
    """Photos in a folder or below, and label images that are themselves what is to be drawn. Colours mean what they do
    in that picture alone.

    The label image of `a/b.jpg` is `a/b.png` under `labels`, or, without it, `b_seg.png` beside the photo, as in the
    full set.
    """

    def __init__(self, pictures: str | Path, labels: str | Path | None = None):
        pictures = Path(pictures)
        super().__init__(
            (picture, picture.with_name(f"{picture.stem}_seg.png")) if labels is None
            else (picture, (Path(labels) / picture.relative_to(pictures)).with_suffix(".png"))
            for picture in listed(pictures, "**/*.jpg")
        )  # fmt: skip

    def _read(self, picture: Path, truth: Path) -> MapExample:
        check_png(read_bytes(truth, picture), truth)
        return coloured_example(picture_at(picture), picture_at(truth), picture)
