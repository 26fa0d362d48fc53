"""Traces: they come back as they were saved, do not change, and know their calls and answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cooper.trace import ROLES, Drawing, Picture, Segment, Text, Trace

# ---------------------------------------------------------------- what they look like


def test_segments_print_what_they_are_and_no_numbers() -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    latent = np.zeros((4, 12, 16), np.float32)
    trace = Trace((Picture(image), Text("Draw.", "model", (1, 2, 3)), Drawing("depth", image, latent)))
    assert repr(trace.segments) == (
        "(Picture(128 x 96), Text(text='Draw.', role='model', cut=False), Drawing('depth', 128 x 96))"
    )
    assert Text("a", ids=(1,)) != Text("a", ids=(2,)), "that they are not shown does not make them equal"


# ---------------------------------------------------------------- there and back


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9)), 3
    return np.random.default_rng(draw(st.integers(0, 999))).integers(0, 256, shape, dtype=np.uint8)


@st.composite
def drawings(draw: st.DrawFn) -> Drawing:
    image = draw(images())
    latent = np.random.default_rng(image.size).standard_normal((4, 2, 3), dtype=np.float32)
    target = draw(st.booleans())
    shown = True if not target else draw(st.booleans())
    return Drawing(
        draw(st.sampled_from(["depth", "segmentation"])), image, draw(st.sampled_from([None, latent])), target, shown
    )


written = st.none() | st.lists(st.integers(0, 10**6), max_size=5).map(tuple)
texts = st.builds(Text, st.text(), st.sampled_from(ROLES), written, st.booleans())
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
traces = st.builds(
    Trace,
    st.lists(texts | st.builds(Picture, images()) | drawings(), max_size=6).map(tuple),
    st.dictionaries(st.text(), json_values, max_size=3),
)


def assert_equal(a: Segment, b: Segment) -> None:
    assert type(a) is type(b)
    for one, other in zip(vars(a).values(), vars(b).values(), strict=True):
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype and np.array_equal(one, other)
        else:
            assert one == other and type(one) is type(other)


@settings(max_examples=60)
@given(traces)
def test_round_trip(trace: Trace) -> None:
    with TemporaryDirectory() as folder:
        trace.save(Path(folder) / "new" / "folder")
        back = Trace.load(f"{folder}/new/folder")
        assert back.meta == trace.meta
        for a, b in zip(trace.segments, back.segments, strict=True):
            assert_equal(a, b)
        assert not list(Path(folder).rglob("*.tmp"))


def test_the_folder_can_be_read_by_others(tmp_path: Path) -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    latent = np.zeros((2, 1, 1), np.float32)
    segments = Text("Où?"), Picture(image), Drawing("depth", image, latent), Text("near", "model", (5, 6), cut=True)
    Trace(segments, {"seed": 7}).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "01-picture.png", "02-depth.latent.npy", "02-depth.png", "trace.json",
    ]  # fmt: skip
    data = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    assert data["version"] == 1 and data["meta"] == {"seed": 7}
    assert [row["type"] for row in data["segments"]] == ["text", "picture", "drawing", "text"]
    assert "Où?" in (tmp_path / "trace.json").read_text(encoding="utf-8"), "readable as it is"


def test_saving_again_replaces_the_trace(tmp_path: Path) -> None:
    Trace((Text("a"), Picture(np.zeros((2, 2, 3), np.uint8)))).save(tmp_path)
    Trace((Text("b"),)).save(tmp_path)
    assert [s.text for s in Trace.load(tmp_path).segments if isinstance(s, Text)] == ["b"]
    assert len(Trace.load(tmp_path).segments) == 1


# ---------------------------------------------------------------- folders that hold no trace

TEXT = {"type": "text", "text": "a", "role": "user"}
IMAGE = {"type": "picture", "image": "00-picture.png"}
DRAWING = {"type": "drawing", "modality": "depth", "image": "00-picture.png", "target": False, "shown": True}


def rewrite(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Damage that is done to what `trace.json` says."""

    def damage(folder: Path) -> None:
        data = json.loads((folder / "trace.json").read_text())
        changed = change(data)
        (folder / "trace.json").write_text(json.dumps(data if changed is None else changed))

    return damage


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return damage


def halve(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def pickled(folder: Path) -> None:
    np.save(folder / "01-depth.latent.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def link(folder: Path) -> None:
    (folder / "00-picture.png").unlink()
    (folder / "00-picture.png").symlink_to(folder.parent / "outside.png")


BROKEN: dict[str, Callable[[Path], object]] = {
    "no trace.json": lambda folder: (folder / "trace.json").unlink(),
    "a missing image": lambda folder: (folder / "00-picture.png").unlink(),
    "a missing latent": lambda folder: (folder / "01-depth.latent.npy").unlink(),
    "an empty trace.json": overwrite("trace.json", b""),
    "not JSON": overwrite("trace.json", b"{"),
    "not UTF-8": overwrite("trace.json", b"\xff\xfe{}"),
    "a version that is a text": rewrite(lambda data: data | {"version": "1"}),
    "not an object": rewrite(lambda data: []),
    "nothing in it": rewrite(lambda data: {}),
    "segments that are no list": rewrite(lambda data: data | {"segments": 3}),
    "a segment that is no object": rewrite(lambda data: data["segments"].append("text")),
    "a segment without a type": rewrite(lambda data: data["segments"].append({"text": "a", "role": "user"})),
    "a segment of an unknown type": rewrite(lambda data: data["segments"].append(DRAWING | {"type": "video"})),
    "a text without a role": rewrite(lambda data: data["segments"].append({"type": "text", "text": "a"})),
    "an unknown role": rewrite(lambda data: data["segments"].append(TEXT | {"role": "king"})),
    "a text that is a number": rewrite(lambda data: data["segments"].append(TEXT | {"text": 3})),
    "ids that are a text": rewrite(lambda data: data["segments"].append(TEXT | {"ids": "12"})),
    "ids below zero": rewrite(lambda data: data["segments"].append(TEXT | {"ids": [-5]})),
    "a modality that is a number": rewrite(lambda data: data["segments"].append(DRAWING | {"modality": 3})),
    "a flag that is a text": rewrite(lambda data: data["segments"].append(DRAWING | {"target": "no"})),
    "nested too deeply": overwrite("trace.json", b"[" * 100_000),
    "ids that are none": rewrite(lambda data: data["segments"].append(TEXT | {"ids": ["a"]})),
    "a name that is a number": rewrite(lambda data: data["segments"].append(IMAGE | {"image": 3})),
    "a drawing that is neither target nor shown": rewrite(lambda d: d["segments"].append(DRAWING | {"shown": False})),
    "a drawing without its flags": rewrite(lambda d: d["segments"].append(IMAGE | {"type": "drawing"})),
    "meta that is no object": rewrite(lambda data: data | {"meta": [1]}),
    "an image that is none": overwrite("00-picture.png", b"GIF89a"),
    "an image cut off": halve("00-picture.png"),
    "an empty latent": overwrite("01-depth.latent.npy", b""),
    "a latent cut off": halve("01-depth.latent.npy"),
    "a latent that is none": overwrite("01-depth.latent.npy", b"hello, latent"),
    "a pickle for a latent": pickled,
    "an image outside the folder": rewrite(lambda d: d["segments"].append(IMAGE | {"image": "../outside.png"})),
    "an image elsewhere": rewrite(lambda d: d["segments"].append(IMAGE | {"image": "/etc/hostname"})),
    "a latent outside the folder": rewrite(lambda d: d["segments"].append(DRAWING | {"latent": "../outside.npy"})),
    "a link out of the folder": link,
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folders_are_one_clear_line(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "trace"
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Trace((Picture(image), Drawing("depth", image, np.ones((4, 2, 2), np.float32)))).save(folder)
    Trace((Picture(image),)).save(tmp_path / "other")
    (tmp_path / "other" / "00-picture.png").rename(tmp_path / "outside.png")
    np.save(tmp_path / "outside.npy", np.ones(3))
    Trace.load(folder)
    BROKEN[name](folder)
    with pytest.raises(ValueError) as caught:
        Trace.load(folder)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message


def test_newer_traces_are_told_from_broken_ones(tmp_path: Path) -> None:
    Trace((Text("a"),), {"seed": 1}).save(tmp_path)
    rewrite(lambda data: {"version": 2, "parts": "whatever there is then"})(tmp_path)
    with pytest.raises(ValueError, match=r"holds a trace of version 2, newer than 1, .*; update cooper$"):
        Trace.load(tmp_path)
    Trace((Text("a"),), {"seed": 1}).save(tmp_path)
    rewrite(lambda data: {name: data[name] for name in ("meta", "segments")})(tmp_path)
    assert Trace.load(tmp_path).meta == {"seed": 1}, "one that does not tell is of the first"


@pytest.mark.parametrize("name", ["x/../../victim", "*", "a/b", "", "\0", "x" * 99])
def test_maps_have_plain_names(tmp_path: Path, name: str) -> None:
    """Files are called by them, and those of an earlier chain are removed by them."""
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    Trace((Picture(image), Drawing("depth", image))).save(tmp_path)
    told = json.loads((tmp_path / "trace.json").read_text())
    told["segments"][1]["modality"] = name
    (tmp_path / "trace.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match="a drawing has the name of its modality"):
        Trace.load(tmp_path)


def test_half_a_letter_is_no_text(tmp_path: Path) -> None:
    Trace((Text("a"),)).save(tmp_path)
    told = (tmp_path / "trace.json").read_text()
    (tmp_path / "trace.json").write_text(told.replace('"a"', '"\\ud800"'))
    with pytest.raises(ValueError, match="does not hold a trace"):
        Trace.load(tmp_path)


def test_a_damaged_latent_is_told(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    Trace((Drawing("depth", image, np.zeros((1, 2, 2), dtype=np.float32)),)).save(tmp_path)
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes().replace(b"}", b" ", 1))
    with pytest.raises(ValueError, match="does not hold a trace"):
        Trace.load(tmp_path)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")
    with pytest.raises(ValueError, match="does not hold a trace"):
        Trace.load(tmp_path / "file")


@pytest.mark.parametrize("name", ["../depth", "a/b", "/depth"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises((ValueError, OSError)):
        Trace((Drawing(name, image),)).save(tmp_path / "trace")
    assert not list(tmp_path.rglob("*depth*"))


# ---------------------------------------------------------------- immutability


def test_a_trace_grows_by_making_another() -> None:
    one = Trace((Text("a"),), {"seed": 1})
    two, three = one + Text("b", "model"), one + [Text("c"), Text("d")]
    assert [len(trace.segments) for trace in (one, two, three)] == [1, 2, 3]
    assert two.turns == ("b",) and one.turns == () and three.meta == {"seed": 1}
    assert Trace([Text("a")]).segments == (Text("a"),), "a list becomes a tuple"  # type: ignore[arg-type]
    for changed, field in ((one, "segments"), (one, "meta"), (one.segments[0], "text")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(changed, field, None)


@pytest.mark.parametrize(
    "image",
    [np.zeros((2, 2, 3)), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2, 3), np.uint8)],
)
def test_what_is_no_image_is_refused(image: np.ndarray) -> None:
    for make in (Picture, lambda x: Drawing("depth", x)):
        with pytest.raises(ValueError, match="an image is uint8"):
            make(image)


def test_a_drawing_has_a_place() -> None:
    with pytest.raises(ValueError, match="a Drawing must be a target, or shown, or both"):
        Drawing("depth", np.zeros((2, 2, 3), np.uint8), shown=False)


def test_only_the_last_turn_answers() -> None:
    trace = Trace((Text("<answer>1</answer>", "user"), Text("<answer>2</answer>", "model"), Text("hm", "model")))
    assert trace.answer is None and Trace().answer is None
    assert trace.turns == ("<answer>2</answer>", "hm")
