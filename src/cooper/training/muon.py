"""Muon (Jordan et al., 2024), as PyTorch's, but quick on a processor and shared by several processes.

PyTorch's makes every matrix's update orthogonal by itself, in every process, and in bf16, which processors without such
instructions imitate: on those it takes as long as everything else in a step of the tiny model. Here matrices of one
shape go together, in bf16 only where that is quick, and each process makes its share of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cooper.hardware import fast_dtype
from cooper.training.processes import Share


class Muon(torch.optim.Muon):
    """Parameters and state are those of `torch.optim.Muon`, and settings but for `adjust_lr_fn`, which here always is
    "match_rms_adamw"."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "nothing here computes a loss again"
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for p in params:
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            grads = [p.grad for p in params]
            momenta = [self.state[p]["momentum_buffer"] for p in params]
            torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
            wanted = list(torch._foreach_lerp(grads, momenta, group["momentum"])) if group["nesterov"] else momenta
            updates = _shared(wanted, group)
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            for p, update in zip(params, updates, strict=True):
                # as large as AdamW's updates are
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def _shared(matrices: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """The nearest orthogonal matrices, of which this process computes its share."""
    share = Share.mine()
    # the costly ones first, so that shares cost much the same
    order = sorted(range(len(matrices)), key=lambda i: -matrices[i].numel())
    mine = order[share.rank :: share.world]
    found: list[Tensor] = [torch.zeros_like(m) for m in matrices]
    for shape in sorted({tuple(matrices[i].shape) for i in mine}):
        same = [i for i in mine if matrices[i].shape == shape]
        stack = orthogonal(torch.stack([matrices[i] for i in same]), group["ns_coefficients"], group["ns_steps"])
        for i, matrix in zip(same, stack, strict=True):
            found[i] = matrix
    if share.world > 1:
        flat = torch.cat([m.flatten() for m in found])
        dist.all_reduce(flat)  # of each, all but one are zero
        found = [
            part.view_as(m) for part, m in zip(flat.split([m.numel() for m in matrices]), matrices, strict=True)
        ]
    return found


def orthogonal(matrices: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """Matrices (K, M, N) to ones whose singular values are near 1 (Newton-Schulz, as many iterations as `steps`)."""
    a, b, c = coefficients
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.to(torch.bfloat16 if matrices.is_cuda else fast_dtype())
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
