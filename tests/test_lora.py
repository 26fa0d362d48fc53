"""Adapters: nothing at first, everything that is trained, gone when off, part of the weights when merged."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tests.helpers import picture, random_model, sequencer
from torch import Tensor

from cooper.layout import collate, lay_out, merge
from cooper.lora import Lora, adapters_or_all, add_adapters, merge_adapters, save_adapters, without_adapters
from cooper.model.packed import forward
from cooper.model.unified import UnifiedModel
from cooper.trace import Drawing, Text, Trace

peft = pytest.importorskip("peft")


def said(model: UnifiedModel) -> Tensor:
    """What the model makes of a trace with a picture and a map, which both experts see."""
    words = sequencer(model)
    trace = Trace((picture(0), Text("How far?"), Text("Let me draw.", "model"), Drawing("depth", picture(1).image)))
    encode = words.encoder(model)
    batch = collate([lay_out(merge([words.pieces(trace, encode)]), model.config)], model.config)
    with torch.no_grad():
        return torch.cat([part.flatten() for part in forward(model, batch)])


def perturbed(model: UnifiedModel) -> None:
    weights = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in adapters_or_all(dict(model.named_parameters())).values():
            p.copy_(0.3 * torch.randn(p.shape, generator=weights))


@pytest.mark.parametrize("experts", [("und",), ("gen",), ("und", "gen")])
def test_adapters_from_the_first_to_the_last(experts: tuple, tmp_path: Path) -> None:
    model = random_model()
    names, before = [n for n, _ in model.named_parameters()], said(model)
    lora = Lora(rank=2, alpha=4, experts=experts)
    add_adapters(model, lora)
    assert torch.equal(said(model), before), "untrained, they change nothing"
    own = adapters_or_all(dict(model.named_parameters()))
    assert len(own) == model.config.decoder.layers * len(experts) * 4 * 2
    assert {n.split(".")[3] for n in own} == set(experts)

    perturbed(model)
    on = said(model)
    assert (on - before).abs().max() > 0.1
    for p in model.parameters():
        p.requires_grad_(False)
    first = next(iter(own.values())).requires_grad_(True)
    with without_adapters(model) as left:
        assert torch.equal(said(left), before), "off, the model is what it was"
    assert torch.equal(said(model), on)
    assert [p for p in model.parameters() if p.requires_grad] == [first], "who is trained does not change"

    save_adapters(model, lora, tmp_path)
    theirs = peft.PeftModel.from_pretrained(random_model(), str(tmp_path)).base_model.model
    assert torch.equal(said(theirs), on), "peft reads them"

    merge_adapters(model)
    assert [n for n, _ in model.named_parameters()] == names, "merged, it is a model like any other"
    assert torch.allclose(said(model), on, atol=1e-4)


def test_adapters_of_a_seed_are_the_same_and_disturb_no_other_randomness() -> None:
    models = []
    for _ in range(2):
        models.append(random_model())
        torch.manual_seed(7)
        add_adapters(models[-1], Lora(), seed=3)
        assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(7)))
    for a, b in zip(*(m.parameters() for m in models), strict=True):
        assert torch.equal(a, b)
    other = copy.deepcopy(random_model())
    add_adapters(other, Lora(), seed=4)
    assert any(not torch.equal(a, b) for a, b in zip(other.parameters(), models[0].parameters(), strict=True))


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"rank": 0}, {"experts": ()}):
        with pytest.raises(ValueError, match="rank of at least 1"):
            Lora(**wrong)  # type: ignore[arg-type]
