"""The 7B preset has the published checkpoint's tensors: every name, every shape, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MANIFEST = Path(__file__).parents[1] / "golden" / "manifest_7b.json"

# Run in a process of its own, so that its time (of the processor: others may be busy) and its memory are its own.
BUILD = """
import json, time
import torch
from cooper.checkpoints.keys import to_released
from cooper.model.presets import bagel_7b
from cooper.model.unified import UnifiedModel

with torch.device("meta"):
    model = UnifiedModel(bagel_7b())
tensors = dict(model.named_parameters()) | dict(model.named_buffers())
main, ae = to_released(tensors, model.config)
shapes = {"ema": {k: list(t.shape) for k, t in main.items()}, "ae": {k: list(t.shape) for k, t in ae.items()}}
seconds = time.process_time()
from cooper.benchmark.machine import peak_gib
print(json.dumps({"shapes": shapes, "seconds": seconds, "gib": peak_gib()}))
"""


@pytest.fixture(scope="module")
def built() -> dict:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True, check=True, env=environment)
    return json.loads(run.stdout)


@pytest.mark.parametrize("file", ["ema", "ae"])
def test_names_and_shapes_of_the_published_checkpoint(built: dict, file: str) -> None:
    assert built["shapes"][file] == json.loads(MANIFEST.read_text())[file]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own peak")
def test_building_it_is_quick_and_small(built: dict) -> None:
    assert built["seconds"] < 20
    assert built["gib"] < 2
