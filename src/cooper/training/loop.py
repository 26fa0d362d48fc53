"""The training loop all stages share: steps, schedule, EMA, logs, contact sheets, checkpoints, resume.

A stage says what a batch is and what is learned from it (`Stage`). A batch is a pure function of seed, step and number
of processes, so a run that was interrupted, and goes on with as many, does so exactly where its last checkpoint was.
Of several processes (`processes.run_in`), each takes its share of every batch and the gradients are averaged; two
processes of one thread are faster than one of two.
The model is trained where it is: nothing here moves it to a device.
What is trained is kept in fp32. Where the compute dtype is lower, a copy in that dtype does the forward and backward
passes (autocast costs a cast at every operation); if what is not trained is in it already, as it is under adapters, the
model does them itself, and nothing is held twice.
"""

from __future__ import annotations

import copy
import json
import math
import os
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cooper.checkpoints.writing import save_tensors
from cooper.files import new_file, remove_unfinished
from cooper.signals import end_without_fault, uninterrupted
from cooper.training.logged import Logged, of_step
from cooper.training.optimisation import Optimisation
from cooper.training.processes import Share, gathered
from cooper.training.stage import Losses, M, Stage

#: what an interrupted run goes on from, in its folder
STATE = "state.safetensors"
#: steps in a row without a finite gradient after which training has failed
PATIENCE = 10
#: How workers that read data begin: as copies of their process, which share what it has read. One that was
#: spawned, as each of several processes is, would spawn them: each imports everything anew, in seconds and 0.25 GB.
FORK = "fork" if sys.platform == "linux" else None


class _Steps(Dataset):
    def __init__(self, stage: Stage, start: int, steps: int, share: Share):
        self.stage, self.start, self.steps, self.share = stage, start, steps, share

    def __len__(self) -> int:
        return self.steps - self.start

    def __getitem__(self, index: int) -> Any:
        return self.stage.batch(self.start + index, self.share)


def _laid_out_like(p: Tensor, tensor: Tensor) -> Tensor:
    """The same values where p is, and in its memory layout, unless it is of another shape.

    The fused AdamW walks through memory and looks at no strides: a gradient laid out otherwise than its weights (which
    may be channels_last) is added to the wrong ones, without an error.
    """
    if tensor.shape != p.shape or tensor.stride() == p.stride():
        return tensor.to(p.device)
    return torch.empty_like(p, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _cut(log: Path, step: int) -> None:
    """Take the rows of later steps, which are to be made again, out of a log, and a last one that was cut off."""
    if not log.exists():
        return
    kept = []
    for line in log.read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1]:
        try:
            line.encode()
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            pass
    with new_file(log) as file:
        file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _rounded(figure: float) -> float | None:
    """As JSON has it, which knows no infinity."""
    return None if not math.isfinite(figure) else round(figure, 6) if isinstance(figure, float) else figure


def _first(items: list[Any]) -> Any:
    return items[0]


class Trainer(Generic[M]):
    """Runs a stage on a model, in `folder`: `state.safetensors`, `log.jsonl`, `sheets/`, TensorBoard files.

    What the stage trains is fp32; the rest is that, or `dtype`.
    """

    def __init__(
        self, model: M, stage: Stage[M], optimisation: Optimisation, folder: str | Path, *,
        dtype: torch.dtype = torch.float32, save_every: float = 120.0, sheet_every: int = 500, workers: int = 1,
    ):  # fmt: skip
        self.model, self.stage, self.optimisation = model, stage, optimisation
        self.folder = Path(folder)
        self.dtype, self.save_every, self.sheet_every, self.workers = dtype, save_every, sheet_every, workers
        self.names = stage.trained(model)
        self.average = {k: p.detach().clone() for k, p in self.names.items()}
        for p in model.parameters():
            p.requires_grad_(False)
        for p in self.names.values():
            p.requires_grad_(True)
        self.optimisers = optimisation.optimisers(self.names)
        self.share = Share.mine()
        self.step = 0
        self._lost = 0
        """Steps in a row whose gradients were NaN or infinite."""
        self._whole = True
        """Whether weights, averages, optimisers and the number of the step belong together: not within an update."""

    @cached_property
    def compute(self) -> M:
        """The model, or its copy in the lower dtype: made when there is something to compute."""
        rest = {p.dtype for p in self.model.parameters() if not p.requires_grad}
        if self.dtype == torch.float32 or self.dtype in rest:
            return self.model
        return copy.deepcopy(self.model).to(self.dtype)

    @cached_property
    def compute_names(self) -> dict[str, nn.Parameter]:
        return self.stage.trained(self.compute)

    @property
    def finished(self) -> bool:
        return self.step >= self.optimisation.steps

    def run(self, quiet: bool = False) -> bool:
        """Train to the end, from the last checkpoint if there is one. The model ends with the averaged weights. Returns
        whether anything was left to do. Raises ValueError if what was learned is NaN or infinite, and if more has been
        learned than is asked for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.share.rank == 0:
            remove_unfinished(self.folder)
        self.resume()
        if self.step > self.optimisation.steps:
            raise ValueError(
                f"{self.folder} has been trained for {self.step} steps, more than the {self.optimisation.steps} that "
                "are asked for; ask for as many or more, choose another folder, or delete it"
            )
        if left := not self.finished:
            self._train(quiet)
        self.use_average()
        if not all(p.isfinite().all() for p in self.names.values()):
            raise ValueError(
                f"{self.stage.name} ended with NaN or infinite weights; delete {self.folder}, and try a lower rate"
            )
        return left

    def _train(self, quiet: bool) -> None:
        from torch.utils.tensorboard import SummaryWriter

        loader = DataLoader(
            _Steps(self.stage, self.step, self.optimisation.steps, self.share), batch_size=1, collate_fn=_first,
            num_workers=self.workers, prefetch_factor=4 if self.workers else None, worker_init_fn=end_without_fault,
            multiprocessing_context=FORK if self.workers else None,
        )  # fmt: skip
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[figures]}"),
        )  # fmt: skip
        first = self.share.rank == 0
        # what a run that was killed told of later steps is not shown beside what is told when they are made again
        board = SummaryWriter(self.folder / "tensorboard", purge_step=self.step + 1) if first else None
        log_file = self.folder / "log.jsonl" if first else Path(os.devnull)
        if first:
            _cut(log_file, self.step)
        saved = began = time.monotonic()
        progress = Progress(*columns, console=Console(stderr=True), disable=quiet or not first)
        with progress, log_file.open("a", buffering=1) as log:
            bar = progress.add_task(
                self.stage.name, total=self.optimisation.steps, completed=self.step, figures=""
            )

            def note(figures: dict[str, float]) -> None:
                nonlocal began
                row = {"step": self.step, "seconds": round(time.monotonic() - began, 2), **figures}
                began = time.monotonic()
                log.write(json.dumps({k: _rounded(v) for k, v in row.items()}) + "\n")

            try:
                for batch in loader:
                    figures = self.update(batch, note)
                    shown = " ".join(f"{k} {v:.4g}" for k, v in figures.items())
                    with uninterrupted():  # others' locks, which would be left held
                        for name, value in figures.items():
                            if board is not None:
                                board.add_scalar(f"{self.stage.name}/{name}", value, self.step)
                        progress.update(bar, completed=self.step, figures=shown)
                    if first:
                        self.stage.after(self.step, self.folder)
                    if self.step % self.sheet_every == 0 or self.finished:
                        sheet = self.draw_sheet()
                        if board is not None and sheet is not None:
                            shown_as = np.asarray(sheet.convert("RGB"))
                            board.add_image(f"{self.stage.name}/sheet", shown_as, self.step, dataformats="HWC")
                    if time.monotonic() - saved > self.save_every:
                        self.save()
                        saved = time.monotonic()
            finally:
                with uninterrupted():
                    if self._whole:  # or else the last checkpoint is where it goes on
                        self.save()
                    if board is not None:
                        board.close()

    def update(self, batch: Any, note: Callable[[dict[str, float]], None] = lambda figures: None) -> dict[str, float]:
        """One step: all updates that the batch is good for. Figures are of its losses in all processes;
        "update_seconds" are those of all updates, without what comes before the first. `note` gets them before an
        interruption can come between the step and its figures."""
        rows: list[dict[str, float]] = []
        updates = iter(self.stage.updates(self.compute, batch))
        losses = next(updates, None)
        seconds = 0.0
        while losses is not None:
            began = time.perf_counter()
            part, norm = self.gradients(losses)
            rows += [{"grad_norm": norm, **row} for row in part]
            # a step of one update is then always either made or not, and kept when training is interrupted
            with uninterrupted():
                self._whole = False
                self.descend(norm)
                seconds += time.perf_counter() - began
                losses = next(updates, None)
                self._whole = losses is None
                self.step += self._whole
                if self._whole:
                    note({**of_step(rows), "update_seconds": seconds})
        return {**of_step(rows), "update_seconds": seconds}

    def gradients(self, losses: Losses) -> tuple[list[dict[str, float]], float]:
        """The figures of each loss, in all processes, and the norm of the gradients, which are clipped."""
        rate = self.optimisation.rate(self.step)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * rate
        rows, total = [], 0.0
        for loss, figures in losses:
            loss.backward()
            total += float(loss.detach())
            rows.append(figures)
        if self.compute is not self.model:
            for name, p in self.names.items():
                grad = self.compute_names[name].grad
                p.grad = None if grad is None else grad.float()
                self.compute_names[name].grad = None
        if self.share.world > 1:
            self._average_gradients()
        norm = float(nn.utils.clip_grad_norm_(list(self.names.values()), self.optimisation.clip))
        # a process's losses add up, and those of processes are averaged, as gradients are
        return gathered([{"loss": Logged(total, 1 / len(rows)), **figures} for figures in rows]), norm

    def descend(self, norm: float) -> None:
        """One update of the weights, of their average, and of what computes. Gradients that are NaN or infinite change
        nothing; raises ValueError after `PATIENCE` of them in a row."""
        self._lost = 0 if math.isfinite(norm) else self._lost + 1
        if self._lost >= PATIENCE:
            raise ValueError(
                f"{self.stage.name}: {PATIENCE} steps in a row had NaN or infinite gradients; a lower rate may help"
            )
        if math.isfinite(norm):
            for optimiser in self.optimisers:
                optimiser.step()
        for p in self.names.values():
            p.grad = None
        weights = [p.detach() for p in self.names.values()]
        # a young average follows closely, an old one slowly
        decay = min(self.optimisation.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)
        if self.compute is not self.model:
            torch._foreach_copy_([p.detach() for p in self.compute_names.values()], weights)

    def _average_gradients(self) -> None:
        """The mean of all processes' gradients; one that a process does not have counts as zero."""
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in self.names.values()])
        dist.all_reduce(flat)
        flat /= self.share.world
        for p, grad in zip(self.names.values(), flat.split([p.numel() for p in self.names.values()]), strict=True):
            p.grad = _laid_out_like(p, grad.view_as(p))

    def use_average(self) -> None:
        """Put the averaged weights into the model."""
        with torch.no_grad():
            for name, p in self.names.items():
                p.copy_(self.average[name])

    def draw_sheet(self) -> Image.Image | None:
        """Pictures and traces of the model with averaged weights, into `sheets/`; returns the pictures. Only the first
        process draws any."""
        if self.share.rank:
            return None
        folder = self.folder / "sheets"
        folder.mkdir(exist_ok=True)
        kept = {k: p.detach().clone() for k, p in self.names.items()}
        try:
            self.use_average()
            with torch.no_grad():
                sheet = self.stage.sheet(self.model)
                if sheet is not None:
                    sheet.save(folder / f"{self.step:06d}.png")
                if page := self.stage.page(self.model):
                    (folder / f"{self.step:06d}.html").write_text(page, encoding="utf-8")
        finally:  # an interrupted run keeps its weights, not their averages
            with torch.no_grad():
                for name, p in self.names.items():
                    p.copy_(kept[name])
        return sheet

    def save(self) -> None:
        """Write weights, averages and the optimisers' state; a half-written file never replaces a whole one."""
        if self.share.rank:
            return
        tensors = {f"weights/{k}": p.detach().contiguous() for k, p in self.names.items()}
        tensors |= {f"average/{k}": t.contiguous() for k, t in self.average.items()}
        by_id = {id(p): k for k, p in self.names.items()}
        for optimiser in self.optimisers:
            for p, state in optimiser.state.items():
                for key, value in state.items():
                    tensors[f"optimiser/{by_id[id(p)]}/{key}"] = torch.as_tensor(value).contiguous()
        save_tensors(tensors, self.folder / STATE, step=str(self.step), stage=self.stage.name)

    def resume(self) -> None:
        path = self.folder / STATE
        if path.exists():
            try:
                self._resume(path)
            except SafetensorError as error:
                raise ValueError(f"{path} is damaged ({error}); delete it to begin the stage anew") from None
            except (KeyError, TypeError):
                raise ValueError(f"{path} is no state of training; delete it to begin the stage anew") from None

    def _resume(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            self.step = int(file.metadata()["step"])
            keys = set(file.keys())
            with torch.no_grad():
                for name, p in self.names.items():
                    if f"weights/{name}" not in keys or file.get_slice(f"weights/{name}").get_shape() != list(p.shape):
                        raise ValueError(f"{path} is of another model ({name} differs); train in a new folder")
                    p.copy_(file.get_tensor(f"weights/{name}"))
                    self.average[name].copy_(file.get_tensor(f"average/{name}"))
            for made in ("compute", "compute_names"):  # of other weights
                self.__dict__.pop(made, None)
            states: dict[str, dict[str, Tensor]] = {}
            for key in keys:
                if key.startswith("optimiser/"):
                    _, name, field = key.split("/")
                    states.setdefault(name, {})[field] = file.get_tensor(key)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                for p in group["params"]:
                    name = next(k for k, q in self.names.items() if q is p)
                    if name in states:
                        optimiser.state[p] = {k: _laid_out_like(p, t) for k, t in states[name].items()}
