"""The benchmarks run on any size, and report what they promise."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from cooper.benchmark import answer as answer_module
from cooper.benchmark import engine as engine_module
from cooper.benchmark import precision as precision_module
from cooper.benchmark.answer import ROLLOUT_FLOW, bench_answer
from cooper.benchmark.machine import gflop, matmul_peak, randomised
from cooper.benchmark.script import PARTS, Endless, Script, play, random_model
from cooper.commands.bench import (
    BenchAnswer,
    BenchEngine,
    BenchPrecision,
    BenchReinforcement,
    _engine_tables,
    _precision_tables,
)
from cooper.hardware import describe, threads
from cooper.inference.flow import FlowSettings
from cooper.model.presets import dummy
from cooper.model.quantised import Int4Linear, Int8Linear
from cooper.model.unified import UnifiedModel

LENGTHS = {"system": 5, "question": 4, "turn": 6, "call": 2, "reflection": 3}
SHORT = Script(FlowSettings(3), 64, **LENGTHS)


def test_a_script_has_the_same_course_alone_and_in_a_group() -> None:
    model = random_model("dummy")
    randomised(model)
    together = play(model, SHORT, range(3))
    assert list(together.seconds) == list(PARTS) and together.total > 0
    assert [len(row) for row in together.tokens] == [12, 12, 12]
    assert together.tokens == [play(model, SHORT, [seed]).tokens[0] for seed in range(3)]
    assert together.tokens[0] != together.tokens[1]


def test_pictures_have_whole_patches_and_positions() -> None:
    """The published model's patches have 14 pixels, its pictures 1024."""
    small = dummy()
    model = UnifiedModel(replace(small, vision=replace(small.vision, patch=14, max_side=3)))
    randomised(model)
    assert [len(row) for row in play(model.for_inference(), SHORT, range(2)).tokens] == [12, 12]


def test_a_turn_without_end() -> None:
    logits = torch.tensor([[0.0, 50.0, 1.0]])
    assert Endless(1.0, end=1).choose(logits, torch.tensor([0.5]))[0].item() != 1
    assert Endless(0.0, end=1).choose(logits, torch.tensor([0.5]))[0].item() == 2


def test_bench_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ROLLOUT_FLOW.time_points == 30
    monkeypatch.setattr(answer_module, "ROLLOUT_FLOW", FlowSettings(3, 3.0, 4.0, 2.0))
    monkeypatch.setattr(answer_module, "Script", partial(Script, **LENGTHS))
    result = bench_answer("dummy", (1,), ("fp32",), 1)
    run = result["runs"][0]
    for name in ("one", "eight"):
        assert list(run[name]["parts"]) == list(PARTS)
        assert run[name]["seconds"] == pytest.approx(sum(run[name]["parts"].values()), abs=1e-3)
        assert run[name]["peak_share"] > 0
        assert result["best"]["fastest"][name] == {"seconds": run[name]["seconds"], "dtype": "fp32", "threads": 1}
    assert run["eight"]["cache_bytes"] < 8 * run["one"]["cache_bytes"]
    assert BenchAnswer("dummy", (2,), 1, ("mixed", "int8")).run() == 0
    assert "eight rollouts" in capsys.readouterr().out
    with pytest.raises(ValueError, match="at least one repeat"):
        bench_answer("dummy", repeats=0)
    with pytest.raises(ValueError, match="choose from tiny"):
        bench_answer("huge")


def test_bench_engine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(engine_module, "BATCHES", (1, 2))
    monkeypatch.setattr(engine_module, "TIME_POINTS", (3,))
    monkeypatch.setattr(engine_module, "DECODED", 4)
    monkeypatch.setattr(engine_module, "Script", partial(Script, **LENGTHS))
    assert BenchEngine("dummy", threads=1, repeats=1, json=True).run() == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["batch"] for row in result["prefill"]] == [row["batch"] for row in result["decode"]] == [1, 2]
    assert {(row["batch"], row["guidance"]) for row in result["maps"]} == {
        (batch, guidance) for batch in (1, 8) for guidance in ("none", "4.0/2.0")
    }
    assert all(row["seconds_per_map"] > 0 for row in result["maps"])
    assert result["rollouts"]["same_tokens"] and result["rollouts"]["ratio"] > 0
    assert result["cache"]["rollouts_bytes"] < result["cache"]["rollouts_bytes_if_copied"]
    speeds, maps, rest = _engine_tables(result)
    assert [*speeds.columns[0].cells] == ["prefill", "prefill", "decode", "decode"]
    assert maps.row_count == 4 and rest.row_count == len(result["rollouts"]) + len(result["cache"])


def test_bench_reinforcement(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mujoco")
    assert BenchReinforcement(questions=2, rollouts=3, alone=2, json=True).run() == 0
    result = json.loads(capsys.readouterr().out)
    assert result["time_points"] == 12, "however many the model takes by itself"
    assert result["rollouts"] == 6 and result["tokens"] > 60 and result["alone"]["rollouts"] == 2
    assert result["step_seconds"] == pytest.approx(result["rollout_seconds"] + result["update_seconds"], abs=0.02)
    assert min(result["speedup"], result["rollouts_per_second"], result["alone"]["update_seconds"]) > 0
    with pytest.raises(ValueError, match="can run alone, not 7"):
        BenchReinforcement(questions=2, rollouts=3, alone=7).run()


def test_bench_precision(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mujoco")
    monkeypatch.setattr(precision_module, "_PICTURES", 3)
    assert BenchPrecision(n=1, precisions=("bf16", "int4"), json=True).run() == 0
    result = json.loads(capsys.readouterr().out)
    rows = result["precisions"]
    assert result["scenes"] == 1 and list(rows) == ["bf16", "int4"]
    assert rows["bf16"]["velocity_error_to_bf16"] == 0 < rows["int4"]["velocity_error_to_bf16"]
    assert 0.002 < rows["bf16"]["velocity_error"] < 0.1 < rows["int4"]["velocity_error"] < 0.5
    assert 16 < rows["bf16"]["weights_mib"] < rows["int4"]["weights_mib"], "tiny is mostly what int4 leaves in fp32"
    assert all(0 <= row["mean"] <= 1 and row["well_formed"] > 0.8 and row["seconds"] > 0 for row in rows.values())
    assert rows["bf16"]["general"] is None, "no question is a general one"
    (table,) = _precision_tables(result)
    assert [*table.columns[3].cells] == ["-", "-"]


def test_the_machine() -> None:
    assert describe()["cores"] >= 1
    with threads(1):
        assert torch.get_num_threads() == 1
        assert matmul_peak("fp32", 0.01) > 0
    a = torch.randn(10, 20)
    assert gflop(lambda: a @ a.T) == pytest.approx(2 * 10 * 20 * 10 / 1e9)
    x = torch.randn(256, 512)
    linear = torch.nn.Linear(512, 512, bias=False)
    for quantised in (Int8Linear(linear), Int4Linear(linear)):
        for tokens in (4, 256):  # few and many are multiplied in other ways
            assert gflop(partial(quantised, x[:tokens])) == pytest.approx(2 * tokens * 512 * 512 / 1e9)
    with pytest.raises(ValueError, match="at least 1 thread"), threads(0):
        pass
