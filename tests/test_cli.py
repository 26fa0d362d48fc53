"""The `cooper` command as a user meets it: what it prints and writes, and one clear line for every mistake."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tests.helpers import Ran, Scripted, run_command, tokenizer

from cooper.data.sets import named, open_set
from cooper.modalities import modality
from cooper.trace import Trace

DRAW = "<think>I need the depth.</think><depth-estimation>draw the depth</depth-estimation>"
SEGMENT = "<think>And the objects.</think><segmentation>draw the objects</segmentation>"
ANSWER = "<think>It is at 1.8 m.</think><answer>\\boxed{1.8 m}</answer>"
QUESTION = "How far is the red ball?"
#: for another process: it finds the package where this one does
SAME_PACKAGE = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
needs_mujoco = pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs the extra [scenes]")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder but for a picture, room.png."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("room.png")
    return tmp_path


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the model write these turns, for the first seeds, whatever its weights say."""

    def write(*turns: str) -> None:
        ids = [tokenizer().encode(turn, add_special_tokens=False).ids for turn in turns]
        script = dict.fromkeys(range(4), ids)
        monkeypatch.setattr("cooper.api.Sampling", lambda t, p: Scripted(t, p, script=script))

    return write


@pytest.fixture
def cooper(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs the command in this process."""

    def cooper(*argv: str) -> Ran:
        return run_command(capsys, *argv)

    return cooper


Cooper = Callable[..., Ran]
Write = Callable[..., None]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_ask_prints_the_chain_as_plain_text(cooper: Cooper, write: Write, model: str, place: Path) -> None:
    write(DRAW, SEGMENT, ANSWER)
    ran = cooper("ask", "room.png", QUESTION, "--model", model)
    lines = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert [lines[0], lines[2], lines[4], lines[5]] == [
        "I need the depth.", "And the objects.", "It is at 1.8 m.", "Answer: 1.8 m",
    ]  # fmt: skip
    assert re.fullmatch(r"\[depth: \d+\.\d to \d+\.\d m\]", lines[1]) and lines[3].startswith("[segmentation: ")
    assert ran.out.replace("\n", "").isprintable()
    assert files(place) == ["room.png"]


def test_ask_json_has_exactly_its_keys(cooper: Cooper, write: Write, model: str) -> None:
    write(DRAW, ANSWER)
    ran = cooper("ask", "room.png", QUESTION, "--model", model, "--seed", "3", "--json")
    answer = json.loads(ran.out)
    assert ran.out.count("\n") == 1 and ran.err == ""
    assert list(answer) == [
        "answer", "value", "unit", "reason", "votes", "mode", "model", "seed", "turns", "tokens", "seconds"
    ]  # fmt: skip
    assert (answer["reason"], answer["votes"]) == ("answered", {})
    assert (answer["answer"], answer["value"], answer["unit"]) == ("1.8 m", 1.8, "m")
    assert (answer["mode"], answer["model"], answer["seed"]) == ("interleaved", model, 3)
    assert answer["turns"] == [
        {"text": DRAW, "call": "depth", "map": None}, {"text": ANSWER, "call": None, "map": None},
    ]  # fmt: skip
    assert isinstance(answer["tokens"], int) and isinstance(answer["seconds"], float)


def test_ask_out_holds_the_whole_chain(cooper: Cooper, write: Write, model: str, place: Path) -> None:
    write(DRAW, SEGMENT, ANSWER)
    answer = json.loads(cooper("ask", "room.png", QUESTION, "--model", model, "--out", "new/chain", "--json").out)
    folder = place / "new" / "chain"
    assert [turn["map"] for turn in answer["turns"]] == [
        "new/chain/04-depth-view.png", "new/chain/07-segmentation-view.png", None,
    ]  # fmt: skip
    trace = Trace.load(folder)
    assert trace.turns == (DRAW, SEGMENT, ANSWER)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "04-depth.png")), trace.drawings[0].image)
    size = trace.drawings[0].image.shape[:2]
    depth, labels = np.load(folder / "04-depth.npy"), np.load(folder / "07-segmentation.npy")
    assert (depth.dtype, depth.shape, labels.dtype, labels.shape) == (np.float32, size, np.int32, size)
    assert 0.5 <= depth.min() and depth.max() <= 12
    assert not [name for name in files(place) if "tmp" in name]

    before = (folder / "trace.json").read_text()
    (folder / "mine.txt").write_text("kept")
    write(DRAW, ANSWER)
    assert cooper("ask", "room.png", QUESTION, "--model", model, "--out", str(folder)).code == 0
    assert (folder / "trace.json").read_text() != before and (folder / "mine.txt").read_text() == "kept"


def test_ask_html_is_one_whole_page(cooper: Cooper, write: Write, model: str, place: Path) -> None:
    write(DRAW, SEGMENT, ANSWER)
    assert cooper("ask", "room.png", QUESTION, "--model", model, "--html", "pages/chain.html").code == 0
    html = (place / "pages" / "chain.html").read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>") and html.rstrip().endswith("</html>")
    assert html.count("data:image/png;base64,") == 3 and "<script" not in html
    for part in (QUESTION, "I need the depth.", "<strong>1.8 m</strong>", "room.png", 'class="bar"'):
        assert part in html
    assert files(place / "pages") == ["chain.html"]


def test_ask_votes(cooper: Cooper, write: Write, model: str) -> None:
    write(DRAW, ANSWER)
    out = cooper("ask", "room.png", QUESTION, "--model", model, "--samples", "3").out.splitlines()
    assert out[0] == "I need the depth." and out[-2:] == ["Answer: 1.8 m", "Votes: 1.8 m (3)"]


@pytest.mark.parametrize(
    ("turns", "options", "ending"),
    [
        (("Hm.",), (), "Hm.\nNo answer: the last turn neither answers nor calls for a map that may be drawn."),
        ((DRAW,), ("--max-turns", "1"), "No answer: the last turn calls for another map."),
        (("<think>" + 200 * "far ",), (), "No answer: it ran out of tokens."),
        (("<draw>it</draw>",), (), "<draw>it</draw>\nNo answer: the last turn neither answers"),
    ],
)
def test_ask_says_why_there_is_no_answer(
    turns: tuple[str, ...], options: tuple[str, ...], ending: str, cooper: Cooper, write: Write, model: str
) -> None:
    write(*turns)
    ran = cooper("ask", "room.png", QUESTION, "--model", model, *options)
    assert ran.code == 0 and ending in ran.out


def test_what_a_model_writes_cannot_steer_the_terminal(cooper: Cooper, write: Write, model: str) -> None:
    write("<think>\x1b[2J\x07 a</think><answer>\x1b[31mé</answer>")
    ran = cooper("ask", "room.png", QUESTION, "--model", model)
    assert "\x1b" not in ran.out and "\x07" not in ran.out and "é" in ran.out


def test_an_untrained_model_answers_too(cooper: Cooper, model: str) -> None:
    for mode in ("direct", "text", "perception", "interleaved"):
        argv = ("ask", "room.png", QUESTION, "--model", model, "--mode", mode, "--temperature", "1", "--top-p", "0.9")
        first, second = cooper(*argv, "--seed", "5"), cooper(*argv, "--seed", "5")
        assert first.code == 0 and first.out == second.out != ""
    assert cooper("ask", "room.png", QUESTION, "--model", model, "--precision", "int8").code == 0


def test_a_terminal_is_shown_colours_maps_and_a_bar(
    cooper: Cooper, write: Write, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(**settings: Any) -> str:
        screen = io.StringIO()
        console = Console(file=screen, width=50, highlight=False, soft_wrap=True, _environ={}, **settings)
        monkeypatch.setattr("cooper.commands.terminal.open_console", lambda: console)
        monkeypatch.setattr(Console, "encoding", "utf-8")
        write(f"<think>{14 * 'far '}</think>{modality('depth').call}", SEGMENT, ANSWER)
        assert cooper("ask", "room.png", QUESTION, "--model", model).code == 0
        return screen.getvalue()

    full = run(force_terminal=True, color_system="truecolor")
    assert full.count("▀") > 200 and "\x1b[38;2;" in full and "drawing depth" in full and "11/11" in full
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", full)
    shown = plain.replace("\r", "\n").replace(model, "").splitlines()
    assert "far far" in plain and max(map(len, shown)) <= 50
    assert "Answer: 1.8 m" in plain and "■" in plain and "interleaved" in plain
    poor = run(force_terminal=True, color_system=None)
    assert "▀" not in poor and "[depth: " in poor


def test_standard_input(cooper: Cooper, write: Write, model: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(ANSWER)
    stdin = io.TextIOWrapper(io.BytesIO((place / "room.png").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    ran = cooper("ask", "-", QUESTION, "--model", model, "--html", "page.html")
    assert ran.out.endswith("Answer: 1.8 m\n") and "standard input" in (place / "page.html").read_text()


def test_depth(cooper: Cooper, model: str, place: Path) -> None:
    ran = cooper("depth", "room.png", "--model", model, "--out", "map")
    assert re.fullmatch(r"depth from \d+\.\d\d m to \d+\.\d\d m, median \d+\.\d\d m\nmap.npy\nmap.png\n", ran.out)
    values = np.load(place / "map.npy")
    assert (values.dtype, values.shape) == (np.float32, (48, 64))
    assert Image.open(place / "map.png").size == (64, 48)
    about = json.loads(cooper("depth", "room.png", "--model", model, "--out", "only.npy", "--json").out)
    assert about["files"] == ["only.npy"] and about["unit"] == "m" and about["modality"] == "depth"
    assert about["min"] == pytest.approx(values.min(), abs=1e-3) and (about["width"], about["height"]) == (64, 48)
    assert files(place) == ["map.npy", "map.png", "only.npy", "room.png"]
    assert cooper("depth", "room.png", "--model", model, "--out", "capitals.PNG").code == 0
    assert Image.open(place / "capitals.PNG").format == "PNG"


def test_segment(cooper: Cooper, model: str, place: Path) -> None:
    ran = cooper("segment", "room.png", "--model", model, "--out", "map.npy")
    labels = np.load(place / "map.npy")
    assert (labels.dtype, labels.shape) == (np.int32, (48, 64)) and ran.out.count("\n") == 1
    objects = json.loads(cooper("segment", "room.png", "--model", model, "--json").out)["objects"]
    assert {o["label"]: o["pixels"] for o in objects} == {
        int(k): int((labels == k).sum()) for k in np.unique(labels) if k
    }
    assert ran.out.startswith(f"{len(objects)} object") and all(o["name"] in ran.out for o in objects)
    assert files(place) == ["map.npy", "room.png"]


MISTAKES: dict[str, tuple[list[str], str]] = {
    "missing picture": (["ask", "nope.png", "q"], "nope.png does not exist"),
    "folder": (["ask", "folder", "q"], "is a folder"),
    "empty file": (["ask", "empty.png", "q"], "is empty"),
    "not a picture": (["ask", "text.png", "q"], "is not a picture"),
    "broken picture": (["ask", "cut.png", "q"], "damaged or cut off"),
    "too large": (["ask", "huge.png", "q"], "million allowed"),
    "empty path": (["ask", "", "q"], "the argument after cooper ask is empty"),
    "empty question": (["ask", "room.png", ""], "the argument after room.png is empty"),
    "empty folder": (["convert", "tiny", ""], "the argument after tiny is empty"),
    "empty value": (["eval", "tsv", "--data", ""], "the argument after --data is empty"),
    "blank question": (["ask", "room.png", " \n"], "the question is empty"),
    "endless question": (["ask", "room.png", "why? " * 1000], "ask in at most 2000"),
    "no question": (["ask", "room.png"], "QUESTION"),
    "no arguments": (["ask"], "PICTURE"),
    "mode": (["ask", "room.png", "q", "--mode", "dream"], "'direct', 'text', 'perception', 'interleaved'"),
    "turns": (["ask", "room.png", "q", "--max-turns", "0"], "--max-turns must be at least 1"),
    "steps": (["ask", "room.png", "q", "--flow-steps", "0"], "--flow-steps must be at least 1"),
    "guidance": (["ask", "room.png", "q", "--guidance", "-1", "2"], "not -1 2"),
    "guidance of one": (["ask", "room.png", "q", "--guidance", "2"], "--guidance"),
    "precision": (["ask", "room.png", "q", "--precision", "fp8"], "--precision"),
    "temperature": (["ask", "room.png", "q", "--temperature", "-0.1"], "--temperature must be 0 or more"),
    "too hot": (["ask", "room.png", "q", "--temperature", "1e9"], "and at most 1000000, not 1e+09"),
    "no number": (["ask", "room.png", "q", "--temperature", "nan"], "--temperature must be 0 or more"),
    "hot": (["ask", "room.png", "q", "--temperature", "hot"], "--temperature"),
    "top-p": (["ask", "room.png", "q", "--top-p", "0"], "--top-p"),
    "top-p without chance": (["ask", "room.png", "q", "--top-p", "0.9"], "give a --temperature above 0, too"),
    "maps where none are": (["ask", "room.png", "q", "--mode", "text", "--flow-steps", "4"], "mode text draws none"),
    "samples": (["ask", "room.png", "q", "--samples", "0"], "--samples must be at least 1"),
    "too many": (["ask", "room.png", "q", "--samples", "9" * 20], "--samples must be at most 1000000"),
    "unknown option": (["ask", "room.png", "q", "--colour", "red"], "--colour"),
    "one word too many": (["ask", "room.png", "how", "far"], "far; put what has blanks in it in quotes"),
    "question first": (["ask", "How far?", "room.png"], "the picture comes first, then the question"),
    "a picture for a model": (["ask", "room.png", "q", "--model", "room.png"], "is a file; a model is a folder\n"),
    "unknown model": (["ask", "room.png", "q", "--model", "huge"], "no model 'huge'"),
    "not a model": (["ask", "room.png", "q", "--model", "folder"], "folder is no model folder; looked for config.json"),
    "out is a file": (["ask", "room.png", "q", "--out", "text.png"], "text.png is a file"),
    "out below a file": (["ask", "room.png", "q", "--out", "text.png/maps"], "is a file, not a folder"),
    "html is a folder": (["ask", "room.png", "q", "--html", "folder"], "is a folder"),
    "html is a device": (["ask", "room.png", "q", "--html", "/dev/null"], "not an ordinary file"),
    "html over the picture": (["ask", "room.png", "q", "--html", "folder/../room.png"], "overwrite what is read"),
    "chain over the picture": (["ask", "01-picture.png", "q", "--out", "."], "overwrite the picture"),
    "page over the folder": (["ask", "room.png", "q", "--out", "new", "--html", "new"], "is the folder of --out"),
    "page over it by detour": (["ask", "room.png", "q", "--out", "new", "--html", "x/../new"], "folder of --out"),
    "page over the chain": (["ask", "room.png", "q", "--out", "new", "--html", "new/trace.json"], "what --out writes"),
    "no such device": (["ask", "room.png", "q", "--device", "abacus", "--model", "tiny"], "no device 'abacus'; use"),
    "no real device": (["ask", "room.png", "q", "--device", "meta", "--model", "tiny"], "no device 'meta' here"),
    "no graphics card": (["depth", "room.png", "--device", "cuda:99", "--model", "tiny"], "no device 'cuda:99' here"),
    "map over the picture by detour": (["depth", "room.png", "--out", "new/../room.png"], "overwrite what is read"),
    "chain over a link's picture": (["ask", "link/01-picture.png", "q", "--out", "chain"], "overwrite the picture"),
    "seed": (["ask", "room.png", "q", "--seed", "-5"], "--seed must be at least 0, not -5"),
    "answers in a file": (["eval", "scenes", "--out", "text.png/x"], "text.png is a file"),
    "rate": (["train", "base", "--run", "new", "--start", "tiny", "--data", "x", "--lr", "inf"], "--lr must be above"),
    "no data": (["data", "flag", "--out", "new.jsonl", "--data", " "], "names no file or folder of data"),
    "data of nothing": (["data", "flag", "--out", "new.jsonl", "--data", "questions=empty.jsonl"], "has no rows"),
    "no threshold": (["data", "flag", "--out", "new.jsonl", "--tau", "nan"], "tau"),
    "pictures of others": (["data", "flag", "--out", "chain.jsonl"], "chain is there already"),
    "map over the picture": (["depth", "room.png", "--out", "room.png"], "overwrite what is read"),
    "map of another kind": (["segment", "room.png", "--out", "map.jpg"], "neither .npy"),
    "map steps": (["depth", "room.png", "--flow-steps", "-3"], "--flow-steps"),
    "unknown command": (["paint", "room.png"], "choose from ask"),
    "unknown second word": (["scenes", "paint"], "choose from render"),
    "unknown flag": (["--loud"], "--loud"),
    "seed of no split": (["scenes", "render", "--seed", "-1", "--out", "new"], "seeds are 0 to"),
    "seed of another split": (["scenes", "make", "--n", "2", "--out", "new", "--start", "20000000"], "--split test"),
    "unknown split": (["scenes", "make", "--n", "2", "--out", "new", "--split", "exam"], "exam"),
    "no scenes": (["scenes", "make", "--n", "0", "--out", "new"], "at least 1"),
    "shards in a file": (["scenes", "make", "--n", "2", "--out", "text.png"], "is a file"),
    "sheet of another kind": (["scenes", "sheet", "--out", "sheet.gif"], ".png"),
    "empty sheet": (["scenes", "sheet", "--out", "sheet.png", "--n", "0"], "--n must be"),
    "no folder to write to": (["ask", "room.png", "q", "--out", "/proc/maps/new"], "/proc"),
    "no file to write": (["ask", "room.png", "q", "--html", "/proc/page.html"], "/proc"),
    "setting": (["train", "base", "--run", "new", "--scenes", "new", "--set", "rows=x"], "'rows=x': 'x' is no int"),
    "adapters as a setting": (["train", "base", "--run", "new", "--scenes", "new", "--set", "lora.rank=4"], "--lora"),
    "run in a file": (["train", "tiny", "--run", "text.png", "--scenes", "new"], "text.png is a file; --run"),
    "unknown stage": (["train", "everything", "--run", "new", "--scenes", "new"], "everything"),
    "nothing to start with": (
        ["train", "perception", "--preset", "bagel_7b", "--run", "new", "--scenes", "new"], "name it with --start",
    ),
    "a stage that the preset lacks": (
        ["train", "base", "--preset", "bagel_7b", "--start", "tiny", "--run", "new", "--scenes", "new"],
        "choose from perception",
    ),
    "report in a file": (["reproduce", "--out", "text.png"], "text.png is a file; --out"),
    "no seeds": (["reproduce", "--seeds", "0"], "--seeds"),
    "autoencoder of nobody": (["reproduce", "--autoencoder", "nobody"], "nobody"),
}


@pytest.fixture
def bad_files(place: Path) -> None:
    (place / "folder").mkdir()
    (place / "empty.png").touch()
    (place / "empty.jsonl").touch()
    (place / "chain").mkdir()
    (place / "chain/01-picture.png").write_bytes((place / "room.png").read_bytes())
    (place / "link").symlink_to("chain")
    (place / "text.png").write_text("no picture")
    (place / "cut.png").write_bytes((place / "room.png").read_bytes()[:2000])
    chunks = (b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b"")
    huge = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    (place / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + huge)


@pytest.mark.usefixtures("bad_files")
@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_gets_one_line(
    case: str, cooper: Cooper, model: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv, expected = MISTAKES[case]
    if expected == "/proc" and not Path("/proc").is_dir():
        pytest.skip("needs a folder that nobody may write to")
    if "--model" not in argv:  # the mistake must be found before the model is loaded, or even looked for
        monkeypatch.setattr("cooper.api.Cooper.load", lambda *_: pytest.fail("the model was loaded"))
    before = files(place)
    ran = cooper(*argv)
    assert ran.code == 2 and ran.out == ""
    assert ran.err.startswith("cooper: ") and ran.err.count("\n") == 1 and expected in ran.err
    assert "Traceback" not in ran.err
    assert files(place) == before


def test_failures_while_writing_leave_nothing(
    cooper: Cooper, write: Write, model: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    write(DRAW, ANSWER)
    for argv in (["ask", "room.png", QUESTION, "--out", "new"], ["depth", "room.png", "--out", "new.npy"]):
        ran = cooper(*argv, "--model", model)
        assert ran.code == 2 and ran.err.endswith(".npy: No space left on device; make room and run it again\n")
    assert files(place) == ["room.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(cooper: Cooper, model: str, place: Path) -> None:
    (place / "locked").mkdir(mode=0o500)
    for argv in (["--out", "locked/new"], ["--html", "locked/page.html"], ["--out", "locked"]):
        ran = cooper("ask", "room.png", "q", "--model", model, *argv)
        assert ran.code == 2 and "cannot be written to" in ran.err


def test_pages_go_where_they_are_wanted(cooper: Cooper, write: Write, model: str, place: Path) -> None:
    """Through links, under any name that can be, beside pictures of any name; and not over what is no file."""
    (place / "real").mkdir()
    (place / "link.html").symlink_to("real/page.html")
    odd = os.fsdecode(b"bad\xff.png")
    Image.open("room.png").save(odd)
    write(ANSWER)
    for picture, page in (("room.png", "link.html"), ("room.png", "a" * 250 + ".html"), (odd, "odd.html")):
        ran = cooper("ask", picture, QUESTION, "--model", model, "--html", page)
        assert (ran.code, ran.err) == (0, "") and Path(page).read_text().startswith("<!doctype html>")
    assert (place / "link.html").is_symlink() and (place / "real/page.html").is_file()
    for page in ("/dev/stdout", "/proc/self/fd/1"):
        ran = cooper("ask", "room.png", QUESTION, "--model", model, "--html", page)
        assert ran.code == 2 and "is not an ordinary file" in ran.err


def test_a_chain_lies_alone_in_its_folder(cooper: Cooper, write: Write, model: str, place: Path) -> None:
    write(DRAW, SEGMENT, ANSWER)
    assert cooper("ask", "room.png", QUESTION, "--model", model, "--out", "chain").code == 0
    (place / "chain/10-mine.png").write_bytes(b"kept")
    write(ANSWER)
    assert cooper("ask", "room.png", QUESTION, "--model", model, "--out", "chain").code == 0
    assert files(place / "chain") == ["01-picture.png", "10-mine.png", "trace.json"]


def test_a_map_goes_into_a_folder_that_is_there(cooper: Cooper, model: str, place: Path) -> None:
    (place / "maps").mkdir()
    ran = cooper("depth", "room.png", "--model", model, "--out", "maps")
    assert ran.code == 0 and ran.out.splitlines()[1:] == ["maps/depth.npy", "maps/depth.png"]
    assert files(place / "maps") == ["depth.npy", "depth.png"]


def test_odd_words_get_one_line(cooper: Cooper, write: Write, model: str) -> None:
    for argv, why in (
        (("room.png", os.fsdecode(b"How \xff?"), "--model", model), "the question is no text that can be read"),
        (("room.png", QUESTION, "--model", "[/x]"), "there is no model '[/x]'"),
        (("room.png", QUESTION, "--model", model, "--temperature", "nan"), "temperature"),
        (("room.png", QUESTION, "--model", model, "--guidance", "nan", "1"), "guidance"),
    ):
        ran = cooper("ask", *argv)
        assert (ran.code, ran.err.count("\n")) == (2, 1) and why in ran.err, argv
    write(ANSWER)
    assert cooper("ask", "room.png", QUESTION, "--model", model, "--temperature", "1e-40").code == 0


def test_closed_streams(model: str) -> None:
    """As services may start programs."""
    code = (
        "import sys; sys.stdin = sys.stdout = sys.stderr = None; from cooper.cli import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    argv = [sys.executable, "-c", code, "depth", "room.png", "--model", model, "--out", "d.npy"]
    assert subprocess.run(argv, env=SAME_PACKAGE).returncode == 0 and Path("d.npy").exists()
    assert subprocess.run([*argv[:4], "-", *argv[5:]], env=SAME_PACKAGE).returncode == 2


def test_a_model_is_loaded_without_what_it_has_no_use_for(model: str) -> None:
    """PyTorch's compiler alone took a third of the time of `cooper ask`."""
    code = (
        "import sys; from cooper.cli import main; main(sys.argv[1:]); "
        "sys.exit(str({'torch._dynamo', 'scipy.optimize', 'matplotlib', 'peft', 'transformers'} & {*sys.modules}))"
    )
    argv = [sys.executable, "-c", code, "depth", "room.png", "--model", model, "--out", "d.npy"]
    assert subprocess.run(argv, env=SAME_PACKAGE, capture_output=True).stderr == b"set()\n"


def test_too_much_for_the_memory(cooper: Cooper, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("cooper.api.Cooper.load", lambda *_, **__: torch.empty(1 << 50))  # what PyTorch says then
    ran = cooper("ask", "room.png", QUESTION, "--model", model)
    assert (ran.code, ran.err.count("\n")) == (2, 1) and "not enough memory" in ran.err


def test_interrupt(cooper: Cooper, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cooper.api.Cooper.load", interrupted)
    ran = cooper("ask", "room.png", QUESTION, "--model", model)
    assert (ran.code, ran.out, ran.err) == (130, "", "cooper: interrupted\n")


def test_an_import_that_was_interrupted_is_no_mistake(
    cooper: Cooper, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some libraries take it for a fault of their own."""
    def importing(*_: Any, **__: Any) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    monkeypatch.setattr("cooper.api.Cooper.load", importing)
    ran = cooper("ask", "room.png", QUESTION, "--model", model)
    assert (ran.code, ran.out, ran.err) == (130, "", "cooper: interrupted\n")


def test_help_and_version(cooper: Cooper) -> None:
    from cooper import __version__

    assert cooper("--version") == Ran(0, f"cooper {__version__}\n", "")
    top = cooper("--help")
    assert (top.code, top.err) == (0, "") and "segment" in top.out and "--version" in top.out
    assert cooper().out == top.out
    for command, option in (
        (("ask",), "--max-turns"), (("depth",), "--flow-steps"), (("scenes",), "render"), (("eval",), "scenes"),
        (("scenes", "make"), "--processes"), (("train", "tiny"), "--n-train"), (("bench",), "engine"),
        (("reproduce",), "--quick"),
    ):  # fmt: skip
        ran = cooper(*command, "--help")
        assert ran.code == 0 and option in ran.out and ran.err == ""


def test_help_starts_without_torch() -> None:
    code = "import sys; from cooper.cli import main; main(['ask', '--help']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=SAME_PACKAGE)


@pytest.mark.parametrize("words", [["--help"], ["inspect", "tiny"]])
def test_a_reader_who_leaves_early_is_no_error(words: list[str]) -> None:
    argv = [sys.executable, "-m", "cooper", *words]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=SAME_PACKAGE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() in ((0, 141) if words == ["--help"] else (141,))
    process.stderr.close()


LONG = """
import sys, time
from cooper import cli
class Long:
    def run(self):
        print("begun", flush=True)
        time.sleep(600)
cli._parse = lambda argv: Long()
sys.exit(cli.main([]))
"""


def test_being_told_to_end_is_no_crash() -> None:
    argv = [sys.executable, "-c", LONG]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=SAME_PACKAGE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors == "cooper: interrupted\n"


@needs_mujoco
def test_scenes_render(cooper: Cooper, place: Path) -> None:
    ran = cooper("scenes", "render", "--seed", "7", "--out", "seven", "--size", "64")
    assert ran.code == 0 and ran.out.startswith("scene 7: ")
    folder = place / "seven"
    assert files(folder) == ["depth.npy", "depth.png", "labels.png", "rgb.png", "scene.json"]
    scene = json.loads((folder / "scene.json").read_text())
    assert np.asarray(Image.open(folder / "rgb.png")).shape == (64, 64, 3)
    depth, labels = np.load(folder / "depth.npy"), np.asarray(Image.open(folder / "labels.png"))
    assert (depth.dtype, depth.shape, labels.shape) == (np.float32, (64, 64), (64, 64))
    assert set(np.unique(labels)) <= {0, *(o["id"] for o in scene["objects"])}
    assert scene["seed"] == 7 and np.shape(scene["camera"]["intrinsics"]) == (3, 3)
    assert np.shape(scene["camera"]["pose"]) == (4, 4) and scene["questions"]
    for thing in scene["objects"]:
        assert len(thing["size"]) == len(thing["position"]) == 3 and 0 <= thing["visible"] <= 1
        assert thing["name"] == f"{thing['color']} {thing['shape']}"
    for question in scene["questions"]:
        assert question["text"].endswith(("?", ".")) and question["answer"] and question["task"]
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    assert cooper("scenes", "render", "--seed", "7", "--out", "seven", "--size", "64").code == 0
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before
    assert cooper("scenes", "render", "--seed", "7", "--out", "new", "--size", "3").code == 2
    assert not (place / "new").exists()


@needs_mujoco
def test_scenes_make(cooper: Cooper, place: Path) -> None:
    argv = ("scenes", "make", "--n", "3", "--out", "shards", "--split", "validation", "--size", "32", "--processes=1")
    assert cooper(*argv).out.splitlines()[-1] == "3 scenes in 1 shard in shards"
    (shard,) = (place / "shards").iterdir()
    made = shard.stat().st_mtime_ns
    assert np.load(shard)["seeds"].tolist() == [10_000_000, 10_000_001, 10_000_002]
    assert cooper(*argv).code == 0 and shard.stat().st_mtime_ns == made
    assert "not 16" in cooper(*argv[:-3], "--size", "16").err


@needs_mujoco
def test_scenes_sheet(cooper: Cooper, place: Path) -> None:
    assert cooper("scenes", "sheet", "--out", "sheet.png", "--n", "4", "--seed", "9", "--size", "32").code == 0
    sheet = Image.open(place / "sheet.png")
    assert sheet.width > 3 * 32 and np.asarray(sheet).std() > 20


@needs_mujoco
def test_train_makes_the_scenes_it_lacks(cooper: Cooper, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaces: list[Any] = []
    train = "cooper.training.pipeline.train"
    monkeypatch.setattr(train, lambda space, recipe, last, processes: spaces.append((space, last)) or "done")
    argv = ("train", "tiny", "--run", "run", "--scenes", "scenes", "--n-train", "2", "--n-validation", "1")
    assert cooper(*argv, "--processes", "1").code == 0
    ((space, last),) = spaces
    assert space.run == Path("run") and last == "reinforcement"
    assert files(place / "scenes") == [
        "train", "train/scenes-00000000-2.npz", "validation", "validation/scenes-10000000-1.npz",
    ]  # fmt: skip
    assert (space.train, space.validation) == (Path("scenes/train"), Path("scenes/validation"))


def test_reproduce_runs_the_seeds_that_are_asked_for(cooper: Cooper, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("cooper.reproduction.run.reproduce", lambda *a: asked.append(a) or a[1] / "results.md")
    assert cooper("reproduce", "--seeds", "2", "--out", "docs").out == "docs/results.md\n"
    assert cooper("reproduce", "--seed", "3", "--quick", "--run", "quick").code == 0
    assert cooper("reproduce", "--quick").code == 0 and cooper("reproduce").code == 0
    full, quick, one, three = asked
    assert [a[:2] for a in (quick, one, three)] == [
        (Path("quick"), Path("quick")), (Path("runs/quick"), Path("runs/quick")), (Path("runs/reproduce"), Path("docs"))
    ], "a quick run's report does not take the place of a full one's"  # fmt: skip
    assert list(one[3]) == [0] and list(three[3]) == [0, 1, 2]
    assert full[0] == Path("runs/reproduce") and list(full[3]) == [0, 1] and list(quick[3]) == [3]
    assert quick[2].n_test < full[2].n_test
    assert cooper("reproduce", "--autoencoder", "tiny").code == 0
    assert asked[-1][2].recipe.scratch.autoencoder_of == "tiny"
    assert asked[-1][-1] == "cooper reproduce --autoencoder tiny"


@needs_mujoco
def test_data_flag_asks_once(cooper: Cooper, place: Path) -> None:
    argv = ("data", "flag", "--out", "flags.jsonl", "--n", "1", "--questions", "2", "--samples", "1", "--json")
    said = [cooper(*argv) for _ in range(2)]
    assert [r.code for r in said] == [0, 0]
    first, second = (json.loads(r.out) for r in said)
    assert first == second and first["questions"] == 2 == sum(first["flags"].values())
    rows = [json.loads(line) for line in (place / "flags.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and all(len(row["with"]) == len(row["without"]) == 1 for row in rows)
    examples = open_set(*named("flags.jsonl"))
    assert [examples[i].question for i in range(2)] == [row["question"] for row in rows], "for --data"
    assert examples[0].picture.shape == (128, 128, 3)


def test_data_flag_takes_questions_of_ones_own(cooper: Cooper, place: Path) -> None:
    """Once about a row that cannot be read, and on where it was; what is written is a table of the same questions."""
    row = {"image": "room.png", "question": "How many things are there?", "answer": "4"}
    rows = [row, {**row, "image": "gone.png"}, {**row, "question": "Is there a red ball?", "answer": "yes"}]
    Path("own.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    argv = ("data", "flag", "--data", "own.jsonl", "--out", "flags.jsonl", "--samples", "1")
    Path("flags").mkdir()  # as it is if the disk was full at once
    first, whole = cooper(*argv, "--n", "1", "--json"), cooper(*argv, "--json")
    assert (first.code, whole.code) == (0, 0) and json.loads(first.out)["questions"] == 1
    said = json.loads(whole.out)
    assert (said["questions"], said["broken"], sum(said["flags"].values())) == (2, 1, 2)
    assert "passed over: own.jsonl, row 2" in whole.err and "gone.png" in whole.err
    found = [json.loads(line) for line in (place / "flags.jsonl").read_text().splitlines()]
    asked = [r["question"] for r in (rows[0], rows[2])]
    assert [(r["question"], r["kind"]) for r in found] == list(zip(asked, ("count", "yes_no"), strict=True))
    examples = open_set(*named("flags.jsonl"))
    assert [(e.question, e.answer) for e in examples] == list(zip(asked, ("4", "yes"), strict=True))
    assert (examples[0].picture == np.asarray(Image.open("room.png").convert("RGB"))).all()

    other = Path("other.jsonl")
    other.write_text(json.dumps({**row, "image": "gone.png"}) + "\n")
    refused = cooper("data", "flag", "--data", "other.jsonl", "--out", "none.jsonl", "--samples", "1")
    assert refused.code == 2 and "none of the 1 rows can be read" in refused.err and not Path("none.jsonl").exists()
    other.write_text(json.dumps(row) + "\n")
    for changed in ({**row, "answer": "5"}, {**row, "question": "How many balls are there?"}):
        Path("own.jsonl").write_text(json.dumps(changed) + "\n")
        refused = cooper(*argv)
        assert refused.code == 2 and "is about another question 0 than this" in refused.err
    for more, told in (
        (("--data", "other.jsonl"), "is of source"), (("--shards", "scenes"), "--shards is for scenes"),
        (("--data", "gone.jsonl"), "gone.jsonl"), (("--n", "0"), "--n must be at least 1"),
        (("--out", "own.jsonl"), "lies in, the --data"), (("--out", "marks"), "ending .jsonl"),
        (("--data", ".", "--out", "more.jsonl"), "lies in, the --data"),
    ):  # fmt: skip
        refused = cooper(*argv, *more)
        assert refused.code and told in refused.err.replace("\n", " "), (more, refused.err)
