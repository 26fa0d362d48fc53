"""Every reference number is reproduced through the public pieces.

The numbers were computed once, in fp32 on a CPU, with the paper's reference implementation on random weights at a tiny
size (tests/golden/README.md). Every size is read from the case itself, so `COOPER_GOLDEN` may name another folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from cooper.checkpoints.checkpoint import find
from cooper.checkpoints.keys import to_released
from cooper.inference.cache import Context
from cooper.inference.flow import FlowSettings
from cooper.inference.sampler import Sampling
from cooper.inference.session import Session
from cooper.layout import NO_LABEL, Clean, Noised, Piece, Seen, Words, chain, collate, lay_out, merge, tokens_of
from cooper.model.autoencoder import patchify
from cooper.model.config import SpecialTokens
from cooper.model.packed import forward, losses
from cooper.model.unified import UnifiedModel

FOLDER = Path(os.environ.get("COOPER_GOLDEN") or Path(__file__).parent / "golden" / "a")
#: what a case gives, rather than expects
GIVEN = ("input.", "train.noise", "train.target_image_vae", "train.timestep_logit")

with safe_open(FOLDER / "expected.safetensors", "pt") as file:
    EXPECTED = sorted(name for name in file.keys() if not name.startswith(GIVEN))  # noqa: SIM118


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-5)


@dataclass(frozen=True)
class Case:
    """The reference model, its inputs as pieces, and what is expected."""

    plan: dict
    flow_cases: dict
    tensors: dict[str, Tensor]
    model: UnifiedModel
    image: Tensor
    seen: Seen
    seen_map: Seen

    def ids(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[f"input.ids.{name}"].tolist())

    def words(self, *names: str, loss: bool = False) -> Words:
        return Words(sum((self.ids(name) for name in names), ()), loss)

    def grid(self, image: Tensor) -> tuple[int, int]:
        height, width = image.shape[-2:]
        return height // self.model.config.latent_stride, width // self.model.config.latent_stride


@cache
def case() -> Case:
    plan = json.loads((FOLDER / "plan.json").read_text())
    s = plan["special_tokens"]
    special = SpecialTokens(s["bos_token_id"], s["eos_token_id"], s["start_of_image"], s["end_of_image"])
    cases = json.loads((FOLDER / "flow_cases.json").read_text())
    x = load_file(FOLDER / "expected.safetensors")
    seen = [Seen(x["input.image_vit"]), Seen(x["input.generated_image_vit"])]
    return Case(plan, cases, x, find(FOLDER, special=special).load(), x["input.image_vae"], *seen)


@cache
def images() -> dict[str, Tensor]:
    """Autoencoder and vision transformer."""
    model, image = case().model, case().image[None]
    with torch.no_grad():
        latent, features = model.autoencoder.encode(image), model.vision(case().seen.image[None])[0]
        return {"vae.latent": latent, "vae.decoded": model.autoencoder.decode(latent), "vit.features": features}


class Reader:
    """A session of one row that can show its cache in sequence order (a read is cached in stream order)."""

    def __init__(self, model: UnifiedModel, capacity: int):
        self.model = model
        context = Context.empty(1, model.config.decoder, capacity, model.dtype, model.device)
        self.session = Session(model, context)
        self.order: list[int] = []

    def read_turn(self, words: Words) -> None:
        self.order += range(len(self.order), len(self.order) + len(words.ids) + 2)
        self.session.read_turn([words.ids])

    def read(self, *pieces: Piece) -> None:
        config, before = self.model.config, len(self.order)
        self.order += [before + i for i in collate([lay_out(chain(pieces), config)], config).order[0].tolist()]
        self.session.read([pieces])

    def cache(self, name: str) -> dict[str, Tensor]:
        context = self.session.context
        (link,) = context.links
        in_order = torch.tensor(self.order).argsort()
        k, v = (x[:, 0, :, : link.length].transpose(1, 2)[:, in_order] for x in (link.block.k, link.block.v))
        named = {"k": k, "v": v, "kv_len": torch.tensor([context.length]), "rope": context.positions}
        return {f"cache.{name}.{key}": x.clone() for key, x in named.items()}


@dataclass(frozen=True)
class Recording(Sampling):
    """Greedy choice that keeps the logits it saw."""

    seen: list[Tensor] = field(default_factory=list)

    def choose(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(logits)
        return super().choose(logits, uniform)


@cache
def inference() -> dict[str, Tensor]:
    """All of the cached path, in the order of the reference numbers' README."""
    c = case()
    out: dict[str, Tensor] = {}
    config, grid = c.model.config, c.grid(c.image)
    clean = Clean(patchify(images()["vae.latent"][0], config.latent_patch), grid)
    system, question, reflection = c.words("system"), c.words("question"), c.words("reflection")
    turn = c.words("think", "tool")
    history: list[Piece] = [system, clean, c.seen, question, turn, c.seen_map, reflection]
    greedy = c.tensors["text.greedy_ids"].tolist()

    reader = Reader(c.model, sum(tokens_of(piece, config) + 2 for piece in history) + len(greedy) + 1)
    for name, piece in (("after_system", system), ("after_vae_image", clean), ("after_vit_image", c.seen)):
        reader.read(piece)
        out |= reader.cache(name)
    reader.read(question)
    reader.read_turn(turn)
    out |= reader.cache("before_generation")
    for name, s in c.flow_cases.items():
        settings = FlowSettings(
            s["num_timesteps"], s["timestep_shift"], s["cfg_text_scale"], s["cfg_img_scale"],
            tuple(s.get("cfg_interval", (0.4, 1.0))), s.get("cfg_renorm_type", "global"), s.get("cfg_renorm_min", 0.0),
        )  # fmt: skip
        noise, without_call = c.tensors["input.noise"][None], [(len(c.ids("think")), ())]
        *_, tokens = reader.session.draw(noise, grid, settings, without_call, [[system, question, turn]])
        out[f"flow.{name}"] = tokens[0]
        with torch.no_grad():
            out[f"flow.{name}.decoded"] = c.model.decode(tokens, grid)
    reader.read(c.seen_map, reflection)
    out |= reader.cache("after_reflection")

    # The packed forward gives every logit; decoding must come to the same, up to its end if the model ends the text.
    whole = collate([lay_out(chain([*history, Words(tuple(greedy[1:]), end=False)]), config)], config)
    with torch.no_grad():
        out["text.greedy_logits"] = c.model.logits(forward(c.model, whole)[0][0, -len(greedy) :])
    out["text.greedy_ids"] = torch.tensor([config.special.begin, *out["text.greedy_logits"][:-1].argmax(-1)])
    sampling = Recording()
    for _ in reader.session.write([len(greedy)], torch.zeros(1, len(greedy)), sampling):
        pass
    steps = torch.cat(sampling.seen)
    close(steps, out["text.greedy_logits"][: len(steps)])
    written = reader.session.written[0]
    assert len(steps) == len(greedy) or written.ended
    assert written.ids[: len(greedy) - 1] == greedy[1 : len(written.ids) + 1]
    return out


@cache
def samples() -> tuple[list[Piece], list[Piece]]:
    """The two samples of the packed row."""
    c, stride = case(), case().model.config.latent_stride
    both = c.image, c.tensors["train.target_image_vae"]
    # The reference pads the images of a row to the largest with zeros, encodes them, and crops the latents.
    height, width = (max(x.shape[i] for x in both) for i in (1, 2))
    cleans = []
    for x in both:
        padded = F.pad(x, (0, width - x.shape[2], 0, height - x.shape[1]))
        with torch.no_grad():
            tokens = c.model.encode(padded[None])[0].unflatten(0, (height // stride, width // stride))
        rows, columns = c.grid(x)
        cleans.append(Clean(tokens[:rows, :columns].flatten(0, 1), (rows, columns)))
    image, target = cleans
    noise = c.tensors["train.noise"][len(image.tokens) :][: len(target.tokens)]
    noised = Noised(target.tokens, target.grid, torch.sigmoid(c.tensors["train.timestep_logit"]).item(), noise)
    asked: list[Piece] = [c.words("system"), image, c.seen, c.words("question"), c.words("think", "tool", loss=True)]
    answered: list[Piece] = [target, c.seen_map, c.words("reflection"), Words(c.ids("question")[::-1], loss=True)]
    return [image, c.seen, c.words("tool"), noised], [*asked, *answered]


@cache
def training() -> dict[str, Tensor]:
    """The packed row: its layout, losses and gradients."""
    model, config = case().model, case().model.config
    row = lay_out(merge(samples()), config)
    ids, labels, allowed = (torch.from_numpy(x) for x in (row.ids, row.labels, row.allowed()))
    index = torch.arange(len(ids))
    sees, draws = (
        (ids < 0) & torch.tensor([isinstance(row.nodes[i].piece, kind) for i in row.segment]) for kind in (Seen, Noised)
    )
    out = {
        "train.packed.text_ids": ids[ids >= 0],
        "train.packed.position_ids": torch.from_numpy(row.position),
        "train.packed.ce_loss_indexes": index[labels != NO_LABEL],
        "train.packed.label_ids": labels[labels != NO_LABEL],
        "train.packed.latent_token_indexes": index[torch.from_numpy(row.gen)],
        "train.packed.mse_loss_indexes": index[draws],
        "train.packed.vit_token_indexes": index[sees],
    }
    first = int(np.isin(row.segment, np.arange(len(samples()[0]))).sum())
    for i, part in enumerate((slice(0, first), slice(first, None))):
        out[f"train.packed.attention_allowed.{i}"] = allowed[part, part]
    assert not allowed[:first, first:].any() and not allowed[first:, :first].any()

    loss = losses(model, collate([row], config))
    (loss.text.mean() + loss.flow.mean()).backward()
    out |= {"train.ce_per_token": loss.text.detach(), "train.mse_per_element": loss.flow.detach()}
    gradients, _ = to_released({k: p.grad for k, p in model.named_parameters() if p.grad is not None}, config)
    model.zero_grad()
    return out | {f"train.grad_norm.{name}": gradient.norm() for name, gradient in gradients.items()}


PIECES: dict[str, Callable[[], dict[str, Tensor]]] = {
    "vae": images, "vit": images, "cache": inference, "flow": inference, "text": inference, "train": training,
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_every_reference_number(name: str) -> None:
    actual, expected = PIECES[name.split(".")[0]](), case().tensors[name]
    assert name in actual, "no public piece gives this number"
    if expected.is_floating_point():
        close(actual[name], expected)
    else:
        assert actual[name].dtype == expected.dtype and torch.equal(actual[name], expected)


def test_nothing_is_drawn_or_trained_that_the_reference_has_not() -> None:
    assert {f"flow.{name}" for name in case().flow_cases} == {
        name for name in EXPECTED if name.startswith("flow.") and not name.endswith(".decoded")
    }
    for name, norm in training().items():
        assert name in EXPECTED or (name.startswith("train.grad_norm.") and norm == 0), name


def test_lengths_and_attention_modes_of_the_packed_samples() -> None:
    for i, pieces in enumerate(samples(), 1):
        row = lay_out(chain(pieces), case().model.config)
        allowed, found = row.allowed(), []
        for node in range(len(row.nodes)):
            own, later = row.segment == node, row.segment > node
            inside = allowed[np.ix_(own, own)]
            n = len(inside)
            mode = "causal" if (inside == np.tri(n, dtype=bool)).all() else "full" if inside.all() else "neither"
            unseen = not allowed[np.ix_(later, own)].any()
            found.append([n, "noise" if unseen and isinstance(row.nodes[node].piece, Noised) else mode])
        assert found == case().plan[f"plan_sample_{i}"]
