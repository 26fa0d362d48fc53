"""Every stage, one after the other, on a model of a moment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.helpers import flagged, random_model, tokenizer

from cooper.api import Cooper
from cooper.checkpoints.native import save_native
from cooper.inference.flow import FlowSettings
from cooper.lora import Lora
from cooper.model.config import ImageSizes
from cooper.model.presets import dummy
from cooper.scenes.shards import make_shards, open_shards
from cooper.training import muon, pipeline, reinforcement
from cooper.training.grpo import Objective
from cooper.training.optimisation import Optimisation
from cooper.training.pipeline import Workspace, train
from cooper.training.recipe import BAGEL_7B, SCRATCH_STAGES, TINY, Recipe, Scratch
from cooper.training.rewards import Reward

pytest.importorskip("mujoco")
STEPS = 20
FAST = Optimisation(STEPS, lr=2e-3, matrix_lr=3e-3, warmup=2, ema=0.8)
QUICK = Recipe(
    scratch=Scratch(replace(dummy(), turn_tokens=24), autoencoder=FAST, decoder=FAST, vision=FAST, vision_batch=8),
    unified={
        name: replace(s, optimisation=FAST, rows=2, mix=replace(s.mix, tokens=300)) for name, s in TINY.unified.items()
    },
    reinforced={
        name: replace(
            s, optimisation=Optimisation(STEPS, lr=1e-3, scale_lr=0.05, warmup=1, ema=0.5), questions=2, rollouts=2,
            turn_tokens=8, flow=FlowSettings(3),
        ) for name, s in TINY.reinforced.items()
    },
    reinforced_on=replace(TINY.reinforced_on, scenes=2), balance=replace(TINY.balance, scenes=2),
)  # fmt: skip

#: Mean loss of the last five steps, of reinforcement the entropy of what is written: its loss is 0 when it is computed.
#: Whoever changes what a stage learns changes these, and says so.
LOSSES = {
    "autoencoder": 2.6572, "decoder": 0.9880, "vision": 14.5923, "base": 7.3071, "perception": 2.0799,
    "answers": 6.3427, "direct": 5.5249, "interleaved": 6.4072, "text": 5.1825, "true_maps": 6.5526,
    "view_dropout": 6.1661, "text_from_base": 5.7222, "by_eye": 6.3731, "reinforcement": 6.1887,
    "text_reinforcement": 6.1189, "text_from_base_reinforcement": 6.1176, "no_exploration": 6.1764,
    "view_dropout_reinforcement": 6.0277, "by_eye_reinforcement": 6.1378, "by_eye_no_exploration": 6.1559,
}  # fmt: skip
#: Likewise, what reinforcement makes of how sure the model is; 1 is nothing, and with the rewards negated it is 1.22.
SHARPNESS = 0.74


def space_in(folder: Path) -> Workspace:
    for name, first in (("train", 0), ("validation", 10_000_000)):
        make_shards(folder / name, first, 6, size=64, workers=1, quiet=True)
    return Workspace(folder / "run", folder / "train", folder / "validation")


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run up to the stage vision, from nothing, to be copied."""
    space = space_in(tmp_path_factory.mktemp("seeing"))
    with pytest.MonkeyPatch.context() as patched:
        as_anywhere(patched)
        assert train(space, QUICK, "vision", quiet=True) == space.run / "vision"
    return space


def as_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses above are of any machine."""
    for module in (pipeline, muon):
        monkeypatch.setattr(module, "fast_dtype", lambda: torch.float32)


def copied(space: Workspace, folder: Path) -> Workspace:
    shutil.copytree(space.run.parent, folder, dirs_exist_ok=True)
    return Workspace(folder / "run", folder / "train", folder / "validation")


def lettered(traces, record, tags, weights, *_):  # type: ignore[no-untyped-def]
    """Rewards that even a model of a moment earns: for letters, and in the place of exploration for spaces."""
    said = [trace.turns[0] for trace in traces]
    return [Reward(0, 0, 0, sum(map(str.isalpha, s)) + weights.exploration * s.count(" ")) for s in said]


def test_all_stages(seeing: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "flag_questions", flagged)
    monkeypatch.setattr(reinforcement, "rewards", lettered)
    as_anywhere(monkeypatch)
    space = copied(seeing, tmp_path)
    assert train(space, QUICK, quiet=True) == space.run / "reinforcement"
    for name in ("true_maps", *QUICK.reinforced):
        train(space, QUICK, name, quiet=True)
    trained = ("autoencoder", "decoder", "vision", *QUICK.unified, *QUICK.reinforced)
    losses = {}
    for name in trained:
        log = [json.loads(row) for row in (space.stage(name) / "log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in log] == list(range(1, STEPS + 1)), name
        drawn = [*(space.stage(name) / "sheets").glob("*.png")]
        assert bool(drawn) == (name not in ("direct", "text", "text_from_base")), "who draws nothing shows nothing"
        figure = "entropy" if name in QUICK.reinforced else "loss"
        losses[name] = float(np.mean([row[figure] for row in log[-5:] if figure in row]))
    assert losses == pytest.approx(LOSSES, rel=0.03)
    log = [json.loads(row) for row in (space.stage("reinforcement") / "log.jsonl").read_text().splitlines()]
    assert max(row["log_p_difference"] for row in log if "log_p_difference" in row) < 1e-4, "of reinforcement, the last"
    assert float(np.mean([row["sharpness"] for row in log[-5:]])) == pytest.approx(SHARPNESS, rel=0.1)
    before, after = (Cooper.load(space.model(name)) for name in ("interleaved", "reinforcement"))
    image = open_shards(space.validation).rgb[0]
    assert after.ask(image, "What colour is the ball?").trace.turns
    was = dict(before.model.named_parameters())
    changed = {k for k, p in after.model.named_parameters() if not torch.equal(p, was[k])}
    assert changed and not any(".gen." in k or k.startswith(("vision.", "autoencoder.")) for k in changed)

    logs = {name: (space.stage(name) / "log.jsonl").read_bytes() for name in trained}
    train(space, QUICK, quiet=True)
    assert logs == {name: (space.stage(name) / "log.jsonl").read_bytes() for name in trained}, "nothing is redone"


def test_a_recipe_that_begins_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published model's recipe, on a model of a moment that sees and draws pictures larger than they are."""
    monkeypatch.setattr(pipeline, "flag_questions", flagged)
    monkeypatch.setattr(reinforcement, "rewards", lettered)
    start = random_model(latent_sizes=ImageSizes(96, 96), maps_through="both")
    save_native(start, tokenizer(), tmp_path / "start", torch.float32)
    fast = {"optimisation": replace(FAST, steps=3, matrix_lr=None)}
    recipe = replace(
        BAGEL_7B, reinforced_on=replace(TINY.reinforced_on, scenes=2), balance=replace(BAGEL_7B.balance, scenes=2),
        unified={k: replace(s, rows=2, scenes=s.scenes and 3, **fast) for k, s in BAGEL_7B.unified.items()},
        reinforced={
            k: replace(s, questions=2, rollouts=2, turn_tokens=8, flow=replace(s.flow, time_points=3), lora=Lora(2),
                       objective=Objective(kl=0.1), **fast)
            for k, s in BAGEL_7B.reinforced.items()
        },
    )  # fmt: skip
    space = space_in(tmp_path)
    with pytest.raises(ValueError, match="--start"):
        train(space, recipe, "perception")
    space = replace(space, start=str(tmp_path / "start"))
    with pytest.raises(ValueError, match="no stage is called 'base'"):
        train(space, recipe, "base")
    with pytest.raises(ValueError, match="through the stage vision already"):
        train(space, QUICK, "vision")
    few = space.validation / "few"  # fewer than contact sheets have room for
    make_shards(few, 10_000_000, 2, size=64, workers=1, quiet=True)
    space = replace(space, validation=few)
    train(space, recipe, "reinforcement", quiet=True)
    assert {p.name for p in space.run.iterdir() if not p.name.startswith(("drawn-", "."))} == {
        "perception", "interleaved", "reinforcement", "flagged-by-perception.jsonl",
        "flagged-by-interleaved.jsonl", "tokenizer.json", "start.txt",
    }  # fmt: skip
    log = [json.loads(row) for row in (space.stage("perception") / "log.jsonl").read_text().splitlines()]
    assert all(row["flow"] > 0 and "text" not in row for row in log), "the flow loss alone"
    before = dict(start.named_parameters())
    after = dict(Cooper.load(space.model("reinforcement")).model.named_parameters())
    changed = {k for k, p in after.items() if not torch.equal(p, before[k])}
    assert any(".gen." in k for k in changed) and any(".und." in k for k in changed)
    assert not any(k.startswith(("autoencoder.", "vision.")) for k in changed)
    sft = dict(Cooper.load(space.model("interleaved")).model.named_parameters())
    learned = {k for k, p in after.items() if not torch.equal(p, sft[k])}
    assert learned and all(re.fullmatch(r"decoder\.layers\.\d\.und\.\w+\.weight", k) for k in learned), "adapters' own"
    assert (space.stage("reinforcement") / "adapter" / "adapter_model.safetensors").exists()

    words = (space.run / "tokenizer.json").stat().st_mtime_ns
    save_native(random_model(seed=1), tokenizer(), tmp_path / "other")
    for start, other in ((str(tmp_path / "other"), recipe), (None, QUICK)):
        with pytest.raises(ValueError, match="run was begun from another model; choose another --run, or delete it"):
            train(replace(space, start=start), other, "perception", quiet=True)
    assert (space.run / "tokenizer.json").stat().st_mtime_ns == words


def test_a_stage_ends_there_and_the_next_begins_with_it(
    seeing: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    space = replace(copied(seeing, tmp_path), run=Path("run"))  # two processes once never met in a relative path
    assert not (space.run / "base").exists()
    # of more processes than there are rows, some would have nothing to do
    assert QUICK.together == 2 and TINY.together == 12
    base = replace(QUICK.unified["base"], optimisation=FAST.in_steps(2))
    train(space, replace(QUICK, unified={**QUICK.unified, "base": base}), "base", processes=3, quiet=True)
    assert sorted(p.name for p in space.run.iterdir() if p.name != ".lock") == [
        "autoencoder", "base", "decoder", "start.txt", "tokenizer.json", "vision",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no stage is called 'last'"):
        train(space, QUICK, "last")


def test_more_steps_make_another_model(seeing: Workspace, tmp_path: Path) -> None:
    """What had gone on from the one before does not go on from this, nor is it told to be trained."""
    def recipe_of(steps: int) -> Recipe:
        fast = {"base": replace(FAST, steps=steps), "direct": FAST.in_steps(1)}
        short = {name: replace(QUICK.unified[name], optimisation=how) for name, how in fast.items()}
        return replace(QUICK, unified={**QUICK.unified, **short})

    space, made = copied(seeing, tmp_path), []
    for recipe in (recipe_of(3), recipe_of(3), recipe_of(5)):
        if made:
            train(space, recipe_of(3), "direct", quiet=True)
        train(space, recipe, "base", quiet=True)
        made.append((space.model("base") / "model.safetensors").stat().st_mtime_ns)
        trained = load_file(space.stage("base") / "state.safetensors")["average/decoder.head.weight"]
        kept = dict(Cooper.load(space.model("base")).model.named_parameters())["decoder.head.weight"]
        assert torch.equal(kept, trained)
    assert made[0] == made[1] < made[2]
    with pytest.raises(ValueError, match=r"direct was begun with .* \(start model: \w+, and now start model: \w+\)"):
        train(space, recipe, "direct", quiet=True)


def test_steps_may_grow_and_nothing_else(tmp_path: Path) -> None:
    """With them grows the number of those that warm up."""
    settings = QUICK.unified["base"]
    pipeline.claim(tmp_path, settings, of={})
    (tmp_path / "state.safetensors").touch()
    pipeline.claim(tmp_path, replace(settings, optimisation=replace(FAST, steps=300, warmup=30)), of={})
    with pytest.raises(ValueError, match=r"with other settings, data or start model \(lr=0.002, and now lr=1.0\)"):
        pipeline.claim(tmp_path, replace(settings, optimisation=replace(FAST, lr=1.0)), of={})
    # begun before scenes were noted
    pipeline.claim(tmp_path, settings, of={"scenes": "some"})
    with pytest.raises(ValueError, match=r"start model \(scenes: some, and now scenes: others\); choose another"):
        pipeline.claim(tmp_path, settings, of={"scenes": "others"})
    # begun before what it goes on from was
    pipeline.claim(tmp_path, settings, of={"scenes": "some"}, later={"start model": "one"})
    with pytest.raises(ValueError, match=r"\(start model: one, and now start model: two\)"):
        pipeline.claim(tmp_path, settings, of={"scenes": "some"}, later={"start model": "two"})
    # nothing that is learned
    pipeline.claim(
        tmp_path, replace(settings, checkpointing=True, sheet_every=7), of={"scenes": "some"},
        later={"start model": "one"},
    )  # fmt: skip


def test_a_run_goes_on_with_the_scenes_it_was_begun_with(seeing: Workspace, tmp_path: Path) -> None:
    """So does every stage, and with the settings, those that make a model to begin with, too."""
    space, scratch = copied(seeing, tmp_path), QUICK.scratch
    assert scratch is not None
    noted = {name: space.stage(name) / "settings.txt" for name in SCRATCH_STAGES}
    begun = {name: path.read_text() for name, path in noted.items()}
    changed = {
        "autoencoder": {"autoencoder": replace(FAST, lr=1.0)}, "decoder": {"decoder": replace(FAST, lr=1.0)},
        "vision": {"geometry": False},
    }  # fmt: skip
    for name, change in changed.items():
        with pytest.raises(ValueError, match=f"{name} was begun with other settings"):
            train(space, replace(QUICK, scratch=replace(scratch, **change)), "vision", quiet=True)
    for name, first in (("other", 5000), ("test", 20_000_000)):
        make_shards(tmp_path / name, first, 6, size=64, workers=1, quiet=True)
    with pytest.raises(ValueError, match="autoencoder was begun with other settings, data or start model"):
        train(replace(space, train=tmp_path / "other"), QUICK, "vision", quiet=True)
    with pytest.raises(ValueError, match="test holds the test scene 20000000; train on others"):
        train(replace(space, train=tmp_path / "test"), QUICK, "vision", quiet=True)
    assert begun == {name: path.read_text() for name, path in noted.items()}
    for path in noted.values():  # as before anything was noted there
        path.unlink()
    train(space, QUICK, "vision", quiet=True)
    assert begun == {name: path.read_text() for name, path in noted.items()}

    there, elsewhere = (replace(space, train=tmp_path / name) for name in ("train", "other"))
    scenes = {"scenes": open_shards(there.train).fingerprint}
    stages: dict[str, Callable[[Workspace], object]] = {
        "base": lambda where: pipeline.train_stage("base", random_model(), where, QUICK.unified["base"]),
        "reinforcement": lambda where: pipeline.train_reinforcement(
            "reinforcement", random_model(), where, QUICK.reinforced["reinforcement"], tmp_path / "gone.jsonl"
        ),
    }
    for name, begin in stages.items():
        pipeline.claim(space.stage(name), QUICK.stage(name), of=scenes)
        (space.stage(name) / "state.safetensors").touch()
        with pytest.raises(ValueError, match=f"{name} was begun with other settings, data or start model"):
            begin(elsewhere)


def test_another_seed_begins_with_other_weights_and_the_same_eyes() -> None:
    model = random_model()
    one, two = (dict(pipeline.begun_again(model, seed).named_parameters()) for seed in (1, 2))
    for name, p in model.named_parameters():
        if name.startswith(("autoencoder.", "vision.", "connector_")):
            assert torch.equal(one[name], p) and torch.equal(two[name], p), name
        elif p.ndim == 2 and name != "latent_out.weight":  # zero at the beginning
            assert not torch.equal(one[name], two[name]), name


ENDLESS = """
import signal
import sys
from dataclasses import replace
from pathlib import Path
if __name__ == "__main__":  # what it starts imports all that stands before this
    from tests.training.test_pipeline import FAST, QUICK, space_in
    from cooper.training.pipeline import train
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as commands do
    scratch = replace(QUICK.scratch, autoencoder=replace(FAST, steps=100_000))
    train(space_in(Path(sys.argv[1])), replace(QUICK, scratch=scratch), "autoencoder", processes=2, quiet=True)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks processes up in /proc, which is Linux's")
@pytest.mark.parametrize(
    ("end", "starting"),
    [
        (signal.SIGTERM, False),
        pytest.param(signal.SIGKILL, True, marks=pytest.mark.slow),  # a training has to begin for each
        pytest.param(signal.SIGKILL, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, False, marks=pytest.mark.slow),
    ],
)
def test_processes_end_with_their_parent(tmp_path: Path, end: signal.Signals, starting: bool) -> None:
    """Also if the parent alone is interrupted, or dies in the background, where a shell has SIGINT ignored, or while
    they are starting: nothing goes on writing into the run, and what was learned is kept. SIGTERM comes to all at the
    same time here, their workers among them, as `timeout` and schedulers of clusters send it."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    root, ignored = str(Path(__file__).parents[2]), end == signal.SIGKILL
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "endless.py"), str(tmp_path)], env={**os.environ, "PYTHONPATH": root},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler),
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    log, children = tmp_path / "run/autoencoder/log.jsonl", Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    try:
        if starting:  # what keeps track of what they share is the first of them
            _until(lambda: len(children.read_text().split()) >= 3)
        else:
            _until(lambda: log.exists() and log.stat().st_size > 0)
        trainers = [Path(f"/proc/{pid}") for pid in children.read_text().split()]
        assert len(trainers) >= 2
        (os.killpg if end == signal.SIGTERM else os.kill)(parent.pid, end)
        assert parent.wait(timeout=60) != 0
    finally:
        parent.kill()
        parent.wait()
    _until(lambda: not any(map(_runs, trainers)), seconds=60)
    assert log.exists() != starting
    assert (log.parent / "state.safetensors").exists() != starting


UNEQUAL = """
import multiprocessing.popen_spawn_posix
import os
import signal
import sys
import threading
import time
from pathlib import Path
from cooper.training.processes import run_in

launch, started, folder = multiprocessing.popen_spawn_posix.Popen._launch, [], Path(sys.argv[1])

def launched(self, obj):
    if sys.argv[2] == "starting" and len(started) == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    launch(self, obj)
    started.append(self.pid)
    if sys.argv[2] == "meeting" and len(started) == 2:
        os.kill(self.pid, signal.SIGSTOP)
        threading.Thread(target=interrupt, daemon=True).start()

def interrupt():
    while not any(meeting.stat().st_size for meeting in folder.glob(".meeting*")):
        time.sleep(0.1)
    time.sleep(1)  # until the first waits for the second
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)
    os.kill(started[1], signal.SIGCONT)

def work(quiet):
    time.sleep(1000)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    multiprocessing.popen_spawn_posix.Popen._launch = launched
    run_in(2, folder, work)
"""


@pytest.mark.parametrize("when", ["starting", pytest.param("meeting", marks=pytest.mark.slow)])
def test_nobody_waits_for_one_that_was_interrupted(tmp_path: Path, when: str) -> None:
    """Between the start of the first and of the second, and while the second is slower than the first."""
    (tmp_path / "unequal.py").write_text(UNEQUAL)
    argv = [sys.executable, str(tmp_path / "unequal.py"), str(tmp_path / "run"), when]
    parent = subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        assert parent.wait(timeout=120) != 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()


def _runs(process: Path) -> bool:
    """Not if it is a zombie: its parent is dead, and whoever inherits it may take its time to bury it, or never do."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(holds: Callable[[], bool], seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.2)


TOLD = """
import os
import signal
import sys
import time
from pathlib import Path
from cooper.training.processes import run_in

def work(quiet):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1000)

if __name__ == "__main__":
    try:
        run_in(2, Path(sys.argv[1]), work)
    except KeyboardInterrupt:
        sys.exit(3)
"""


def test_what_processes_were_interrupted_in_is_not_finished(tmp_path: Path) -> None:
    """Also if they alone were told to end, and their parent was not."""
    (tmp_path / "told.py").write_text(TOLD)
    argv = [sys.executable, str(tmp_path / "told.py"), str(tmp_path / "run")]
    assert subprocess.run(argv, stderr=subprocess.DEVNULL, timeout=120).returncode == 3
