"""`cooper eval depth` and `segmentation`: figures that are kept, an evaluation that goes on, what is broken."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers import Ran, random_model, run_command, tokenizer

from cooper.api import Cooper
from cooper.checkpoints.native import save_native
from cooper.cli import main
from cooper.commands.map_quality import EvalDepth
from cooper.data.kitti import OUTDOORS
from cooper.evaluation.map_scores import DepthScoring
from cooper.evaluation.maps import decoded, evaluate_maps
from cooper.inference.engine import Engine
from cooper.lora import Lora, add_adapters, save_adapters
from cooper.modalities import Depth, MapCodes, modality
from cooper.modalities.base import at_size
from cooper.modalities.codes import RELEASED
from cooper.modalities.metrics import DEPTH_RANGE, depth_metrics
from cooper.scenes.scene_set import SceneSet
from cooper.scenes.targets import class_map
from cooper.scenes.world import SPLITS

Run = Callable[..., "Ran"]
needs_mujoco = pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs the extra [scenes]")
NOISE = np.random.default_rng(0)
DEPTH_FIGURES = ["abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "delta1", "delta2", "delta3"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cooper(capsys: pytest.CaptureFixture[str], model: str) -> Run:
    """`cooper eval` with the untrained model."""

    def cooper(*argv: str) -> Ran:
        done = run_command(capsys, "eval", *argv, *([] if "--model" in argv else ["--model", model]))
        return replace(done, err=done.err.removeprefix("\n"))  # what is left of a bar outside a terminal

    return cooper


def noise(height: int, width: int) -> np.ndarray:
    return NOISE.integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path: str, array: np.ndarray) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def rooms(*sizes: tuple[int, int]) -> None:
    """NYU-style pairs of files."""
    for k, (height, width) in enumerate(sizes):
        write(f"nyu/rgb/{k}.png", noise(height, width))
        write(f"nyu/depth/{k}.png", NOISE.integers(500, 9000, (height, width)).astype(np.uint16))


def table(*maps: dict[str, str]) -> None:
    Path("maps.jsonl").write_text("".join(json.dumps({"image": "photo.png", **row}) + "\n" for row in maps))


def kept(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_depth_of_pairs_of_files(cooper: Run, model: str) -> None:
    rooms((48, 64), (33, 50), (48, 64))
    ran = cooper("depth", "--data", "nyu=nyu", "--out", "new/depth.jsonl", "--seed", "5", "--json")
    result = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "") and (result["n"], result["broken"]) == (3, 0)
    assert (result["task"], result["data"], result["examples"]) == ("depth", "nyu=nyu", "3")
    assert list(result["figures"]) == ["none", "scale_shift"]
    rows = kept("new/depth.jsonl")
    assert [(row["index"], row["name"]) for row in rows] == [(k, f"nyu/rgb/{k}.png") for k in range(3)]
    assert all(row["seconds"] > 0 and list(row["figures"]["none"]) == DEPTH_FIGURES for row in rows)
    for reading, figures in result["figures"].items():
        for name, figure in figures.items():
            values = [row["figures"][reading][name] for row in rows]
            assert figure["mean"] == pytest.approx(np.mean(values)) and figure["n"] == 3
            low, high = figure["interval"]
            assert min(values) - 1e-9 <= low <= figure["mean"] <= high <= max(values) + 1e-9
    # the second, drawn and compared by hand
    loaded = Cooper.load(model)
    picture = np.asarray(Image.open("nyu/rgb/1.png"))
    true = np.asarray(Image.open("nyu/depth/1.png")).astype(np.float32) / 1000
    drawing = Engine(loaded.model, loaded.sequencer).draw([picture], "depth", seeds=[6])
    unit = decoded(loaded.model, drawing)[0].mean(axis=-1)
    metres = at_size((0.5 * 24**unit).astype(np.float32), 33, 50)  # 0.5 .. 12 m
    assert metres.shape == (33, 50) and drawing[0].image.shape[:2] != (33, 50)
    expected = {"none": depth_metrics(metres, true), "scale_shift": depth_metrics(metres, true, None, "scale_shift",
                                                                                 DEPTH_RANGE)}  # fmt: skip
    for reading, figures in expected.items():
        assert rows[1]["figures"][reading] == pytest.approx(figures, rel=1e-3, abs=1e-3)


class Outdoors(list):  # type: ignore[type-arg]
    modality = OUTDOORS


def test_settings_of_depth(cooper: Run) -> None:
    rooms((480, 640), (48, 64))
    argv = ("depth", "--data", "nyu=nyu", "--crop", "eigen", "--align", "scale_shift", "--clamp", "0.1", "3", "--json")
    ran = cooper(*argv, "--linear", "0", "1")
    result = json.loads(ran.out)
    assert ran.err == "left out: nyu/rgb/1.png: it has 64 x 48 pixels; the crop is one of 640 x 480\n"
    assert (result["n"], result["broken"], list(result["figures"])) == (1, 1, ["scale_shift"])
    assert result["settings"].endswith(
        "; linear code of 0 .. 1 m; scale_shift clamped to 0.1 .. 3 m; eigen crop"
    ), result["settings"]
    with_far = DepthScoring(Depth(0.5, 12.0), far=80.0).settings
    assert with_far == "log code of 0.5 .. 12 m; none; scale_shift clamped to 0.001 .. 80 m"
    for examples, far in (([], 10.0), (Outdoors(), 80.0)):
        assert EvalDepth(data="x").scoring(examples).far == far  # type: ignore[attr-defined]
    drawn = ("--flow-steps", "3", "--guidance", "1.5", "2")
    metric = json.loads(cooper(*argv[:5], "--align", "none", "--json", *drawn).out)
    told = "; log code of 0.5 .. 12 m; none; eigen crop"
    assert "maps of 4 time points with guidance 1.5 and 2 (" in metric["settings"]
    assert metric["settings"].endswith(told), metric["settings"]
    assert list(metric["figures"]) == ["none"]


def test_an_interrupted_evaluation_goes_on_and_names_what_is_broken(cooper: Run) -> None:
    rooms(*[(48, 64)] * 4)
    Path("nyu/depth/2.png").write_bytes(Path("nyu/depth/2.png").read_bytes()[:60])
    argv = ("depth", "--data", "nyu=nyu", "--batch", "2", "--out", "a.jsonl")
    few = json.loads(cooper(*argv, "--n", "2", "--json").out)
    first = kept("a.jsonl")
    assert len(first) == few["n"] and few["n"] + few["broken"] == 2
    with Path("a.jsonl").open("a") as file:
        file.write('{"index": 3, "na')  # killed while it wrote
    ran = cooper(*argv, "--json")
    rows, result = kept("a.jsonl"), json.loads(ran.out)
    assert rows[: len(first)] == first, "what was drawn is not drawn again"
    assert sorted(row["index"] for row in rows) == [0, 1, 3] and (result["n"], result["broken"]) == (3, 1)
    assert ran.err.startswith("left out: nyu/depth/2.png: this is not a whole PNG") and ran.err.count("\n") == 1
    before = Path("a.jsonl").read_bytes()
    assert json.loads(cooper(*argv, "--json").out) == result and Path("a.jsonl").read_bytes() == before
    again = json.loads(cooper("depth", "--data", "nyu=nyu", "--json").out)
    for name, figure in again["figures"]["none"].items():  # in one batch, without a file
        assert figure["mean"] == pytest.approx(result["figures"]["none"][name]["mean"], rel=1e-3, abs=1e-3)
    Path("elsewhere").mkdir()
    shutil.copytree("nyu", "elsewhere/nyu")
    refused = cooper("depth", "--data", "nyu=elsewhere/nyu", *argv[3:])
    assert refused.code == 2 and "a.jsonl is of nyu/" in refused.err and "not of elsewhere/nyu/" in refused.err
    assert Path("a.jsonl").read_bytes() == before
    for other, why in ((("--seed", "1"), "settings"), (("--clamp", "1", "2"), "settings")):
        refused = cooper(*argv, *other)
        assert refused.code == 2 and f"a.jsonl is of {why}" in refused.err and Path("a.jsonl").read_bytes() == before


def test_segmentation_of_a_table(cooper: Run) -> None:
    write("photo.png", noise(48, 64))
    labels = np.kron(np.array([[0, 1, 1], [2, 2, 7]]), np.ones((24, 22), int))[:, :64].astype(np.uint8)
    write("labels.png", labels)
    write("colours.png", np.stack([labels * 30, 200 - labels * 9, labels + 8], axis=-1))
    write("one.png", np.full((48, 64), 3, np.uint8))
    write("small.png", labels[:9])
    write("depth.png", np.full((48, 64), 900, np.uint16))
    names = ("labels.png", "colours.png", "one.png", "small.png", "gone.png")
    table(*({"segmentation": name} for name in names), {"depth": "depth.png"})
    ran = cooper("segmentation", "--data", "maps.jsonl", "--out", "rows.jsonl")
    assert ran.code == 0 and "2 compared, 4 left out, " in ran.out and "boundary_f1" in ran.out
    assert [line.split(": ")[:2] for line in ran.err.splitlines()] == [
        ["left out", f"maps.jsonl, row {k}"] for k in (3, 4, 5, 6)
    ]  # fmt: skip
    for why in ("one class only", "they must agree", "gone.png cannot be read", "one of depth"):
        assert why in ran.err
    rows = kept("rows.jsonl")
    assert [row["index"] for row in rows] == [0, 1]
    for row in rows:
        figures = row["figures"]["nearest"]
        assert 0 <= figures["miou"] <= 1 and -1 <= figures["ari"] <= 1 and 0 <= figures["boundary_f1"] <= 1
    by_class = json.loads(cooper("segmentation", "--data", "maps=.", "--labels", "classes", "--json").out)
    assert list(by_class["figures"]) == ["classes"] and by_class["n"] == 3, "one class can be told from a drawing's"


def test_only_the_first_of_many_are_named(cooper: Run) -> None:
    write("photo.png", noise(8, 8))
    write("depth.png", np.full((8, 8), 900, np.uint16))
    table({"depth": "depth.png"}, *({"depth": f"{k}.png"} for k in range(7)))
    ran = cooper("depth", "--data", "maps.jsonl")
    assert ran.code == 0 and "1 compared, 7 left out" in ran.out
    assert ran.err.count("\n") == 6 and ran.err.endswith("left out: 2 examples more that cannot be used\n")


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["depth"], "--data"),
        (["depth", "--data", "none.jsonl"], "none.jsonl does not exist"),
        (["depth", "--data", "ade20k=."], "'ade20k' is no set with depth"),
        (["depth", "--data", "maps.jsonl", "--n", "0"], "--n must be at least 1, not 0"),
        (["depth", "--data", "maps.jsonl", "--seed", "-1"], "--seed must be at least 0"),
        (["depth", "--data", "maps.jsonl", "--out", "."], "--out names a file"),
        (["depth", "--data", "maps.jsonl", "--clamp", "3", "2"], "--clamp takes two lengths above 0"),
        (["depth", "--data", "maps.jsonl", "--clamp", "0", "2"], "--clamp takes two lengths above 0"),
        (["depth", "--data", "maps.jsonl", "--linear", "0", "inf"], "--linear takes two lengths"),
        (["depth", "--data", "maps.jsonl", "--align", "shift"], "shift"),
        (["depth", "--data", "maps.jsonl", "--flow-steps", "0"], "--flow-steps must be at least 1"),
        (["depth", "--data", "maps.jsonl", "--model", "none"], "none"),
        (["segmentation", "--data", "maps.jsonl", "--crop", "eigen"], "--crop"),
    ],
)
def test_mistakes(argv: list[str], why: str, cooper: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    table({"depth": "gone.png"})
    monkeypatch.setattr("cooper.api.Cooper.load", lambda *_: pytest.fail("the model was loaded"))
    ran = cooper(*argv)
    assert (ran.code, ran.out) == (2, "") and ran.err.startswith("cooper: ") and ran.err.count("\n") == 1
    assert why in ran.err


def test_nothing_that_can_be_used(cooper: Run) -> None:
    table({"depth": "gone.png"})
    ran = cooper("depth", "--data", "maps.jsonl")
    assert ran.code == 2 and "none of 1 examples could be used; the first: maps.jsonl, row 1: " in ran.err


def test_a_model_that_does_not_draw_it(cooper: Run) -> None:
    table({"depth": "gone.png"})
    save_native(random_model(modalities=("segmentation",)), tokenizer(), "other", torch.float32)
    ran = cooper("depth", "--data", "maps.jsonl", "--model", "other")
    assert ran.code == 2 and "other does not draw depth; it draws segmentation" in ran.err


def test_a_published_model_draws_over_a_range_of_its_own(cooper: Run) -> None:
    table({"depth": "gone.png"})
    save_native(random_model(codes=RELEASED), tokenizer(), "model", torch.float32)
    assert main(["convert", "model", "published", "--to", "released"]) == 0
    ran = cooper("depth", "--data", "maps.jsonl", "--model", "published")
    assert ran.code == 2 and "give it with --linear, or --linear 0 1 --align scale_shift" in ran.err
    rooms((48, 64))
    argv = ("depth", "--data", "nyu=nyu", "--model", "published", "--linear", "0", "1", "--align", "scale_shift")
    for compat, how in (("consistent", "12 .* guidance 1 and 1"), ("released", "50 .* guidance 3 and 1.5")):
        settings = json.loads(cooper(*argv, "--compat", compat, "--json").out)["settings"]
        assert re.search(f"maps of {how} .*;", settings), settings


def test_what_adapters_draw_is_read_by_their_codes(model: str, place: Path) -> None:
    pytest.importorskip("peft")
    loaded, lora = Cooper.load(model).model, Lora(2)
    loaded.config = replace(loaded.config, codes=MapCodes((1e-3, 10.0), linear=True))
    add_adapters(loaded, lora)
    save_adapters(loaded, lora, place / "adapters")
    scoring = EvalDepth(data="maps.jsonl", model=model, adapter=place / "adapters").scoring([])
    assert isinstance(scoring, DepthScoring) and scoring.code == Depth(1e-3, 10.0, "linear")


@needs_mujoco
def test_scenes_as_a_table_get_the_figures_of_scenes(cooper: Run, model: str) -> None:
    scenes = SceneSet(3, size=64).load()
    loaded = Cooper.load(model)
    expected = evaluate_maps(Engine(loaded.model, loaded.sequencer), scenes)
    for k, (scene, view) in enumerate(scenes):
        write(f"{k}.png", view.rgb)
        np.save(f"{k}.npy", view.depth)
        write(f"{k}-labels.png", modality("segmentation").to_rgb(class_map(scene, view.labels)))
    table(*({"image": f"{k}.png", "depth": f"{k}.npy"} for k in range(3)))
    seed = ("--seed", str(SPLITS["test"].start), "--json")
    depth = json.loads(cooper("depth", "--data", "maps.jsonl", "--align", "none", *seed).out)["figures"]["none"]
    assert list(depth) == DEPTH_FIGURES
    for name, figure in depth.items():
        assert figure["mean"] == pytest.approx(expected["depth"][name], rel=1e-4, abs=1e-4)
    table(*({"image": f"{k}.png", "segmentation": f"{k}-labels.png"} for k in range(3)))
    argv = ("segmentation", "--data", "maps.jsonl", "--labels", "classes", *seed)
    assert json.loads(cooper(*argv).out)["figures"]["classes"]["miou"]["mean"] == pytest.approx(
        expected["segmentation"]["miou"], rel=1e-4, abs=1e-4
    )
