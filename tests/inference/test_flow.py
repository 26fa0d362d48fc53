"""Time points, guidance and the random numbers behind a choice, against what is worked out by hand."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch
from tests.helpers import decoder_calls, random_model
from torch import Tensor

from cooper.hardware import threads
from cooper.inference.flow import RELEASED, FlowSettings, guide, integrate, schedule
from cooper.inference.sampler import Sampling, generator
from cooper.inference.session import Session
from cooper.layout import Piece, Seen, Words

GRID = (2, 3)
MODEL = random_model()
NOISE = torch.randn(1, 6, MODEL.config.latent_dim, generator=torch.Generator().manual_seed(0))
PICTURE = Seen(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1)
QUESTION, THOUGHT, CALL = Words((5, 6, 7)), (20, 21, 22), (30, 31)
TEXTS = [QUESTION, Words(THOUGHT + CALL)]


# ---------------------------------------------------------------- the schedule


def test_50_time_points_are_49_calls() -> None:
    calls = schedule(50, 3.0)
    assert len(calls) == 49 and calls[0][0] == 1.0
    assert sum(step for _, step in calls) == pytest.approx(1.0), "from pure noise to none"
    assert calls[-1][0] == pytest.approx(calls[-1][1]), "the last step ends at 0, where nothing is called"
    assert RELEASED.time_points == 50 and RELEASED.shift == 3.0


@pytest.mark.parametrize(
    ("points", "shift", "times"),
    [
        (2, 1.0, [1]),
        (5, 1.0, [1, 0.75, 0.5, 0.25]),
        (3, 3.0, [1, 0.75]),  # 3 * 0.5 / (1 + 2 * 0.5)
        (5, 2.0, [1, 6 / 7, 2 / 3, 0.4]),  # 2 t / (1 + t)
        (3, 0.5, [1, 1 / 3]),  # 0.25 / (1 - 0.25)
    ],
)
def test_time_points(points: int, shift: float, times: list[float]) -> None:
    calls = schedule(points, shift)
    assert [t for t, _ in calls] == pytest.approx(times)
    assert [step for _, step in calls] == pytest.approx([a - b for a, b in zip(times, [*times[1:], 0], strict=True)])


def test_the_interval_is_open_below_and_closed_above() -> None:
    flow = FlowSettings(interval=(0.4, 0.8))
    low, high = torch.tensor([0.4, 0.8]).tolist()  # time points are fp32
    assert [flow.guided_at(t) for t in (low, 0.41, high, 0.81)] == [False, True, True, False]


# ---------------------------------------------------------------- guidance


def test_guidance_by_hand() -> None:
    """One token of two numbers: norm 5 becomes 15 after the text step and 25 after the image step."""
    v, text, image = (torch.tensor([[x]]) for x in ([3.0, 4.0], [-1.5, -2.0], [3.0, 4.0]))
    scales = {"text_scale": 7 / 3, "image_scale": 2.0, "interval": (0.0, 1.0)}

    def guided(**more: object) -> Tensor:
        return guide(v, text, image, FlowSettings(**scales, **more))[0, 0]  # type: ignore[arg-type]

    # text: -1.5 + 7/3 * 4.5 = 9, 12; image: 3 + 2 * 6 = 15, 20
    torch.testing.assert_close(guided(renorm="none"), torch.tensor([15.0, 20.0]))
    torch.testing.assert_close(guided(renorm="global"), torch.tensor([3.0, 4.0]))
    torch.testing.assert_close(guided(renorm="channel"), torch.tensor([3.0, 4.0]))
    torch.testing.assert_close(guided(renorm="channel", renorm_min=0.5), torch.tensor([7.5, 10.0]))
    # back to norm 5 after the text step; the image step then adds nothing, being no other than v
    torch.testing.assert_close(guided(renorm="text_channel"), torch.tensor([3.0, 4.0]))
    image = torch.tensor([[[1.5, 2.0]]])  # from 3, 4 away from half of that
    torch.testing.assert_close(guided(renorm="text_channel"), torch.tensor([4.5, 6.0]))
    torch.testing.assert_close(guided(renorm="channel"), torch.tensor([3.0, 4.0]))


def test_other_settings_are_told_in_other_words() -> None:
    others = {"time_points": 9, "shift": 2.0, "text_scale": 2.0, "image_scale": 3.0, "interval": (0.1, 0.9),
              "renorm": "channel", "renorm_min": 0.5, "noise": 0.3}  # fmt: skip
    assert others.keys() == {field.name for field in fields(FlowSettings)}
    told = {FlowSettings(**{name: value}).told for name, value in others.items()}  # type: ignore[arg-type]
    assert len(told | {FlowSettings().told}) == len(others) + 1


def test_renormalisation_never_enlarges_and_knows_tokens() -> None:
    v = torch.tensor([[[3.0, 4.0], [6.0, 8.0]]])
    null = torch.tensor([[[3.0, 4.0], [-6.0, -8.0]]])  # the first token is left alone, the second is doubled and half
    flow = FlowSettings(text_scale=1.5, renorm="channel")
    torch.testing.assert_close(guide(v, null, None, flow), v)
    factor = (5**2 + 10**2) ** 0.5 / (5**2 + 20**2) ** 0.5  # second token: -6 + 1.5 * 12 = 12, 16
    expected = torch.tensor([[[3.0, 4.0], [12.0, 16.0]]]) * factor
    torch.testing.assert_close(guide(v, null, None, FlowSettings(text_scale=1.5, renorm="global")), expected)
    shorter = FlowSettings(text_scale=0.5, renorm="global")  # 0.5: half way to the null, which is smaller
    torch.testing.assert_close(guide(v, torch.zeros_like(v), None, shorter), v / 2)


@pytest.mark.parametrize("scales", [{"text_scale": 2.0}, {"image_scale": 2.0}, {"text_scale": 2.0, "image_scale": 2.0}])
def test_a_missing_branch_is_an_error(scales: dict) -> None:
    flow = FlowSettings(3, **scales)
    v = torch.ones(1, 2, 2)
    with pytest.raises(ValueError, match="every branch"):
        guide(v, None, None, flow)
    with pytest.raises(ValueError, match="every branch"):
        list(integrate(lambda x, t, guided: (v, None, None), v, flow))
    session = turn()
    with pytest.raises(ValueError, match="text guidance needs|image guidance needs"):
        list(session.draw(NOISE, GRID, flow))


def turn(*before: Piece, ids: tuple[int, ...] = THOUGHT + CALL) -> Session:
    """A session that has read a question about a picture, and a turn that calls for a map."""
    session = Session.open(MODEL, [before or (PICTURE, QUESTION)]).fork(1, 40)
    session.read_turn([ids])
    return session


def draw(session: Session, flow: FlowSettings) -> Tensor:
    *_, end = session.draw(NOISE, GRID, flow, [(len(THOUGHT), ())], [TEXTS])
    return end


def first_velocity(session: Session) -> Tensor:
    return NOISE - draw(session, FlowSettings(2))


@pytest.mark.parametrize("rest", [(), (40, 41)])
def test_branches_in_one_pass_are_what_they_are_apart(rest: tuple[int, ...]) -> None:
    """Without the call the turn may go on with other tokens (`rest`), as when a text is tokenised again."""
    flow = FlowSettings(2, 1.0, 4.0, 2.0, (0.0, 1.0), "none")
    v, text = first_velocity(turn()), first_velocity(turn(ids=THOUGHT + rest))
    image = first_velocity(turn(QUESTION))
    assert (v - text).abs().max() > 1e-2, "removing the call changes the velocity"
    assert (v - image).abs().max() > 1e-2, "removing the picture changes it"
    *_, end = turn().draw(NOISE, GRID, flow, [(len(THOUGHT), rest)], [TEXTS])
    torch.testing.assert_close(NOISE - end, guide(v, text, image, flow), rtol=0, atol=1e-4)
    text_first = image + 2 * ((text + 4 * (v - text)) - image)
    torch.testing.assert_close(NOISE - end, text_first, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("text_scale", "image_scale", "rows"),
    [(1, 1, [1] * 5), (4, 1, [2, 2, 2, 1, 1]), (1, 2, [2, 2, 2, 1, 1]), (4, 2, [3, 3, 3, 1, 1])],
)
def test_branches_that_are_off_cost_nothing(text_scale: float, image_scale: float, rows: list[int]) -> None:
    flow = FlowSettings(6, 1.0, text_scale, image_scale, interval=(0.5, 1.0))
    session = turn()
    length = session.context.length
    with threads(1), decoder_calls(MODEL) as calls:
        draw(session, flow)
    drawing = [positions.shape[0] for (_, gen, positions, _), _ in calls if gen is not None]
    assert drawing == rows, "one pass a time point, whatever the branches"
    assert len(calls) - len(drawing) == (text_scale != 1) + (image_scale != 1), "null histories are read once, or never"
    assert session.context.length == length, "nothing of a drawing stays"


def test_maps_do_not_depend_on_how_many_threads_draw_them() -> None:
    """Two threads share the branches of one map, unevenly, and the maps of two."""
    flow = FlowSettings(4, 1.0, 4.0, 2.0, (0.3, 1.0))
    ends = []
    for count in (1, 2):
        with threads(count):
            ends.append(draw(turn(), flow))
            assert torch.get_num_threads() == count
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"time_points": 1}, "at least 2 time points"),
        ({"interval": (1.0, 0.4)}, "the lower one first; not 1 and 0.4"),
        ({"interval": (math.nan, 1.0)}, "the lower one first"),
        ({"renorm_min": 5.0}, "lies in 0 to 1, not at 5"),
        ({"shift": 0.0}, "time shift must be above 0"),
        ({"text_scale": -1.0}, "must not be negative"),
        ({"noise": -0.1}, "deviation of noise must not be negative"),
        ({"renorm": "text"}, "no renormalisation is called 'text'"),
    ],
)
def test_wrong_settings(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowSettings(**wrong)


# ---------------------------------------------------------------- random numbers and choices


def test_random_numbers_are_a_function_of_their_key() -> None:
    keys = [(1, "text", 0), (1, "text", 1), (1, "map", 0), (2, "text", 0), (-1, "text", 0), (2**70, "text", 0)]
    drawn = [torch.rand(4, generator=generator(*key)).tolist() for key in keys]
    assert drawn == [torch.rand(4, generator=generator(*key)).tolist() for key in keys]
    assert len({tuple(numbers) for numbers in drawn}) == len(keys)


def test_sampling_follows_the_distribution() -> None:
    """Evenly spread random numbers choose every token as often as it is likely, up to rounding."""
    logits, n = torch.tensor([2.0, 0.0, -1.0, 1.0, -4.0]), 10_000
    uniform = (torch.arange(n) + 0.5) / n
    for temperature in (1.0, 0.5, 2.0):
        ids, log_p = Sampling(temperature).choose(logits.expand(n, -1), uniform)
        expected = torch.softmax(logits / temperature, dim=0)
        assert (torch.bincount(ids, minlength=5) / n - expected).abs().max() < 2e-4
        torch.testing.assert_close(log_p, expected.log()[ids])


def test_top_p_keeps_the_likeliest_tokens_that_make_up_the_share() -> None:
    logits, n = torch.tensor([0.1, 0.5, 0.15, 0.25]).log(), 1000
    uniform = torch.arange(n) / n
    for top_p, kept in ((0.5, [1]), (0.51, [1, 3]), (0.75, [1, 3]), (0.8, [1, 2, 3]), (1.0, [0, 1, 2, 3])):
        ids, log_p = Sampling(1.0, top_p).choose(logits.expand(n, -1), uniform)
        assert ids.unique().tolist() == kept
        share = logits.exp()[kept].sum()
        torch.testing.assert_close(log_p, (logits.exp()[ids] / share).log())


def test_the_likeliest_token_is_always_eligible() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    ids, log_p = Sampling(1.0, top_p=1e-300).choose(logits, torch.tensor([0.9]))
    assert ids.tolist() == [1] and log_p.tolist() == [0.0]


def test_numbers_that_are_none_are_told() -> None:
    """Damaged weights, or guidance beyond the range of numbers; not an answer like any other."""
    for temperature in (0.0, 1.0):
        for damaged in (float("nan"), float("inf")):
            with pytest.raises(ValueError, match="logits are NaN or infinite: its weights"):
                Sampling(temperature).choose(torch.tensor([[0.0, damaged]]), torch.tensor([0.5]))
    v = torch.ones(1, 4, 8)
    with pytest.raises(ValueError, match="NaN or infinite: the model's weights"):
        list(integrate(lambda x, t, guided: (v * float("nan"), None, None), v, FlowSettings(3)))
    with pytest.raises(ValueError, match="lower the guidance"):
        flow = FlowSettings(3, text_scale=3e38, interval=(0.0, 1.0), renorm="none")
        list(integrate(lambda x, t, guided: (v, -v, v), v, flow))


def test_extreme_random_numbers_choose_possible_tokens() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]] * 2)
    ids, log_p = Sampling(1.0).choose(logits, torch.tensor([0.0, 1 - 2**-24]))
    assert ids.tolist() == [1, 2] and torch.isfinite(log_p).all()


def test_greedy_takes_the_likeliest_whatever_the_random_number() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]] * 2)
    ids, log_p = Sampling().choose(logits, torch.tensor([0.0, 0.999]))
    assert ids.tolist() == [1, 1]
    torch.testing.assert_close(log_p, torch.log_softmax(logits, -1)[:, 1])


@pytest.mark.parametrize("wrong", [{"temperature": -0.1}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_wrong_sampling(wrong: dict) -> None:
    with pytest.raises(ValueError):
        Sampling(**wrong)
