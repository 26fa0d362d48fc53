"""The evaluation on scenes: which questions, what counts, and that an interrupted run goes on."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import cooper.evaluation.maps as maps_module
import cooper.evaluation.scenes as scenes_module
import cooper.scenes.chosen as chosen_module
from cooper.api import Cooper
from cooper.commands.evaluate import EvalScenes
from cooper.evaluation.predictions import Predictions, fingerprint, key_of
from cooper.evaluation.scenes import evaluate_scenes, row_of, summarise
from cooper.inference.engine import Engine
from cooper.inference.rollout import Rollout, Shown
from cooper.inference.session import Written
from cooper.modalities import MapCodes, modality
from cooper.modalities.base import at_size
from cooper.model.precision import put_in
from cooper.model.presets import dummy
from cooper.model.unified import UnifiedModel
from cooper.policy import POLICIES, Policy, told
from cooper.scenes.chosen import Asked, choose_questions
from cooper.scenes.question import TASKS, Question
from cooper.scenes.render import View
from cooper.scenes.scene_set import SceneSet
from cooper.scenes.shards import make_shards
from cooper.scenes.targets import true_map
from cooper.scenes.world import SPLITS, Scene
from cooper.sequence import Sequencer
from cooper.trace import Drawing, Text, Trace

START = SPLITS["test"].start
THINK = "<think>I look.</think>"


@pytest.fixture(scope="module")
def scenes() -> list[tuple[Scene, View]]:
    return SceneSet(12, size=64).load()


@pytest.fixture(scope="module")
def cooper() -> Cooper:
    """Random weights, a letter a token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    frame = [AddedToken(f"<|{name}|>", special=True) for name in ("im_start", "im_end", "vision_start", "vision_end")]
    tokenizer = Tokenizer(models.BPE({f"<|{i}|>": i for i in range(4)} | {c: 4 + i for i, c in enumerate(letters)}, []))
    tokenizer.add_special_tokens(frame)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    model = UnifiedModel(dummy()).initialise()
    return Cooper(model, Sequencer(tokenizer, model.config), "random")


class Oracle(Engine):
    """Draws depth, then answers right; of counting it knows nothing."""

    truth: dict[tuple[int, str], Question] = {}
    asked = 0

    def run(
        self, prompts: Sequence[Trace], policy: Policy, *, samples: int = 1, seeds: Sequence[int] | None = None,
        shown: Shown | None = None,
    ) -> list[Rollout]:
        assert seeds is not None
        Oracle.asked += len(prompts)
        rollouts = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            text = prompt.segments[-1]
            assert isinstance(text, Text)
            question = self.truth[seed, text.text]
            answer = "9" if question.task == "counting" else question.answer
            drawing = Drawing("depth", prompt.pictures[0].image)
            turns = (Text(THINK + modality("depth").call, "model"), drawing, Text("Look.", "reflection"))
            trace = prompt + turns + Text(f"{THINK}<answer>\\boxed{{{answer}}}</answer>", "model")
            rollouts.append(Rollout(trace, "answered", seed, [Written()], 0.5))
        return rollouts


@pytest.fixture
def oracle(scenes: list[tuple[Scene, View]], monkeypatch: pytest.MonkeyPatch) -> type[Oracle]:
    Oracle.truth = {(a.seed, a.question.text): a.question for a in choose_questions(scenes, len(TASKS))}
    Oracle.asked = 0
    monkeypatch.setattr(scenes_module, "Engine", Oracle)
    return Oracle


def test_questions_are_of_different_tasks_balanced_and_the_same_for_the_same_scenes(
    scenes: list[tuple[Scene, View]],
) -> None:
    asked = choose_questions(scenes, 3)
    assert asked == choose_questions(scenes, 3)
    assert choose_questions(scenes[:5], 3) == [a for a in asked if a.index < 5]
    for index in range(len(scenes)):
        tasks = [a.question.task for a in asked if a.index == index]
        assert len(set(tasks)) == len(tasks) == 3
    everything = choose_questions(scenes, len(TASKS))
    offered = {task: sum(a.question.task == task for a in everything) for task in TASKS}
    counts = {task: sum(a.question.task == task for a in asked) for task in TASKS}
    # a task is asked less often than another only if scenes do not offer it
    fullest = max(counts.values())
    assert all(counts[task] >= min(fullest - 2, offered[task]) for task in TASKS)


def test_chosen_questions_are_balanced_as_all_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a task that offers two questions either may be asked: whoever always says yes is right half of the time."""
    def offered(scene: Any, view: Any, rng: np.random.Generator) -> list[Question]:
        return [Question("occlusion", f"{answer}?", answer, "word", None, ()) for answer in ("yes", "no")]

    monkeypatch.setattr(chosen_module, "ask_all", offered)
    many = [(SimpleNamespace(seed=seed), None) for seed in range(400)]
    yes = sum(a.question.answer == "yes" for a in choose_questions(many, 1))  # type: ignore[arg-type]
    assert 170 < yes < 230


def test_right_answers_score_one(cooper: Cooper, oracle: type[Oracle]) -> None:
    result = evaluate_scenes(cooper, "interleaved", SceneSet(12, size=64), batch=5, questions=12, maps=False)
    assert result["mode"] == "interleaved" and result["n"] == 12
    # answers have one decimal, the truth has not: a tenth of the thresholds may be missed
    for task, row in result["tasks"].items():
        low, high = row["interval"]
        assert 0 <= low <= row["score"] <= high <= 1
        assert row["score"] == 0 if task == "counting" else row["score"] > 0.8
        assert row["calls"] == {"depth": 1.0, "segmentation": 0.0}
        assert 1 <= row["n"] <= 12
    assert result["well_formed"] == 1.0
    assert result["general"] == 1.0
    scores = [row["score"] for row in result["tasks"].values()]
    assert result["mean"] == pytest.approx(np.mean(scores))
    json.dumps(result, allow_nan=False)


def test_an_interrupted_evaluation_goes_on(cooper: Cooper, oracle: type[Oracle], tmp_path: Path) -> None:
    path = tmp_path / "made" / "answers.jsonl"

    def run(n: int) -> dict[str, Any]:
        scenes = SceneSet(n, size=64)
        return evaluate_scenes(cooper, "interleaved", scenes, questions=2, maps=False, predictions=path)

    run(4)
    assert oracle.asked == 8
    with path.open("a", encoding="utf-8") as file:
        file.write('{"seed": 2000')  # killed while it wrote
    result = run(6)
    assert oracle.asked == 12
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 12
    assert run(6)["tasks"] == result["tasks"] and oracle.asked == 12
    assert sum(row["n"] for row in run(4)["tasks"].values()) == 8  # of those in the file, only what was asked for
    row = rows[0]
    assert row["seed"] == START and row["calls"] == ["depth"] and row["reason"] == "answered"
    assert row["turns"][0].startswith(THINK) and row["answer"] and 0 <= row["score"] <= 1
    with pytest.raises(ValueError, match="mode 'interleaved', not 'text'"):
        evaluate_scenes(cooper, "text", SceneSet(4, size=64), maps=False, predictions=path)
    own = replace(POLICIES["interleaved"], system="Look.")
    with pytest.raises(ValueError, match=r"mode 'interleaved', not 'interleaved [0-9a-f]{8}'"):
        evaluate_scenes(cooper, own, SceneSet(4, size=64), maps=False, predictions=path)
    of_own = evaluate_scenes(cooper, own, SceneSet(4, size=64), questions=2, maps=False)
    assert of_own["mode"] == told(own) and of_own["tasks"] == run(4)["tasks"] and oracle.asked == 20


def test_a_file_that_holds_no_answers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    for other in (b'{"loss": 1}\n', b"\x89PNG\xff\n\xfe\n", b"[" * 100_000 + b"\n"):
        path.write_bytes(other)
        with pytest.raises(ValueError, match="line 1, is not an answer"):
            Predictions(path, {"mode": "text"})
        assert path.read_bytes() == other


def test_a_file_that_somebody_else_writes_is_refused_until_they_are_done(tmp_path: Path) -> None:
    path = tmp_path / "answers" / f"{'a' * 249}.jsonl"
    row = {"seed": 1, "task": "color", "question": "Which?"}
    with Predictions(path, {"mode": "text"}) as kept:
        kept.add([row])
        with pytest.raises(ValueError, match="is being written by another process; wait for it"):
            Predictions(path, {"mode": "text"})
        Predictions(path.with_name("others.jsonl"), {"mode": "text"})
    with pytest.raises(ValueError, match="is of mode 'text'"):
        Predictions(path, {"mode": "direct"})
    assert list(Predictions(path, {"mode": "text"}).rows) == [key_of(row)]
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_row_that_was_cut_inside_of_a_letter_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    row = {"seed": 1, "task": "color", "question": "Où?", "answer": "là"}
    whole = (json.dumps({**row, "mode": "text"}, ensure_ascii=False) + "\n").encode()
    path.write_bytes(whole + whole[: whole.index("ù".encode()) + 1])
    assert list(Predictions(path, {"mode": "text"}).rows) == [key_of(row)]
    assert path.read_bytes() == whole


def test_a_fingerprint_is_of_the_weights(cooper: Cooper) -> None:
    same = UnifiedModel(dummy())
    same.load_state_dict(cooper.model.state_dict())
    assert fingerprint(same) == fingerprint(cooper.model)
    assert fingerprint(UnifiedModel(dummy()).initialise(1)) != fingerprint(cooper.model)
    eight, other = (put_in(copy.deepcopy(cooper.model), "int8") for _ in range(2))
    assert fingerprint(eight) == fingerprint(other) != fingerprint(cooper.model)
    other.decoder.layers[0].und.qkv.weight[0, 0] += 1  # type: ignore[union-attr,operator,index]
    assert fingerprint(eight) != fingerprint(other), "of weights of few bits, too"


def test_the_summary_by_hand() -> None:
    def row(task: str, score: float, turns: list[str], calls: list[str]) -> dict[str, Any]:
        return {"task": task, "score": score, "turns": turns, "calls": calls}

    call, answer = THINK + modality("depth").call, THINK + "<answer>yes</answer>"
    rows = [
        row("height", 1.0, [call, answer], ["depth"]),
        row("height", 0.0, [call, call, "<answer>"], ["depth", "depth"]),
        row("counting", 1.0, ["<answer>3</answer>"], []),
        row("color", 0.5, [answer], []),
    ]
    result = summarise(rows, "interleaved")
    assert result["tasks"]["height"] | {"interval": None} == {
        "score": 0.5, "n": 2, "interval": None, "calls": {"depth": 1.0, "segmentation": 0.0}
    }  # fmt: skip
    low, high = result["tasks"]["counting"]["interval"]
    assert low == pytest.approx(1 / (1 + 1.959964**2)) and high == 1.0, "Wilson's: one that is right tells little"
    assert (result["spatial"], result["general"]) == (0.75, 0.5)
    assert result["mean"] == pytest.approx(2 / 3)
    assert result["well_formed"] == pytest.approx(5 / 7)
    assert list(result["tasks"]) == ["height", "counting", "color"]
    assert summarise(rows[3:], "interleaved")["spatial"] is None


def test_a_row_is_scored_by_its_kind() -> None:
    trace = Trace((Text("How tall is the ball?"), Text("<answer>\\boxed{42 cm}</answer>", "model")))
    question = Question("height", "How tall is the ball?", "0.4 m", "metres", 0.4)
    row = row_of(Asked(0, START, question), Rollout(trace, "answered", START, [], 1.0))
    assert row["score"] == 0.9  # 5 % off: all thresholds but the last
    assert (row["answer"], row["truth"], row["value"], row["calls"]) == ("42 cm", "0.4 m", 0.4, [])


@pytest.mark.parametrize("codes", [MapCodes(), MapCodes((1e-3, 12.0), linear=True, named=False, coloured=True)])
def test_perfect_maps(
    cooper: Cooper, scenes: list[tuple[Scene, View]], codes: MapCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cooper.model, "config", replace(cooper.model.config, codes=codes))
    drawn: list[str] = []

    def truth(model: UnifiedModel, drawings: list[Drawing]) -> np.ndarray:
        name = drawings[0].modality
        drawn.append(name)
        values = [true_map(s, v, name) for s, v in scenes[:2]]
        return np.stack([codes.true(name, x).as_drawn for x in values]).astype(np.float32) / 255

    monkeypatch.setattr(maps_module, "decoded", truth)
    result = maps_module.evaluate_maps(Engine(cooper.model, cooper.sequencer), scenes[:2])
    assert drawn == ["depth", "segmentation"]
    depth = result["depth"]
    assert depth["abs_rel"] < 0.01 and depth["delta1"] > 0.999 and depth["objects"]["abs_rel"] < 0.005
    assert depth["objects"]["distances"] > 0.99, "read off without a mistake"
    low, high = depth["intervals"]["abs_rel"]
    assert low <= depth["abs_rel"] <= high
    assert result["segmentation"]["miou"] > 0.9  # all but objects of a few pixels
    assert result["autoencoder"]["abs_rel"] > 0.01  # that one is the model's own, and it is random
    assert result["map_seconds"] > 0


def test_what_is_decoded_is_what_was_drawn_without_the_rounding(cooper: Cooper, scenes: list[Any]) -> None:
    drawings = Engine(cooper.model, cooper.sequencer).draw([scenes[0][1].rgb], "depth")
    exact = maps_module.decoded(cooper.model, drawings)
    assert exact.dtype == np.float32 and exact.shape == (1, 64, 64, 3)
    assert np.abs(exact[0] - drawings[0].image / 255).max() <= 0.501 / 255


def test_numbers_are_interpolated_and_labels_are_not() -> None:
    assert set(np.unique(at_size(np.array([[1, 3], [1, 3]], np.int32), 4, 4))) == {1, 3}
    numbers = at_size(np.array([[1, 3], [1, 3]], np.float32), 4, 4)
    assert numbers.shape == (4, 4) and 1 < numbers[0, 1] < 3


def test_scenes_come_from_shards_as_well(scenes: list[tuple[Scene, View]], tmp_path: Path) -> None:
    make_shards(tmp_path, START, 3, 64, workers=1, quiet=True)
    stored = SceneSet(2, start=START + 1, shards=tmp_path).load()
    for (scene, view), (other, seen) in zip(scenes[1:3], stored, strict=True):
        assert scene.seed == other.seed
        assert np.array_equal(view.rgb, seen.rgb) and np.allclose(view.depth, seen.depth, atol=2e-4)
    with pytest.raises(ValueError, match="lacks 1 scenes"):
        SceneSet(3, start=START + 1, shards=tmp_path).load()


def test_seeds_lie_within_their_split() -> None:
    assert SceneSet(5).seeds == range(START, START + 5)
    assert SceneSet(2, "train", 7).seeds == range(7, 9)
    with pytest.raises(ValueError, match="lie outside"):
        SceneSet(2, "validation", 7)
    with pytest.raises(ValueError, match="choose from train"):
        SceneSet(2, "tests")


def test_a_random_model_is_evaluated_from_end_to_end(
    cooper: Cooper, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Cooper, "load", classmethod(lambda cls, source, precision, **more: cooper))
    assert EvalScenes(mode="direct", n=2, questions=1, size=64, json=True).run() == 0
    out = capsys.readouterr().out
    result = json.loads(out)
    wanted = {"mode", "n", "tasks", "spatial", "general", "mean", "depth", "segmentation", "autoencoder", "well_formed"}
    assert wanted | {"map_seconds", "seconds"} <= set(result)
    assert result["well_formed"] == 0.0 and sum(row["n"] for row in result["tasks"].values()) == 2
    assert math.isfinite(result["depth"]["objects"]["abs_rel"]) and 0 <= result["segmentation"]["miou"] <= 1
    assert EvalScenes(mode="direct", n=1, questions=1, size=64).run() == 0
    assert "autoencoder, depth" in capsys.readouterr().out
