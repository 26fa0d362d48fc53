"""Readers of segmentations: numbers that become colours, and colours that become numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cooper.data.ade20k import AdeColours, AdeLabels
from cooper.data.palette import label_colours, numbered
from cooper.data.tables import BadRow

RED, BLUE, BLACK = (200, 0, 0), (0, 0, 200), (0, 0, 0)
PHOTO = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def test_the_palette_is_that_of_pascal_voc() -> None:
    # bicycle, bus, cow and tv monitor as PASCAL VOC prints them, and numbers of more than 8 bits
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 6: (0, 128, 128), 9: (192, 0, 0), 10: (64, 128, 0),
             20: (0, 64, 128), 255: (224, 224, 192), 512: (16, 0, 0), 1 << 23: (0, 0, 1)}  # fmt: skip
    for label, colour in known.items():
        assert tuple(label_colours(np.array(label))) == colour, label
    assert len(np.unique(label_colours(np.arange(5000)), axis=0)) == 5000
    assert label_colours(np.zeros((2, 3), dtype=np.uint8)).shape == (2, 3, 3)


def test_numbered_labels_are_drawn_in_the_palette_and_read_back() -> None:
    segmentation, labels = numbered(150), np.repeat(np.arange(151).reshape(1, -1), 12, axis=0).repeat(12, axis=1)
    drawn = segmentation.to_rgb(labels)
    assert np.array_equal(drawn, label_colours(labels)) and segmentation.classes[149][0] == "class 150"
    assert (segmentation.to_values(drawn) == labels).mean() > 0.95


def test_ade20k_of_the_challenge(tmp_path: Path) -> None:
    labels = np.zeros((4, 6), dtype=np.uint8)
    labels[1:3, 2:4], labels[3] = 1, 150
    for split in ("training", "validation"):
        write(tmp_path / "images" / split / "ADE_1.jpg", PHOTO)
        truth = write(tmp_path / "annotations" / split / "ADE_1.png", labels)
    example = AdeLabels(tmp_path)[0]
    assert example.modality == "segmentation" and np.array_equal(example.values, labels)
    assert example.values.dtype == np.int32 and example.valid.all()
    assert tuple(example.target[1, 2]) == (128, 0, 0) and not example.target[0].any()
    assert np.array_equal(example.target, AdeLabels.modality.to_rgb(labels))
    validation = AdeLabels(tmp_path, "validation")
    for array, why in (
        (labels + 1, "the label 151; the last class is 150"), (PHOTO, "its labels are colours"),
        (labels[1:], "6 x 4 pixels, its map 6 x 3"),
    ):  # fmt: skip
        write(truth, array)
        with pytest.raises(BadRow, match=f"images/validation/ADE_1.jpg: .*{why}"):
            validation[0]
    truth.write_bytes(truth.read_bytes()[:60])
    with pytest.raises(BadRow, match="annotations/validation/ADE_1.png: this is not a whole PNG"):
        validation[0]
    truth.unlink()
    with pytest.raises(BadRow, match="ADE_1.jpg: .*annotations/validation/ADE_1.png cannot be read"):
        validation[0]


def test_ade20k_in_colours(tmp_path: Path) -> None:
    colours = np.zeros((4, 6, 3), dtype=np.uint8)
    colours[:2], colours[2, 1:] = RED, BLUE
    write(tmp_path / "full" / "kitchen" / "ADE_1.jpg", PHOTO)
    write(tmp_path / "full" / "kitchen" / "ADE_1_seg.png", colours)
    write(tmp_path / "full" / "kitchen" / "ADE_1_parts_1.png", PHOTO)
    write(tmp_path / "labels" / "kitchen" / "ADE_1.png", np.full((4, 6, 3), RED, dtype=np.uint8))
    reader = AdeColours(tmp_path / "full")
    example = reader[0]
    assert len(reader) == 1 and np.array_equal(example.target, colours) and example.valid.all()
    # darker codes first; black is the background
    assert (example.values[:2] == 2).all() and (example.values[2, 1:] == 1).all()
    assert example.values[2, 0] == 0 and not example.values[3].any()
    # black is the background even where there is none
    assert (AdeColours(tmp_path / "full", tmp_path / "labels")[0].values == 1).all()
    (tmp_path / "full" / "kitchen" / "ADE_1_seg.png").unlink()
    with pytest.raises(BadRow, match="ADE_1.jpg: .*ADE_1_seg.png cannot be read"):
        reader[0]


def test_truth_that_has_changed_is_not_learned(tmp_path: Path) -> None:
    """Of such files Pillow reads one in ten, with other numbers or colours in them, and says nothing."""
    classes = np.arange(150, dtype=np.uint8).reshape(10, 15).repeat(8, axis=0).repeat(8, axis=1)
    write(tmp_path / "images" / "training" / "a.jpg", np.zeros((80, 120, 3), dtype=np.uint8))
    numbers = write(tmp_path / "annotations" / "training" / "a.png", classes)
    colours = write(tmp_path / "labels" / "training" / "a.png", label_colours(classes))
    read = AdeLabels(tmp_path), AdeColours(tmp_path / "images", tmp_path / "labels")
    changes = np.random.default_rng(0)
    for path, reader in zip((numbers, colours), read, strict=True):
        whole, drawn = path.read_bytes(), reader[0].target
        assert np.array_equal(drawn, label_colours(classes))
        for _ in range(50):
            changed = bytearray(whole)
            changed[changes.integers(60, len(whole) - 20)] ^= 1 << changes.integers(8)
            path.write_bytes(changed)
            with pytest.raises(BadRow, match="training/a.png: this is not a whole PNG"):
                reader[0]
