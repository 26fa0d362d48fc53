"""Which questions maps help with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers import Scripted, random_model, sequencer

from cooper.api import Cooper
from cooper.modalities import modality
from cooper.scenes.chosen import choose_questions
from cooper.scenes.targets import SceneImages
from cooper.training import flags
from cooper.training.asked import about_scenes
from cooper.training.flags import Flagging, flag_of, flag_questions, flagged_questions, task_weights
from cooper.training.reinforcement import PicturedQuestion
from cooper.training.rewards import Record

SETTINGS = Flagging(samples=2)


@pytest.mark.parametrize(
    ("with_maps", "without", "flag"),
    [
        ([1, 1], [0, 0], "positive"),
        ([0, 0], [1, 1], "negative"),
        ([1, 0], [0, 1], "boundary"),
        ([1, 1], [1, 1], None),
        ([0, 0], [0, 0], None),
        ([0.75], [0.55], "positive"),
        ([0.55], [0.75], "negative"),
        ([0.7], [0.55], "boundary"),
        ([1, 1], [1, 0.9], "boundary"),
        # a half, and as much again would be chance
        ([1, 1, 1, 0], [1, 0, 0, 0], "boundary"), ([1, 1, 1, 1], [1, 1, 0, 0], "boundary"),
        ([1, 1, 1, 1, 1, 1, 0, 1], [1, 0, 0, 0, 0, 1, 0, 0], "positive"),
    ],
)
def test_the_flag_is_the_gain_against_a_threshold(
    with_maps: list[float], without: list[float], flag: str | None
) -> None:
    assert flag_of(with_maps, without, 0.2) == flag
    assert flag_of(with_maps, without, 0.2, drew=False) == (flag and "boundary"), "what is not drawn changes nothing"


def test_few_flags_are_given_by_chance() -> None:
    """Right or wrong as a coin falls, with maps and without."""
    coins = np.random.default_rng(0).integers(0, 2, (1000, 2, Flagging.samples)).astype(float)
    given = [flag_of(list(a), list(b), Flagging.tau) for a, b in coins]
    assert given.count("positive") < 50 and given.count("negative") < 50


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"samples": 0}, {"tau": 0.0}, {"with_maps": "text"}, {"without": "interleaved"}):
        with pytest.raises(ValueError, match="samples|tau|mode"):
            Flagging(**wrong)  # type: ignore[arg-type]


def test_questions_are_flagged_by_what_was_answered(
    images: SceneImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first question is answered right with a map and wrong without, the second the other way, the third wrong."""
    scenes = [images.shards[i] for i in range(3)]
    asked = choose_questions(scenes, 1)
    model = random_model()
    cooper = Cooper(model, sequencer(model), "scripted")
    draws = "<think>I look.</think>" + modality("depth").call
    said = {a.question.text: f"<think>So.</think><answer>\\boxed{{{a.question.answer}}}</answer>" for a in asked}
    wrong = "<think>So.</think><answer>\\boxed{nothing}</answer>"
    asked_for: list[str] = []

    def script(mode: str) -> dict[int, list[tuple[int, ...] | None]]:
        turns = {}
        for k, a in enumerate(asked):
            right = {"interleaved": 0, "text": 1}[mode] == k
            last = said[a.question.text] if right else wrong
            for sample in range(2):
                texts = [draws, last] if mode == "interleaved" else [last]
                turns[a.seed * 2 + sample] = [cooper.sequencer.ids(t) for t in texts]
        return turns

    scores = flags._scores

    def scripted(engine, part, mode, samples):  # type: ignore[no-untyped-def]
        asked_for.append(mode)
        engine.settings = flags.Settings(Scripted(1.0, script=script(mode), turn_tokens=64), turn_tokens=64)
        return scores(engine, part, mode, samples)

    monkeypatch.setattr(flags, "_scores", scripted)
    out = tmp_path / "flags.jsonl"
    counts = flag_questions(cooper, about_scenes(scenes, asked), len(asked), out, SETTINGS)
    assert counts == {"positive": 1, "negative": 1, "dropped": 1}
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["flag"] for row in rows] == ["positive", "negative", None]
    assert [(row["with"], row["without"]) for row in rows[:2]] == [([1.0, 1.0], [0.0, 0.0]), ([0.0, 0.0], [1.0, 1.0])]

    flag_questions(cooper, about_scenes(scenes, asked), len(asked), out, SETTINGS)
    assert asked_for == ["interleaved", "text"], "what is in the file is not asked again"
    with pytest.raises(ValueError, match="is of flagging"):
        flag_questions(cooper, about_scenes(scenes, asked), len(asked), out, Flagging(samples=3))

    with pytest.raises(ValueError, match="is of source 'scenes'"):
        flag_questions(cooper, [], 0, out, SETTINGS, source="own.jsonl")

    found = flagged_questions(out, images)
    assert [q.record.flag for q in found] == ["positive", "negative"]
    assert [q.record.question for q in found] == [a.question.text for a in asked[:2]]
    assert all(np.array_equal(q.image, images.image(i, "picture")) for i, q in enumerate(found))

    every = Flagging(samples=2, drop=False)
    kept = flag_questions(cooper, about_scenes(scenes, asked), len(asked), tmp_path / "all.jsonl", every)
    assert kept == {"positive": 1, "negative": 1, "boundary": 1}, "the one that is always wrong makes no difference"


def test_tasks_are_weighted_so_that_flags_are_about_as_frequent(tmp_path: Path) -> None:
    """Twelve questions: maps help with two of task a, hurt with one of b; b's last is dropped, the rest do not care."""
    given = [("a", "positive"), ("a", "positive"), ("a", "boundary"), ("a", "boundary"), ("b", "negative"), ("b", None)]
    given += [("c", "boundary")] * 6
    path = tmp_path / "flags.jsonl"
    path.write_text("".join(json.dumps({"task": task, "flag": flag}) + "\n" for task, flag in given))
    each = {"positive": 12 / 3 / 2, "negative": 12 / 3 / 1, "boundary": 12 / 3 / 9}
    weights = task_weights(path)
    assert weights == pytest.approx({
        "a": (each["positive"] + each["boundary"]) / 2, "b": (each["negative"] + each["boundary"]) / 2,
        "c": each["boundary"],
    })  # fmt: skip
    assert np.mean([weights[task] for task, _ in given]) == pytest.approx(1)


def test_files_that_are_something_else_are_refused(images: SceneImages, tmp_path: Path) -> None:
    path = tmp_path / "flags.jsonl"
    row = {"seed": 0, "task": "color", "question": "?", "answer": "red", "kind": "word", "value": None, "flag": None}
    for text, what in (
        ("nonsense", "line 1, is not a question"),
        (json.dumps(row), "no question that teaches"),
        (json.dumps({**row, "flag": "positive", "seed": 99}), "scene 99"),
    ):
        path.write_text(text + "\n")
        with pytest.raises(ValueError, match=what):
            flagged_questions(path, images)


def test_pictures_are_those_of_the_questions(tmp_path: Path) -> None:
    """Also where another file of that name had its pictures."""
    model = random_model()
    cooper = Cooper(model, sequencer(model), "random")
    out = tmp_path / "tried.jsonl"
    for shade in (1, 200):
        out.unlink(missing_ok=True)
        asked = PicturedQuestion(np.full((32, 32, 3), shade, np.uint8), Record("How many?", "2", "count"))
        flag_questions(cooper, [(0, asked)], 1, out, Flagging(samples=1), pictures=True)
        (row,) = map(json.loads, out.read_text().splitlines())
        assert (np.asarray(Image.open(tmp_path / row["image"])) == shade).all()
