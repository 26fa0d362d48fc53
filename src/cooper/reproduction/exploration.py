"""What the reward for calls (exploration) is worth: of models that SFT has taught when to call, and of such whose calls
it has left open."""

from __future__ import annotations

import numpy as np

from cooper.modalities import names
from cooper.reproduction import cells
from cooper.reproduction.claims import (
    DISTANCES,
    Answers,
    difference,
    identical,
    in_percent,
    numbered,
    of_shared_seeds,
    score,
    share_calling,
    shown,
)
from cooper.reproduction.known import Known
from cooper.reproduction.logs import Log, alike, share_of_rollouts, told_apart
from cooper.scenes.question import GENERAL, SPATIAL

#: Percent of identical answers from which on two models are taken for the same.
SAME = 95
#: Percent of the groups that a reward tells apart, below which it is said to have hardly been tried.
FEW = 5
#: Steps at the beginning and at the end of reinforcement that are compared.
STEPS = 5
_NONE = "no exploration reward"
_SFT, _WITH, _WITHOUT = "SFT half by eye", "half by eye", "half by eye without exploration reward"


def settled_calls(known: Known) -> list[str]:
    """Whether the ablation of that reward is one: a part that changes no advantage changes no training."""
    cooper, without = _both(known, "COOPER", _NONE)
    if not cooper:
        return []
    same, n = identical(cooper, without)
    before, of = identical(cooper, known.answers.get("SFT only", {}))
    told = shown(difference(without, cooper, SPATIAL))
    beside = f" (of SFT only's answers {before} of {of})" if of else ""
    if 100 * same >= SAME * n:
        verdict = f"""
            **So it is here: the difference on spatial tasks, {told}, compares one training with itself. It tells
            nothing about what the exploration reward is worth.**
        """
    else:
        verdict = f"Here they are two, and on spatial tasks the one without that part differs by {told}."
    return [cells.prose(f"""
        **Is "{_NONE}" another model than COOPER?** {same} of its {n} answers are COOPER's, word for
        word{beside}. {_trainings(known, "COOPER", _NONE)} A rollout's reward counts by how far it is from the mean of
        the rollouts to the same question. What all of them get alike, as where all of them call for a map, cancels.
        Where at least {SAME} % of the answers are the same, this report takes the two for one training. {verdict}
    """), ""]


def open_calls(known: Known) -> list[str]:
    """Nothing until both ways of reinforcement have been asked."""
    rewarded, not_rewarded = _both(known, _WITH, _WITHOUT)
    if not rewarded:
        return []
    before = {seed: rows for seed, rows in known.answers.get(_SFT, {}).items() if seed in rewarded}
    models = {name: of for name, of in ((_SFT, before), (_WITH, rewarded), (_WITHOUT, not_rewarded)) if of}
    table = cells.table(
        ("model", "depth for distances", "segmentation for counting", "any map for general questions", "spatial"),
        [
            (name, *(in_percent(share_calling(of, tasks, call)) for tasks, call in (
                (DISTANCES, "depth"), (("counting",), "segmentation"), (GENERAL, None)
            )), cells.brackets(score(of, SPATIAL)))
            for name, of in models.items()
        ],
    )  # fmt: skip
    gained = f" (over {_SFT}: {shown(difference(rewarded, before, SPATIAL))})" if before else ""
    same, n = identical(rewarded, not_rewarded)
    return [cells.prose(f"""
        **And where calls are open?** Reinforced with the exploration reward and without it, these models differ by
        {shown(difference(rewarded, not_rewarded, SPATIAL))} on spatial tasks{gained}, {numbered(rewarded)}; {same} of
        {n} answers are the same, word for word. {_trainings(known, _WITH, _WITHOUT)} {_tried(known)}
        {_in_rollouts(known)}
    """), "", *table, ""]


def _both(known: Known, one: str, other: str) -> tuple[Answers, Answers]:
    return of_shared_seeds(*(known.answers.get(name, {}) for name in (one, other)))


def _logs(known: Known, name: str) -> dict[int, Log]:
    """By seed, of the stage that a variant comes of."""
    stage = next((v.stage for v in known.variants if v.name == name), "")
    return known.logs.get(stage, {})


def _trainings(known: Known, name: str, without: str) -> str:
    """How reinforcement with that reward and without it went beside each other."""
    ours, theirs = _logs(known, name), _logs(known, without)
    if not (pairs := [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]):
        return ""
    runs = alike(pairs, "exploration")
    furthest, size = (np.format_float_positional(x, 1, fractional=False) for x in (runs.furthest, runs.size))
    told = _apart(known, name)
    apart = f", and told rollouts of a question apart in {told[0]} of {told[1]} questions" if told else ""
    logged = f" ({numbered(told[2])})" if told and len(told[2]) < len(pairs) else ""
    return f"""
        In training, the exploration reward was not zero in {runs.rewarded} of {runs.steps} steps{apart}{logged}; the
        losses of the two differ by at most {furthest} in any step (mean size of the former's: {size}).
    """


def _apart(known: Known, name: str) -> tuple[int, int, list[int]] | None:
    """`told_apart` of a variant's reinforcement, and the seeds whose logs tell."""
    logs = {seed: log for seed, log in _logs(known, name).items() if told_apart([log], 1)}
    stage = next(v.stage for v in known.variants if v.name == name)
    found = told_apart([*logs.values()], known.plan.recipe.reinforced[stage].questions)
    return (*found, sorted(logs)) if found else None


def _tried(known: Known) -> str:
    told = _apart(known, _WITH)
    if told is None or 100 * told[0] >= FEW * told[1]:
        return ""
    return """
        **So what it is worth has hardly been tried here**: it is given where a question's flag says that maps help and
        one or two of its rollouts call, or that maps hurt and more than three do; once all call, it cancels.
    """


def _in_rollouts(known: Known) -> str:
    """What was called for in reinforcement, sampled, as it began and as it ended."""
    told = []
    for of, kinds, which in (
        (DISTANCES, ("depth",), "Rollouts about distances called for depth"),
        (("negative",), names(), "Rollouts to questions that maps are flagged to hurt called for a map"),
    ):  # fmt: skip
        shares = [
            [share_of_rollouts([*_logs(known, name).values()], of, kinds, part)
             for part in (slice(STEPS), slice(-STEPS, None))]
            for name in (_WITH, _WITHOUT)
        ]  # fmt: skip
        if not any(None in pair for pair in shares):
            (first, last), (one, other) = shares
            told.append(
                f"{which}, in the first {STEPS} steps {first:.0%} of them and in the last {last:.0%}; without that "
                f"reward {one:.0%} and {other:.0%}."
            )
    return " ".join(told)
