"""Controls: what becomes of answers if maps are not what was drawn, or are forbidden or demanded?

A model that answers as well with another picture's map as with its own does not use its maps (method section 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from cooper.inference.engine import Shown
from cooper.modalities import modality
from cooper.scenes.render import View
from cooper.scenes.targets import class_map
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

    def banned(self, sequencer: Sequencer) -> tuple[tuple[int, ...], ...]:
        """The tokens it may not write, by turn (`Settings.banned`). Tags must be tokens of their own.

        Raises ValueError if they are not.
        """
        if self.calls == "free":
            return ()
        tags = ["answer"] if self.calls == "always" else [modality(m).tag for m in sequencer.config.modalities]
        ids = [sequencer.ids(f"<{tag}>") for tag in tags]
        if any(len(one) != 1 for one in ids):
            raise ValueError("calls can only be forbidden or demanded of models whose tags are single tokens")
        banned = tuple(one[0] for one in ids)
        return (banned, ()) if self.calls == "always" else (banned,)

    def shown(self, scenes: Sequence[tuple[Scene, View]], index: Sequence[int]) -> Shown | None:
        """What is shown for a map (`Engine.run`), rollout k being about scene `index[k]`."""
        if self.maps == "drawn":
            return None

        def show(row: int, drawing: Drawing) -> Drawing:
            if self.maps == "blank":
                image = np.full_like(drawing.image, 128)
            else:
                other = (index[row] + 1) % len(scenes) if self.maps == "other" else index[row]
                image = _true(*scenes[other], drawing.modality)
            return replace(drawing, image=image, latent=None)

        return show


def _true(scene: Scene, view: View, name: str) -> np.ndarray:
    """The true map, as an image."""
    return modality(name).to_rgb(view.depth if name == "depth" else class_map(scene, view.labels))
