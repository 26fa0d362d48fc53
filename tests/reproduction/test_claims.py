"""What answers say about the paper's claims, on answers made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from cooper.evaluation.predictions import Row
from cooper.reproduction.claims import Answers, difference, findings, identical, numbered, score, share, share_calling
from cooper.scenes.question import GENERAL, SPATIAL, TASKS

CALLS = {"distance_to_camera": ["depth"], "distance_between": ["depth"], "counting": ["segmentation"]}


def answers(
    right: Callable[[str, int], float], seeds: Sequence[int] = (0, 1), n: int = 20,
    calls: Callable[[str], list[str]] = lambda task: CALLS.get(task, []),
) -> Answers:  # fmt: skip
    """`right(task, k)`: the score of question k of a task."""

    def row(seed: int, task: str, k: int) -> Row:
        scored = {"score": right(task, k), "calls": calls(task)}
        return {"seed": 1000 * seed + k, "task": task, "question": f"{task}?", **scored}

    return {seed: [row(seed, task, k) for task in TASKS for k in range(n)] for seed in seeds}


def test_every_task_counts_the_same() -> None:
    rows = {0: [
        {"seed": k, "task": "closer", "question": "", "score": 1.0, "calls": []} for k in range(9)
    ] + [{"seed": 0, "task": "taller", "question": "", "score": 0.0, "calls": []}]}  # fmt: skip
    figure = score(rows, SPATIAL)
    assert figure.points == 50 and figure.by_seed == (50,)


def test_a_difference_is_of_the_same_questions() -> None:
    # both are right half of the time, on the same questions: nothing differs, and that is certain
    same = answers(lambda _, k: k % 2)
    assert difference(same, answers(lambda _, k: k % 2), TASKS) == score(answers(lambda *_: 0.0), TASKS)
    other = difference(same, answers(lambda _, k: (k + 1) % 2), TASKS)
    assert other.points == 0 and other.low < -5 and other.high > 5
    with pytest.raises(ValueError, match="other questions"):
        difference(same, answers(lambda *_: 1.0, n=19), TASKS)
    with pytest.raises(ValueError, match="cannot be compared"):
        difference(same, answers(lambda *_: 1.0, seeds=(0, 2)), TASKS)


def test_intervals_cover_the_truth() -> None:
    figure = score(answers(lambda _, k: k % 4 == 0, n=40), TASKS)
    assert figure.points == 25 and 20 < figure.low < 25 < figure.high < 30


def test_calls_are_counted_by_task() -> None:
    made = answers(lambda *_: 1.0)
    assert share_calling(made, ("counting",), "segmentation").points == 100
    assert share_calling(made, ("counting", "closer"), "segmentation").points == 50
    assert share_calling(made, ("counting", "closer")).points == 50 and share_calling(made, GENERAL).points == 0


@pytest.mark.parametrize(("yes", "n"), [(0, 10), (5, 10), (1, 84), (84, 84), (979, 1000)])
def test_intervals_of_shares_are_wilsons(yes: int, n: int) -> None:
    rows = [{"score": 0.0, "yes": k < yes} for k in range(n)]
    found = share({0: rows[: n // 2], 1: rows[n // 2 :]}, lambda row: row["yes"])
    expected = binomtest(yes, n).proportion_ci(method="wilson")
    assert found.points == pytest.approx(100 * yes / n) and len(found.by_seed) == 2
    assert (found.low, found.high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-4)


def test_answers_are_identical_by_all_that_was_written() -> None:
    def written(seeds: Sequence[int], text: Callable[[int], str]) -> Answers:
        made = answers(lambda *_: 1.0, seeds=seeds)
        return {s: [{**row, "turns": [text(k)]} for k, row in enumerate(rows)] for s, rows in made.items()}

    n = 20 * len(TASKS)
    one, other = written((0, 1), lambda k: f"{k}"), written((1, 2), lambda k: f"{k % 100}")
    assert identical(one, one) == (2 * n, 2 * n)
    assert identical(one, other) == (100, n), "of the seed that both have"
    assert identical(one, {1: list(reversed(other[1]))}) == (100, n), "by question, in whatever order"
    assert identical(one, {}) == (0, 0)


def variants(**scores: float) -> dict[str, Answers]:
    """Variants that are right in so many of 20 questions of each spatial task, and in half of the others."""
    made = {
        name.replace("_", " "): answers(lambda t, k, s=s: k < s if t in SPATIAL else k < 10)  # type: ignore[misc]
        for name, s in scores.items()
    }
    return {"base, longer": made["base"], **made}


def sampled(before: float, after: float) -> dict[str, Answers]:
    """Sampled answers before and after reinforcement, right in so many of 20 questions; one more by being sure."""
    of = {"SFT only, sampled": before, "SFT only, as sure": before + 1, "COOPER, sampled": after}
    return {name: answers(lambda _, k, s=s: k < s) for name, s in of.items()}  # type: ignore[misc]


def test_intervals_are_of_95_percent() -> None:
    figure = score({0: [{"task": "closer", "score": k % 2} for k in range(400)]}, ("closer",))
    assert (figure.low, figure.high) == pytest.approx((45.1, 54.9), abs=0.6), "by the binomial; 90 % would be 45.9"


def test_claims_that_hold_and_that_do_not() -> None:
    good = variants(
        base=8, AMG_direct=10, PE=12, RE=11, RE_from_base=9, SFT_only=12, COOPER=14, other_maps=8, asked_to_think=10,
        true_maps=15, calls_forbidden=9,
    ) | sampled(11, 13)
    good["PE"] = {s: [{**r, "score": float(r["score"]) * (r["task"] in SPATIAL)} for r in rows]
                  for s, rows in good["PE"].items()}  # fmt: skip
    found = {f.claim: f for f in findings(good)}
    assert len(found) == 9 and all(all(f.holds.values()) for f in found.values()), found
    late = {f.claim: dict(f.holds) for f in findings({**good, "base, longer": good["COOPER"]})}
    gains = [late.pop(name) for name in ("COOPER - base, spatial tasks", "AMG direct - base, distances and sizes")]
    assert gains == [{"": True, "over base, longer": False}] * 2, "what is over the base is told by itself"
    assert all(all(holds.values()) for holds in late.values())
    needed = findings({**good, **variants(base=8, calls_forbidden=8, other_maps=12)})
    assert [f.holds for f in needed if "map is used" in f.claim] == [
        {"over thinking": True, "over forbidden calls": False}
    ], "10 of 20 points, and 10 of 30"
    surer = {f.claim: f.holds for f in findings({**good, "SFT only": good["COOPER"]})}
    assert surer["accuracy within reinforcement, all tasks"] == {"sampled": True, "greedy": False}
    assert found["COOPER - base, spatial tasks"].found.startswith("+30.0 (")
    assert "RE from base - base +5.0 (" in (told := found["COOPER - RE from base, spatial tasks"].found)
    assert "COOPER - RE from base +25.0 (" in told
    assert "; by seed +15.0, +15.0), on general tasks +0.0 (" in found["COOPER - RE, spatial tasks"].found
    told = found["adaptivity"].found
    assert told.startswith("100% (95 to 100) depth for distances") and "any map for 0% (0 to 3) of general" in told
    reinforced = found["accuracy within reinforcement, all tasks"].found
    assert reinforced.startswith("+10.0 (") and "SFT only gains +5.0 (" in reinforced
    bad = variants(
        base=14, AMG_direct=14, PE=15, RE=14, RE_from_base=14, SFT_only=14, COOPER=14, other_maps=14, asked_to_think=10,
        true_maps=15, calls_forbidden=10,
    ) | sampled(14, 14)
    bad["COOPER"] = {s: [{**r, "calls": ["depth"]} for r in rows] for s, rows in bad["COOPER"].items()}
    assert [f.claim for f in findings(bad) if any(f.holds.values())] == ["COOPER - base, general tasks"]
    assert "+0.0 (+0.0 to +0.0; by seed +0.0, +0.0) sampled" in findings(bad)[-1].found, "as in rollouts, not greedily"


def test_seeds_that_have_come_less_far_are_left_out_where_they_must_be() -> None:
    """A report is written after every variant, while the next seed has but begun."""
    begun = variants(base=8, RE=11, COOPER=14)
    whole = {f.claim: f for f in findings(begun)}
    seed = next(iter(begun["base"]))
    found = {f.claim: f for f in findings({**begun, "base": {**begun["base"], 99: begun["base"][seed]}})}
    assert len(found) == len(whole) > 2
    gain = "COOPER - base, spatial tasks"
    assert found[f"{gain} ({numbered(begun['base'])})"].found == whole[gain].found
    assert findings({"base": begun["base"], "COOPER": {99: begun["COOPER"][seed]}, "base, longer": {}}) == [
        replace(f, claim=f"{f.claim} (seed 99)") for f in findings({"COOPER": {99: begun["COOPER"][seed]}})
    ]


def test_claims_that_cannot_be_tested_are_left_out() -> None:
    assert [f.claim for f in findings(variants(COOPER=14, base=8))] == [
        "COOPER - base, spatial tasks", "COOPER - base, general tasks",
    ]
