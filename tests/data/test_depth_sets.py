"""Readers of depth sets, on files as the publishers write them: units, crops, what is unknown, what is broken."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.files import hypersim, kitti, noise, nyu, nyu_labelled, virtual_kitti, walls, write

from cooper.data.hypersim import Hypersim, planar_depth
from cooper.data.kitti import Kitti, KittiSplit
from cooper.data.maps import depth_example, labels_example
from cooper.data.nyu import INDOORS, Nyu, NyuDepths, NyuLabels
from cooper.data.palette import label_colours, numbered
from cooper.data.tables import BadRow
from cooper.data.virtual_kitti import VirtualKitti

h5py = pytest.importorskip("h5py")


def grey_of(metres: float, near: float, far: float) -> int:
    return round(255 * (metres - near) / (far - near))


# ---------------------------------------------------------------- Hypersim


def along_rays(depth: float, height: int, width: int, focal: float) -> np.ndarray:
    """Distances to a wall that faces the camera, pixel by pixel."""
    return np.array([
        [depth * math.hypot((c - width / 2 + 0.5) / focal, (r - height / 2 + 0.5) / focal, 1) for c in range(width)]
        for r in range(height)
    ])  # fmt: skip


def test_hypersim_makes_a_flat_wall_flat(tmp_path: Path) -> None:
    # 886.81 pixels at a width of 1024 is what the publishers give; the file here is an eighth of that
    distances = along_rays(3.0, 96, 128, 886.81 / 8).astype(np.float16)
    distances[:10] = np.nan
    distances[10, :5] = 0
    hypersim(tmp_path, distances)
    reader = Hypersim(tmp_path)
    example = reader[0]
    assert len(reader) == 1 and example.picture.shape == (96, 128, 3) and example.name.endswith("tonemap.jpg")
    assert example.values.dtype == np.float32 and np.allclose(example.values[11:], 3.0, rtol=1e-3)
    assert not example.valid[:10].any() and not example.valid[10, :5].any()
    assert example.valid[10, 5:].all() and example.valid[11:].all()
    assert not example.values[~example.valid].any()
    assert (example.target == grey_of(3.0, 1e-5, 65.0)).all(), "also where it is not known"


def test_planar_depth_is_the_distance_in_the_middle_and_less_at_the_edge() -> None:
    depth = planar_depth(np.full((3, 1025), 2.0))
    angle = math.atan(512 / 512.5 * math.tan(math.pi / 6))  # from the middle of the leftmost pixel
    assert depth[1, 512] == 2 and np.isclose(depth[1, 0], 2 * math.cos(angle))


# ---------------------------------------------------------------- KITTI and Virtual KITTI


def test_virtual_kitti_is_in_centimetres_and_its_sky_unknown(tmp_path: Path) -> None:
    stored = np.full((375, 1242), 1234, dtype=np.uint16)
    stored[23:100] = 65535
    stored[100] = 20000
    stored[23 + 351, 13], stored[23 + 351, 13 + 1215] = 100, 300  # the lower corners of the crop
    picture, _ = virtual_kitti(tmp_path, stored)
    example = VirtualKitti(tmp_path)[0]
    assert example.picture.shape == (352, 1216, 3) and example.target.shape == (352, 1216, 3)
    assert not example.valid[:77].any() and example.valid[77:].all() and not example.values[:77].any()
    assert np.isclose(example.values[200, 200], 12.34)
    assert [example.values[351, 0], example.values[351, 1215]] == [1.0, 3.0]
    assert (example.target[200, 200] == grey_of(12.34, 1e-5, 80)).all()
    assert np.isclose(example.values[77, 0], 200) and (example.target[77] == 255).all()  # known, and beyond the range
    assert (example.target[:77] == 255).all(), "the sky is as far as what stands before it"
    assert np.array_equal(example.picture, np.asarray(Image.open(picture))[23:, 13:1229])


def test_kitti_is_sparse_and_in_256ths(tmp_path: Path) -> None:
    picture, _ = kitti(tmp_path / "depth", tmp_path / "raw")
    kitti(tmp_path / "depth", tmp_path / "raw", camera=3)
    reader = Kitti(tmp_path / "depth", tmp_path / "raw")
    assert [e.name.split("/")[-3] for e in reader] == ["image_02", "image_03"]
    example = reader[0]
    # rows 18.. and columns 4.. of the picture
    assert np.array_equal(example.picture, np.asarray(Image.open(picture))[18:, 4:1220])
    assert not example.valid[:182].any() and example.valid[182:, ::2].all() and not example.valid[:, 1::2].any()
    assert set(np.unique(example.values)) == {0, 10} and set(np.unique(example.target)) == {grey_of(10, 1e-5, 80)}
    with pytest.raises(ValueError, match="val/.*/proj_depth"):
        Kitti(tmp_path / "depth", split="val")
    with pytest.raises(BadRow, match="2011_09_26_drive_0001_sync/image_02/data/0000000005.png: does not exist"):
        Kitti(tmp_path / "depth")[0]  # no pictures there


def test_kitti_from_a_split_file(tmp_path: Path) -> None:
    picture, truth = kitti(tmp_path / "depth", tmp_path / "raw")
    names = picture.relative_to(tmp_path / "raw"), truth.relative_to(tmp_path / "depth" / "train")
    split = tmp_path / "train.txt"
    split.write_text(f"{names[0]} {names[1]} 721.5377\n\n{names[0]} None 721.5377\n{names[0]} {names[1]}\n")
    reader = KittiSplit(split, tmp_path / "raw", tmp_path / "depth" / "train")
    assert len(reader) == 2 and reader[0].values.max() == 10
    split.write_text(f"raw/{names[0]} depth/train/{names[1]}\n")
    assert np.array_equal(KittiSplit(split)[0].values, reader[1].values)
    split.write_text(f"{names[0]}\n")
    with pytest.raises(ValueError, match="train.txt holds this line: 2011_09_26/"):
        KittiSplit(split)
    split.write_bytes(b"\x89PNG\r\n\xff")
    with pytest.raises(ValueError, match="train.txt cannot be read .*; give a text file of pairs of paths"):
        KittiSplit(split)
    split.write_text("\n")
    with pytest.raises(ValueError, match="train.txt holds nothing"):
        KittiSplit(split)
    with pytest.raises(ValueError, match="missing.txt cannot be read"):
        KittiSplit(tmp_path / "missing.txt")


def test_what_is_not_known_is_drawn_as_the_nearest_that_is() -> None:
    """A drawing token mixes its pixels: dots on black would be learned as black."""
    metres = np.repeat(np.linspace(1, 9, 40)[None], 24, axis=0)
    sparse = np.where(np.random.default_rng(0).random(metres.shape) < 0.1, metres, 0)
    sparse[:4, :8] = np.nan
    example, whole = (depth_example(noise(24, 40), truth, INDOORS, "a room") for truth in (sparse, metres))
    assert np.array_equal(example.valid, sparse > 0) and not example.values[~example.valid].any()
    assert np.array_equal(example.target[example.valid], whole.target[example.valid])
    assert np.abs(example.target.astype(int) - whole.target).mean() < 15 < whole.target.mean() / 5
    known, none = np.array([[0, 0, 3], [0, 0, 3]]), np.zeros((2, 3), int)

    def drawn(labels: np.ndarray, zero_known: bool) -> np.ndarray:
        return labels_example(noise(2, 3), labels, numbered(9), "a room", zero_known).target

    assert (drawn(known, False) == label_colours(known)[0, 2]).all()
    assert np.array_equal(drawn(known, True), label_colours(known))
    assert not drawn(none, False).any(), "nothing is known"


def test_a_crop_needs_enough_pixels(tmp_path: Path) -> None:
    virtual_kitti(tmp_path, np.ones((352, 1215), dtype=np.uint16))
    with pytest.raises(BadRow, match="rgb_00007.jpg: it has 1215 x 352 pixels; a crop of 1216 x 352 needs more"):
        VirtualKitti(tmp_path)[0]


# ---------------------------------------------------------------- NYU


def test_nyu_pairs_are_in_millimetres(tmp_path: Path) -> None:
    stored = np.array([[0, 1500], [2500, 12000]], dtype=np.uint16)
    for name in ("b.png", "a.jpg"):
        write(tmp_path / "rgb" / name, noise(2, 2))
    write(tmp_path / "depth" / "a.png", stored)
    write(tmp_path / "depth" / "b.png", stored + 100)
    reader = Nyu(tmp_path)
    assert np.allclose(reader[0].values, [[0, 1.5], [2.5, 12.0]]) and np.allclose(reader[1].values[0], [0.1, 1.6])
    assert reader[0].valid.tolist() == [[False, True], [True, True]]
    near, far = grey_of(1.5, 1e-3, 10), grey_of(2.5, 1e-3, 10)
    assert reader[0].target[1, :, 0].tolist() == [far, 255] and reader[0].target[0, 1, 0] == near
    assert reader[0].target[0, 0, 0] in (near, far), "the nearest that is known"


def test_nyu_labelled_file_is_turned_as_matlab_stores_it(tmp_path: Path) -> None:
    image, metres = noise(4, 6), np.linspace(1, 3, 24).reshape(4, 6).astype(np.float32)
    labels = np.arange(24, dtype=np.uint16).reshape(4, 6)
    labels[3, 5] = 894
    path = nyu_labelled(tmp_path / "nyu.mat", *(np.stack([a, a[::-1]]) for a in (image, metres, labels)))
    depths, classes = NyuDepths(path), NyuLabels(path)
    assert len(depths) == len(classes) == 2
    assert np.array_equal(depths[0].picture, image) and np.array_equal(depths[1].picture, image[::-1])
    assert np.array_equal(depths[0].values, metres) and np.array_equal(depths[1].values, metres[::-1])
    assert np.array_equal(classes[0].values, labels) and classes[0].valid.sum() == 23 and not classes[0].valid[0, 0]
    colours = label_colours(labels)
    assert np.array_equal(classes[0].target.reshape(24, 3)[1:], colours.reshape(24, 3)[1:])
    assert classes[0].target[0, 0].tolist() in colours[[0, 1], [1, 0]].tolist(), "the nearest that is known"
    assert depths[1].name == f"{path}, picture 2"
    with h5py.File(path, "a") as file:
        file["labels"][1, 0, 0] = 895
    with pytest.raises(BadRow, match="nyu.mat, picture 2: it has the label 895; the last class is 894"):
        classes[1]
    with h5py.File(path, "a") as file:
        del file["depths"]
        file["depths"] = np.ones((2, 4, 6))
    with pytest.raises(ValueError, match="is not NYU's labelled file"):
        NyuDepths(path)
    path.write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(ValueError, match="is no HDF5 file with an array 'images'"):
        NyuDepths(path)
    with pytest.raises(BadRow, match="nyu.mat, picture 1: 'images' of"):
        classes[0]


# ---------------------------------------------------------------- what is broken


def test_maps_that_do_not_fit(tmp_path: Path) -> None:
    picture, truth = nyu(tmp_path)
    examples = Nyu(tmp_path)
    for array, why in (
        (np.ones((48, 65), dtype=np.uint16), "the picture has 64 x 48 pixels, its map 65 x 48"),
        (np.zeros((48, 64), dtype=np.uint16), "no pixel has a depth"),
        (np.ones((48, 64), dtype=np.uint8), "a grey PNG of 16 bits"), (noise(48, 64), "a grey PNG of 16 bits"),
    ):  # fmt: skip
        write(truth, array)
        with pytest.raises(BadRow, match=why):
            examples[0]
    # a picture and depth of different sizes must not be made to fit by cropping
    picture, truth = kitti(tmp_path, tmp_path)
    write(truth, np.ones((375, 1242), dtype=np.uint16))
    with pytest.raises(BadRow, match="the picture has 1224 x 370 pixels, its map 1242 x 375"):
        Kitti(tmp_path)[0]
    _, truth = walls(tmp_path)
    for array, why in ((np.ones((48, 64, 1)), "depth has two axes"), (np.full((48, 64), b"x"), "not numbers")):
        write(truth, array)
        with pytest.raises(BadRow, match=why):
            Hypersim(tmp_path)[0]
    with h5py.File(truth, "w") as file:
        file["depth"] = np.ones((48, 64))
    with pytest.raises(BadRow, match="'dataset' of"):
        Hypersim(tmp_path)[0]


def test_without_the_extra_sets_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walls(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)  # as Python marks what cannot be imported
    for reader in (Hypersim, NyuDepths):
        with pytest.raises(ImportError, match="HDF5 needs an extra: pip install 'cooper-spatial.data.'"):
            reader(tmp_path)


def test_a_reader_is_a_sequence(tmp_path: Path) -> None:
    nyu(tmp_path)
    reader = Nyu(tmp_path)
    example = reader[-1]
    assert [e.name for e in reader] == [e.name for e in reader[:5]] == [example.name]
    for i in (1, -2):
        with pytest.raises(IndexError):
            reader[i]
