"""Files and folders that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from cooper.files import held, new_file, new_folder, remove_unfinished


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


@pytest.mark.parametrize("make", [new_file, new_folder])
def test_what_killed_processes_left_is_removed(
    make: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path
) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "log.jsonl").touch()
    for name in ("state.safetensors", "other"):
        with make(tmp_path / "run" / name) as left:
            if make is new_file:
                left.touch()
            os.rename(left, tmp_path / left.name)
            if make is new_file:
                left.touch()
            else:
                left.mkdir()
        (tmp_path / left.name).rename(tmp_path / "run" / left.name)  # as if nobody had come to rename it
    remove_unfinished(tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"model", "log.jsonl", "state.safetensors", "other"}


def test_one_holds_what_others_must_not_touch(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / ".lock"
    with held(lock, "somebody is here"):
        with pytest.raises(ValueError, match="somebody is here"), held(lock, "somebody is here"):
            pass
        assert lock.exists()
    with held(lock, "somebody is here"):
        pass
    assert not lock.exists() and lock.parent.exists()


def test_weights_are_replaced_before_what_tells_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads meanwhile, or finds what a kill left, must not take old weights for new ones."""
    replaced: list[str] = []
    replace = Path.replace

    def noting(self: Path, target: Path) -> Path:
        replaced.append(Path(target).name)
        return replace(self, target)

    (tmp_path / "model").mkdir()
    monkeypatch.setattr(Path, "replace", noting)
    with new_folder(tmp_path / "model") as folder:
        for name in ("a.json", "m.safetensors", "z.json"):
            (folder / name).write_text("")
    assert replaced == ["m.safetensors", "a.json", "z.json"]
