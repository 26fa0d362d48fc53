"""Maps, questions and traces as rows of tables, in the forms in which people have them."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cooper.data.map_rows import MapRows
from cooper.data.question_rows import Fields, QuestionRows
from cooper.data.sets import named, open_set, set_in
from cooper.data.tables import BadRow
from cooper.data.trace_rows import SavedTraces, TraceRows
from cooper.evaluation.benchmarks.tsv import TSV
from cooper.evaluation.questions import Questions
from cooper.modalities import Depth
from cooper.trace import Drawing, Picture, Text, Trace

PHOTO = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
MAP = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def coded(array: np.ndarray) -> str:
    return base64.b64encode(png(array)).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a photo in it."""
    (tmp_path / "a.png").write_bytes(png(PHOTO))
    return tmp_path


def table(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def parquet(folder: Path, *rows: dict[str, Any]) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return folder / "rows.parquet"


# ---------------------------------------------------------------- maps


def test_depth_of_a_users_own(folder: Path) -> None:
    metres = np.linspace(0.5, 8, 24, dtype=np.float64).reshape(4, 6)
    np.save(folder / "a.npy", np.where(metres < 1, np.nan, metres))
    (folder / "depth.png").write_bytes(png(np.full((4, 6), 2560, dtype=np.uint16)))
    path = table(folder, {"image": "a.png", "depth": "depth.png"}, {"image": "a.png", "depth": "a.npy"})
    reader = MapRows(path)
    assert len(reader) == 2 and np.array_equal(reader[0].picture, PHOTO) and reader[0].name == f"{path}, row 1"
    assert np.allclose(reader[0].values, 2.56) and reader[0].modality == "depth"
    assert np.allclose(reader[1].values[metres >= 1], metres[metres >= 1]) and not reader[1].valid[metres < 1].any()
    assert (reader[0].target == round(255 * (2.56 - 1e-3) / (10 - 1e-3))).all()  # as NYU's is drawn
    other = MapRows(path, Depth(0.0, 20.0, "linear"), per_metre=256)[0]
    assert (other.values == 10).all() and (other.target == 128).all()
    with pytest.raises(ValueError, match="0 units to the metre"):
        MapRows(path, per_metre=0)


def test_segmentation_of_a_users_own(folder: Path) -> None:
    numbers = np.arange(24, dtype=np.uint8).reshape(4, 6)
    indexed = Image.fromarray(numbers).convert("P")  # with a palette, as PASCAL VOC's are
    indexed.save(folder / "palette.png")
    path = table(folder, *({"image": "a.png", "segmentation": name} for name in ("grey.png", "palette.png", "rgb.png")))
    (folder / "grey.png").write_bytes(png(numbers))
    (folder / "rgb.png").write_bytes(png(MAP))
    grey, palette, coloured = MapRows(path)
    assert np.array_equal(grey.values, numbers) and np.array_equal(palette.values, numbers)
    assert tuple(grey.target[0, 1]) == (128, 0, 0) and grey.valid.all()
    assert np.array_equal(coloured.target, MAP) and coloured.modality == "segmentation"


def test_maps_inside_parquet(folder: Path) -> None:
    depth = png(np.full((4, 6), 1500, dtype=np.uint16))
    rows = [{"image": {"bytes": png(PHOTO), "path": None}, "depth": {"bytes": depth, "path": "x.png"}},
            {"image": {"bytes": None, "path": "a.png"}, "depth": {"bytes": depth, "path": None}}]  # fmt: skip
    for example in MapRows(parquet(folder, *rows)):
        assert np.array_equal(example.picture, PHOTO) and (example.values == 1.5).all()
    (example,) = MapRows(parquet(folder, {"image": png(PHOTO), "depth": depth}))
    assert (example.values == 1.5).all()


def test_broken_rows_of_maps(folder: Path) -> None:
    np.save(folder / "whole.npy", np.ones((4, 6), dtype=np.int64))
    np.save(folder / "far.npy", np.full((4, 6), 1e300))
    np.save(folder / "cut.npy", np.ones((4, 6)))
    (folder / "cut.npy").write_bytes((folder / "cut.npy").read_bytes()[:-9])
    np.save(folder / "objects.npy", np.array([[{}]]), allow_pickle=True)
    (folder / "many.png").write_bytes(png(np.full((4, 6), 256, dtype=np.uint16)))
    wrong = (
        ({"image": "a.png"}, "it has no map; give it either depth or segmentation"),
        ({"image": "a.png", "depth": "a.png", "segmentation": "a.png"}, "it has depth and segmentation"),
        ({"depth": "a.png"}, "it has no image or images or .*; its fields are depth"),
        ({"image": "b.png", "depth": "a.png"}, "b.png does not exist"),
        ({"image": "a.png", "depth": "b.png"}, "b.png cannot be read"),
        ({"image": "a.png", "depth": "\0"}, "cannot be read"),
        ({"image": "a.png", "depth": 3}, "not as int"),
        ({"image": "a.png", "depth": "a.png"}, "16 bits"),
        ({"image": "a.png", "depth": "rows.jsonl"}, "not a whole PNG"),
        ({"image": "a.png", "depth": "whole.npy"}, "this is int64"),
        ({"image": "a.png", "depth": "far.npy"}, "no pixel has a depth; leave it out"),
        ({"image": "a.png", "depth": "cut.npy"}, "not a whole .npy"),
        ({"image": "a.png", "depth": "objects.npy"}, "not a whole .npy"),
        ({"image": "a.png", "segmentation": "many.png"}, "the label 256; the last class is 255"),
    )
    reader = MapRows(table(folder, *(row for row, _ in wrong)))
    for i, (_, why) in enumerate(wrong):
        with pytest.raises(BadRow, match=f"rows.jsonl, row {i + 1}: .*{why}"):
            reader[i]


# ---------------------------------------------------------------- questions


def test_questions_of_the_released_form(folder: Path) -> None:
    row = {"question": " How far? ", "answer": "2 m", "image": coded(PHOTO), "data_id": 7}
    flags = ("positive", "negative", "boundary", "uncertain", None)
    reader = QuestionRows(table(folder, *({**row, "flag": flag} for flag in flags), row))
    assert [example.flag for example in reader] == ["positive", "negative", "boundary", "boundary", None, None]
    assert (reader[0].question, reader[0].answer) == ("How far?", "2 m") and np.array_equal(reader[0].picture, PHOTO)


@pytest.mark.parametrize(
    "row",
    [
        {"image_path": "a.png", "query": "How many?", "label": 3}, {"images": ["a.png"], "problem": "How many?",
         "solution": "<think>1, 2, 3</think><answer> \\boxed{3} </answer>"}, {"image": "", "image_path": "a.png",
         "question": None, "query": "How many?", "answer": "3"}, {"image_link": "https://somewhere.org/x/a.png",
         "question": "How many?", "answer": 3},
    ],
)  # fmt: skip
def test_questions_under_other_names(folder: Path, row: dict[str, Any]) -> None:
    (example,) = QuestionRows(table(folder, row))
    assert (example.question, example.answer) == ("How many?", "3") and np.array_equal(example.picture, PHOTO)


def test_fields_can_be_named_and_pictures_lie_elsewhere(folder: Path) -> None:
    (folder / "tables").mkdir()
    path = table(folder / "tables", {"question": "no", "ask": "How many?", "say": "3", "photo": "a.png"})
    (example,) = QuestionRows(path, folder, Fields(("photo",), ("ask",), ("say",)))
    assert (example.question, example.answer) == ("How many?", "3")
    with pytest.raises(BadRow, match="row 1: .*a.png does not exist"):
        QuestionRows(path, fields=Fields(("photo",), ("ask",), ("say",)))[0]


def test_vsr_asks_whether_a_caption_is_true(folder: Path) -> None:
    row = {"image": "a.png", "image_link": "http://images.cocodataset.org/train2017/a.png", "relation": "behind",
           "caption": "The cat is behind the laptop."}  # fmt: skip
    reader = QuestionRows(table(folder, {**row, "label": 1}, {**row, "label": 0}, {**row, "label": 2}, row))
    assert [(e.question, e.answer) for e in reader[:2]] == [
        ("Is this true? The cat is behind the laptop.", "yes"), ("Is this true? The cat is behind the laptop.", "no"),
    ]  # fmt: skip
    for i, why in ((2, "its label is '2'"), (3, "it has no label")):
        with pytest.raises(BadRow, match=f"row {i + 1}: {why}"):
            reader[i]


def test_sat_offers_choices_that_do_not_tell_which_is_right(folder: Path) -> None:
    row = {"question": "Did the camera turn left or right?", "answers": ["right", "left"], "correct_answer": "right",
           "image_bytes": [png(PHOTO)], "question_type": "action"}  # fmt: skip
    reader = QuestionRows(parquet(folder, row, {**row, "image_bytes": [png(PHOTO)] * 2}))
    assert reader[0].question == "Did the camera turn left or right? Choose one: left, right."
    assert reader[0].answer == "right" and np.array_equal(reader[0].picture, PHOTO)
    with pytest.raises(BadRow, match="row 2: the row has 2 pictures"):
        reader[1]


@pytest.mark.parametrize("options", [
    {"options": ["ball", "red box"]}, {"A": "ball", "B": "red box", "C": ""}, {"choices": '["ball", "red box"]'},
    {"options": "['ball', 'red box']"}, {"options": "A. ball\nB. red box"},
])  # fmt: skip
def test_options_are_asked_as_they_are_evaluated(folder: Path, options: dict[str, Any]) -> None:
    """A letter of options that nobody has seen could only be learned by heart."""
    row = {"image": "a.png", "question": "What is it?", "type": "MCQ", **options}
    answers = ("B", "(b)", "B. red box", "red box", "<answer>B</answer>")
    path = table(folder, *({**row, "answer": a} for a in answers), {**row, "answer": "C"}, {**row, "answer": "cone"})
    reader = QuestionRows(path)
    assert [e.answer for e in reader[:5]] == ["B"] * 5
    assert {e.question for e in reader[:5]} == {"What is it?\nA. ball\nB. red box"}
    evaluated = Questions(TSV, path).items
    assert [(one.row, one.prompt, one.truth) for one in evaluated] == [
        (i, reader[i].question, reader[i].answer) for i in range(5)
    ]
    for i in (5, 6):
        with pytest.raises(BadRow, match=f"row {i + 1}: its answer '(C|cone)' is no"):
            reader[i]
    listed = {**row, "question": "What is it? A. ball B. red box", "answer": "B"}
    assert QuestionRows(table(folder, listed))[0].question == listed["question"], "it lists them itself"
    with pytest.raises(BadRow, match="its options are no list; write them as"):
        QuestionRows(table(folder, {**row, "options": "ball or box", "answer": "B"}))[0]


def test_whether_is_written_in_many_ways(folder: Path) -> None:
    rows = [{"image": "a.png", "question": "Is it?", "type": "YN", "answer": a} for a in ("true", "False", "yes", "0")]
    assert [e.answer for e in QuestionRows(table(folder, *rows))] == ["yes", "no", "yes", "no"]


def test_broken_rows_of_questions(folder: Path) -> None:
    whole = {"image": "a.png", "question": "How?", "answer": "so"}
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"question": ""}, "it has no question or query or problem; its fields are image, question, answer"),
        ({"question": "   "}, "the question is empty"), ({"question": "how" * 999}, "2997 characters"),
        ({"answer": None}, "it has no answer or"), ({"answer": "  "}, "its answer is empty"),
        ({"answer": ["a"]}, "this row has list"), ({"image": "b.png"}, "b.png does not exist"),
        ({"image": 3}, "picture is int"), ({"answer": float("nan")}, "it has no answer or"),
        ({"answer": float("inf")}, "or no number"), ({"answer": "<answer> </answer>"}, "its answer is empty"),
        ({"answer": "\\boxed{}"}, "its answer is empty"),
    )  # fmt: skip
    reader = QuestionRows(table(folder, *(whole | change for change, _ in wrong)))
    for i, (_, why) in enumerate(wrong):
        with pytest.raises(BadRow, match=f"rows.jsonl, row {i + 1}: .*{why}"):
            reader[i]


def test_answers_and_questions_in_other_forms(folder: Path) -> None:
    row = {"image": "a.png", "question": "<image>\nIs it?"}
    reader = QuestionRows(table(folder, *({**row, "answer": a} for a in (True, False, "So \\boxed{5}", 3))))
    assert [(e.question, e.answer) for e in reader] == [("Is it?", a) for a in ("yes", "no", "5", "3")]


# ---------------------------------------------------------------- traces


def text(value: object, loss: object) -> dict[str, Any]:
    return {"type": "text", "value": value, "need_loss": loss}


def image(array: np.ndarray = MAP) -> dict[str, Any]:
    return {"type": "image", "value": coded(array), "need_loss": "false"}


CALL = "<think>how far?</think><depth-estimation>draw the depth</depth-estimation>"
SECOND = "<think>not <depth-estimation>depth</depth-estimation></think><segmentation>draw the objects</segmentation>"
ANSWER = "<think>so</think><answer>\\boxed{2 m}</answer>"


def test_traces_of_the_released_form(folder: Path) -> None:
    parts = [{"type": "image", "value": "a.png"}, text("How far?", "false"), text(CALL, "true"), image(),
             text("Look.", "false"), text(SECOND, True), image(PHOTO), text(ANSWER, "true")]  # fmt: skip
    path = table(folder, {"interleaved_reason": parts})
    (example,) = TraceRows(path)
    picture, asked, first, drawn, look, second, objects, answer = example.trace.segments
    assert isinstance(picture, Picture) and np.array_equal(picture.image, PHOTO)
    assert asked == Text("How far?") and look == Text("Look.", "reflection")
    assert [first, second, answer] == [Text(t, "model") for t in (CALL, SECOND, ANSWER)]
    assert isinstance(drawn, Drawing) and np.array_equal(drawn.image, MAP)
    assert [d.modality for d in example.trace.drawings] == ["depth", "segmentation"]
    assert all(d.shown and not d.target for d in example.trace.drawings) and example.trace.answer == "2 m"
    assert example.name == f"{path}, row 1"
    with pytest.raises(BadRow, match="row 1: part 4: an image follows text that calls no map of segmentation"):
        TraceRows(path, ("segmentation",))[0]


def test_traces_in_parquet(folder: Path) -> None:
    parts = [image(), text("How far?", "false"), text(CALL, "true"), image(), text(ANSWER, "true")]
    (one,), (other,) = (
        TraceRows(made(folder, {"interleaved_reason": parts, "data_id": 7})) for made in (table, parquet)
    )
    assert other.name == f"{folder}/rows.parquet, row 1" and len(other.trace.drawings) == 1
    assert other.trace.turns == one.trace.turns == (CALL, ANSWER)
    assert all(
        np.array_equal(a.image, b.image) if isinstance(a, (Picture, Drawing)) else a == b  # type: ignore[union-attr]
        for a, b in zip(one.trace.segments, other.trace.segments, strict=True)
    )


def test_all_images_before_the_models_first_text_are_pictures(folder: Path) -> None:
    parts = [text("Compare", "false"), image(), text("with", "false"), image(PHOTO), text(ANSWER, "true")]
    (example,) = TraceRows(table(folder, {"interleaved_reason": parts}))
    assert [s.role for s in example.trace.segments if isinstance(s, Text)] == ["user", "user", "model"]
    assert len(example.trace.pictures) == 2 and not example.trace.drawings


def test_broken_rows_of_traces(folder: Path) -> None:
    wrong: tuple[tuple[Any, str], ...] = (
        ("text", "it has no list 'interleaved_reason'; its fields are interleaved_reason"),
        ([], "no part of it is text with loss"), ([image(), text("How?", "false")], "no part of it is text with loss"),
        ([image(), "text"], "part 2: it is not an object"), ([{"type": "video"}], "part 1: it is not an object"),
        ([text(3, "true")], "part 1: a text has a string"),
        ([text("How?", "maybe")], "part 1: a text has a string as value, and need_loss"),
        ([text("so", "true"), image()], "part 2: an image follows text that calls no map"),
        ([{"type": "image", "value": coded(MAP)[:60]}], "part 1: .*damaged"),
        ([{"type": "image"}], "part 1: .*NoneType"),
    )  # fmt: skip
    reader = TraceRows(table(folder, *({"interleaved_reason": parts} for parts, _ in wrong)))
    for i, (_, why) in enumerate(wrong):
        with pytest.raises(BadRow, match=f"rows.jsonl, row {i + 1}: {why}"):
            reader[i]


def test_traces_that_were_saved(tmp_path: Path) -> None:
    traces = [Trace((Picture(PHOTO), Text("How?"), Text(answer, "model"))) for answer in ("so", "or so")]
    for trace, name in zip(traces, ("b", "a/c"), strict=True):
        trace.save(tmp_path / name)
    reader = SavedTraces(tmp_path)
    assert [e.trace.turns for e in reader] == [("or so",), ("so",)]  # by name
    assert reader[1].name == str(tmp_path / "b") and np.array_equal(reader[1].trace.pictures[0].image, PHOTO)
    for broken in (b"", b"\x89PNG", png(PHOTO)[:-30]):
        (tmp_path / "b" / "00-picture.png").write_bytes(broken)
        with pytest.raises(BadRow, match="/b: does not hold a trace"):
            reader[1]
    (tmp_path / "b" / "trace.json").write_text("[" * 100_000)
    with pytest.raises(BadRow, match="/b: does not hold a trace .*recursion"):
        reader[1]


# ---------------------------------------------------------------- by name


@pytest.mark.parametrize(
    ("row", "name"),
    [({"image": "a.png", "depth": "a.npy"}, "maps"), ({"image": "a.png", "question": "?", "answer": "so"}, "questions"),
     ({"image": "a.png", "depth": None, "query": "?", "label": "so"}, "questions"),
     ({"interleaved_reason": []}, "traces")],
)  # fmt: skip
def test_a_table_is_told_by_its_first_row_that_can_be_read(tmp_path: Path, row: dict[str, Any], name: str) -> None:
    path = tmp_path / "rows.jsonl"
    for broken in (0, 1, 99):
        path.write_text("{cut off\n" * broken + json.dumps(row) + "\n")
        assert set_in(path) == name
    path.write_text("{cut off\n" * 100 + json.dumps(row) + "\n")
    with pytest.raises(BadRow, match="rows.jsonl, row 1: this is not JSON"):
        set_in(path)
    path.write_text("")
    with pytest.raises(ValueError, match="rows.jsonl has no rows"):
        set_in(path)
    path.write_text(json.dumps(row) + "\n")
    Trace((Picture(PHOTO), Text("How far?"), Text("so", "model"))).save(tmp_path / "old")
    assert set_in(tmp_path / "old") == "saved_traces"
    with pytest.raises(ValueError, match="holds tables and, in .*/old, a saved trace; give the table itself"):
        set_in(tmp_path)  # whoever asked for an answer beside a table has not changed what is learned from


def test_sets_are_opened_by_name(folder: Path) -> None:
    path = table(folder, {"image": "a.png", "question": "How?", "answer": "so"})
    (example,) = open_set("questions", path)
    assert example.answer == "so"
    Trace((Text("How?"),)).save(folder / "trace")
    assert len(open_set("saved_traces", folder)) == 1
    for name, label in (("images", "a.jpg"), ("labels", "a.png"), ("images/ADE/training", "a_seg.png")):
        (folder / name).mkdir(parents=True)
        (folder / name / label).write_bytes(png(MAP))
    (folder / "images/ADE/training/a.jpg").write_bytes(png(PHOTO))
    assert np.array_equal(open_set("ade20k_colours", folder)[1].target, MAP)
    assert np.array_equal(open_set("ade20k_full", folder)[0].picture, PHOTO)


def test_no_path_is_not_the_current_folder() -> None:
    for where in ("", " ", "questions="):
        with pytest.raises(ValueError, match="names no file or folder"):
            named(where)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("hypersim", "final_preview/frame.*.tonemap.jpg"), ("virtual_kitti", "frames/rgb/Camera_[01]/rgb_*.jpg"),
        ("kitti", "proj_depth/groundtruth"), ("nyu", "rgb/*.[jp][pn]g"), ("ade20k", "images/training/*.jpg"),
        ("ade20k_full", "is not a folder"), ("ade20k_colours", "is not a folder"), ("saved_traces", "trace.json"),
        ("maps", "holds no table"), ("questions", "holds no table"), ("traces", "holds no table"),
        ("kitti_split", "cannot be read"), ("nyu_depths", "is no HDF5 file"), ("nyu_labels", "is no HDF5 file"),
    ],
)  # fmt: skip
def test_a_folder_without_the_set_says_what_was_looked_for(tmp_path: Path, name: str, layout: str) -> None:
    with pytest.raises(ValueError) as caught:
        open_set(name, tmp_path)
    assert layout in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ValueError):
        open_set(name, tmp_path / "missing")
    with pytest.raises(ValueError, match=f"no training set is called 'imagenet'; choose from .*{name}"):
        open_set("imagenet", tmp_path)
