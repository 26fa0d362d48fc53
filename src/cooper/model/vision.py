"""SigLIP as a NaViT: pictures of any size, patches through a linear layer, learned positions from a square table."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from cooper.model.config import VisionConfig
from cooper.model.transformer import embedding


def to_patches(image: Float[Tensor, "*batch 3 H W"], patch: int) -> Float[Tensor, "*batch patches pixels"]:
    """Image (..., 3, H, W) to patches (..., H/p * W/p, p * p * 3), row by row, channels innermost."""
    *batch, c, h, w = image.shape
    if h % patch or w % patch:
        raise ValueError(f"image sides must be multiples of the patch, {patch}; got {h}x{w}: resize it")
    n = len(batch)
    x = image.reshape(*batch, c, h // patch, patch, w // patch, patch)
    order = (*range(n), n + 1, n + 3, n + 2, n + 4, n)
    return x.permute(order).reshape(*batch, (h // patch) * (w // patch), patch * patch * c)


def grid_positions(grid: tuple[int, int], side: int, what: str) -> Int64[Tensor, " tokens"]:
    """Row numbers in a table of side x side positions, for a grid of (rows, columns); int64 (rows * columns,)."""
    rows, columns = grid
    if rows > side or columns > side:
        raise ValueError(f"{what} has {rows}x{columns} tokens, its position table {side}x{side}: use a smaller image")
    return (torch.arange(rows)[:, None] * side + torch.arange(columns)).flatten()


class Block(nn.Module):
    def __init__(self, c: VisionConfig):
        super().__init__()
        self.heads = c.heads
        self.norm_attention = nn.LayerNorm(c.hidden, eps=c.norm_eps)
        self.qkv = nn.Linear(c.hidden, 3 * c.hidden)
        self.out = nn.Linear(c.hidden, c.hidden)
        self.norm_ffn = nn.LayerNorm(c.hidden, eps=c.norm_eps)
        self.up = nn.Linear(c.hidden, c.ffn)
        self.down = nn.Linear(c.ffn, c.hidden)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_ffn(x)), approximate="tanh"))


class VisionTransformer(nn.Module):
    """Images of one size (B, 3, H, W) in [-1, 1] to features (B, patches, hidden)."""

    def __init__(self, c: VisionConfig):
        super().__init__()
        self.c = c
        self.patches = nn.Linear(3 * c.patch**2, c.hidden)
        self.positions = embedding(c.max_side**2, c.hidden)
        self.layers = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.hidden, eps=c.norm_eps)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B patches hidden"]:
        grid = images.shape[-2] // self.c.patch, images.shape[-1] // self.c.patch
        where = grid_positions(grid, self.c.max_side, "the picture").to(images.device)
        x = self.patches(to_patches(images, self.c.patch)) + self.positions(where)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)
