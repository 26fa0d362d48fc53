"""Large images are encoded and decoded strip by strip, and nobody can tell."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cooper.model import strips
from cooper.model.autoencoder import Autoencoder
from cooper.model.config import AutoencoderConfig


def convolutions(model: nn.Module) -> int:
    return sum(isinstance(part, nn.Conv2d) for part in model.modules())


@pytest.mark.parametrize("large", [64, 600, 3000])
def test_strips_give_what_the_whole_image_gives(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Autoencoder(AutoencoderConfig(8, (1, 2, 2), 1, 4, groups=4)).requires_grad_(False)
    image = torch.rand(2, 3, 52, 76) * 2 - 1
    calls: list[int] = []
    convolve = F.conv2d

    def counting(x, *rest, **more):  # type: ignore[no-untyped-def]
        calls.append(x.shape[-2] * x.shape[-1])
        return convolve(x, *rest, **more)

    monkeypatch.setattr(F, "conv2d", counting)
    with torch.no_grad():
        latent = model.encode(image)
        whole = model.decode(latent)
        assert len(calls) == convolutions(model), "small images are worked on whole"
        calls.clear()
        monkeypatch.setattr(strips, "LARGE", large)
        assert torch.allclose(model.encode(image), latent, atol=1e-5)
        assert torch.allclose(model.decode(latent), whole, atol=1e-5) and whole.shape == image.shape
    assert len(calls) > convolutions(model) + 6
    calls.clear()
    model.requires_grad_(True)
    model.decode(latent)
    assert len(calls) == convolutions(model.decoder), "training keeps what it needs for gradients as it was"
    assert max(calls) == 52 * 76
