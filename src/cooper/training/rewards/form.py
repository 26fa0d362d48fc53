"""Do the turns have their form?"""

from __future__ import annotations

from collections.abc import Collection

from cooper.evaluation.form import well_formed
from cooper.trace import Trace


def form_reward(trace: Trace, tags: Collection[str], thinks: bool | None = True) -> float:
    """1 if every turn but the last is exactly a thought and one call, and the last exactly a thought and an answer; an
    answer alone if the policy `thinks` not, either if that is None.

    White space between the parts does not matter. Anything else, and a trace without turns: 0.
    """
    return float(bool(trace.turns) and all(well_formed(trace.turns, tags, thinks)))
