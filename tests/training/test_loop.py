"""A loop that can be stopped, resumed and shared."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cooper.checkpoints import writing
from cooper.training import processes
from cooper.training.disk_cache import DiskCache
from cooper.training.loop import Trainer
from cooper.training.optimisation import Optimisation
from cooper.training.processes import Share, run_in
from cooper.training.stage import Supervised

FILTER = torch.linspace(-1, 1, 2 * 3 * 3 * 3).view(2, 3, 3, 3)


def blank(channels: int = 3) -> nn.Conv2d:
    """Laid out in memory as autoencoders are, and not as gradients and checkpoints come."""
    model = nn.Conv2d(channels, 2, 3)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Filtering(Supervised[nn.Conv2d]):
    """Learn a filter: a stage of a moment."""

    name = "filtering"

    def batch(self, step: int, share: Share) -> Tensor:
        random = torch.Generator().manual_seed(1000 * step + share.rank)
        return torch.randn(32 // share.world, 3, 3, 3, generator=random)

    def loss(self, model: nn.Conv2d, batch: Tensor) -> tuple[Tensor, dict[str, float]]:
        wanted = nn.functional.conv2d(batch, FILTER)
        loss = (model(batch.to(model.weight.dtype)) - wanted).float().square().mean()
        return loss, {"error": float(loss.detach())}

    def trained(self, model: nn.Conv2d) -> dict[str, nn.Parameter]:
        return dict(model.named_parameters())

    def sheet(self, model: nn.Conv2d) -> Any:
        from PIL import Image

        return Image.new("RGB", (4, 4))


class Matrices(Filtering):
    """The same, but that half of what is trained are matrices inside a layer, and so for Muon."""

    def trained(self, model: nn.Conv2d) -> dict[str, nn.Parameter]:
        return {"filter.layers.0.weight": model.weight, "bias": model.bias}  # type: ignore[dict-item]

    def batch(self, step: int, share: Share) -> Tensor:
        random = torch.Generator().manual_seed(1000 * step + share.rank)
        return torch.randn(32 // share.world, 27, generator=random)

    def loss(self, model: Any, batch: Tensor) -> tuple[Tensor, dict[str, float]]:
        loss = (model(batch.to(model.weight.dtype)) - batch @ FILTER.view(2, 27).T).float().square().mean()
        return loss, {}


def filtered(
    folder: Path, steps: int, dtype: torch.dtype = torch.float32, stop: int | None = None, matrices: bool = False
) -> Trainer:
    torch.manual_seed(0)
    optimisation = Optimisation(steps, lr=0.05, warmup=2, decay=0.5, ema=0.8, matrix_lr=0.05 if matrices else None)
    model, stage = (nn.Linear(27, 2), Matrices()) if matrices else (blank(), Filtering())
    trainer: Trainer = Trainer(model, stage, optimisation, folder, dtype=dtype, workers=0)  # type: ignore[arg-type]
    assert len(trainer.optimisers) == 1 + matrices
    if stop is not None:
        update = trainer.update

        def stopping(batch: Any, *note: Any) -> dict[str, float]:
            if trainer.step == stop:
                raise KeyboardInterrupt
            return update(batch, *note)

        trainer.update = stopping  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            trainer.run(quiet=True)
    else:
        trainer.run(quiet=True)
    return trainer


@pytest.mark.parametrize(
    ("dtype", "matrices"), [(torch.float32, False), (torch.bfloat16, False), (torch.float32, True)]
)
def test_a_run_that_was_stopped_ends_where_it_would_have(tmp_path: Path, dtype: torch.dtype, matrices: bool) -> None:
    whole = filtered(tmp_path / "whole", 40, dtype, matrices=matrices)
    filtered(tmp_path / "halves", 40, dtype, stop=17, matrices=matrices)
    halves = filtered(tmp_path / "halves", 40, dtype, matrices=matrices)
    for a, b in zip(whole.model.parameters(), halves.model.parameters(), strict=True):
        assert torch.equal(a, b)
    steps = [json.loads(row)["step"] for row in (tmp_path / "halves" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 41))


def test_what_is_kept_of_an_interrupted_run_belongs_together(tmp_path: Path) -> None:
    """Interrupted while its weights are their averages, and while an update is half made."""
    whole = filtered(tmp_path / "whole", 40)

    def interrupted(folder: Path, prepare: Callable[[Trainer], None]) -> None:
        trainer = Trainer(blank(), Filtering(), whole.optimisation, folder, workers=0, sheet_every=17)
        prepare(trainer)
        with pytest.raises(KeyboardInterrupt):
            trainer.run(quiet=True)

    def in_a_sheet(trainer: Trainer) -> None:
        trainer.stage.sheet = raising  # type: ignore[method-assign]

    def in_an_update(trainer: Trainer) -> None:
        step = trainer.optimisers[0].step

        def stepping() -> None:
            if trainer.step == 8:
                trainer.save()  # as it is done every two minutes
            step()
            if trainer.step == 10:
                raise KeyboardInterrupt

        trainer.optimisers[0].step = stepping  # type: ignore[method-assign]

    def by_a_signal(trainer: Trainer) -> None:
        step = trainer.optimisers[0].step

        def stepping() -> None:
            if trainer.step == 10:
                signal.raise_signal(signal.SIGINT)
            step()

        trainer.optimisers[0].step = stepping  # type: ignore[method-assign]

    def raising(model: nn.Conv2d) -> Any:
        raise KeyboardInterrupt

    for prepare in (in_a_sheet, in_an_update, by_a_signal):
        folder = tmp_path / prepare.__name__
        torch.manual_seed(0)
        interrupted(folder, prepare)
        with safe_open(folder / "state.safetensors", "pt") as state:
            kept = int(state.metadata()["step"])
        assert kept == {"in_a_sheet": 17, "in_an_update": 8, "by_a_signal": 11}[prepare.__name__]
        logged = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
        assert logged == list(range(1, len(logged) + 1)) and len(logged) >= kept, "the last step's figures, too"
        halves = filtered(folder, 40)
        for a, b in zip(whole.model.parameters(), halves.model.parameters(), strict=True):
            assert torch.equal(a, b), prepare.__name__


def test_fewer_steps_than_were_made_are_refused(tmp_path: Path) -> None:
    """What would be returned has learned more."""
    filtered(tmp_path, 5)
    filtered(tmp_path, 5)
    with pytest.raises(ValueError, match="trained for 5 steps, more than the 4 that are asked for"):
        filtered(tmp_path, 4)
    filtered(tmp_path, 6)


def test_what_is_done_again_is_logged_once(tmp_path: Path) -> None:
    """Killed after the last checkpoint, it goes on from there."""
    filtered(tmp_path, 5)
    log = tmp_path / "log.jsonl"
    kept = log.read_text()
    later = "".join(json.dumps({"step": step, "seconds": 1.0}) + "\n" for step in (6, 7, 8))
    log.write_text(kept + later + '{"step": 9, "sec')
    filtered(tmp_path, 9)
    assert log.read_text().startswith(kept)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 10))


def test_what_is_done_again_is_shown_once(tmp_path: Path) -> None:
    """In TensorBoard, too."""
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    filtered(tmp_path, 5)
    state = (tmp_path / "state.safetensors").read_bytes()
    for _ in range(2):
        filtered(tmp_path, 9)
        shown = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        assert [event.step for event in shown.Scalars("filtering/error")] == list(range(1, 10))
        assert [event.step for event in shown.Images("filtering/sheet")] == [5, 9]
        (tmp_path / "state.safetensors").write_bytes(state)  # as if it had been killed before the next checkpoint


def test_a_log_that_is_damaged_costs_its_lines(tmp_path: Path) -> None:
    filtered(tmp_path, 3)
    log = tmp_path / "log.jsonl"
    kept = log.read_bytes()
    log.write_bytes(kept + b'\xff\xfe{"step": 1}\n[]\n')
    filtered(tmp_path, 5)
    assert log.read_bytes().startswith(kept) and len(log.read_text().splitlines()) == 5


@pytest.mark.parametrize("about", [None, {"format": "pt"}])
def test_what_is_no_state_of_training_is_refused(tmp_path: Path, about: dict[str, str] | None) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "state.safetensors", about)
    with pytest.raises(ValueError, match="state.safetensors is no state of training; delete it"):
        filtered(tmp_path, 3)


def test_gradients_that_are_no_numbers_end_it(tmp_path: Path) -> None:
    class Broken(Filtering):
        def loss(self, model: nn.Conv2d, batch: Any) -> tuple[Tensor, dict[str, float]]:
            loss, figures = super().loss(model, batch)
            return loss * float("nan"), figures

    torch.manual_seed(0)
    trainer = Trainer(blank(), Broken(), Optimisation(30, lr=0.05), tmp_path, workers=0)
    before = trainer.model.weight.detach().clone()
    with pytest.raises(ValueError, match="10 steps in a row had NaN or infinite gradients"):
        trainer.run(quiet=True)
    assert torch.equal(trainer.model.weight, before)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(rows) == 9 and rows[0]["loss"] is None


def test_a_run_that_ends_without_numbers_has_made_no_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trainer = Trainer(blank(), Filtering(), Optimisation(2, lr=3e38, warmup=0), tmp_path, workers=0)
    for _ in range(2):  # and none when it is called again
        with pytest.raises(ValueError, match="ended with NaN or infinite weights; delete .*, and try a lower rate"):
            trainer.run(quiet=True)


def test_training_learns_and_ends_with_the_average(tmp_path: Path) -> None:
    trainer = filtered(tmp_path, 200)
    assert torch.allclose(trainer.model.weight, FILTER, atol=0.05)
    assert torch.equal(trainer.model.weight, trainer.average["weight"])
    assert (tmp_path / "sheets" / "000200.png").exists()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    filtered(tmp_path, 3)
    other = Trainer(blank(4), Filtering(), Optimisation(3), tmp_path, workers=0)
    with pytest.raises(ValueError, match="of another model"):
        other.run(quiet=True)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    trainer = Trainer(blank(), Filtering(), Optimisation(3), tmp_path, workers=0)
    before = trainer.model.weight.detach().clone()
    trainer.update(torch.full((8, 3, 3, 3), float("inf")))
    assert torch.equal(trainer.model.weight, before)


def test_the_rate_warms_up_and_falls() -> None:
    o = Optimisation(100, warmup=10, decay=0.5)
    assert o.rate(0) == pytest.approx(0.1) and o.rate(9) == o.rate(49) == 1.0
    assert o.rate(99) == pytest.approx(0.01, abs=2e-3) and replace(o, decay=0.0).rate(99) == 1.0
    assert o.rate(62) == pytest.approx(0.866, abs=0.01), "a cosine"


def test_an_update_by_hand(tmp_path: Path) -> None:
    """The rate of the schedule, gradients no longer than they may be, and an average that follows closely at first."""
    o = Optimisation(40, lr=0.05, warmup=4, clip=0.1, ema=0.8)
    trainer = Trainer(blank(), Filtering(), o, tmp_path, workers=0)
    assert trainer.optimisers[0].param_groups[0]["betas"] == o.betas == (0.9, 0.95)
    for step in range(12):
        loss = trainer.stage.loss(trainer.model, trainer.stage.batch(step, Share()))
        _, norm = trainer.gradients(iter([loss]))
        (weight, grad), average = (trainer.model.weight, trainer.model.weight.grad), trainer.average["weight"].clone()
        (group,) = trainer.optimisers[0].param_groups
        assert group["lr"] == pytest.approx(0.05 * o.rate(step)) and o.rate(0) == 0.25
        both = torch.stack([p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]).norm()
        assert grad is not None and norm > 0.2 and float(both) == pytest.approx(0.1, rel=1e-3)
        trainer.descend(norm)
        decay = min(0.8, (1 + step) / (10 + step))
        assert torch.allclose(trainer.average["weight"], decay * average + (1 - decay) * weight)
        trainer.step += 1


def test_adapters_are_no_matrices_for_muon() -> None:
    """They are halves of one."""
    parameters = {
        f"x.layers.0.a{name}.weight": torch.nn.Parameter(torch.ones(4, 2)) for name in ("", ".lora_A", ".lora_B")
    }
    of = {type(one).__name__: one for one in Optimisation(1, matrix_lr=1.0).optimisers(parameters)}
    (group,) = of["Muon"].param_groups
    assert [id(p) for p in group["params"]] == [id(parameters["x.layers.0.a.weight"])]
    assert len(of["AdamW"].param_groups[0]["params"]) == 2


class Numbers(DiskCache):
    """Of row i, i, and who computed it."""

    name = "numbers"

    def compute(self, kind: str, rows: range) -> np.ndarray:
        return np.array(rows) + 100 * Share.mine().rank


def _together(rank: int, meeting: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    trainer = filtered(Path(folder), 5)
    torch.save(trainer.model.weight.detach(), f"{folder}-{rank}")
    Numbers(Path(folder), 7, (), int).make("all", batch=2, quiet=True)
    dist.destroy_process_group()


def test_what_is_kept_of_a_folder_that_has_grown_is_made_anew(tmp_path: Path) -> None:
    Numbers(tmp_path, 3, (), int).make("all", batch=2, quiet=True)
    (tmp_path / "all.npy").rename(tmp_path / "other.part.npy")  # begun when there were three
    for kind in ("all", "other"):
        grown = Numbers(tmp_path, 5, (), int)
        grown.make(kind, batch=2, quiet=True)
        assert [int(grown.row(i, kind)) for i in range(5)] == [0, 1, 2, 3, 4]


def _kept(folder: Path, quiet: bool) -> None:
    Numbers(folder, 7, (), int).make("all", batch=2, quiet=True)


def test_what_another_run_is_making_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenes may be shared by several runs, and what is computed of them lies beside them."""
    made: list[int] = []

    class Slow(Numbers):
        def compute(self, kind: str, rows: range) -> np.ndarray:
            made.extend(rows)
            time.sleep(0.2)
            return super().compute(kind, rows)

    runs = [Slow(tmp_path, 7, (), int) for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda run: run.make("all", batch=2, quiet=run is runs[0]), runs))
    said = " ".join(capsys.readouterr().err.split())
    assert "another run is making numbers of all; waiting for it" in said
    assert made == list(range(7)) and all(int(run.row(6, "all")) == 6 for run in runs)


def test_a_full_disk_is_told_before_it_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        _kept(tmp_path, True)
    assert not list(tmp_path.glob("*.npy"))
    monkeypatch.undo()
    filtered(tmp_path, 3)
    before = (tmp_path / "state.safetensors").read_bytes()

    def cut(tensors: dict[str, Tensor], path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(writing, "save_file", cut)
    with pytest.raises(OSError, match="state.safetensors cannot be written: .*No space left"):
        filtered(tmp_path, 5)
    assert (tmp_path / "state.safetensors").read_bytes() == before and not list(tmp_path.glob(".*tmp*"))


@pytest.mark.parametrize("cut", [0.0, 0.5])
def test_a_damaged_state_is_told(tmp_path: Path, cut: float) -> None:
    filtered(tmp_path, 3)
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[: int(cut * state.stat().st_size)])
    with pytest.raises(ValueError, match="state.safetensors is damaged .*; delete it to begin the stage anew"):
        filtered(tmp_path, 5)


def _failing(quiet: bool) -> None:
    if Share.mine().rank == 1:
        raise ValueError("one line\nand: another")


def test_mistakes_of_other_processes_are_told_as_ones_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^one line and: another$"):
        run_in(2, tmp_path, _failing, quiet=True)


@pytest.mark.parametrize(
    ("told", "kind", "why"),
    [
        ("OSError: [Errno 28] No space left on device", OSError, "No space left"),
        ("ModuleNotFoundError: pip install it", ImportError, "^pip install it$"),
        ("cooper.data.tables.BadRow: rows.jsonl, row 3: no picture", ValueError, "^rows.jsonl, row 3: no picture$"),
        ("RuntimeError: our own", Exception, "Traceback(?s:.*)RuntimeError: our own$"),
    ],
)
def test_any_kind_of_mistake_of_theirs_is(
    told: str, kind: type[Exception], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> None:
        raise Exception(f'\n\n-- Process 1 terminated:\nTraceback (most recent call last):\n  File "x.py"\n{told}\n')

    monkeypatch.setattr(processes, "_run", run)
    with pytest.raises(kind, match=why):
        run_in(2, tmp_path, print)


class Killed(Filtering):
    def batch(self, step: int, share: Share) -> Tensor:
        if step == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(step, share)


def test_a_reader_that_is_killed_had_too_little_memory(tmp_path: Path) -> None:
    def work(quiet: bool) -> None:
        Trainer(blank(), Killed(), Optimisation(5), tmp_path, workers=1).run(quiet)

    with pytest.raises(MemoryError):
        run_in(1, tmp_path, work, quiet=True)


def test_others_are_kept_out_of_a_folder_until_training_ends(tmp_path: Path) -> None:
    def work(quiet: bool) -> None:
        with pytest.raises(ValueError, match="another process is training in .*; wait for it, stop it, or choose"):
            run_in(1, tmp_path, lambda quiet: None)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        run_in(1, tmp_path, work)
    run_in(1, tmp_path, lambda quiet: None)


def test_two_processes_train_as_one_on_their_batches_together(tmp_path: Path) -> None:
    args = str(tmp_path / "meeting"), str(tmp_path / "two")
    torch.multiprocessing.start_processes(_together, args, 2, start_method="fork")
    a, b = (torch.load(tmp_path / f"two-{rank}", weights_only=True) for rank in (0, 1))
    assert torch.equal(a, b)
    assert np.load(tmp_path / "two" / "all.npy").tolist() == [0, 1, 102, 103, 4, 5, 106], "each did its share"
    assert not list((tmp_path / "two").glob("all.*done")) and not (tmp_path / "two" / "all.part.npy").exists()

    class Both(Filtering):
        def batch(self, step: int, share: Share) -> Tensor:
            return torch.cat([Filtering.batch(self, step, Share(rank, 2)) for rank in (0, 1)])

    torch.manual_seed(0)
    one = Trainer(
        blank(), Both(), Optimisation(5, lr=0.05, warmup=2, decay=0.5, ema=0.8), tmp_path / "one", workers=0
    )
    one.run(quiet=True)
    assert torch.allclose(one.model.weight, a, atol=1e-6)
    alone, both = ([json.loads(row) for row in (tmp_path / name / "log.jsonl").open()] for name in ("one", "two"))
    for figure in ("loss", "error", "grad_norm"):  # of both batches, not of the first process's
        assert [row[figure] for row in both] == pytest.approx([row[figure] for row in alone], rel=1e-4)
