"""Every reader on files: dealt out to processes, and cut off, overwritten or gone, where each costs its example, in one
line that names it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from tests.data.files import damages, depths, kitti, noise, nyu, nyu_labelled, virtual_kitti, walls, write
from torch.utils.data import DataLoader, Dataset

from cooper.data.mixture import Mixture, Unbroken, draws
from cooper.data.sets import TRAINING_SETS, open_set
from cooper.data.tables import BadRow
from cooper.trace import Drawing, Picture, Text, Trace

#: in bytes, of what a process that reads a set is sent
SENT = 5000

pytest.importorskip("h5py")

#: What is opened, and the files that its one example is read from.
Written: TypeAlias = tuple[Path, tuple[Path, ...]]


def labels() -> np.ndarray:
    return (depths(48, 64) % 150).astype(np.uint8)


def split(root: Path) -> Written:
    pair = kitti(root, root)
    listing = root / "train.txt"
    listing.write_text(" ".join(str(path.relative_to(root)) for path in pair))
    return listing, pair


def labelled(root: Path) -> Written:
    metres, classes = depths(48, 64).astype(np.float32) / 1000, depths(48, 64) % 895
    path = nyu_labelled(root / "nyu.mat", noise(48, 64)[None], metres[None], classes[None], compression="gzip")
    return path, (path,)


def photo_and(photo: str, truth: str, array: np.ndarray) -> Callable[[Path], Written]:
    return lambda root: (root, (write(root / photo, noise(48, 64)), write(root / truth, array)))


def full_ade(root: Path) -> Written:
    return photo_and("images/ADE/training/a/b.jpg", "images/ADE/training/a/b_seg.png", noise(48, 64))(root)


def table(root: Path, row: dict[str, Any], *files: Path) -> Written:
    path = root / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return path, (path, *files)


def maps(field: str, name: str, array: np.ndarray) -> Callable[[Path], Written]:
    return lambda root: table(root, {"image": "a.jpg", field: name}, *photo_and("a.jpg", name, array)(root)[1])


def questions(root: Path) -> Written:
    return table(root, {"image": "a.png", "question": "How?", "answer": "so"}, write(root / "a.png", noise(48, 64)))


CALL, ANSWER = "<depth-estimation>draw the depth</depth-estimation>", "<answer>so</answer>"


def traces(root: Path) -> Written:
    texts = [{"type": "text", "value": text, "need_loss": "true"} for text in (CALL, ANSWER)]
    picture, drawing = ({"type": "image", "value": name} for name in ("a.jpg", "d.png"))
    files = photo_and("a.jpg", "d.png", noise(48, 64))(root)[1]
    return table(root, {"interleaved_reason": [picture, texts[0], drawing, texts[1]]}, *files)


def saved(root: Path) -> Written:
    latent = np.ones((16, 8, 8), np.float32)
    drawing = Drawing("depth", noise(48, 64), latent, drawn=noise(48, 64))
    Trace((Picture(noise(300, 300)), Text(CALL, "model"), drawing, Text(ANSWER, "model"))).save(root / "one")
    return root, tuple(sorted((root / "one").iterdir()))


#: Of each set, one or more that are whole.
WRITERS: dict[str, list[Callable[[Path], Written]]] = {
    "hypersim": [lambda root: (root, walls(root))],
    "virtual_kitti": [lambda root: (root, virtual_kitti(root, depths(352, 1216)))],
    "kitti": [lambda root: (root, kitti(root, root))],
    "kitti_split": [split],
    "nyu": [lambda root: (root, nyu(root))],
    "nyu_depths": [labelled],
    "nyu_labels": [labelled],
    "ade20k": [photo_and("images/training/a.jpg", "annotations/training/a.png", labels())],
    "ade20k_full": [full_ade],
    "ade20k_colours": [photo_and("images/a/b.jpg", "labels/a/b.png", noise(48, 64))],
    "maps": [
        maps("depth", "d.png", depths(48, 64)), maps("depth", "d.npy", depths(48, 64) / 1000),
        maps("segmentation", "s.png", labels()), maps("segmentation", "s.png", noise(48, 64)),
    ],
    "questions": [questions],
    "traces": [traces],
    "saved_traces": [saved],
}  # fmt: skip


def test_every_set_is_tried() -> None:
    assert WRITERS.keys() == TRAINING_SETS.keys()


class Drawn(Dataset[tuple[int, bytes]]):
    """Draws of a mixture by their numbers, as bytes that can be compared."""

    def __init__(self, examples: Unbroken[Any]):
        self.examples = examples

    def __getitem__(self, k: int) -> tuple[int, bytes]:
        return k, pickle.dumps(self.examples.example(k))


def mixed(root: Path) -> Unbroken[Any]:
    parts = [(name, make) for name, makes in WRITERS.items() for make in makes]
    opened = []
    for i, (name, make) in enumerate(parts):
        (root / str(i)).mkdir()
        opened.append((open_set(name, make(root / str(i))[0]), 1.0 + i % 3))
    return Unbroken(Mixture(opened), pytest.fail, strict=True)


def test_every_set_is_dealt_out_to_ranks_and_workers(tmp_path: Path) -> None:
    """From any step on, whoever draws: a run that goes on, in another number of processes, reads the same."""
    examples = mixed(tmp_path)
    for reader in examples.mixture.sets:
        assert len(pickle.dumps(reader)) < SENT, f"{reader} is sent with its files"
    first, n = 7, 90
    alone = [Drawn(examples)[k] for k in range(first, first + n)]
    assert {examples.mixture.place(k)[0] for k, _ in alone} == set(range(len(examples.mixture.sets)))
    dealt = []
    for rank in range(2):
        sent = pickle.loads(pickle.dumps(examples.mixture))
        numbers = list(islice(draws(rank, 2, first), n // 2))
        workers = DataLoader(Drawn(Unbroken(sent, print, strict=True)), None, sampler=numbers, num_workers=2)
        dealt += map(tuple, workers)
    assert sorted(dealt) == alone


@pytest.mark.parametrize(("name", "make"), [(name, make) for name, makes in WRITERS.items() for make in makes])
def test_a_broken_file_is_a_bad_row_that_names_it(tmp_path: Path, name: str, make: Callable[[Path], Written]) -> None:
    opened, files = make(tmp_path)
    examples = open_set(name, opened)
    assert len(examples) == 1 and examples[0]
    for path in files:
        named = path.parent if name == "saved_traces" else path  # these are told by their folder
        for state in damages(path):
            with pytest.raises(BadRow) as caught:
                pytest.fail(f"{path.name}, {state}, is read as {examples[0]}")
            told = str(caught.value)
            assert str(named) in told and "\n" not in told and f"{path}: {path}" not in told, (state, told)
        assert examples[0], f"{path.name} is whole again"


@pytest.mark.parametrize("name", ["nyu_depths", "nyu_labels"])
def test_a_broken_file_of_all_examples_is_told_when_it_is_opened_or_read(tmp_path: Path, name: str) -> None:
    path, _ = labelled(tmp_path)
    for _ in damages(path):
        with pytest.raises(ValueError, match="nyu.mat"):
            open_set(name, path)[0]
    assert open_set(name, path)[0]
