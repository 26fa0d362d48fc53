"""A finished rollout, run again as one packed row, gives what was recorded when it was sampled.

Reinforcement learning stands on this: what the update computes is what the rollout did.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.helpers import Scripted, in_sequence, picture, random_model, sequencer

from cooper.inference.engine import Engine, Settings
from cooper.inference.flow import FlowSettings, guide, schedule
from cooper.inference.rollout import Rollout
from cooper.inference.sampler import generator
from cooper.layout import NO_LABEL, Noised, Piece, Words, chain, collate, lay_out
from cooper.modalities import MapCodes, modality
from cooper.model.autoencoder import patchify
from cooper.model.packed import forward, losses
from cooper.model.unified import UnifiedModel
from cooper.policy import Policy
from cooper.sequence import Sequencer
from cooper.trace import Text, Trace

POLICY = Policy("test", "Draw, think, answer.", ("depth", "segmentation"), max_turns=3)
FLOW = FlowSettings(3)
THOUGHT = "<think>I should look at it.</think>"
DEPTH, SEGMENTATION = (THOUGHT + modality(name).call for name in ("depth", "segmentation"))
ANSWER = "<think>It is near.</think><answer>\\boxed{1.2}</answer>"
#: turns by seed, None for one that is sampled freely: traces with no map, one, and two
SCRIPT: list[list[str | None]] = [
    [None], [ANSWER], [DEPTH, None], [SEGMENTATION, ANSWER], [DEPTH, SEGMENTATION, None], [SEGMENTATION, DEPTH, ANSWER],
]  # fmt: skip
MAPS = [0, 0, 1, 1, 2, 2]


def encode_never(image: np.ndarray) -> torch.Tensor:
    raise AssertionError("a drawn map is fed back as the latent that was drawn, not encoded again")


def sample(model: UnifiedModel, temperature: float = 1.0, flow: FlowSettings = FLOW) -> list[Rollout]:
    steps = sequencer(model)
    script = {i: [None if text is None else steps.ids(text) for text in turns] for i, turns in enumerate(SCRIPT)}
    settings = Settings(Scripted(temperature, script=script, turn_tokens=32), flow, turn_tokens=32)
    prompt = Trace((picture(1), Text("How far is the red ball from the blue box?")))
    rollouts = Engine(model, steps, settings).run([prompt], POLICY, samples=len(SCRIPT))
    assert [len(rollout.trace.drawings) for rollout in rollouts] == MAPS
    return rollouts


def pieces_of(steps: Sequencer, model: UnifiedModel, rollout: Rollout) -> list[Piece]:
    """The rollout as pieces. Only the picture is encoded: what was drawn is there."""
    first = next(i for i, segment in enumerate(rollout.trace.segments) if segment is rollout.trace.pictures[0])
    before, after = rollout.trace.segments[: first + 1], rollout.trace.segments[first + 1 :]
    return [*steps.pieces(Trace(before), steps.encoder(model)), *steps.pieces(Trace(after), encode_never)]


@pytest.mark.parametrize("maps_through", ["both", "vision"])
@pytest.mark.parametrize("coloured", [False, True])
def test_log_probabilities_are_those_of_the_packed_rollouts(maps_through: str, coloured: bool) -> None:
    """Also of a model that looks at depth in colours, which is then encoded again."""
    model = random_model(maps_through=maps_through, codes=MapCodes(coloured=coloured))
    steps = sequencer(model)
    rollouts = sample(model)
    colours = [d.drawn is not None for r in rollouts for d in r.trace.drawings if d.modality == "depth"]
    assert set(colours) == {coloured} and all(np.ptp(r.trace.drawings[-1].as_drawn) > 0 for r in rollouts[2:])
    pieces = [steps.pieces(r.trace, steps.encoder(model)) if coloured else pieces_of(steps, model, r) for r in rollouts]
    batch = collate([lay_out(chain(of), model.config) for of in pieces], model.config)
    with torch.no_grad():
        replayed = -losses(model, batch).text
    counts = (batch.labels != NO_LABEL).sum(1).tolist()
    for rollout, log_p in zip(rollouts, replayed.split(counts), strict=True):
        recorded = torch.tensor([p for turn in rollout.turns for p in turn.log_probabilities])
        assert len(recorded) == rollout.tokens + sum(turn.ended for turn in rollout.turns), (
            "one a token, and one an end"
        )
        torch.testing.assert_close(recorded, log_p, rtol=0, atol=1e-4)
    assert {rollout.reason for rollout in rollouts} == {"answered", "length"}, "turns that ended, and one that was cut"


def test_log_probabilities_are_of_the_tempered_distribution() -> None:
    model, temperature = random_model(), 0.7
    steps = sequencer(model)
    for rollout in sample(model, temperature):
        batch = collate([lay_out(chain(pieces_of(steps, model, rollout)), model.config)], model.config)
        with torch.no_grad():
            logits = model.logits(forward(model, batch)[0])[batch.labels != NO_LABEL]
        labels = batch.labels[batch.labels != NO_LABEL]
        replayed = torch.log_softmax(logits / temperature, dim=-1).gather(-1, labels[:, None])[:, 0]
        recorded = torch.tensor([p for turn in rollout.turns for p in turn.log_probabilities])
        torch.testing.assert_close(recorded, replayed, rtol=0, atol=1e-4)


def test_a_saved_rollout_replays_the_same(tmp_path: object) -> None:
    model = random_model()
    steps = sequencer(model)
    for rollout in sample(model):
        folder = f"{tmp_path}/{rollout.seed}"
        rollout.trace.save(folder)
        encode = steps.encoder(model)
        rows = [lay_out(chain(steps.pieces(t, encode)), model.config) for t in (rollout.trace, Trace.load(folder))]
        with torch.no_grad():
            one, other = (losses(model, collate([row], model.config)).text for row in rows)
        assert torch.equal(one, other)


GUIDED = FlowSettings(5, 3.0, 4.0, 2.0, (0.4, 1.0), "global", noise=1.0)


@pytest.mark.parametrize(
    ("flow", "maps_through"),
    [
        (FlowSettings(4, 2.0), "both"), (GUIDED, "both"), (GUIDED, "vision"),
        (FlowSettings(4, 1.0, 3.0, 1.0, (0.0, 1.0), "text_channel"), "vision"),
        (FlowSettings(4, 1.0, 1.0, 2.0, (0.0, 1.0), "channel", 0.5), "both"),
    ],
    ids=["plain", "both guided", "both guided, seen once", "text guided", "image guided"],
)  # fmt: skip
def test_drawings_are_those_of_a_packed_walk(flow: FlowSettings, maps_through: str) -> None:
    """Every map again, from its noise, by the packed model on three histories: no cache, no shared branches."""
    model = random_model(maps_through=maps_through)
    steps = sequencer(model)

    @torch.no_grad()
    def velocity(history: list[Piece], x: torch.Tensor, grid: tuple[int, int], t: float) -> torch.Tensor:
        batch = collate([lay_out(chain([*history, Noised(x, grid, t, x)]), model.config)], model.config)
        (whole,) = in_sequence(model, batch, *forward(model, batch))
        return whole[-1 - len(x) : -1, model.config.decoder.vocabulary :]

    for rollout in sample(model, flow=flow):
        turn = -1
        for i, segment in enumerate(rollout.trace.segments):
            turn += isinstance(segment, Text) and segment.role == "model"
            if segment not in rollout.trace.drawings:
                continue
            before = Trace(rollout.trace.segments[:i])
            history = steps.pieces(before, steps.encoder(model))
            without_call = [*history[:-1], Words(steps.ids(THOUGHT))]
            without_image: list[Piece] = [piece for piece in history if isinstance(piece, Words)]
            grid = steps.latent_grid(segment.image)
            shape = (grid[0] * grid[1], model.config.latent_dim)
            x = flow.noise * torch.randn(shape, generator=generator(rollout.seed, "map", turn))
            for t, step in schedule(flow.time_points, flow.shift):
                v = velocity(history, x, grid, t)
                if flow.guided_at(t):
                    v = guide(v, velocity(without_call, x, grid, t), velocity(without_image, x, grid, t), flow)
                x = x - step * v
            drawn = patchify(torch.from_numpy(segment.latent), model.config.latent_patch)
            torch.testing.assert_close(drawn, x, rtol=0, atol=2e-4)
