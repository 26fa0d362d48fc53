"""Does the group try maps where they help, and leave them where they hurt?"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cooper.data.examples import Flag
from cooper.trace import Trace
from cooper.turns import calls_of

#: Rollouts of a group that should call for a map, or at most may.
THRESHOLD = 3
BONUS = 0.2


def exploration_rewards(traces: Sequence[Trace], flag: Flag, tags: Collection[str]) -> list[float]:
    """For each rollout of a question, what its calls earn, given how many of the group call at all:

        rollouts with a well-formed call    flag        those that called    the others
        fewer than 3                        positive    +0.2                 0
        more than 3                         negative    -0.2                 0
        anything else                                   0                    0
    """
    called = [any(call.tag in tags for turn in trace.turns for call in calls_of(turn)) for trace in traces]
    count = sum(called)
    earned = 0.0
    if flag == "positive" and count < THRESHOLD:
        earned = BONUS
    elif flag == "negative" and count > THRESHOLD:
        earned = -BONUS
    return [earned if calls else 0.0 for calls in called]
