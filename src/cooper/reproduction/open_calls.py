"""What the reward for calls is worth, asked of models whose calls SFT has left open."""

from __future__ import annotations

from cooper.reproduction import cells
from cooper.reproduction.claims import (
    DISTANCES,
    difference,
    in_percent,
    numbered,
    of_shared_seeds,
    score,
    share_calling,
    shown,
)
from cooper.reproduction.known import Known
from cooper.reproduction.logs import share_drawing
from cooper.scenes.question import GENERAL, SPATIAL

_SFT, _WITH, _WITHOUT = "SFT half by eye", "half by eye", "half by eye without exploration reward"


def open_calls(known: Known) -> list[str]:
    """Nothing until both ways of reinforcement have been asked."""
    rewarded, not_rewarded = of_shared_seeds(*(known.answers.get(name, {}) for name in (_WITH, _WITHOUT)))
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
    return [cells.prose(f"""
        **And where calls are open?** Half of the traces that these models were taught call for no map where one would
        help, so that rollouts of one question differ in what they call for. Reinforced with the exploration reward and
        without it, they differ by {shown(difference(rewarded, not_rewarded, SPATIAL))} on spatial
        tasks{gained}, {numbered(rewarded)}. {_in_rollouts(known)}
    """), "", *table, ""]


def _in_rollouts(known: Known) -> str:
    """How often depth was called for in reinforcement, sampled, as it began and as it ended."""
    told = []
    for name, which in ((_WITH, "with that reward"), (_WITHOUT, "without it")):
        logs = next((known.logs[v.stage] for v in known.variants if v.name == name and v.stage in known.logs), {})
        shares = [share_drawing([*logs.values()], DISTANCES, "depth", part) for part in (slice(5), slice(-5, None))]
        if None not in shares:
            told.append(f"{which} from {shares[0]:.0%} of them in the first five steps to {shares[1]:.0%} in the last")
    return f"Rollouts about distances called for depth, {', '.join(told)}." if told else ""
