"""Which examples a drawn map is compared with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cooper.evaluation.map_sets import MapSet

GREY = np.full((6, 8), 2000, np.uint16)
PHOTO = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_what_is_not_trained_on(tmp_path: Path) -> None:
    for k, split in enumerate(("training", "validation"), 1):
        write(tmp_path / f"ade/images/{split}/a{k}.jpg", PHOTO)
        write(tmp_path / f"ade/annotations/{split}/a{k}.png", np.full((6, 8), k, np.uint8))
        write(tmp_path / f"full/images/ADE/{split}/b{k}.jpg", PHOTO)
        write(tmp_path / f"full/images/ADE/{split}/b{k}_seg.png", PHOTO)
    ade = MapSet.open(f"ade20k={tmp_path / 'ade'}", "segmentation")
    assert (ade.name, ade.path, len(ade.examples)) == ("ade20k", tmp_path / "ade", 1)
    assert ade.examples[0].values.tolist() == [[2] * 8] * 6
    (example,) = MapSet.open(f"ade20k_full={tmp_path / 'full'}", "segmentation").examples
    assert example.name.endswith("b2.jpg")
    for k, split in enumerate(("train", "val"), 1):
        drive = f"2011_09_26_drive_000{k}_sync"
        truth, photo = np.full((375, 1242), 256 * k, np.uint16), np.zeros((375, 1242, 3), np.uint8)
        write(tmp_path / f"kitti/{split}/{drive}/proj_depth/groundtruth/image_02/0000000005.png", truth)
        write(tmp_path / f"kitti/2011_09_26/{drive}/image_02/data/0000000005.png", photo)
    (example,) = MapSet.open(f"kitti={tmp_path / 'kitti'}", "depth").examples
    assert (example.values == 2).all()


def test_a_table_of_maps_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "maps.jsonl").write_text(json.dumps({"image": "a.png", "depth": "b.png"}) + "\n")
    for where in (str(tmp_path / "maps.jsonl"), f"maps={tmp_path}"):
        assert len(MapSet.open(where, "depth").examples) == 1


def test_the_lot(tmp_path: Path) -> None:
    (tmp_path / "maps.jsonl").write_text((json.dumps({"image": "a.png", "depth": "b.png"}) + "\n") * 40)
    examples = MapSet.open(str(tmp_path), "depth")
    assert examples.chosen(None, 0) == list(range(40)) == examples.chosen(99, 3)
    few, more = examples.chosen(8, 0), examples.chosen(20, 0)
    assert few == sorted(few) and len(set(few)) == 8 and set(few) < set(more) and len(more) == 20
    assert few != examples.chosen(8, 1)
    assert few != list(range(8)), "neighbours in a file are of one scene"


@pytest.mark.parametrize(
    ("where", "kind", "why"),
    [
        ("ade20k=.", "depth", "'ade20k' is no set with depth; choose NAME=PATH from hypersim, "),
        ("nyu=.", "segmentation", "choose NAME=PATH from nyu_labels, ade20k, "),
        ("imagenet=.", "depth", "'imagenet' is no set"),
        ("nyu=none", "depth", "none is not a folder"),
        ("questions.jsonl", "depth", "'questions' is no set with depth"),
        ("maps=empty.jsonl", "depth", "empty.jsonl lists no examples"),
        ("none.jsonl", "depth", "none.jsonl does not exist"),
    ],
)
def test_mistakes(where: str, kind: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("questions.jsonl").write_text('{"image": "a.png", "question": "Is it?", "answer": "yes"}\n')
    Path("empty.jsonl").touch()
    with pytest.raises(ValueError, match=why) as error:
        MapSet.open(where, kind)
    assert "\n" not in str(error.value)
