"""How a stage is optimised: AdamW, Muon for matrices, and a schedule of their rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from cooper.training.muon import Muon
from cooper.training.settings import within


@dataclass(frozen=True)
class Optimisation:
    """How a stage is optimised."""

    steps: int
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    matrix_lr: float | None = None
    """If given, matrices inside layers are trained with Muon at this rate instead of AdamW."""
    scale_lr: float | None = None
    """If given, the stage also learns a scale of the logits (`cooper.training.sharpness`), at this rate of AdamW."""
    warmup: int = 100
    decay: float = 1.0
    """Share of the steps, at the end, over which the rate falls to a hundredth along a cosine; 0 keeps it constant."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    """Norm of all gradients together, at most."""
    ema: float = 0.998
    """Decay of the averaged weights, which are what a stage ends with. At step k it is at most (1 + k) / (10 + k), so
    that little is left of what a stage began with."""

    def __post_init__(self) -> None:
        within(self, 0, math.inf, "steps", "lr", "matrix_lr", "scale_lr", "warmup", "eps", "weight_decay", "clip")
        within(self, 0, 1, "decay", "betas", "ema")
        if self.clip == 0:
            raise ValueError("clip must be above 0, or nothing is learned; a large one never clips")

    def in_steps(self, steps: int, warming: float = 0.1) -> Optimisation:
        """The same in another number of steps. Of few, at most that share is for warming up."""
        return replace(self, steps=steps, warmup=min(self.warmup, max(1, int(warming * steps))))

    def rate(self, step: int) -> float:
        """Multiplier of the learning rate at a step."""
        warm = min(1.0, (step + 1) / max(self.warmup, 1))
        begin = self.steps * (1 - self.decay)
        if self.decay == 0 or step < begin:
            return warm
        progress = min(1.0, (step - begin) / max(self.steps - begin, 1))
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    def optimisers(self, parameters: Mapping[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
        """For these parameters, by name. Their groups have a "peak", the rate that `rate` is to be multiplied with."""
        # not the matrices of adapters, which are halves of one
        matrices = [p for k, p in parameters.items() if ".layers." in k and p.ndim == 2 and ".lora_" not in k]
        hidden = matrices if self.matrix_lr is not None else []
        scales = [p for p in parameters.values() if p.ndim == 0] if self.scale_lr is not None else []
        others = {id(p) for p in hidden + scales}
        rest = [p for p in parameters.values() if id(p) not in others]
        groups = [{"params": params, "lr": lr} for params, lr in ((rest, self.lr), (scales, self.scale_lr)) if params]
        made: list[torch.optim.Optimizer] = []
        if groups:
            decay = self.weight_decay
            made.append(torch.optim.AdamW(groups, betas=self.betas, eps=self.eps, weight_decay=decay, fused=True))
        if hidden:
            assert self.matrix_lr is not None
            made.append(Muon(hidden, self.matrix_lr, weight_decay=self.weight_decay))
        for group in (group for optimiser in made for group in optimiser.param_groups):
            group["peak"] = group["lr"]
        return made
