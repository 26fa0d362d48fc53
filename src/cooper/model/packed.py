"""The model on batches that `layout` made: embedding them, and running whole rows at once (training)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cooper.layout import NO_LABEL, Batch
from cooper.model.attention import packed_attention
from cooper.model.transformer import Attend
from cooper.model.unified import UnifiedModel


def embed(model: UnifiedModel, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Streams (B, U, hidden) and (B, G, hidden), the latter None if there is no drawing in the batch."""
    device, hidden = model.device, model.config.decoder.hidden
    und = model.embed_text(batch.und_ids.to(device))
    shape = und.shape
    for images, at in batch.pictures:
        tokens = model.embed_pictures(images.to(device)).flatten(0, 1)
        und = und.reshape(-1, hidden).index_copy(0, at.flatten().to(device), tokens).view(shape)
    drawn = batch.drawn
    if drawn is None:
        return und, None
    tokens = model.embed_latents(drawn.tokens.to(device), drawn.times.to(device), drawn.where.to(device))
    gen = torch.zeros(shape[0] * batch.gen_width, hidden, dtype=tokens.dtype, device=device)
    gen = gen.index_copy(0, drawn.at.to(device), tokens)
    return und, gen.view(shape[0], batch.gen_width, hidden)


def forward(
    model: UnifiedModel, batch: Batch, watch: Callable[[Attend], Attend] = lambda attend: attend
) -> tuple[Tensor, Tensor | None]:
    """Hidden states of both streams for whole rows. `watch` may wrap attention, to observe queries and keys."""
    und, gen = embed(model, batch)
    attend = watch(packed_attention(batch, (und if gen is None else gen).dtype, model.device))
    und_out, gen_out = model.decoder(und, gen, batch.positions.to(model.device), attend)
    assert und_out is not None
    return und_out, gen_out


@dataclass
class Losses:
    """Unreduced: cross-entropy of each labelled token (L,), squared error of each element of each target (M, dim)."""

    text: Tensor
    flow: Tensor


def losses(model: UnifiedModel, batch: Batch, watch: Callable[[Attend], Attend] = lambda attend: attend) -> Losses:
    """Cross-entropy and flow losses of a batch, in fp32, in row and stream order. `watch` as in `forward`."""
    und, gen = forward(model, batch, watch)
    labels = batch.labels.to(model.device)
    wanted = labels != NO_LABEL
    logits = model.logits(und[wanted]).float()
    text = F.cross_entropy(logits, labels[wanted], reduction="none")
    targets = batch.targets
    if targets is None or gen is None:
        return Losses(text, text.new_zeros(0, model.config.latent_dim))
    velocity = model.velocity(gen.reshape(-1, gen.shape[-1])[targets.at.to(model.device)]).float()
    return Losses(text, (velocity - targets.velocity.to(velocity)).square())
