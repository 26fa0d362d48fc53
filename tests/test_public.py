"""The public names: all there, all found by completion, and none imported before it is used."""

from __future__ import annotations

import subprocess
import sys
from typing import get_type_hints

import pytest

import cooper
from cooper.commands.ask import Ask
from cooper.commands.benchmarks import EvalBenchmark
from cooper.commands.evaluate import EvalScenes
from cooper.commands.serve import Serve
from cooper.policy import MODES, POLICIES, Mode


def test_each_is_found_where_it_is_made() -> None:
    for name in cooper.__all__:
        assert name in dir(cooper) and getattr(cooper, name).__name__ == name
    assert {"__version__", "__all__"} <= {*dir(cooper)}
    with pytest.raises(AttributeError, match="no attribute 'Answr'"):
        _ = cooper.Answr


def test_modes_are_one_list() -> None:
    assert MODES == tuple(POLICIES) == tuple(policy.name for policy in POLICIES.values())
    for command in (Ask, EvalScenes, EvalBenchmark, Serve):
        assert get_type_hints(command)["mode"] is Mode, "what the command line offers"


def test_completion_imports_nothing() -> None:
    code = "import cooper, sys; assert 'Cooper' in dir(cooper); print({'torch', 'cooper.api'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_what_is_to_be_caught_is_what_is_raised() -> None:
    with pytest.raises(cooper.ImageError, match="does not exist"):
        cooper.Cooper.load("tiny").ask("nowhere.png", "How far is the ball?")
    with pytest.raises(cooper.OptionError, match="samples"):
        cooper.Options(samples=0)
    assert issubclass(cooper.ImageError, ValueError) and issubclass(cooper.OptionError, ValueError)
    assert issubclass(cooper.WordingWarning, UserWarning) and issubclass(cooper.UnusedWarning, UserWarning)
