"""The published size's benchmark, on a size that takes seconds, in processes as it really has them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cooper.benchmark.big import QUESTION, RandomWeights, bench_big, released_headers, with_pictures, write_random
from cooper.checkpoints.checkpoint import find
from cooper.commands.bench import BenchBig
from cooper.model.config import ImageSizes
from cooper.model.presets import bagel_7b, dummy


def test_a_turn_of_a_random_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert BenchBig("int8", "dummy", tmp_path, json=True).run() == 0
    result = json.loads(capsys.readouterr().out)
    # a picture of 128 pixels is 64 drawing tokens and 64 patches; all have frames
    assert result["prefill_tokens"] == 64 + 2 + 64 + 2 + QUESTION + 2 and result["look_tokens"] == 64 + 2 + 64 + 2
    assert min(value for name, value in result.items() if "seconds" in name) > 0
    assert 0 < result["peak_gib_loaded"] <= result["peak_gib"] < 4
    assert result["finite"] and result["precision"] == "int8"
    assert not any(tmp_path.iterdir()), "the checkpoint is removed"


def test_the_table_and_four_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert BenchBig(preset="dummy", folder=tmp_path).run() == 0
    out = capsys.readouterr().out
    assert "one turn, dummy, int4" in out and "seconds per flow step" in out and "cores" in out
    with pytest.raises(ValueError, match="no preset is called 'huge'; choose from tiny"):
        BenchBig(preset="huge").run()


def test_what_is_written_is_a_whole_checkpoint(tmp_path: Path) -> None:
    config = with_pictures(dummy(), 64)
    told: list[str] = []
    write_random(config, released_headers(config), tmp_path, told.append)
    found = find(tmp_path)
    found.check()
    assert found.config == config and not found.unexpected
    assert found.dtypes.keys() == {torch.bfloat16, torch.float32} and told[-1].startswith("writing ae")
    weights = found.tensor("decoder.layers.0.und.gate_up.weight")
    assert weights.float().std() == pytest.approx(config.decoder.hidden**-0.5, rel=0.1)
    assert found.tensor("decoder.norm_gen.weight").eq(1).all() and not found.tensor("connector_in.bias").any()


def test_large_tensors_do_not_repeat_themselves() -> None:
    made = RandomWeights()
    headers = released_headers(dummy())["ae"]
    name, header = next((n, h) for n, h in headers.items() if len(h.shape) > 1)
    long = {name: replace(header, shape=(3 * made.LENGTH // 1000, 1000))}
    tensor = made.make(long, name)
    assert tensor.std() == pytest.approx(1000**-0.5, rel=0.01)
    assert len({tuple(row[:3].tolist()) for row in tensor}) == len(tensor)


def test_sizes_of_the_published_model() -> None:
    config = with_pictures(bagel_7b(), 256)
    assert (config.latent_sizes, config.vision_sizes) == (ImageSizes(256, 256), ImageSizes(252, 252))
    numbers = {stem: sum(h.numbers for h in of.values()) for stem, of in released_headers(config).items()}
    assert numbers["ema"] * 2 + numbers["ae"] * 4 == pytest.approx(29.5e9, rel=0.01)


def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    vast = replace(dummy(), decoder=replace(dummy().decoder, ffn=10**12))
    with pytest.raises(ValueError, match=r"has room for .* and the checkpoint takes 768000\.\d; make room, or name"):
        bench_big(vast, "vast", "int4", tmp_path)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, sign: signal.Signals) -> None:
    """Ctrl-C goes to all processes, being told to end to the first one; all have ended when their output has."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
    run = subprocess.Popen(
        [sys.executable, "-m", "cooper", "bench", "big", "--preset", "dummy", "--folder", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(tmp_path.glob("*/model_args.json")):
        assert run.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    time.sleep(0.5)  # the process that measures has begun
    (os.killpg if sign == signal.SIGINT else os.kill)(run.pid, sign)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err) == (130, "", "cooper: interrupted\n")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_the_published_size_answers_in_16_gib(tmp_path: Path) -> None:
    """29.5 GB on the disk, and some six minutes on two cores."""
    result = bench_big(bagel_7b(), "bagel_7b", "int4", tmp_path)
    print(json.dumps(result))
    assert result["finite"] and result["checkpoint_bytes"] > 29e9 and result["peak_gib"] < 16
