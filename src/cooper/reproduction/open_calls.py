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
    return [cells.prose(f"""
        **And where calls are open?** Half of the traces that these models were taught call for no map where one would
        help, so that rollouts of one question differ in what they call for. Reinforced with the exploration reward and
        without it, they differ by {shown(difference(rewarded, not_rewarded, SPATIAL))} on spatial tasks
        ({numbered(rewarded)}).
    """), "", *table, ""]
