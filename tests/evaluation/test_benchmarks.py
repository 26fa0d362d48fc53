"""Benchmarks in their public file formats, and their figures by hand in every reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.tables import answered, coded, png, write_table

from cooper.data.options import letter_of, options_in
from cooper.data.question_rows import QuestionRows
from cooper.data.tables import BadRow
from cooper.evaluation.benchmarks import BENCHMARKS
from cooper.evaluation.benchmarks.sibench import SETTINGS
from cooper.evaluation.items import Item
from cooper.evaluation.predictions import Row
from cooper.evaluation.questions import Questions
from cooper.evaluation.summary import summarise
from cooper.images import load_image


def questions(name: str, path: Path, **settings: Any) -> Questions:
    return Questions(BENCHMARKS[name], path, **settings)


def rows_of(found: Questions, says: dict[str, str]) -> list[Row]:
    """Predictions: a model that says this to the questions with these indices."""
    return [
        answered(
            found.benchmark.name, says[item.index], index=item.index, category=list(item.category), prompt=item.prompt,
            truth=item.truth, options=list(item.options), kind=item.kind, group=item.group, size=item.size,
        )
        for item in found.items if item.index in says
    ]  # fmt: skip


def points(rows: list[Row]) -> dict[str, float]:
    return {name: figure["score"] for name, figure in summarise(rows)["readings"].items()}


def shows(found: Questions, index: str, seed: int) -> bool:
    """Whether the picture of a question is that of the seed."""
    item = next(item for item in found.items if item.index == index)
    return np.array_equal(found.picture(item), load_image(png(seed)))


def test_sibench(tmp_path: Path) -> None:
    assert len(set(SETTINGS)) == 13, "docs/method.md, section 7"
    (tmp_path / "Set").mkdir()
    for seed in range(2):
        (tmp_path / f"Set/{seed}.png").write_bytes(png(seed))
    row = {"index": "0", "question": "Which is nearer? A. ball B. box", "answer": "A", "type": "MCQ",
           "data_source": "s", "input_type": "image", "image_path": "Set/0.png"}  # fmt: skip
    write_table(tmp_path / "relative_distance.tsv", [
        row,
        {**row, "index": "1", "type": "YN", "answer": "Yes", "question": "Is it near?", "image_path": "Set/1.png"},
        {**row, "index": "2", "input_type": "video"},
        {**row, "index": "3", "type": "Essay"},
    ])  # fmt: skip
    write_table(tmp_path / "Height.tsv", [
        {**row, "type": "Number", "answer": "10", "question": "How many cm?", "category": "length"},
        {**row, "index": "1", "type": "Number_Int", "answer": "4", "question": "How many?"},
    ])  # fmt: skip
    # every file numbers its questions from the start, and names the picture of another of its own
    here, there = ({**row, "index": "5", "image_path": f"Set/{k}.png"} for k in range(2))
    write_table(tmp_path / "Existence.tsv", [here, {**here, "index": "6", "image_path": "5"}])
    write_table(tmp_path / "Occlusion.tsv", [there, {**there, "index": "6", "image_path": "5"}])
    both = questions("sibench", tmp_path)
    assert shows(both, "Existence/6", 0) and shows(both, "Occlusion/6", 1)
    for name in ("Existence", "Occlusion"):
        (tmp_path / f"{name}.tsv").unlink()
    write_table(tmp_path / "Camera_Pose.tsv", [row])
    found = questions("sibench", tmp_path)
    names = ["Height/0", "Height/1", "relative_distance/0", "relative_distance/1"]
    assert [item.index for item in found.items] == names
    assert found.others == 2 and found.total == 5
    assert found.broken == [
        f"{tmp_path}/relative_distance.tsv, row 4: its type 'Essay' is none of MCQ, YN, Number, Number_Int, Word"
    ]
    choice = found.items[2]
    assert choice.prompt == "Which is nearer? A. ball B. box\nAnswer with the letter of the right option."
    assert choice.options == ("ball", "box") and choice.category == ("relative_distance",)
    assert shows(found, "relative_distance/0", 0) and shows(found, "relative_distance/1", 1)
    # numbers: 0.8 and 0; the others: 1, 1; a fifth, of another setting, is wrong
    rows = rows_of(found, {"Height/0": "11", "Height/1": "5", "relative_distance/0": "the ball",
                           "relative_distance/1": "yes"})  # fmt: skip
    rows.append({**rows[0], "index": "x", "group": "x", "category": ["Occlusion"], "turns": ["no number"]})
    assert points(rows) == pytest.approx({"mean over questions": 2.8 / 5, "mean over settings": (0.4 + 1 + 0) / 3})
    assert summarise(rows)["no_answer"] == 1


def test_q_spatial(tmp_path: Path) -> None:
    rows = [
        {"question": f"How wide {k}?", "answer_value": value, "answer_unit": unit, "question_type": "width",
         "image_path": "", "image": {"bytes": png(k), "path": None}}
        for k, (value, unit) in enumerate([(100.0, "centimeters"), (1.0, "meters"), (10.0, "inches"), (1.0, "parsecs")])
    ]  # fmt: skip
    found = questions("q-spatial", write_table(tmp_path / "plus.parquet", rows))
    assert [(i.index, i.truth, i.kind) for i in found.items] == [
        ("1", "100.0 centimeters", "length"), ("2", "1.0 meters", "length"), ("3", "10.0 inches", "length")
    ]
    assert found.items[0].prompt == "How wide 0?\nAnswer with one number and its unit."
    assert len(found.broken) == 1 and "row 4: its unit 'parsecs' is not known" in found.broken[0]
    assert shows(found, "2", 1)
    # off by 1.4, by 1.8, and by just 2
    answers = rows_of(found, {"1": "1.4 m", "2": "about 180 cm", "3": "20 in"})
    assert points(answers) == pytest.approx({"within a factor of 2": 2 / 3, "within a factor of 1.5": 1 / 3})


def mmvp_rows() -> list[dict[str, Any]]:
    return [
        {"Index": k, "Question": "Is the door open?", "Options": "(a) Open (b) Closed",
         "Correct Answer": "(a)" if k % 2 else "(b)"}
        for k in range(1, 7)
    ]  # fmt: skip


def test_mmvp(tmp_path: Path) -> None:
    for k in range(1, 7):
        path = tmp_path / f"MMVP Images/{k}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(k))
    found = questions("mmvp", write_table(tmp_path / "Questions.csv", mmvp_rows()))
    assert found.items[1].prompt == (
        "Is the door open?\nA. Open\nB. Closed\nAnswer with the letter of the right option."
    )
    assert [item.truth for item in found.items[:2]] == ["A", "B"] and shows(found, "5", 5)
    # first pair right, one of the second, none of the third
    says = {"1": "(a)", "2": "Closed", "3": "A", "4": "A", "5": "B", "6": "A"}
    assert points(rows_of(found, says)) == pytest.approx({"per pair": 1 / 3, "per question": 3 / 6})
    # half a pair is no pair
    half = summarise(rows_of(found, {k: v for k, v in says.items() if k != "2"}))["readings"]["per pair"]
    assert (half["score"], half["n"], half["incomplete"]) == (0, 2, 1)
    packed = [{**row, "image": {"bytes": png(10 + row["Index"]), "path": None}} for row in mmvp_rows()]
    assert shows(questions("mmvp", write_table(tmp_path / "new/a.parquet", packed)), "3", 13)
    assert [item.index for item in questions("mmvp", tmp_path / "Questions.csv", limit=3).items] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("first", [0, 1])
def test_mmvp_as_a_table_of_choices(tmp_path: Path, first: int) -> None:
    """As VLMEvalKit has it; pairs begin with the first number."""
    row = {"question": "Is the door open?", "A": "Open", "B": "Closed"}
    table = [{**row, "index": k, "image": coded(k), "answer": "AB"[k % 2]} for k in range(first, first + 4)]
    found = questions("mmvp", write_table(tmp_path / "MMVP.tsv", table))
    assert [item.group for item in found.items] == ["pair 1"] * 2 + ["pair 2"] * 2
    assert found.items[0].options == ("Open", "Closed") and shows(found, str(first), first)


@pytest.mark.parametrize("first", [0, 1])
def test_a_broken_row_moves_no_pair_of_mmvp(tmp_path: Path, first: int) -> None:
    row = {"question": "Is the door open?", "A": "Open", "B": "Closed"}
    answers = "?BABAB"
    table = [{**row, "index": k + first, "image": coded(k), "answer": answers[k]} for k in range(6)]
    found = questions("mmvp", write_table(tmp_path / "MMVP.tsv", table))
    assert [item.group for item in found.items] == ["pair 1"] + ["pair 2"] * 2 + ["pair 3"] * 2


def mmbench_row(index: int, image: str, answer: str = "A", **fields: str) -> dict[str, Any]:
    return {"index": index, "question": "Which?", "hint": "", "A": "ball", "B": "box", "C": "cone", "D": "",
            "answer": answer, "category": "shape", "l2-category": "coarse", "image": image, **fields}  # fmt: skip


def test_mmbench_makes_the_rotations(tmp_path: Path) -> None:
    table = [mmbench_row(7, coded(7), hint="Look."), mmbench_row(8, "7", "C"), mmbench_row(9, "99"),
             mmbench_row(10, coded(1), "D")]  # fmt: skip
    found = questions("mmbench", write_table(tmp_path / "MMBench.tsv", table))
    asked = {item.index: item for item in found.items}
    assert list(asked) == [f"{k * 1_000_000 + i}" for i in (7, 8, 9) for k in range(3)]
    assert asked["1000007"].prompt == (
        "Look.\nWhich?\nA. box\nB. cone\nC. ball\nAnswer with the letter of the right option."
    )
    assert [asked[f"{k}00000{i}"].truth for i in (7, 8) for k in (1, 2)] == ["C", "B", "B", "A"]
    assert all((item.group, item.size) == (item.index[-1], 3) for item in found.items)
    assert asked["7"].category == ("shape", "coarse")
    assert shows(found, "8", 7) and shows(found, "2000008", 7), "a picture that is in another row"
    with pytest.raises(BadRow, match="row 3: its picture is that of index 99, which is not there"):
        found.picture(asked["9"])
    assert len(found.broken) == 1 and "row 4: its answer 'D' is none of its 3 options" in found.broken[0]
    # 7: right under every rotation; 8: right unrotated and once more
    says = {"7": "A", "1000007": "ball", "2000007": "B", "8": "C", "1000008": "B", "2000008": "C"}
    assert points(rows_of(found, says)) == pytest.approx({"circular": 1 / 2, "plain": 2 / 2})
    says["8"] = "B"
    assert points(rows_of(found, says)) == pytest.approx({"circular": 1 / 2, "plain": 1 / 2})


def test_mmbench_with_its_own_rotations(tmp_path: Path) -> None:
    table = [
        mmbench_row(7, coded(7)), mmbench_row(1_000_007, "7", "C", A="box", B="cone", C="ball"),
        mmbench_row(2_000_007, "7", "B", A="cone", B="ball", C="box"), mmbench_row(8, "7"),
    ]  # fmt: skip
    found = questions("mmbench", write_table(tmp_path / "MMBench.tsv", table))
    assert [item.index for item in found.items] == ["7", "1000007", "2000007", "8"]
    says = {"7": "A", "1000007": "C", "2000007": "B", "8": "A"}
    circular = summarise(rows_of(found, says))["readings"]["circular"]
    assert (circular["score"], circular["n"], circular["incomplete"]) == (1, 1, 1), "8 lacks its rotations"
    assert [i.index for i in questions("mmbench", tmp_path / "MMBench.tsv", limit=1).items][-1] == "2000007"


def test_mm_vet(tmp_path: Path) -> None:
    table = [
        {"index": k, "image": coded(k), "question": "What?", "answer": "cat<AND>dog", "capability": capability}
        for k, capability in enumerate(("rec,ocr", "rec"))
    ]
    found = questions("mm-vet", write_table(tmp_path / "MMVet.tsv", table))
    assert [(i.kind, i.category, i.prompt) for i in found.items] == [
        ("open", ("rec", "ocr"), "What?"), ("open", ("rec",), "What?")
    ]
    summary = summarise(rows_of(found, {"0": "a cat", "1": "a dog"}))
    assert summary["readings"]["mean grade"] == {"score": None, "interval": None, "n": 0, "incomplete": 0}
    assert summary["note"] == "answers to mm-vet are graded by a judge: give --judge URL and --judge-model NAME"
    assert summary["no_verdict"] == 2
    odd = [{**row, "capability": True} for row in table]
    assert questions("mm-vet", write_table(tmp_path / "odd.jsonl", odd)).items[0].category == ("True",)
    listed = [{**row, "capability": ["ocr", "math"]} for row in table]
    assert questions("mm-vet", write_table(tmp_path / "a.jsonl", listed)).items[0].category == ("ocr", "math")


def test_vsi(tmp_path: Path) -> None:
    (tmp_path / "frame.png").write_bytes(png(3))
    row = {"question": "How many?", "ground_truth": "4", "options": None, "image": "frame.png"}
    choice = {**row, "options": ["A. left", "B. right"], "ground_truth": "B"}
    table = [
        {**row, "id": 0, "question_type": "object_counting"},
        {**choice, "id": 1, "question_type": "object_rel_direction_easy"},
        {**choice, "id": 2, "question_type": "object_rel_direction_hard"},
        {**choice, "id": 3, "question_type": "object_rel_direction_hard"},
        {**row, "id": 4, "question_type": "route_planning"},
    ]
    found = questions("vsi", write_table(tmp_path / "vsi.jsonl", table))
    assert found.items[1].prompt == "How many?\nA. left\nB. right\nAnswer with the letter of the right option."
    assert len(found.broken) == 1 and "row 5: it has no options" in found.broken[0] and shows(found, "0", 3)
    # counting 20 % off: below six of ten thresholds (0.25 .. 0.50); directions 1 and (1 + 0) / 2
    says = {"0": "4.8", "1": "B", "2": "right", "3": "A"}
    assert points(rows_of(found, says)) == pytest.approx(
        {"mean over tasks": (0.6 + (1 + 0.5) / 2) / 2, "mean over questions": 2.6 / 4}
    )
    assert summarise(rows_of(found, says))["categories"]["object_rel_direction"]["mean over questions"]["n"] == 3


@pytest.mark.parametrize(
    ("asked", "truth", "said", "score"),
    [
        ("How long is it, measured in centimeters?", "120", "1.2 meters", 1),
        ("How long is it in cm?", "120", "1.2 m", 0),
        ("How long is it (in meters)?", "1.2", "120 cm", 1), ("Unit: feet. How far?", "3", "1 yard", 1),
        ("How far in meters is it?", "120 cm", "1.2", 0), ("How many are in the room?", "2", "2", 1),
    ],
)  # fmt: skip
def test_a_number_has_the_unit_that_was_asked_for(
    tmp_path: Path, asked: str, truth: str, said: str, score: float
) -> None:
    row = {"id": 0, "question": asked, "ground_truth": truth, "image": coded(0), "options": None}
    found = questions("vsi", write_table(tmp_path / "v.jsonl", [{**row, "question_type": "object_size_estimation"}]))
    assert points(rows_of(found, {"0": said}))["mean over questions"] == score
    typed = {"index": "0", "question": asked, "answer": truth, "type": "Number", "image": coded(0)}
    found = questions("tsv", write_table(tmp_path / "t.tsv", [typed]))
    assert points(rows_of(found, {"0": said}))["mean over questions"] == score


def test_cv_bench(tmp_path: Path) -> None:
    row = {"type": "2D", "task": "Count", "question": "How many?", "choices": ["1", "2"], "answer": "(B)"}
    sources = ("ADE20K", "ADE20K", "COCO", "Omni3D", "Omni3D", "Moon")
    table = [{**row, "idx": k, "source": source, "filename": f"2D/{k}.png"} for k, source in enumerate(sources)]
    (tmp_path / "img/2D").mkdir(parents=True)
    (tmp_path / "img/2D/4.png").write_bytes(png(4))
    found = questions("cv-bench", write_table(tmp_path / "test.jsonl", table))
    assert shows(found, "4", 4) and "row 6: its source 'Moon' is none of" in found.broken[0]
    assert found.items[0].category == ("2D", "ADE20K", "Count")
    says = {"0": "B", "1": "two", "2": "1", "3": "B", "4": "A"}  # ADE 1, COCO 0, Omni 0.5
    assert points(rows_of(found, says)) == pytest.approx(
        {"mean of 2D and 3D": ((1 + 0) / 2 + 0.5) / 2, "mean over questions": 3 / 5}
    )
    packed = [{**row, "idx": 0, "source": "COCO", "image": {"bytes": png(9), "path": "x.png"}}]
    assert shows(questions("cv-bench", write_table(tmp_path / "a.parquet", packed)), "0", 9)


def test_3dsrbench(tmp_path: Path) -> None:
    names = ("AAAAAAAA", "AAAAAAAA-1", "AAAAAAAA-flip", "AAAAAAAA-flip-1", "BBBBBBBB", "BBBBBBBB-1")
    table = [
        {"index": k, "qid": name, "question": "Which is higher?", "A": "ball", "B": "box", "C": "", "D": "",
         "answer": "A", "category": "height_higher" if name[0] == "A" else "multi_object_facing", "image": coded(k)}
        for k, name in enumerate(names)
    ]  # fmt: skip
    found = questions("3dsrbench", write_table(tmp_path / "bench.tsv", table))
    assert [(item.group, item.size) for item in found.items] == [("AAAAAAAA", 4)] * 4 + [("BBBBBBBB", 2)] * 2
    assert found.items[0].category == ("height", "height_higher")
    assert found.items[4].category == ("multi_object", "multi_object_facing")
    says = dict.fromkeys(names, "A")
    assert points(rows_of(found, says)) == {"all rotations": 1, "all rotations and flips": 1, "per question": 1}
    broken = questions("3dsrbench", write_table(tmp_path / "b.tsv", [{**table[0], "answer": ""}, *table[1:]]))
    whole = summarise(rows_of(broken, says))["readings"]["all rotations and flips"]
    assert (whole["n"], whole["incomplete"]) == (1, 1), "a question is no easier for what cannot be read of it"
    says["AAAAAAAA-flip-1"] = "B"
    assert points(rows_of(found, says)) == pytest.approx(
        {"all rotations": 2 / 3, "all rotations and flips": 1 / 2, "per question": 5 / 6}
    )


def test_any_table(tmp_path: Path) -> None:
    row = {"index": "0", "image": coded(0), "question": "Which?", "answer": "B", "type": "MCQ", "category": "a",
           "A": "ball", "B": "box"}  # fmt: skip
    table = [row, {**row, "index": "1", "type": "Word", "answer": "the box", "category": "b"},
             {**row, "index": "2", "type": "Number", "answer": "1.25 m", "category": "b"}]  # fmt: skip
    found = questions("tsv", write_table(tmp_path / "t.tsv", table))
    assert [item.prompt for item in found.items] == ["Which?\nA. ball\nB. box", "Which?", "Which?"]
    assert points(rows_of(found, {"0": "box", "1": "Box", "2": "125 cm"})) == {
        "mean over categories": 1, "mean over questions": 1
    }  # fmt: skip
    assert points(rows_of(found, {"0": "ball", "1": "Box", "2": "1.25"})) == pytest.approx(
        {"mean over categories": 1 / 2, "mean over questions": 2 / 3}
    )


def test_tables_as_harnesses_have_them(tmp_path: Path) -> None:
    row = {"image": coded(0), "question": "Which?", "answer": "B"}
    lettered, listed = {"A": "ball", "B": "box"}, {"options": ["ball", "box"]}
    table = [{**row, **lettered}, {**row, **listed, "type": "mcq"}, {**row, "answer": "yes", "type": "yn"},
             row, {**row, "options": list("abcdefghi")}, {**row, **dict.fromkeys("ABCDEFGHI", "x")}]  # fmt: skip
    found = questions("tsv", write_table(tmp_path / "t.jsonl", [{"index": k} | one for k, one in enumerate(table)]))
    assert [(item.kind, item.prompt) for item in found.items] == [
        ("choice", "Which?\nA. ball\nB. box"), ("choice", "Which?\nA. ball\nB. box"), ("yes_no", "Which?")
    ]  # fmt: skip
    assert found.items[0].category == ("MCQ",) and len(found.broken) == 3
    assert "row 4: it has no type: one of MCQ, YN, Number" in found.broken[0]
    assert all("it has 9 options; up to 8 can be told apart" in why for why in found.broken[1:])
    (tmp_path / "Height.jsonl").write_text(json.dumps({**row, **listed, "type": "MCQ"}))
    assert questions("sibench", tmp_path / "Height.jsonl").items[0].prompt.startswith("Which?\nA. ball\nB. box\n")


@pytest.mark.parametrize("indices", [("0", "1", "", "3", "4"), ("0", "3", "", "9", "4")])
def test_a_row_without_an_index_pushes_none_out(tmp_path: Path, indices: tuple[str, ...]) -> None:
    """It is called by its number, unless another has that as its index, before it or after it."""
    row = {"image": coded(0), "answer": "red"}
    table = [{**row, "index": k, "question": f"Which, {i}?"} for i, k in enumerate(indices)]
    found = questions("tsv", write_table(tmp_path / "t.csv", table), strict=True)
    assert [item.index for item in found.items] == ["row 3" if not k else k for k in indices]
    assert [item.question for item in found.items] == [f"Which, {i}?" for i in range(5)]


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    """In training, too: as text it would be scored, and no answer would be right."""
    row = {"image": coded(0), "question": "Which?", "answer": "red"}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"answer": ["red"]}, "answer is to be text; this row has list"), ({"answer": "inf"}, "or no number"),
        ({"answer": {"text": "red"}}, "answer is to be text; this row has dict"), ({"answer": "\\boxed{}"}, "is empty"),
        ({"question": ["Which?"]}, "question is to be text; this row has list"),
        ({"answer": None}, "it has no answer; its fields are image, question, answer"),
    ]  # fmt: skip
    path = write_table(tmp_path / "t.jsonl", [row, *(row | change for change, _ in wrong)])
    found, trained = questions("tsv", path), QuestionRows(path)
    assert len(found.items) == 1 and trained[0].answer == "red"
    assert all(why in told for (_, why), told in zip(wrong, found.broken, strict=True)), found.broken
    for i in range(len(wrong)):
        with pytest.raises(BadRow):
            trained[i + 1]


def test_types_in_other_letters_are_the_same(tmp_path: Path) -> None:
    rows = [{"image": coded(0), "question": "Is it?", "answer": "yes", "type": t} for t in ("YN", "yn", "Yn", "")]
    found = questions("tsv", write_table(tmp_path / "t.csv", rows))
    assert {item.category for item in found.items} == {("YN",)}


def test_questions_of_a_table_may_belong_together(tmp_path: Path) -> None:
    rows = [{"image": coded(0), "question": "How many?", "answer": k, "group": "ab"[k // 2]} for k in range(4)]
    path = write_table(tmp_path / "t.jsonl", rows)
    assert [item.group for item in questions("tsv", path).items] == ["a", "a", "b", "b"]
    alone = write_table(tmp_path / "u.jsonl", [{k: v for k, v in row.items() if k != "group"} for row in rows])
    assert len({item.group for item in questions("tsv", alone).items}) == 4


def test_a_table_that_can_be_trained_on_can_be_evaluated(tmp_path: Path) -> None:
    answers: tuple[Any, ...] = ("2.1 m", 3, "Yes", True, "<answer>\\boxed{the box}</answer>", "(B)")
    table = [{"image": coded(0), "question": "Which? A. ball B. box", "answer": answer} for answer in answers]
    found = questions("tsv", write_table(tmp_path / "t.jsonl", table))
    assert [item.kind for item in found.items] == ["number", "count", "yes_no", "yes_no", "word", "choice"]
    assert [item.category for item in found.items] == [
        ("Number",), ("Number_Int",), ("YN",), ("YN",), ("Word",), ("MCQ",)
    ]  # fmt: skip
    says = ("210 cm", "three", "yes", "yes", "Box", "box")
    right = {item.index: text for item, text in zip(found.items, says, strict=True)}
    assert points(rows_of(found, right))["mean over questions"] == 1
    # pictures under other names, the mark of where they stand, and what else stands for yes
    row = {"images": [coded(0)], "question": "<image>\nIs it?", "type": "yn", "answer": 1}
    path = write_table(tmp_path / "u.jsonl", [row])
    (asked,), trained = questions("tsv", path).items, QuestionRows(path)[0]
    assert (asked.prompt, asked.truth) == (trained.question, trained.answer) == ("Is it?", "yes")
    assert np.array_equal(questions("tsv", path).picture(asked), trained.picture)
    # a picture stands in one row, and others name that
    rows = [{"index": k, "image": i, "question": "Which?", "answer": "red"} for k, i in ((7, coded(7)), (8, "7"))]
    found, read = questions("tsv", path := write_table(tmp_path / "v.tsv", rows)), QuestionRows(path)
    assert shows(found, "8", 7) and np.array_equal(read[1].picture, read[0].picture)
    with pytest.raises(BadRow, match="row 1: its picture is that of index 99, which is not there"):
        QuestionRows(write_table(tmp_path / "w.tsv", [{**rows[1], "image": "99"}]))[0]
    (tmp_path / "99").write_bytes(png(1))
    assert np.array_equal(QuestionRows(tmp_path / "w.tsv")[0].picture, load_image(png(1))), "or it is a file"


def test_options_in_a_question() -> None:
    assert options_in("Which?\nA. ball\nB. the box\nAnswer with a letter.") == ("ball", "the box")
    assert options_in("Which? (A) ball, (B) box; (C) cone") == ("ball", "box", "cone")
    assert options_in("Is A. Smith there?") == options_in("A. ball C. box") == options_in("Where?") == ()


def test_letters_of_answers() -> None:
    assert [letter_of(answer) for answer in ("B", "b", "(B)", "B.", "B. box", "(b)")] == ["B"] * 6
    for wrong in ("box", "Bow", "", "I", "B box", "AB"):
        with pytest.raises(ValueError, match="is no letter"):
            letter_of(wrong)


def test_items_that_nobody_could_answer() -> None:
    for truth, kind, why in (("C", "choice", "none of its 2 options"), ("maybe", "yes_no", "neither yes nor no")):
        with pytest.raises(ValueError, match=why):
            Item("1", "Which?", truth, kind, options=("ball", "box"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="question is empty"):
        Item("1", "", "yes", "yes_no")


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    row = {"index": 0, "question": "Is it?", "answer": "yes", "type": "YN", "image": "a.png"}
    (tmp_path / "a.png").write_bytes(png(0))
    path = write_table(tmp_path / "t.jsonl", [row, {**row, "index": 1, "question": ""}, row, {**row, "index": 3}])
    with path.open("a") as file:
        file.write('{"index": 4, \n[]\n')
    found = questions("tsv", path)
    assert [item.index for item in found.items] == ["0", "3"] and found.total == 6
    whys = ("2: it has no question", "3: its index 0 is that of an earlier row", "5: this is not JSON", "6: this is")
    assert all(f"{path}, row {why}" in line for why, line in zip(whys, found.broken, strict=True))
    assert found.numbers == questions("tsv", path, limit=1).numbers == {"0": 0, "3": 1}
    with pytest.raises(BadRow, match="row 2: it has no question"):
        questions("tsv", path, strict=True)
    with pytest.raises(ValueError, match=r"holds no question that can be asked; .*row 1: it has no type"):
        questions("tsv", write_table(tmp_path / "u.tsv", [{"index": 0, "question": "Which?", "answer": "B"}]))
    with pytest.raises(ValueError, match="none of its 1 rows is one of sibench"):
        questions("sibench", write_table(tmp_path / "v.jsonl", [row]))
