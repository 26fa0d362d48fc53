"""Contact sheets: what a model does, beside what it should do, at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]], margin: int = 0, background: str = "black"
) -> Image.Image:
    """Rows of uint8 images (H, W, 3), each as large as the first one is, with a margin of so many pixels between and
    around them; background where a row has fewer."""
    if not rows:
        return Image.new("RGB", (8, 8))
    height, width = rows[0][0].shape[:2]
    across, down = width + margin, height + margin
    sheet = Image.new("RGB", (margin + across * max(map(len, rows)), margin + down * len(rows)), background)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            place = (margin + x * across, margin + y * down)
            sheet.paste(Image.fromarray(image).resize((width, height)), place)
    return sheet
