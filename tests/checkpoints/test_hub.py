"""Models on a hub, or in its cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.hub_server import hub

from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.convert import convert


def test_a_model_of_the_hub(tmp_path: Path, native: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of the hub's cache, as it is on a disk; with no connection nothing else can be had."""
    snapshot = tmp_path / "hub/models--some--model/snapshots/0123abc"
    shutil.copytree(native, snapshot)
    (tmp_path / "hub/models--some--model/refs").mkdir()
    (tmp_path / "hub/models--some--model/refs/main").write_text("0123abc")
    script = "import sys; from cooper.checkpoints.checkpoint import find; print(find(sys.argv[1]).main.files[0])"
    environment = {
        **os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
    }  # fmt: skip
    done = [
        subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, env=environment)
        for name in ("some/model", "other/model")
    ]
    assert done[0].stdout.strip() == str(snapshot / "model.safetensors")
    assert "the model other/model is neither in the hub's cache nor can it be downloaded" in done[1].stderr
    with pytest.raises(ValueError, match="there is no model 'nothing'"):
        find("nothing")


FIND = """
import sys
from cooper.checkpoints.checkpoint import find
for source in sys.argv[1:]:
    found = find(source, "some/base")
    assert not (found.missing or found.unexpected or found.misshapen) and found.tokenizer()
    print(*(path.parent.name for path in (*found.main.files, *found.ae.files)))
"""


def test_of_a_base_on_the_hub_only_what_will_be_read_is_fetched(tmp_path: Path, native: Path) -> None:
    """A base has all; what is fetched of its weights is what the folder that is based on it lacks."""
    convert(find(native), tmp_path / "base", "released")
    held = {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()}
    folders = {"both": ("ema.safetensors", "ae.safetensors"), "tuned": ("ema.safetensors",)}
    for folder, names in folders.items():
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(tmp_path / "base" / name, tmp_path / folder)
    settings = {name for name in held if name.endswith(".json")}
    assert held.keys() - settings == {"ema.safetensors", "ae.safetensors"}

    def ran(environment: dict[str, str], *folders: str) -> str:
        run = [sys.executable, "-c", FIND, *(str(tmp_path / folder) for folder in folders)]
        done = subprocess.run(run, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with hub({"some/base": held | {"weights.bin": b"0", "run.py": b"1"}}) as server:
        environment = server.environment(tmp_path / "home")
        before = ran(environment, "both", "tuned")
        assert set(server.sent[:-1]) == settings and server.sent[-1] == "ae.safetensors"
    # what was fetched is enough without a connection
    assert ran(environment | {"HF_HUB_OFFLINE": "1"}, "both", "tuned") == before
    both, tuned = before.splitlines()
    assert both == "both both" and re.fullmatch(r"tuned [0-9a-f]{40}", tuned)


PUSH = """
import sys
from cooper import Cooper
cooper = Cooper.load(sys.argv[1])
print(cooper.push_to_hub("some/model", private=True))
again = Cooper.load("some/model")
for a, b in zip(cooper.model.parameters(), again.model.parameters(), strict=True):
    assert a.equal(b)
"""


def test_pushed_to_the_hub_and_fetched_again(tmp_path: Path, native: Path) -> None:
    """What another model left there would be loaded in its place; what is no model's stays."""
    before = {"ema.safetensors": b"old", "llm_config.json": b"{}", "README.md": b"# model", "train.py": b""}
    with hub({"some/model": before}) as server:
        run, environment = [sys.executable, "-c", PUSH, str(native)], server.environment(tmp_path / "home")
        done = subprocess.run(run, capture_output=True, text=True, env=environment)
        assert done.returncode == 0 and done.stdout == f"{environment['HF_ENDPOINT']}/some/model\n", done.stderr
        assert server.repos["some/model"].keys() == {
            "README.md", "train.py", "config.json", "model.safetensors", "tokenizer.json"
        }  # fmt: skip
        assert server.repos["some/model"]["README.md"] == b"# model", "its owner's card"
        assert server.made == [{"name": "model", "organization": "some", "visibility": "private"}]
    with hub({}) as server:
        environment = server.environment(tmp_path / "other")
        assert subprocess.run(run, env=environment, stdout=subprocess.DEVNULL).returncode == 0
        card = server.repos["some/model"]["README.md"].decode()
        assert card.startswith("---\nlibrary_name: cooper-spatial\n") and 'Cooper.load("some/model")' in card
    gone = subprocess.run(run, capture_output=True, text=True, env=environment)
    assert gone.stderr.splitlines()[-1].startswith("ValueError: some/model cannot be pushed to the hub: "), gone.stderr
