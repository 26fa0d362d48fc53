"""What a model's drawn maps stand for, and how it looks at them. Models learned different pictures of depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cooper.modalities.base import CodeSettings, MapView, Modality, modality
from cooper.trace import Drawing


@dataclass(frozen=True)
class MapCodes(CodeSettings):
    """The settings, and maps read by them."""

    def modality(self, name: str) -> Modality:
        """The modality of that name, as such maps are to be read. Raises ValueError if there is none."""
        return modality(name).coded(self)

    def looked_at(self, drawing: Drawing) -> Drawing:
        """A map that has just been drawn, as the model is to look at it."""
        image = self.modality(drawing.modality).looked_at(drawing.image) if self.coloured else drawing.image
        return drawing if image is drawing.image else replace(drawing, image=image, latent=None, drawn=drawing.image)

    def true(self, name: str, values: np.ndarray) -> Drawing:
        """A true map of the synthetic world, as a model with these codes looks at its own. Raises ValueError for depth
        in a range that nobody knows."""
        if name == "depth" and self.depth is None:
            raise ValueError("what metres this model's depth stands for is not known, so it can be shown no true depth")
        # where colours are not named, any will do
        coded = self.modality(name) if self.named or name != "segmentation" else modality(name)
        return self.looked_at(Drawing(name, coded.to_rgb(values)))

    def view(self, drawing: Drawing) -> MapView:
        """A map as a person wants to see it."""
        return self.modality(drawing.modality).view(drawing.as_drawn)


#: Published models': grey is linear over a range that their files do not tell, and which changes with the data.
RELEASED = MapCodes(None, linear=True, named=False, coloured=True)
