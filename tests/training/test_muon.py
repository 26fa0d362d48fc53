"""Muon: PyTorch's, but for matrices together and by several processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from cooper.training.muon import Muon, orthogonal

SHAPES = ((6, 4), (4, 6), (4, 6), (8, 8), (5, 3))


def weights() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def steps(optimiser: torch.optim.Optimizer, matrices: list[nn.Parameter], n: int = 3) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(n):
        for p in matrices:
            p.grad = torch.randn(p.shape, generator=generator)
        optimiser.step()


def difference(a: Tensor, b: Tensor, start: Tensor) -> float:
    """Of two ways from a start, as a share of the way."""
    with torch.no_grad():
        return float((a - b).norm() / (a - start).norm())


def test_it_takes_pytorchs_steps() -> None:
    ours, theirs = weights(), weights()
    steps(Muon(ours, lr=0.02, weight_decay=0.1), ours)
    steps(torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"), theirs)
    # theirs are rounded to bf16
    assert all(difference(a, b, s) < 0.03 for a, b, s in zip(ours, theirs, weights(), strict=True))


def test_a_matrix_without_a_gradient_is_left_alone() -> None:
    a, b = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3, 3))
    a.grad = torch.eye(3)
    Muon([a, b], lr=0.1, weight_decay=0.0).step()
    assert torch.equal(b, torch.ones(3, 3)) and not torch.equal(a, torch.ones(3, 3))


@pytest.mark.parametrize("shape", [(4, 16), (16, 4), (8, 8)])
def test_updates_are_nearly_orthogonal(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    u, s, v = torch.linalg.svd(torch.randn(3, *shape), full_matrices=False)
    found = orthogonal(u @ torch.diag_embed(s.clamp(min=0.3 * s[:, :1])) @ v, (3.4445, -4.7750, 2.0315), 5)
    along = torch.diagonal(u.mT @ found @ v.mT, dim1=-2, dim2=-1)
    assert found.shape == (3, *shape)
    assert ((along > 0.6) & (along < 1.3)).all(), "singular vectors stay, singular values come near 1"


def _together(rank: int, meeting: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    matrices = weights()
    steps(Muon(matrices, lr=0.02, weight_decay=0.1), matrices)
    torch.save([p.detach() for p in matrices], f"{folder}/{rank}")
    dist.destroy_process_group()


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_together, (str(tmp_path / "meeting"), str(tmp_path)), 2, start_method="fork")
    one = weights()
    steps(Muon(one, lr=0.02, weight_decay=0.1), one)
    both = [torch.load(tmp_path / str(rank)) for rank in (0, 1)]
    for a, b, c in zip(*both, one, strict=True):
        assert torch.equal(a, b) and torch.allclose(a, c, atol=1e-6)
