"""Prompts of published weights, out of a file that is read and never run."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers import random_model, tokenizer

from cooper import Cooper
from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.convert import convert
from cooper.checkpoints.native import save_native
from cooper.checkpoints.prompts_in_code import prompts_in
from cooper.cli import main
from cooper.modalities import modality
from cooper.modalities.codes import RELEASED as RELEASED_CODES
from cooper.prompts import FILE, Prompts, WordingWarning, load_prompts

# made up here; what a release's file might look like
RELEASE = '''
import torch.this_is_not_installed
raise SystemExit("a file like this must not be run")
open("ran", "w")

SYSTEM = """
Reason in <think></think>. Ask for maps by <depth-estimation></depth-estimation> or <segmentation></segmentation>.
"""
class Config:
    reflect: str = ("A map has been made. " + "It may be inaccurate; check it, then go on.").strip()
    depth_order = f"<depth-estimation>Estimate how far everything is.</depth-estimation>"
def later():
    template = "<segmentation>Colour every object.</segmentation>\\n"
    unrelated = f"{later} depth image, check"
    unrelated_too = "Loading the weights."
'''


def test_what_is_what_is_told_by_the_texts(tmp_path: Path) -> None:
    (tmp_path / "release.py").write_text(RELEASE)
    found = prompts_in(tmp_path / "release.py", {})
    assert found.system["interleaved"].startswith("\nReason in <think>"), "to the letter"
    assert found.system.keys() == {"interleaved"}
    assert found.reflection == "A map has been made. It may be inaccurate; check it, then go on."
    assert found.orders == {"depth": "Estimate how far everything is.", "segmentation": "Colour every object."}
    found.save(tmp_path / FILE)
    assert load_prompts(tmp_path / FILE) == found
    assert found.call(modality("depth")) == "<depth-estimation>Estimate how far everything is.</depth-estimation>"
    way = found.policy("interleaved")
    assert way.system == found.system["interleaved"] and way.reflection == found.reflection
    assert found.policy("direct").system is None and Prompts().call(modality("depth")) == modality("depth").call


def test_names_decide_where_texts_do_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "release.py", tmp_path / "prompts.json"
    path.write_text(RELEASE + 'OTHER = "Look at the depth map again and verify it."\n')
    assert main(["prompts", "import", str(path), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "has 2 texts that could be the reflection prompt; say which with --reflection NAME" in told
    assert "OTHER" in told and "unrelated_too" in told and not out.exists()
    assert main(["prompts", "import", str(path), "--out", str(out), "--reflection", "OTHER"]) == 0
    assert load_prompts(out).reflection == "Look at the depth map again and verify it."
    assert main(["prompts", "import", str(path), "--out", str(out), "--reflection", "NONE"]) == 2
    assert "gives no text the name NONE" in capsys.readouterr().err
    before = path.read_bytes()
    assert main(["prompts", "import", str(path), "--out", str(path)]) == 2
    assert "would overwrite what is read" in capsys.readouterr().err and path.read_bytes() == before
    path.write_text("def (:")
    assert main(["prompts", "import", str(path), "--out", str(out)]) == 2
    assert "is not a Python file" in capsys.readouterr().err


def test_a_text_is_what_was_assigned_last_where_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "release.py"
    path.write_text(
        RELEASE + 'SYSTEM += "Answer in <answer>."\nOPEN = "a"\nOPEN += str(later)\nGONE = "b"\nGONE = later()\n'
        'if later:\n    CHOSEN = "c"\ndef old():\n    SYSTEM = "<think> of old"\n    SYSTEM += "er"\n    if SYSTEM:\n'
        '        mine = "m"\nclass Old:\n    async def run(self):\n        self.SYSTEM = "method"\n'
    )
    names = {"system": "SYSTEM", "text": "old.SYSTEM", "perception": "run.SYSTEM"}
    with pytest.raises(ValueError, match="no text the name run.SYSTEM; it has SYSTEM, CHOSEN, reflect, .*, mine, "):
        prompts_in(path, names)
    found = prompts_in(path, names | {"perception": "Old.run.SYSTEM"})
    system = found.system
    assert system["interleaved"].startswith("\nReason in") and system["interleaved"].endswith("Answer in <answer>.")
    assert (system["text"], system["perception"]) == ("<think> of older", "method")
    for gone in ("OPEN", "GONE"):  # what they hold would have to be computed
        with pytest.raises(ValueError, match=f"gives no text the name {gone}"):
            prompts_in(path, {"text": gone})


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ('A = "x"\nB = f"{A} and {A!s:>3}"\nC = A + "y"\nD = f"{A}z"', {"A": "x", "C": "xy", "D": "xz"}),
        ('A = "x"\ndef f():\n    B = A + "y"\n    A = "z"', {"A": "x", "B": "xy", "f.A": "z"}),
        ('A = "x"\nA, B = "y", 1', {}), ('A = "x"\nfor A in "y": pass', {}), ('A = "x"\ndel A', {}),
        ('A = {"k": "x", "l": "y"}\nA["k"] = later()', {}), ('A = {"k": "x"}\nA.update(k="y")', {}),
        ('A = "x"\ntry: pass\nexcept E as A: pass', {}), ('A = "x"\nmatch later:\n    case {"a": A}: pass', {}),
        ('A = "x"\nmatch later:\n    case [*A]: pass', {}), ('A = "x"\nmatch later:\n    case {**A}: pass', {}),
        ('A = "x"\nimport a.b as A', {}), ('A = "x"\nwith open() as A:\n    B = "y"', {"B": "y"}),
        ('A = "x"\nif later: A = "y"', {}), ('if later: A = "x"\nelse: A = "x"', {"A": "x"}),
        ('if later: A = "x"\nelif now: A = "y"\nelse: B = "z"', {"B": "z"}),
        ('try:\n    A = "x"\nexcept E:\n    A = "y"\nfinally:\n    B = "z"', {"B": "z"}),
        ('A = "x"\nif later: A = later()', {}), ('A = "x"\ntry:\n    A = later()\nexcept E: pass', {}),
        ('A = "x"\ndef f():\n    A = later()\n    B = A + "y"', {"A": "x"}),
        ('A = "x"\ndef f(A):\n    B = A', {"A": "x"}), ('A = "x"\ndef f(*, A=1):\n    B = A', {"A": "x"}),
        ('def f():\n    A = "x"\ndef g():\n    B = A + "y"', {"A": "x"}),
        ('class C:\n    A = "x"\n    B = A + "y"\n    def f(self):\n        D = A', {"A": "x", "B": "xy"}),
        ('while later:\n    A = "x"', {"A": "x"}), ('match later:\n    case 1:\n        A = "x"', {"A": "x"}),
        ('A = "x"\nA += "y"\nB = {"k": A}', {"A": "xy", "B.k": "xy"}),
        ('\ufeffA = "x"', {"A": "x"}), ('# -*- coding: latin-1 -*-\nA = "\u00fc"', {"A": "\u00fc"}),
    ],
)  # fmt: skip
def test_texts_whose_value_is_known(tmp_path: Path, text: str, known: dict[str, str]) -> None:
    path = tmp_path / "release.py"
    path.write_bytes(text.encode("latin-1" if "latin-1" in text else "utf-8"))
    with pytest.raises(ValueError) as error:
        prompts_in(path, {"text": "NOWHERE"})
    assert str(error.value).endswith(f"gives no text the name NOWHERE; it has {', '.join(known) or 'none'}")
    for name, held in known.items():
        with pytest.raises(ValueError, match="no text that could be the system prompt"):
            prompts_in(path, {"text": name})
        whats = ("text", "system", "reflection", "depth", "segmentation")
        assert prompts_in(path, dict.fromkeys(whats, name)).system["text"] == held


def test_a_mode_without_words_is_told() -> None:
    words = Prompts({"interleaved": "Think."}, "Look.")
    with pytest.warns(WordingWarning, match="the mode text has no words in prompts.json.*--text NAME"):
        words.policy("text")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert words.policy("direct").system is None and words.policy("interleaved").system == "Think."
        assert Prompts().policy("text").system


IN_DICTS = '''
PROMPTS = {
    "system": "Reason in <think></think>. Use <depth-estimation></depth-estimation> or <segmentation></segmentation>.",
    "orders": {"depth": "<depth-estimation>How far?</depth-estimation>", 3: "three", **{"more": "x"}, "number": 3},
    "after": "Look at the map " + "and check it.",
}
class Tasks:
    table: dict = {"segmentation": f"<segmentation>Colour it.</segmentation>", "after": "Verify the depth map."}
'''


def test_texts_in_dicts_have_the_names_of_their_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "release.py", tmp_path / "prompts.json"
    path.write_text(IN_DICTS)
    run = ["prompts", "import", str(path), "--out", str(out)]
    assert main(run) == 2
    told = capsys.readouterr().err
    assert "has 2 texts that could be the reflection prompt" in told and told.endswith(
        "it has PROMPTS.system, PROMPTS.orders.depth, PROMPTS.after, table.segmentation, table.after\n"
    )
    assert main([*run, "--reflection", "PROMPTS.after"]) == 0
    found = load_prompts(out)
    assert found.system["interleaved"].startswith("Reason in") and found.reflection == "Look at the map and check it."
    assert found.orders == {"depth": "How far?", "segmentation": "Colour it."}


@pytest.mark.parametrize("text", ["x = " + "-" * 9999 + "1", "x = " + "+".join(["'a'"] * 9999)])
def test_what_is_nested_too_deeply_is_told_in_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep.py").write_text(text)
    assert main(["prompts", "import", str(tmp_path / "deep.py"), "--out", str(tmp_path / "prompts.json")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"cooper: {tmp_path / 'deep.py'} is nested too deeply") and told.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{", '{"system": {"no such mode": "x"}}', '{"reflection": 3}', '{"reflection": false}',
        r'{"reflection": "\ud800"}', '{"more": 1}',
    ],
)
def test_other_files_are_no_prompts(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ValueError, match="does not hold prompts"):
        load_prompts(tmp_path / FILE)


def test_who_is_addressed_in_other_words_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_native(random_model(codes=RELEASED_CODES), tokenizer(), tmp_path / "theirs", torch.float32)
    save_native(random_model(), tokenizer(), tmp_path / "own", torch.float32)
    convert(find(tmp_path / "own"), tmp_path / "released", "released")
    Image.new("RGB", (64, 64)).save(tmp_path / "room.png")
    argv = ["ask", str(tmp_path / "room.png"), "How many?", "--mode", "direct", "--model", str(tmp_path / "theirs")]
    assert main(argv) == 0
    told = capsys.readouterr().err
    assert told.startswith(f"cooper: note: {tmp_path / 'theirs'} has no prompts.json: it is addressed")
    # whatever the layout
    assert main([*argv[:-1], str(tmp_path / "released")]) == 0 and "note" not in capsys.readouterr().err
    Prompts({"interleaved": "Think."}, "Look.").save(tmp_path / "theirs" / FILE)
    assert main(argv) == 0 and "note" not in capsys.readouterr().err


def test_a_model_is_addressed_in_the_words_beside_its_weights(tmp_path: Path) -> None:
    save_native(random_model(), tokenizer(), tmp_path / "model", torch.float32)
    words = Prompts({"interleaved": "Think about it."}, "Here it is.", {"depth": "how far"})
    words.save(tmp_path / "model" / FILE)
    cooper = Cooper.load(tmp_path / "model")
    trace = cooper.ask(np.zeros((32, 32, 3), np.uint8), "How many?", max_turns=1).trace
    assert trace.segments[0].text == "Think about it."  # type: ignore[union-attr]
    cooper.save_pretrained(tmp_path / "copy")
    assert Cooper.load(tmp_path / "copy").sequencer.prompts == words
    words.save(tmp_path / "other.json")
    (tmp_path / "copy" / FILE).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a model that was trained here nothing is said
        assert Cooper.load(tmp_path / "copy").policy("interleaved").system.startswith("Draw a map")  # type: ignore[union-attr]
        assert Cooper.load(tmp_path / "copy", prompts=tmp_path / "other.json").sequencer.prompts == words
