"""Controls: what becomes of answers if maps are not what was drawn, or are forbidden or demanded?

A model that answers as well with another picture's map as with its own does not use its maps (docs/method.md,
section 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from cooper.inference.engine import Settings
from cooper.inference.rollout import Shown
from cooper.inference.sampler import Demand
from cooper.modalities import MapCodes, modality
from cooper.policy import Policy
from cooper.scenes.render import View
from cooper.scenes.targets import true_map
from cooper.scenes.world import Scene
from cooper.sequence import Sequencer
from cooper.trace import Drawing

Maps: TypeAlias = Literal["drawn", "blank", "other", "truth"]
Calls: TypeAlias = Literal["free", "never", "always"]


@dataclass(frozen=True)
class Control:
    """The two things that an evaluation may change."""

    maps: Maps = "drawn"
    """What the model is shown where it drew a map: that map, grey, the true map of another picture, or the true map."""
    calls: Calls = "free"
    """Whether it may call for maps as it likes, may not, or must before it answers."""

    def check(self, policy: Policy, scenes: int) -> None:
        """Raises ValueError if it would change nothing, or nothing that could be answered, where so many scenes are
        asked about in that policy."""
        if not policy.calls and (self.maps, self.calls) != ("drawn", "free"):
            raise ValueError(f"nothing is drawn in mode {policy.name}, so maps and calls cannot be controlled there")
        if self.maps == "other" and scenes < 2:
            raise ValueError("other maps are those of the next scene; ask about at least 2")

    def settings(self, sequencer: Sequencer, policy: Policy, settings: Settings) -> Settings:
        """Those of an engine that answers under this control.

        Raises ValueError if calls are controlled and tags are not tokens of their own.
        """
        if self.calls == "free":
            return settings
        maps = [modality(name) for name in sequencer.callable_in(policy)]
        if not maps:
            raise ValueError(f"this model draws no map that it may call for in mode {policy.name}")
        opening = sequencer.opening("answer", *(m.tag for m in maps))
        if opening is None:
            raise ValueError("calls can only be forbidden or demanded of models whose tags are single tokens")
        answer, *tags = opening
        if self.calls == "never":
            return replace(settings, sampling=replace(settings.sampling, banned=tuple(tags)))
        calls = tuple(tuple(sequencer.ids(sequencer.prompts.call(m))) for m in maps)
        return replace(settings, demand=Demand(calls, (answer, sequencer.config.special.end)))

    def shown(self, codes: MapCodes, scenes: Sequence[tuple[Scene, View]], index: Sequence[int]) -> Shown | None:
        """What is shown for a map (`Engine.run`) to a model with these codes, rollout k being about scene `index[k]`.
        """
        if self.maps == "drawn":
            return None

        def show(row: int, drawing: Drawing) -> Drawing:
            if self.maps == "blank":
                return replace(drawing, image=np.full_like(drawing.image, 128), latent=None, drawn=None)
            other = (index[row] + 1) % len(scenes) if self.maps == "other" else index[row]
            name = drawing.modality
            return codes.true(name, true_map(*scenes[other], name))

        return show
