"""What a model's drawn maps stand for, and how it looks at them. Models learned different pictures of depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

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

    def view(self, drawing: Drawing) -> MapView:
        """A map as a person wants to see it."""
        return self.modality(drawing.modality).view(drawing.as_drawn)


#: Published models': grey is linear over a range that their files do not tell, and which changes with the data.
RELEASED = MapCodes(None, linear=True, named=False, coloured=True)
