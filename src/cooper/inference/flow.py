"""Rectified flow: the schedule, two-way guidance, and the walk from noise to a drawing (docs/method.md, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from cooper.model.config import FlowSettings

#: How the release draws in answers, and where the quality of its depth is measured (docs/method.md, section 5).
RELEASED = FlowSettings(50, 3.0, 4.0, 2.0, (0.0, 1.0), "text_channel", noise=1.0)
RELEASED_ON_DEMAND = FlowSettings(50, 3.0, 3.0, 1.5, (0.4, 1.0), "global", noise=1.0)


def on_demand(flow: FlowSettings) -> FlowSettings:
    """How maps that nothing was asked about are drawn, by a model that draws like this in answers."""
    return RELEASED_ON_DEMAND if flow == RELEASED else flow


def changed(flow: FlowSettings, steps: int | None, guidance: tuple[float, float] | None) -> FlowSettings:
    """With another number of model calls, and other scales of text and image guidance; None leaves them."""
    if steps is not None:
        flow = replace(flow, time_points=steps + 1)
    return flow if guidance is None else replace(flow, text_scale=guidance[0], image_scale=guidance[1])


def schedule(points: int, shift: float) -> list[tuple[float, float]]:
    """(t, step) of every model call, from t = 1 down: `points` points give points - 1 calls."""
    t = torch.linspace(1, 0, points)
    t = shift * t / (1 + (shift - 1) * t)
    return list(zip(t[:-1].tolist(), (t[:-1] - t[1:]).tolist(), strict=True))


def guide(v: Tensor, without_text: Tensor | None, without_image: Tensor | None, s: FlowSettings) -> Tensor:
    """The guided velocity, from the conditional one and the null ones (B, tokens, dim); text first, then image.

    Raises ValueError if a scale asks for a branch that is missing: guidance that is silently off is worse.
    """
    if (s.text_scale != 1 and without_text is None) or (s.image_scale != 1 and without_image is None):
        raise ValueError("guidance needs the velocity of every branch whose scale is not 1")
    guided = v
    if s.text_scale != 1:
        assert without_text is not None
        guided = without_text + s.text_scale * (guided - without_text)
        if s.renorm == "text_channel":
            guided = guided * _factor(v, guided, (-1,), s.renorm_min)
    if s.image_scale != 1:
        assert without_image is not None
        guided = without_image + s.image_scale * (guided - without_image)
    if s.renorm == "global":
        return guided * _factor(v, guided, (-2, -1), s.renorm_min)
    if s.renorm == "channel":
        return guided * _factor(v, guided, (-1,), s.renorm_min)
    return guided


def _factor(v: Tensor, guided: Tensor, over: tuple[int, ...], low: float) -> Tensor:
    norm = torch.linalg.vector_norm(v, dim=over, keepdim=True)
    return (norm / (torch.linalg.vector_norm(guided, dim=over, keepdim=True) + 1e-8)).clamp(low, 1.0)


#: (x, t, guided) -> velocities of the branches: conditional, without text, without image
Velocity: TypeAlias = Callable[[Tensor, float, bool], tuple[Tensor, Tensor | None, Tensor | None]]


def integrate(velocity: Velocity, noise: Tensor, s: FlowSettings) -> Iterator[Tensor]:
    """Walk from noise (B, tokens, dim) to drawing tokens; yields where it is after each step, the last time the end.

    Where guidance is off, only the conditional branch is asked for.
    """
    wanted = s.text_scale != 1 or s.image_scale != 1
    x = noise
    for t, step in schedule(s.time_points, s.shift):
        guided = wanted and s.guided_at(t)
        v, without_text, without_image = velocity(x, t, guided)
        x = x - step * (guide(v, without_text, without_image, s) if guided else v)
        if not x.isfinite().all():
            why = "lower the guidance" if wanted else "the model's weights are damaged, or out of range"
            raise ValueError(f"the velocity of a map is NaN or infinite: {why}")
        yield x
