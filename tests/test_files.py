"""Files and folders that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from cooper.files import new_file, new_folder


@pytest.mark.parametrize("there", [False, True])
def test_what_a_killed_process_left_is_no_hindrance(there: bool, tmp_path: Path) -> None:
    """In a container the next one has its number, too."""
    path = tmp_path / "model"
    left = tmp_path / f".model.{os.getpid()}.tmp"
    if there:
        path.mkdir()
        left = path / f".{os.getpid()}.tmp"
    left.mkdir()
    (left / "half").touch()
    with new_folder(path) as folder:
        (folder / "weights").write_text("whole")
    assert [p.name for p in path.iterdir()] == ["weights"] and [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("make", [new_file, new_folder])
def test_a_full_disk_is_told_with_the_name(
    make: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="No space left") as raised, make(tmp_path / "out"):
        raise OSError(28, "No space left on device")  # as the system tells it of an open file
    assert raised.value.filename == str(tmp_path / "out") and not list(tmp_path.iterdir())
