"""What README and docs tell a newcomer to type is understood, and does what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cooper.cli import _parse, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: What stands for one of several words.
PLACEHOLDERS = {"eval NAME": "eval tsv", "native|released": "native"}


def commands_of(text: str) -> list[list[str]]:
    """The arguments of the commands in indented blocks; what may be left out, in brackets, is not left out."""
    # a line goes on after a backslash, or with what may be left out
    lines = re.findall(r"^    (?:\S*/)?cooper .*$", re.sub(r"\\\n\s+|\n\s+(?=\[--)", " ", text), re.MULTILINE)
    for word, one in PLACEHOLDERS.items():
        lines = [line.replace(word, one) for line in lines]
    return [shlex.split(re.sub(r"\[(--[^]]*)\]", r"\1", line), comments=True)[1:] for line in lines]


COMMANDS = commands_of(README)
DOCUMENTED = [
    pytest.param(argv, id=f"{path.name}: {' '.join(argv)}")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for argv in commands_of(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("argv", DOCUMENTED)
def test_commands_are_understood(argv: list[str]) -> None:
    assert _parse(argv)


def test_there_are_commands_and_their_pictures() -> None:
    assert {"ask", "inspect", "serve", "train", "reproduce"} <= {argv[0] for argv in COMMANDS}
    documented = {str(param.id).partition(":")[0] for param in DOCUMENTED}
    assert {"README.md", "benchmarks.md", "published.md", "tuning.md"} <= documented
    pictures = re.findall(r"[\w./-]+\.png", README)
    assert pictures and [p for p in pictures if "/" in p and not (ROOT / p).exists()] == []
    assert (ROOT / next(argv[1] for argv in COMMANDS if argv[0] == "ask")).exists()


def test_the_example_runs_in_python_and_as_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    result = names["result"]
    assert capsys.readouterr().out.strip() == f"{result.answer} {result.value} {result.unit}"  # type: ignore[attr-defined]
    assert main(next(argv for argv in COMMANDS if argv[0] == "ask")) == 0
    assert f"Answer: {result.answer}\n" in capsys.readouterr().out  # type: ignore[attr-defined]
    assert str(names["depth"].dtype) == "float32" and str(names["labels"].dtype) == "int32"  # type: ignore[attr-defined]
