"""What a model's drawn maps stand for, and how it looks at them. Models learned different pictures of depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cooper.modalities.base import MapView, Modality, modality
from cooper.trace import Drawing


@dataclass(frozen=True)
class MapCodes:
    """The defaults are those of the shipped model and of the synthetic world."""

    depth: tuple[float, float] | None = (0.5, 12.0)
    """Metres that are drawn black and white. None: nobody knows them, and depth is relative, 0 to 1."""
    linear: bool = False
    """Whether grey is linear in metres, or in their logarithm."""
    named: bool = True
    """Whether a segmentation has the colours of the synthetic world's classes. Otherwise they are just colours."""
    coloured: bool = False
    """Whether depth is looked at in colours, as published models learned it (docs/method.md, section 3), or in grey as
    it is drawn."""

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
