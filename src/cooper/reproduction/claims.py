"""What the paper claims, and what the answers say about it. Pure functions of predictions.

Scores are in points: 100 times a mean over tasks, each task counting the same. A difference between two variants is of
the same questions; its interval resamples questions within each seed and task, so it says how sure the figure is for
these seeds' models. How much seeds differ is told beside it, seed by seed. Shares are in percent; their intervals are
Wilson's, as resampling shares of 0 or 100 % gives nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from cooper.evaluation.predictions import Row, key_of
from cooper.evaluation.scores import wilson
from cooper.scenes.question import GENERAL, SPATIAL, TASKS

#: the rows of a variant, by seed
Answers: TypeAlias = Mapping[int, Sequence[Row]]

DISTANCES = ("distance_to_camera", "distance_between")
#: The tasks that the paper's gain of stage 1 is about.
LENGTHS = (*DISTANCES, "height", "size")
#: What gains are counted from: the paper's base, and one that was trained on as many answers as stage 1.
BASES = ("base", "base, longer")


@dataclass(frozen=True)
class Figure:
    """Points (or a difference of points, or percent), a 95 % interval, and the points of each seed."""

    points: float
    low: float
    high: float
    by_seed: tuple[float, ...]


def score(answers: Answers, tasks: Sequence[str], resamples: int = 2000) -> Figure:
    """Mean score over tasks, in points."""
    return _figure([_by_task(rows, tasks) for rows in answers.values()], resamples)


def difference(a: Answers, b: Answers, tasks: Sequence[str], resamples: int = 2000) -> Figure:
    """How much higher `a` scores than `b` on the same questions.

    Raises ValueError if they were not asked the same.
    """
    if a.keys() != b.keys():
        raise ValueError(f"seeds {sorted(a)} and {sorted(b)} cannot be compared")
    groups = []
    for seed in a:
        others = {key_of(row): row["score"] for row in b[seed]}
        if others.keys() != {key_of(row) for row in a[seed]}:
            raise ValueError(f"other questions were asked of one than of the other (seed {seed})")
        groups.append(_by_task([{**row, "score": row["score"] - others[key_of(row)]} for row in a[seed]], tasks))
    return _figure(groups, resamples)


def share_calling(answers: Answers, tasks: Sequence[str], call: str | None = None) -> Figure:
    """Share of the answers to these tasks for which that map was drawn; None: any map."""
    of_tasks = {seed: [row for row in rows if row["task"] in tasks] for seed, rows in answers.items()}
    return share(of_tasks, lambda row: bool(row["calls"]) if call is None else call in row["calls"])


def share(answers: Answers, counts: Callable[[Row], bool]) -> Figure:
    """Share of the answers that count, in percent."""
    found = [[counts(row) for row in rows] for rows in answers.values() if rows]
    n = sum(map(len, found))
    if not n:
        raise ValueError("a share is of at least one answer")
    p = sum(map(sum, found)) / n
    low, high = wilson(p, n)
    return Figure(100 * p, 100 * low, 100 * high, tuple(100 * sum(of) / len(of) for of in found))


def identical(a: Answers, b: Answers) -> tuple[int, int]:
    """How many questions of the seeds that both have got the same answer of both, thoughts and all; and of how many."""
    texts = [{(seed, *key_of(row)): row["turns"] for seed in a.keys() & b.keys() for row in of[seed]} for of in (a, b)]
    asked = texts[0].keys() & texts[1].keys()
    return sum(texts[0][key] == texts[1][key] for key in asked), len(asked)


def of_shared_seeds(a: Answers, b: Answers) -> tuple[Answers, Answers]:
    """What both have: one may have come further."""
    shared = sorted(a.keys() & b.keys())
    return {seed: a[seed] for seed in shared}, {seed: b[seed] for seed in shared}


def _by_task(rows: Sequence[Row], tasks: Sequence[str]) -> list[np.ndarray]:
    found = [np.array([row["score"] for row in rows if row["task"] == task]) for task in tasks]
    found = [scores for scores in found if len(scores)]
    if not found:
        raise ValueError(f"nothing was asked of {', '.join(tasks)}")
    return found


def _figure(groups: Sequence[Sequence[np.ndarray]], resamples: int) -> Figure:
    """Of scores by seed and task."""
    rng = np.random.default_rng(0)
    by_seed = [100 * float(np.mean([scores.mean() for scores in tasks])) for tasks in groups]
    drawn = np.zeros(resamples)
    for tasks in groups:
        for scores in tasks:
            again = scores[rng.integers(len(scores), size=(resamples, len(scores)))].mean(axis=1)
            drawn += 100 * again / len(tasks) / len(groups)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(float(np.mean(by_seed)), float(low), float(high), tuple(by_seed))


@dataclass(frozen=True)
class Finding:
    """A claim, what the paper says, what is wanted here, what was found, and whether that is enough, by what it is
    judged by; first the paper's way."""

    claim: str
    paper: str
    wanted: str
    found: str
    holds: Mapping[str, bool]


def findings(answers: Mapping[str, Answers]) -> list[Finding]:
    """Every claim that these variants can tell something about, each of the seeds that have all it needs."""
    made: list[Finding] = []
    seeds = {seed for of in answers.values() for seed in of}
    for needed, make in (
        (("COOPER", *BASES), _gain), (("AMG direct", *BASES), _stage_1), (("COOPER", *BASES), _general),
        (("COOPER", "RE", *BASES), _against_re), (("COOPER", "RE from base", "base"), _against_re_from_base),
        (("COOPER", "PE", *BASES), _against_pe), (("COOPER", "SFT only"), _adaptive),
        (("COOPER", "other maps", "asked to think", "calls forbidden", "true maps"), _map_is_used),
        (("COOPER", "SFT only", "COOPER, sampled", "SFT only, sampled", "SFT only, as sure"), _reinforced),
    ):  # fmt: skip
        shared = sorted(seeds.intersection(*(answers.get(name, {}) for name in needed)))
        if shared:
            finding = make({name: {seed: answers[name][seed] for seed in shared} for name in needed})
            fewer = "" if len(shared) == len(seeds) else f" ({numbered(shared)})"
            made.append(replace(finding, claim=finding.claim + fewer))
    return made


def numbered(seeds: Collection[int]) -> str:
    """ "seed 0" or "seeds 0, 1"."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _gain(a: Mapping[str, Answers]) -> Finding:
    found = _over_bases(a, "COOPER", SPATIAL)
    return Finding(
        "COOPER - base, spatial tasks", "+6.91", "at least +6.91, interval above 0", _told(found),
        _over_each(d.points >= 6.91 and d.low > 0 for d in found),
    )  # fmt: skip


def _stage_1(a: Mapping[str, Answers]) -> Finding:
    found = _over_bases(a, "AMG direct", LENGTHS)
    return Finding(
        "AMG direct - base, distances and sizes", "+7.92", "at least +7.92", _told(found),
        _over_each(d.points >= 7.92 for d in found),
    )  # fmt: skip


def _general(a: Mapping[str, Answers]) -> Finding:
    found = _over_bases(a, "COOPER", GENERAL)
    return Finding(
        "COOPER - base, general tasks", "+4.47", "no loss beyond the interval", _told(found),
        _over_each(d.high >= 0 for d in found),
    )  # fmt: skip


def _against_re(a: Mapping[str, Answers]) -> Finding:
    d, general = (difference(a["COOPER"], a["RE"], tasks) for tasks in (SPATIAL, GENERAL))
    own = _told(_over_bases(a, "RE", SPATIAL))
    return Finding(
        "COOPER - RE, spatial tasks", "+6.1 (RE - base +0.8)", "COOPER at least 3 points above RE",
        f"COOPER - RE {shown(d)}, on general tasks {shown(general)}; RE - base {own}", {"": d.points >= 3},
    )  # fmt: skip


def _against_re_from_base(a: Mapping[str, Answers]) -> Finding:
    """As the paper compares them: stage 1 is more training, which its RE does not have. It was not among the claims
    that were to be tried before any model was trained."""
    d, own = difference(a["COOPER"], a["RE from base"], SPATIAL), difference(a["RE from base"], a["base"], SPATIAL)
    return Finding(
        "COOPER - RE from base, spatial tasks", "+6.1 (RE - base +0.8)",
        "COOPER at least 3 points above it; added when RE had been seen ahead",
        f"COOPER - RE from base {shown(d)}; RE from base - base {shown(own)}", {"": d.points >= 3},
    )  # fmt: skip


def _against_pe(a: Mapping[str, Answers]) -> Finding:
    spatial, general = (difference(a["COOPER"], a["PE"], tasks) for tasks in (SPATIAL, GENERAL))
    own = [_told(_over_bases(a, "PE", tasks)) for tasks in (SPATIAL, GENERAL)]
    return Finding(
        "PE - base, spatial and general", "helps spatial (+2.32), hurts general (-6.09)",
        "COOPER at least as good as PE on spatial, better on general",
        f"PE - base, spatial: {own[0]}; general: {own[1]}; COOPER - PE, spatial: {shown(spatial)}; general: "
        f"{shown(general)}",
        {"": spatial.points >= 0 and general.points > 0},
    )  # fmt: skip


def _over_bases(a: Mapping[str, Answers], variant: str, tasks: Sequence[str]) -> tuple[Figure, Figure]:
    """The gain over the base as the paper has it, and over the one that was trained on."""
    base, longer = (difference(a[variant], a[name], tasks) for name in BASES)
    return base, longer


def _over_each(holds: Iterable[bool]) -> dict[str, bool]:
    return dict(zip(("", "over base, longer"), holds, strict=True))


def _told(gains: tuple[Figure, Figure]) -> str:
    return f"{shown(gains[0])}, over base, longer {shown(gains[1])}"


def _adaptive(a: Mapping[str, Answers]) -> Finding:
    def shares(of: Answers) -> tuple[Figure, Figure, Figure]:
        objects = share_calling(of, ("counting",), "segmentation")
        return share_calling(of, DISTANCES, "depth"), objects, share_calling(of, GENERAL)

    (depth, objects, general), taught = shares(a["COOPER"]), shares(a["SFT only"])
    return Finding(
        "adaptivity", "depth for distance, segmentation for counting, none otherwise",
        "at least 80 % depth for distances, at least 80 % segmentation for counting, at most 15 % of general questions",
        f"{in_percent(depth)} depth for distances, {in_percent(objects)} segmentation for counting, any map for "
        f"{in_percent(general)} of general questions (SFT only, as its traces taught it: "
        f"{', '.join(map(in_percent, taught))})",
        {"": depth.points >= 80 and objects.points >= 80 and general.points <= 15},
    )  # fmt: skip


def _map_is_used(a: Mapping[str, Answers]) -> Finding:
    maps, needed, other = (
        difference(a["COOPER"], a[name], SPATIAL) for name in ("asked to think", "calls forbidden", "other maps")
    )
    true = difference(a["true maps"], a["COOPER"], SPATIAL)
    return Finding(
        "the map is used, spatial tasks", "-", "another picture's map costs at least half of what maps gain",
        f"its own maps gain {shown(maps)} over being asked to think instead, and {shown(needed)} over calls that are "
        f"forbidden; another picture's map costs {shown(other)}; true maps would add {shown(true)}",
        {
            "over thinking": other.points >= maps.points / 2 > 0,
            "over forbidden calls": other.points >= needed.points / 2 > 0,
        },
    )  # fmt: skip


def _reinforced(a: Mapping[str, Answers]) -> Finding:
    # the paper's curve is of rollouts, which are sampled
    sampled = difference(a["COOPER, sampled"], a["SFT only, sampled"], TASKS)
    surer = difference(a["SFT only, as sure"], a["SFT only, sampled"], TASKS)
    greedy = difference(a["COOPER"], a["SFT only"], TASKS)
    return Finding(
        "accuracy within reinforcement, all tasks", "0.54 to 0.63", "at least +5 points over SFT only",
        f"{shown(sampled)} sampled, as the paper's rollouts are; made as sure as COOPER and changed in nothing else, "
        f"SFT only gains {shown(surer)}; {shown(greedy)} greedy",
        {"sampled": sampled.points >= 5, "greedy": greedy.points >= 5},
    )  # fmt: skip


def shown(d: Figure) -> str:
    """A figure in words: +7.1 (5.0 to 9.2; by seed +6.9, +7.3)."""
    seeds = f"; by seed {', '.join(f'{x:+.1f}' for x in d.by_seed)}" if len(d.by_seed) > 1 else ""
    return f"{d.points:+.1f} ({d.low:+.1f} to {d.high:+.1f}{seeds})"


def in_percent(share: Figure, digits: int = 0) -> str:
    """A share in words: 100% (96 to 100)."""
    return f"{share.points:.{digits}f}% ({share.low:.{digits}f} to {share.high:.{digits}f})"
