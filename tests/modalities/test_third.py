"""A new kind of map is one class and one registration: everything that deals in maps takes it as it is."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tests.helpers import demand_call, picture, random_model, sequencer

from cooper import Cooper
from cooper.api import Answer
from cooper.commands.evaluate import report
from cooper.evaluation.controls import Control
from cooper.evaluation.scenes import summarise
from cooper.inference.engine import Engine, Settings
from cooper.modalities import MapCodes, MapView, Modality, by_tag, names, register
from cooper.modalities import base as registry
from cooper.modalities.base import as_float
from cooper.modalities.codes import RELEASED
from cooper.model.config import ModelConfig
from cooper.options import Options
from cooper.page import trace_page
from cooper.policy import POLICIES, Policy
from cooper.scenes import targets
from cooper.scenes.shards import make_shards
from cooper.trace import Drawing

ROOM = picture(3)


@dataclass(frozen=True)
class Normals(Modality):
    """How far surfaces are turned away from the camera, drawn as their normals: degrees, float32 (height, width)."""

    name: str = "normals"
    tag: str = "surface-normals"
    instruction: str = "draw the normals"
    unit: str | None = "degrees"

    def to_rgb(self, values: np.ndarray) -> np.ndarray:
        slant = np.radians(values)
        normals = np.stack([np.sin(slant), np.zeros_like(slant), np.cos(slant)], axis=-1)
        return np.round((normals + 1) * 127.5).astype(np.uint8)

    def to_values(self, rgb: np.ndarray) -> np.ndarray:
        normals = 2 * as_float(rgb) - 1
        length = np.maximum(np.linalg.norm(normals, axis=-1), 1e-6)
        return np.degrees(np.arccos(np.clip(normals[..., 2] / length, -1, 1))).astype(np.float32)

    def view(self, rgb: np.ndarray) -> MapView:
        return MapView("surface normals", rgb)

    def score(self, predicted: np.ndarray, true: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
        off = np.abs(predicted - true)
        return {"degrees": float(off.mean() if valid is None else off[valid].mean())}


@pytest.fixture
def normals() -> Iterator[Modality]:
    yield register(Normals())
    del registry._REGISTRY["normals"]


@pytest.fixture
def cooper(normals: Modality, monkeypatch: pytest.MonkeyPatch) -> Cooper:
    """A model that draws three kinds of maps, and a way of answering in which it may draw the third."""
    monkeypatch.setitem(POLICIES, "normals", Policy("normals", None, ("normals",), max_turns=2))
    model = random_model(modalities=("depth", "segmentation", "normals"))
    cooper = Cooper(model, sequencer(model), "three")
    demand_call(cooper, "normals", monkeypatch)
    return cooper


def test_it_is_registered_and_its_pictures_are_read_back(normals: Modality) -> None:
    assert names() == ("depth", "segmentation", "normals")
    assert by_tag("surface-normals", names()) is normals and by_tag("surface-normals", ("depth",)) is None
    slant = np.linspace(0, 90, 64, dtype=np.float32).reshape(8, 8)
    assert normals.score(normals.to_values(normals.to_rgb(slant)), slant)["degrees"] < 0.5
    for codes in (MapCodes(), RELEASED):
        assert codes.modality("normals") is normals
        drawing = Drawing("normals", normals.to_rgb(slant))
        assert codes.looked_at(drawing) is drawing and codes.view(drawing).title == "surface normals"


def test_a_model_draws_it_on_demand(cooper: Cooper, normals: Modality) -> None:
    config = cooper.model.config
    assert ModelConfig.from_dict(config.to_dict()) == config
    drawn = cooper.draw(ROOM.image, "normals", flow_steps=2)
    assert drawn.kind is normals and drawn.unit == "degrees" and drawn.view.title == "surface normals"
    assert drawn.values.shape == ROOM.image.shape[:2] and drawn.values.dtype == np.float32
    assert np.isfinite(drawn.values).all() and drawn.values.min() >= 0 and drawn.values.max() <= 180


def asked(cooper: Cooper) -> Answer:
    answer = cooper.ask(ROOM.image, "Is the wall upright?", mode="normals", flow_steps=2)
    assert [drawing.modality for drawing in answer.trace.drawings] == ["normals"] and len(answer.trace.turns) == 2
    return answer


def test_a_chain_calls_for_it_and_its_page_shows_it(cooper: Cooper) -> None:
    answer = asked(cooper)
    (drawing,) = answer.trace.drawings
    page = trace_page(answer.trace, title="A chain", maps=answer.codes.view)
    assert "<figcaption>surface normals</figcaption>" in page and "<b>surface-normals</b>" in page
    shown = page.split("<figcaption>surface normals</figcaption>")[1].split("data:image/png;base64,")[1].split('"')[0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(shown)))), drawing.image)


def test_calls_for_it_are_counted(normals: Modality) -> None:
    row = {"task": "counting", "score": 1.0, "calls": ["normals"], "turns": []}
    (task,) = summarise([row, {**row, "calls": []}], "interleaved")["tasks"].values()
    assert task["calls"] == {"depth": 0.0, "segmentation": 0.0, "normals": 0.5}


def test_its_figures_are_shown(normals: Modality, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"degrees": 12.5, "intervals": {"degrees": [11.0, 14.0]}}
    result = {
        "model": "m", "mode": "direct", "n": 1, "split": "test", "tasks": {}, "spatial": None, "general": None,
        "mean": None, "well_formed": None, "map_seconds": 1.0, "seconds": 1.0, "autoencoder": {}, "normals": figures,
    }  # fmt: skip
    report(result, Console())
    assert re.search(r"normals\W+degrees\W+12\.5000\W+11\.0000 \.\. 14\.0000", capsys.readouterr().out)


def test_scenes_do_not_hold_its_truth(normals: Modality) -> None:
    with pytest.raises(ValueError, match="nobody knows the true normals of scenes; known: depth, segmentation"):
        targets.true_map(None, None, "normals")  # type: ignore[arg-type]


def test_scenes_that_hold_its_truth_are_trained_on_it(
    normals: Modality, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is trained on, as what is scored, is what `true_map` says."""
    pytest.importorskip("mujoco")
    make_shards(tmp_path, 0, 1, size=32, workers=1, quiet=True)
    truth = targets.true_map
    monkeypatch.setattr(targets, "TRUE_MAPS", (*targets.TRUE_MAPS, "normals"))
    monkeypatch.setattr(
        targets, "true_map", lambda of, view, name: 10 * view.depth if name == "normals" else truth(of, view, name)
    )
    images = targets.SceneImages(tmp_path)
    assert np.array_equal(images.image(0, "normals"), normals.to_rgb(10 * images.shards[0][1].depth))


def test_models_that_do_not_draw_it_are_asked_as_ever(normals: Modality, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tag, of which they know nothing, takes nothing away from the others'."""
    both = sequencer(random_model())
    for mode in ("perception", "interleaved"):
        before, after = POLICIES[mode], replace(POLICIES[mode], calls=(*POLICIES[mode].calls, "normals"))
        assert both.callable_in(after) == before.calls
        engine = Engine(random_model(), both)
        last = before.max_turns - 1
        assert engine._demand(after, last) == engine._demand(before, last)
        assert (engine._demand(after, last) is None) == (mode == "interleaved")
        for calls in ("never", "always"):
            free, control = Settings(), Control(calls=calls)
            assert control.settings(both, after, free) == control.settings(both, before, free) != free
            with pytest.raises(ValueError, match="this model draws no map that it may call for in mode"):
                control.settings(both, replace(before, calls=("normals",)), free)


def test_a_server_sends_it(cooper: Cooper) -> None:
    pytest.importorskip("fastapi")
    uvicorn = pytest.importorskip("uvicorn")
    from cooper.serving.app import make_app

    file = io.BytesIO()
    Image.fromarray(ROOM.image).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Is the wall upright?"}]
    body = json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()
    listening = socket.create_server(("127.0.0.1", 0))
    app = make_app(cooper, Options(mode="normals", flow_steps=2))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/chat/completions"
        with urllib.request.urlopen(urllib.request.Request(address, body, {"Content-Type": "application/json"})) as got:
            first = json.load(got)["cooper"]["turns"][0]
    finally:
        server.should_exit = True
        thread.join()
    assert first["call"] == "normals" and first["text"].startswith("<surface-normals>")
    sent = np.asarray(Image.open(io.BytesIO(base64.b64decode(first["map"].split(",")[1]))))
    (drawing,) = asked(cooper).trace.drawings
    assert np.array_equal(sent, drawing.image)
