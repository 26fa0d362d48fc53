"""Training further on a user's own sets: maps, questions and traces, whole or by adapters; some rows are broken."""

from __future__ import annotations

import json
import shutil
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.helpers import random_model, sequencer, tokenizer
from tests.judge_server import serving

from cooper import Cooper, OtherBaseWarning
from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.convert import convert
from cooper.checkpoints.inspect import training_bytes
from cooper.checkpoints.native import save_native
from cooper.cli import main
from cooper.commands.train import Train
from cooper.data.examples import Example, MapExample, QuestionExample, TraceExample
from cooper.data.mixture import Mixture, Unbroken
from cooper.data.question_rows import Fields, QuestionRows
from cooper.data.sets import named, open_set
from cooper.layout import Clean, Noised, Seen, Words
from cooper.lora import Lora, add_adapters
from cooper.policy import POLICIES
from cooper.trace import Drawing, Picture, Text, Trace
from cooper.training.asked import record_of
from cooper.training.examples import ExampleRows, Shaping, known
from cooper.training.loop import Trainer
from cooper.training.optimisation import Optimisation
from cooper.training.processes import Share
from cooper.training.recipe import TINY
from cooper.training.reinforcement import Reinforcement
from cooper.training.rewards import Record
from cooper.training.rewards.answer import answer_reward
from cooper.training.rows import Mix
from cooper.training.tuning import Part, Tuning, tune
from cooper.training.unified import StageSettings, UnifiedStage

CALL = "<think>I need the depth.</think><depth-estimation>draw the depth</depth-estimation>"


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rows_of(*examples: object, **shaping: float) -> ExampleRows:
    model = random_model()
    tokens = sequencer(model)
    mixture = Mixture([(examples, 1.0)])
    return ExampleRows(Unbroken(mixture, print), model.autoencoder, tokens, Shaping(**shaping))  # type: ignore[arg-type]


def a_map() -> MapExample:
    picture = rng().integers(0, 256, (64, 64, 3), dtype=np.uint8)
    valid = np.ones((64, 64), dtype=bool)
    valid[:16, :16] = False  # one token of sixteen pixels a side
    valid[16:24, :16] = False  # half of the one below
    target = np.where(valid[..., None], 200, 0).astype(np.uint8).repeat(3, axis=2)
    return MapExample(picture, "depth", np.where(valid, 2, 0).astype(np.float32), valid, target, "a map")


def test_what_is_not_known_counts_nothing() -> None:
    example = a_map()
    weights = known(example.valid, (4, 4)).view(4, 4)
    assert weights[0, 0] == 0 and weights[1, 0] == 0.5 and (weights[2:] == 1).all() and (weights[:, 1:] == 1).all()
    nodes = rows_of(example, flip=0.0, noises=3).nodes(example, rng())
    drawn = [node.piece for node in nodes if isinstance(node.piece, Noised)]
    assert len(drawn) == 3 and len({piece.time for piece in drawn}) == 3
    assert all(torch.equal(piece.weight, weights.flatten()) for piece in drawn)  # type: ignore[arg-type]
    assert len(nodes) == 2 + 1 + 3, "picture (in both branches) and call are held once"
    mirrored = rows_of(example, flip=1.0, noises=1).nodes(example, rng())
    (flipped,) = (node.piece for node in mirrored if isinstance(node.piece, Noised))
    assert torch.equal(flipped.weight.view(4, 4), weights.flip(1))  # type: ignore[union-attr]


def test_pictures_and_their_maps_are_mirrored_together() -> None:
    example = a_map()
    turned = replace(
        example, picture=example.picture[:, ::-1].copy(), target=example.target[:, ::-1].copy(),
        valid=example.valid[:, ::-1].copy(),
    )  # fmt: skip
    made, same = (
        [node.piece for node in rows_of(one, flip=flip, noises=1).nodes(one, rng())]
        for one, flip in ((example, 1.0), (turned, 0.0))
    )
    for a, b in zip(made, same, strict=True):
        assert type(a) is type(b)
        if isinstance(a, Clean | Noised):
            assert torch.equal(a.tokens, b.tokens)  # type: ignore[union-attr]
        elif isinstance(a, Seen):
            assert torch.equal(a.image, b.image)  # type: ignore[union-attr]
    assert Shaping().flip == 0.5, "docs/method.md, section 3"


def test_questions_and_traces_are_learned_where_the_model_writes() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    asked = QuestionExample(picture, "How many?", "3", None, "a question")
    drawn = Drawing("depth", picture)
    trace = Trace((Picture(picture), Text("How far?"), Text(CALL, "model"), drawn, Text("Look.", "reflection"),
                   Text("<think>So.</think><answer>1 m</answer>", "model")))  # fmt: skip
    rows = rows_of(asked, TraceExample(trace, "a trace"))
    pieces = [[n.piece for n in rows.nodes(e, rng())] for e in (asked, TraceExample(trace, "a trace"))]
    said = [[(rows.sequencer.text(list(p.ids)), p.loss) for p in of if isinstance(p, Words)] for of in pieces]
    assert said[0] == [("How many?", False), ("<answer>\\boxed{3}</answer>", True)]
    assert [loss for _, loss in said[1]] == [False, False, True, False, True]
    # progress pages ask as is learned
    assert not said[0][0][1] and POLICIES[rows.mode].system is None
    assert said[1][0][0] == "Draw a map if it helps, think, then answer."
    own = replace(trace, segments=(Text("My own.", "system"), *trace.segments))
    words = [p for n in rows.nodes(TraceExample(own, ""), rng()) if isinstance(p := n.piece, Words)]
    assert rows.sequencer.text(list(words[0].ids)) == "My own." and len(words) == 5, "it keeps the one that it has"


def test_traces_of_another_model_are_learned_in_this_ones_tokens_and_latents(tmp_path: Path) -> None:
    rows = rows_of(a_map())
    ids, text = rows.sequencer.ids, "<think>So.</think><answer>1 m</answer>"
    apart = tuple(i for letter in CALL for i in ids(letter))  # as it wrote it, and would not be read
    image = rng().integers(0, 256, (64, 64, 3), dtype=np.uint8)
    foreign = np.full((5, 3, 7), 9, dtype=np.float32)
    Trace((Text("Look.", "system"), Picture(image), Text("How far?", ids=(7, 8, 9)), Text(CALL, "model", apart),
           Drawing("depth", image[::-1].copy(), foreign, target=True), Text(text, "model", (*ids(text), 151_000)),
           )).save(tmp_path / "one")  # fmt: skip
    (example,) = open_set("saved_traces", tmp_path)
    assert isinstance(example, TraceExample)
    pieces = [node.piece for node in rows.nodes(example, rng())]
    words = [piece.ids for piece in pieces if isinstance(piece, Words)]
    assert words == [ids("Look."), ids("How far?"), apart, ids(text)] and apart != ids(CALL)
    seen = [piece.tokens for piece in pieces if isinstance(piece, Clean)]
    assert len(seen) == 2 and all(map(torch.equal, seen, map(rows.encode, (image, image[::-1]))))
    assert len([piece for piece in pieces if isinstance(piece, Noised)]) == 1


def test_examples_with_far_too_much_text_are_passed_over() -> None:
    """A row is one example, so that one such would take the memory of thousands."""
    picture = np.zeros((64, 64, 3), np.uint8)
    asked = [QuestionExample(picture, "How many?", n * "3 ", None, f"question {n}") for n in (100_000, 100)]
    traces = [
        TraceExample(Trace((Picture(picture), Text(n * "so "), Text(n * "so ", "model"))), f"trace {n}")
        for n in (100, 1000)
    ]
    rows = rows_of(*asked, *traces, a_map())
    most, told = 4 * rows.sequencer.config.trace_tokens, list[str]()
    rows.examples.on_bad = lambda error: told.append(str(error))
    drawn = [rows.row(k, 0, rng(), False)[0] for k in range(10)]
    tokens = [sum(len(n.piece.ids) for n in nodes if isinstance(n.piece, Words)) for nodes in drawn]
    assert max(tokens) <= most + 20 and len(set(tokens)) == 3, "system prompt and tags are not the example's"
    assert len(told) == 2 and all(f"tokens, and may have {most}; shorten them" in why for why in told)
    assert sorted(why.split(":")[0] for why in told) == ["question 100000", "trace 1000"]
    again = rows_of(asked[0], a_map())
    drawn = [again.row(k, 0, rng(), False)[0] for k in (0, 1, 0, 1)]
    times = [[n.piece.time for n in nodes if isinstance(n.piece, Noised)] for nodes in drawn]
    assert len(times[0]) == 2 and times == 4 * times[:1], "whether or not it is known to be broken"


def test_parts() -> None:
    assert Part.parse("a.jsonl") == Part("a.jsonl", 1.0)
    assert Part.parse("hypersim=/data/h@0.45") == Part("hypersim=/data/h", 0.45)
    assert Part.parse("/data/me@home/a.jsonl") == Part("/data/me@home/a.jsonl")
    assert named("hypersim=/data/a=b") == ("hypersim", "/data/a=b")
    with pytest.raises(ValueError, match="/data/a=b.jsonl does not exist"):
        named("/data/a=b.jsonl")
    for weight in ("x", "0", "-1", "nan", "inf"):
        with pytest.raises(ValueError, match=f"'nyu=/data@{weight}': the weight after @ is '{weight}'; .* above 0"):
            Part.parse(f"nyu=/data@{weight}")


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and three tables, one of which has a broken row."""
    monkeypatch.chdir(tmp_path)
    save_native(random_model(), tokenizer(), tmp_path / "start", torch.bfloat16)  # as published ones are
    pixels = rng().integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("a.png")
    Image.fromarray((1000 * np.linspace(1, 5, 64 * 64)).astype(np.uint16).reshape(64, 64)).save("d.png")
    questions = [{"image": "a.png", "question": "How many?", "answer": "3"} for _ in range(5)]
    questions[2]["image"] = "gone.png"
    Path("questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    Path("maps.jsonl").write_text(json.dumps({"image": "a.png", "depth": "d.png"}) + "\n")
    Trace((Picture(pixels), Text("How far?"), Text("<answer>1 m</answer>", "model"))).save("traces/one")
    return tmp_path


def test_whole_models_are_tuned(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "interleaved", "--start", "start", "--run", "run", "--processes", "1", "--steps", "4",
            "--rows", "3", "--checkpointing", "--data", "questions.jsonl", "maps=maps.jsonl@0.5", "traces"]  # fmt: skip
    assert main(argv) == 0
    ran = capsys.readouterr()
    assert ran.out == "finished: run/interleaved/model\n", "all else is told on standard error"
    assert "cooper: questions.jsonl: 5 examples of the set questions" in ran.err
    assert "1 rows could not be read: run/interleaved/broken.txt" in ran.err
    told = Path("run/interleaved/broken.txt").read_text()
    assert told.startswith("questions.jsonl, row 3: gone.png does not exist") and told.count("\n") == 1
    log = [json.loads(line) for line in Path("run/interleaved/log.jsonl").read_text().splitlines()]
    assert len(log) == 4 and any("flow" in row for row in log) and all(row.get("text", 1) > 0 for row in log)
    before, after = load_file("start/model.safetensors"), load_file("run/interleaved/model/model.safetensors")
    moved = {k for k in after if not torch.equal(after[k].float(), before[k].to(after[k].dtype).float())}
    assert any(".und." in k for k in moved) and not any(k.startswith("autoencoder.") for k in moved)
    assert Cooper.load("run/interleaved/model").ask("a.png", "How many?", mode="direct").tokens
    near, far = Cooper.load("run/interleaved/model").model.config.codes.depth or (0, 0)
    drawn = Cooper.load("run/interleaved/model").depth("a.png")
    assert (near, far) == (1e-3, 10) and drawn.unit == "m" and drawn.values.max() <= 10, "in that set's metres"
    done = Path("run/interleaved/log.jsonl").read_bytes()
    assert main(argv) == 0 and Path("run/interleaved/log.jsonl").read_bytes() == done, "what is finished stays"


def test_adapters_are_tuned_and_merged(sets: Path) -> None:
    pytest.importorskip("peft")
    pa, pq = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    rows = [json.loads(line) for line in Path("questions.jsonl").read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist(rows), "questions.parquet")
    argv = ["train", "interleaved", "--start", "start", "--run", "run", "--steps", "2", "--rows", "2", "--lora",
            "4", "--experts", "und", "--lr", "0.01", "--processes", "1", "--data", "traces",
            "questions.parquet@0.5"]  # fmt: skip
    assert main(argv) == 0
    adapters = load_file("run/interleaved/adapter/adapter_model.safetensors")
    assert adapters and all(".und." in k for k in adapters)
    before, after = load_file("start/model.safetensors"), load_file("run/interleaved/model/model.safetensors")
    moved = {k for k in after if not torch.equal(after[k].float(), before[k].to(after[k].dtype).float())}
    assert moved and all(k.startswith("decoder.layers.") and ".und." in k for k in moved)
    # beside the weights that were tuned they make the same model, also where these are then quantised
    adapted = Cooper.load("start", adapter="run/interleaved/adapter")
    assert adapted.name == "start + run/interleaved/adapter", "it is another model than the one it began as"
    adapted.save_pretrained("merged")
    merged = load_file("merged/model.safetensors")
    assert all(torch.equal(merged[k].float(), after[k].float()) for k in after)
    held = dict(adapted.model.named_parameters())
    assert all(torch.equal(p.to(after[k].dtype), after[k]) for k, p in held.items())
    assert {after[k].dtype for k in moved} == {torch.float32}, "rounded to bf16, small changes would be lost"
    four = [Cooper.load(m, "int8", adapter=a).model.state_dict() for m, a in (
        ("run/interleaved/model", None), ("start", "run/interleaved/adapter"))]  # fmt: skip
    apart = [(four[0][k].float() - four[1][k].float()).abs().max() for k in four[0]]
    assert max(apart) == 0
    Path("run/interleaved/adapter/adapter_config.json").write_text('{"peft_type": "LOHA", "r": 1, "lora_alpha": 1}')
    for adapter, why in (("traces", "holds no adapters; looked for"), ("run/interleaved/adapter", "LOHA are not")):
        with pytest.raises(ValueError, match=why):
            Cooper.load("start", adapter=adapter)


@pytest.mark.parametrize("experts", [("gen",), ("und", "gen")])
def test_adapters_learn_to_draw(sets: Path, experts: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("peft")
    argv = ["train", "perception", "--start", "start", "--run", "run", "--steps", "2", "--rows", "2", "--lora", "2",
            "--experts", *experts, "--lr", "0.01", "--processes", "1", "--data", "maps.jsonl"]  # fmt: skip
    assert main(argv) == 0
    assert "depth will stand for 0.001 to 10 m, linear" in capsys.readouterr().err
    log = [json.loads(line) for line in Path("run/perception/log.jsonl").read_text().splitlines()]
    assert len(log) == 2 and all(row["flow"] > 0 for row in log)
    before, after = load_file("start/model.safetensors"), load_file("run/perception/model/model.safetensors")
    moved = {k for k in after if not torch.equal(after[k].float(), before[k].to(after[k].dtype).float())}
    assert {expert for k in moved for expert in ("und", "gen") if f".{expert}." in k} == set(experts)
    assert all(k.startswith("decoder.layers.") for k in moved)
    # they have learned another depth: what its grey stands for comes with them
    assert main(["convert", "start", "merged", "--to", "native", "--adapter", "run/perception/adapter"]) == 0
    picture, adapted = np.asarray(Image.open("a.png")), Cooper.load("start", adapter="run/perception/adapter")
    adapted.save_pretrained("saved")
    drawn = [
        cooper.draw(picture, "depth", flow_steps=2).values
        for cooper in (Cooper.load("start"), adapted, *map(Cooper.load, ("run/perception/model", "merged", "saved")))
    ]
    assert not np.allclose(drawn[0], drawn[1], atol=0.1)
    assert all(np.allclose(drawn[1], values, atol=1e-3) for values in drawn[2:])
    convert(find("start"), Path("half"), "native", torch.bfloat16)
    save_native(random_model(seed=5), tokenizer(), "other")
    with warnings.catch_warnings(record=True) as told:  # rounded, they are the same; others of the same size are not
        warnings.simplefilter("always", OtherBaseWarning)
        Cooper.load("half", adapter="run/perception/adapter")
        assert not [one for one in told if one.category is OtherBaseWarning]
        Cooper.load("other", adapter="run/perception/adapter")
    (strange,) = [one for one in told if one.category is OtherBaseWarning]
    assert "perception/adapter was trained beside other weights" in str(strange.message)
    assert strange.filename == __file__, "it is told where the model was asked for"
    Path("run/perception/adapter/map_codes.json").write_text('{"depth": [1, "x"]}')
    with pytest.raises(ValueError, match="map_codes.json does not tell what maps stand for: depth is "):
        Cooper.load("start", adapter="run/perception/adapter")


def test_adapters_that_were_stopped_end_where_they_would_have(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    argv = ["train", "perception", "--start", "start", "--steps", "4", "--rows", "2", "--lora", "2", "--experts", "gen",
            "--lr", "0.01", "--processes", "1", "--data", "maps.jsonl", "--run"]  # fmt: skip
    update = Trainer.update

    def stopping(self: Trainer[Any], *given: Any) -> dict[str, float]:
        if self.step == 2:
            raise KeyboardInterrupt
        return update(self, *given)

    assert main([*argv, "whole"]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "update", stopping)
        assert main([*argv, "halves"]) == 130
    assert not Path("halves/perception/adapter").exists()
    assert main([*argv, "halves"]) == 0
    names = "perception/adapter/adapter_model.safetensors", "perception/model/model.safetensors"
    for whole, halves in ((load_file(f"{run}/{name}") for run in ("whole", "halves")) for name in names):
        assert whole.keys() == halves.keys() and all(torch.equal(tensor, halves[k]) for k, tensor in whole.items())
    log = [json.loads(line)["step"] for line in Path("halves/perception/log.jsonl").read_text().splitlines()]
    assert log == [1, 2, 3, 4]


def bytes_of(*tensors: Iterable[torch.Tensor]) -> int:
    """Of tensors that are different ones."""
    return sum(t.numel() * t.element_size() for t in {id(t): t for part in tensors for t in part}.values())


@pytest.mark.parametrize("rank", [None, 3])
def test_training_holds_what_inspect_says(tmp_path: Path, rank: int | None) -> None:
    """With adapters the model's weights are in bf16 once; they still learn in fp32."""
    rows = rows_of(a_map(), QuestionExample(np.zeros((64, 64, 3), np.uint8), "How many?", "3", None, "q"))
    lora = None if rank is None else Lora(rank)
    model = random_model().train()
    if lora is not None:
        pytest.importorskip("peft")
        model.bfloat16().autoencoder.float()
        add_adapters(model, lora)
    settings = StageSettings(Mix(), Optimisation(8, lr=0.02, warmup=1, ema=0.0), rows=2, point_weight=0.0)
    stage = UnifiedStage("s", rows, rows, settings)
    trainer = Trainer(model, stage, settings.optimisation, tmp_path, dtype=torch.bfloat16)
    first, *_, last = (trainer.update(stage.batch(0, Share()))["loss"] for _ in range(8))
    assert last < 0.9 * first
    assert {p.dtype for p in trainer.names.values()} == {torch.float32}
    assert (trainer.compute is model) == (lora is not None)
    moments = [t for o in trainer.optimisers for state in o.state.values() for k, t in state.items() if k != "step"]
    tables = ("latent_table", "vision_table")
    held = bytes_of(
        model.parameters(), trainer.compute.parameters(), trainer.average.values(), moments,
        (b for one in (model, trainer.compute) for name, b in one.named_buffers() if name not in tables),
    )
    gradients = sum(p.numel() * (4 if trainer.compute is model else 4 + 2) for p in trainer.names.values())
    assert held + gradients == training_bytes(model.config, lora)


def test_checkpointing_changes_nothing_but_memory() -> None:
    rows = rows_of(a_map(), QuestionExample(np.zeros((64, 64, 3), np.uint8), "How many?", "3", None, "q"))
    gradients = []
    for again in (False, True):
        model = random_model().train()
        settings = StageSettings(Mix(), Optimisation(1), rows=2, point_weight=0.0, checkpointing=again)
        stage = UnifiedStage("s", rows, rows, settings)
        loss, _ = stage.loss(model, stage.batch(0, Share()))
        loss.backward()
        gradients.append({k: p.grad for k, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(g, gradients[1][k], atol=1e-6) for k, g in gradients[0].items())


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--data", "questions.jsonl", "--strict"], "questions.jsonl, row 3: gone.png does not exist"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["--data", "hypersim=traces"], "traces"),
        (["--data", "none=traces"], "no training set is called 'none'"),
        (["--data", "traces", "--steps", "0"], "--steps must be above 0"),
        (["--data", "traces", "--set", "optimisation.steps=0"], "nothing is learned in no steps"),
        (["--data", "traces", "--scenes", "x"], "--data needs --start"),
        (["--data", "traces", "--judge", "x", "--judge-model", "m"], "--judge is for reinforcement"),
        (["--scenes", "x", "--steps", "3"], "--steps goes with --data alone"),
        (["--scenes", "x", "--strict"], "with --data alone"),
        (["--data", "traces", "--experts", "und"], "--experts says which experts --lora adapts"),
        (["--data", "traces", "--n-train", "5"], "--n-train and --n-validation are for scenes"),
        (["--data", "traces", "--set", "seed=3", "mix.noises=4"], "mix.noises is about scenes, and changes nothing"),
        (["--data", "traces", "--lora", "2", "--set", "optimisation.scale_lr=0.1"], "scale_lr is for whole"),
        (["--scenes", "x", "--set", "after=interleaved"], "where a stage stands among the others is not changed"),
        ([], "give --scenes"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(sets: Path, capsys: pytest.CaptureFixture[str], argv: list[str], why: str) -> None:
    processes = "2" if "--strict" in argv else "1"  # also from a worker of another process
    assert main(["train", "interleaved", "--start", "start", "--run", "run", "--processes", processes,
                 *(["--steps", "9"] if "--steps" not in argv else []), *argv]) == 2  # fmt: skip
    told = capsys.readouterr().err
    assert why in told and told.strip().splitlines()[-1].startswith("cooper: "), told
    assert "Traceback" not in told


def test_maps_that_a_model_does_not_draw_are_refused(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads(Path("start/config.json").read_text())
    Path("start/config.json").write_text(json.dumps(config | {"modalities": ["segmentation"]}))
    argv = ["train", "perception", "--start", "start", "--run", "run", "--steps", "1", "--data", "maps.jsonl"]
    assert main(argv) == 2
    assert "maps.jsonl has maps of depth, and all that start draws is segmentation" in capsys.readouterr().err


@pytest.mark.parametrize("data", ["maps.jsonl", "traces"])
def test_what_cannot_be_asked_is_told_at_once(sets: Path, capsys: pytest.CaptureFixture[str], data: str) -> None:
    """Not when it is drawn for the first time."""
    argv = ["train", "reinforcement", "--start", "start", "--run", "run", "--steps", "1", "--data", "questions.jsonl"]
    assert main([*argv, f"{data}@0.001"]) == 2 and not Path("run").exists()
    assert "is no question with an answer, from which alone reinforcement learns" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_told_at_once(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "base", "--start", "nosuch", "--run", "run", "--data", "questions.jsonl", "--processes", "2"]
    assert main(argv) == 2 and not Path("run").exists()
    assert capsys.readouterr().err.startswith("cooper: there is no model 'nosuch'")


def test_reinforcement_learns_from_questions(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "reinforcement", "--start", "start", "--run", "run", "--processes", "1", "--steps", "2",
            "--rows", "2", "--lora", "2", "--experts", "und", "--data", "questions.jsonl"]  # fmt: skip
    assert main(argv) == 0
    ran = capsys.readouterr()
    assert "1 rows could not be read" in ran.err and ran.out.strip().endswith("finished: run/reinforcement/model")
    log = [json.loads(line) for line in Path("run/reinforcement/log.jsonl").read_text().splitlines()]
    assert len(log) == 2 and all(0 <= row["answer/count"] <= 1 for row in log)
    assert len(list(Path("run/reinforcement/pages").glob("*.html"))) == 2
    assert Cooper.load("start", adapter="run/reinforcement/adapter")


def calling(traces: Sequence[Trace], record: Record) -> list[float]:
    """A reward of a user's own, which other processes import from here."""
    assert record.row["answer"] == record.answer and "image" not in record.row
    return [float(record.row["question"] == record.question and "<" in trace.turns[0]) for trace in traces]


def test_reinforcement_may_have_more_rewards(sets: Path) -> None:
    settings = replace(
        TINY.reinforced["reinforcement"], optimisation=Optimisation(1), questions=2, rollouts=2, turn_tokens=8
    )
    tuning = Tuning(Path("run"), "mine", settings, (Part("questions.jsonl"),), "start")
    tune(tuning, processes=2, quiet=True, more={"calling": calling})
    log = json.loads(Path("run/mine/log.jsonl").read_text())
    assert log["reward/total"] == pytest.approx(
        sum(log[f"reward/{part}"] for part in ("answer", "form", "exploration", "calling")), abs=1e-5
    )
    with pytest.raises(ValueError, match="mine was begun with other settings, data or start model"):
        tune(tuning, quiet=True)


def backwards(path: Path) -> list[Example]:
    """A set of a form of one's own."""
    asked = QuestionRows(path, fields=Fields(question=("asks",), answer=("says",)))
    return [asked[i] for i in range(len(asked))][::-1]


@pytest.mark.parametrize("reader", [backwards, partial(QuestionRows, fields=Fields(question=("asks",)))])
def test_sets_of_ones_own_are_read_by_ones_own(sets: Path, reader: Any, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"image": "a.png", "asks": "How many?", "says": "3", "answer": "3"}
    Path("own.jsonl").write_text("\n".join(2 * [json.dumps(row)]))
    settings = replace(TINY.unified["base"], optimisation=Optimisation(1), rows=1)
    tuning = Tuning(Path("run"), "own", settings, (Part("own.jsonl", reader=reader),), "start")
    assert (tune(tuning) / "model.safetensors").exists()
    name = "backwards" if reader is backwards else "QuestionRows"
    assert f"own.jsonl: 2 examples of the set {name}\n" in capsys.readouterr().err
    with pytest.raises(ValueError, match="was begun with other settings, data or start model"):
        tune(replace(tuning, data=(Part("own.jsonl"),)))
    made = Part("no file", reader=lambda _: [backwards(Path("own.jsonl"))[0]])
    assert (tune(replace(tuning, name="made", data=(made,))) / "model.safetensors").exists()


def test_a_run_goes_on_with_what_it_was_begun_with(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More steps are another matter. Of two processes one would have nothing to do."""
    argv = ["train", "interleaved", "--start", "start", "--run", "run", "--processes", "2", "--rows", "1", "--steps"]
    assert main([*argv, "1", "--data", "traces"]) == 0 and main([*argv, "2", "--data", "traces"]) == 0
    assert len(Path("run/interleaved/log.jsonl").read_text().splitlines()) == 2
    kept = Path("run/interleaved/model/model.safetensors").read_bytes()
    for other in (["--data", "questions.jsonl"], ["--data", "traces", "--lr", "0.5"], ["--data", "traces@2"]):
        assert main([*argv, "3", *other]) == 2
        assert "run/interleaved was begun with other settings, data or start model" in capsys.readouterr().err
    assert Path("run/interleaved/model/model.safetensors").read_bytes() == kept


def test_a_run_goes_on_with_the_model_and_the_rows_it_was_begun_with(
    sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever lies now where they lay. Runs that were begun before that was noted go on."""
    argv = ["train", "interleaved", "--start", "start", "--run", "run", "--processes", "1", "--rows", "1", "--data",
            "questions.jsonl", "--steps"]  # fmt: skip
    assert main([*argv, "1"]) == 0
    model, table, note = Path("start/model.safetensors"), Path("questions.jsonl"), Path("run/interleaved/settings.txt")
    weights, rows, noted = model.read_bytes(), table.read_text(), note.read_text()
    other = {k: t.clone() for k, t in load_file(model).items()}
    other["decoder.layers.1.und.qkv.weight"][-1, -1] += 1  # the least that training on would change
    capsys.readouterr()
    for steps in ("1", "2"):  # also if all is done
        save_file(other, model)
        assert main([*argv, steps]) == 2
        assert "run/interleaved was begun with other settings, data or start model" in capsys.readouterr().err
        model.write_bytes(weights)
        for others in (rows + rows, rows.replace('"3"', '"4"', 1)):
            assert others != rows
            table.write_text(others)
            assert main([*argv, steps]) == 2
        table.write_text(rows)
    assert note.read_text() == noted and main([*argv, "2"]) == 0
    save_file(other, model)
    note.write_text(noted.splitlines()[0] + "\n")
    assert main([*argv, "3"]) == 0 and note.read_text() != noted
    model.write_bytes(weights)
    assert main([*argv, "4"]) == 2, "from then on it is noted"


def test_a_mistake_at_the_beginning_binds_nobody(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "interleaved", "--run", "run", "--processes", "1", "--rows", "1", "--steps", "1"]
    assert main([*argv, "--start", "gone", "--data", "traces"]) == 2
    assert main([*argv, "--start", "start", "--data", "questions.jsonl"]) == 0
    capsys.readouterr()
    assert main([*argv, "--start", "start", "--data", "traces"]) == 2
    assert "was begun with other settings" in capsys.readouterr().err


def test_what_was_mended_is_not_told_again(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "interleaved", "--start", "start", "--run", "run", "--processes", "1", "--rows", "9", "--steps"]
    assert main([*argv, "1", "--data", "questions.jsonl"]) == 0
    assert "1 rows could not be read" in capsys.readouterr().err
    Path("gone.png").write_bytes(Path("a.png").read_bytes())
    shutil.rmtree("run/interleaved/model")
    Path("run/interleaved/state.safetensors").unlink()
    assert main([*argv, "1", "--data", "questions.jsonl"]) == 0
    assert "could not be read" not in capsys.readouterr().err


def test_rollouts_of_a_model_are_its_own(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A published model writes longer turns than the tiny one, and draws otherwise."""
    asked: list[Tuning] = []
    monkeypatch.setattr("cooper.training.tuning.tune", lambda tuning, processes: asked.append(tuning) or Path("x"))
    changes = ("objective.kl=0.1", "rollouts=4")
    Train("reinforcement", Path("run"), start="start", data=("questions.jsonl",), processes=1, changes=changes).run()
    settings = asked[0].settings
    assert isinstance(settings, Reinforcement) and settings.flow is None and settings.turn_tokens is None
    assert settings.objective.kl == 0.1 and settings.rollouts == 4


@pytest.mark.parametrize(
    ("argv", "why"), [(["--data", "traces"], "is no question with an answer"), (["--data", "questions.jsonl", "--lora",
     "2", "--experts", "gen"], "--experts must have und"), (["--data", "questions.jsonl", "--judge", "x"], "together"),
     (["--data", "questions.jsonl", "--checkpointing"], "--checkpointing is for supervised stages")],
)  # fmt: skip
def test_what_reinforcement_cannot_learn_from(
    sets: Path, capsys: pytest.CaptureFixture[str], argv: list[str], why: str
) -> None:
    assert main(["train", "reinforcement", "--start", "start", "--run", "run", "--processes", "1", *argv]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("cooper: ") and why in told


def test_answers_in_words_are_judged(sets: Path) -> None:
    Path("words.jsonl").write_text(json.dumps({"image": "a.png", "question": "Why?", "answer": "it is old"}) + "\n")
    with serving(defaultdict(lambda: [(200, "yes", 0.0)])) as server:
        argv = ["train", "reinforcement", "--start", "start", "--run", "run", "--processes", "1", "--steps", "1",
                "--rows", "1", "--data", "words.jsonl", "--judge", server.url, "--judge-model", "m"]  # fmt: skip
        assert main(argv) == 0
        assert server.asked
    log = json.loads(Path("run/reinforcement/log.jsonl").read_text())
    assert log["answer/judged"] > 0 and log["no_verdict"] == 0
    assert Path("run/reinforcement/judge.jsonl").exists()


@pytest.mark.parametrize(
    ("answer", "kind", "right", "wrong"),
    [
        ("Yes", "yes_no", "Yes, it is.", "no"),
        ("(B)", "choice", "B. the chair", "A"),
        ("3", "count", "three", "4"),
        ("two chairs", "count", "2", "3"),
        ("2.1 m", "number", "210 cm", "5 m"),
        ("0.5", "number", "0.51", "2"),
        ("2.0", "number", "2.01", "4"),
        ("5 ft 6 in", "number", "66 inches", "2 ft"),
        ("1 m 20 cm", "number", "1.2 m", "20 m"),
        ("2 1/2 m", "number", "2.5 m", "1/2 m"),
        ("half open", "word", "Half open.", "half closed"),
        ("one way", "word", "one way", "one lane"),
        ("1 m", "number", "1 m", "1 cm"),
        ("12:30", "word", "12:30", "12:45"),
        ("a red ball", "word", "The red ball.", "ball"),
    ],
)
def test_answers_tell_how_they_are_compared(answer: str, kind: str, right: str, wrong: str) -> None:
    record = record_of("What? A. the table B. the chair", answer)
    assert (record.kind, record.flag) == (kind, "boundary")
    scores = [
        answer_reward(Trace((Text(f"<think>So.</think><answer>{text}</answer>", "model"),)), record)
        for text in (right, wrong)
    ]
    assert scores == [1, 0]
    assert record_of("What?", answer, "positive", judged=True).kind == ("judged" if kind == "word" else kind)


def test_stages_on_scenes_train_adapters_too(capsys: pytest.CaptureFixture[str]) -> None:
    asked = Train("interleaved", Path("run"), start="tiny", lora=4, experts=("und",), checkpointing=True)
    recipe = asked.adapting(TINY)
    stages = [recipe.stage(name) for name in (*recipe.unified, *recipe.reinforced)]
    assert {stage.lora for stage in stages} == {Lora(4, 8.0, ("und",))}
    assert {stage.optimisation.matrix_lr for stage in stages} == {None}
    assert all(stage.checkpointing for stage in recipe.unified.values())
    assert Train("interleaved", Path("run")).adapting(TINY) == TINY
    assert main(["train", "interleaved", "--run", "run", "--scenes", "scenes", "--lora", "4"]) == 2
    assert "name them with --start" in capsys.readouterr().err
