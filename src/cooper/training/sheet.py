"""Contact sheets: what a model does, beside what it should do, at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image


def contact_sheet(rows: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    """Rows of uint8 images (H, W, 3), each as large as the first one is; black where a row has fewer."""
    if not rows:
        return Image.new("RGB", (8, 8))
    height, width = rows[0][0].shape[:2]
    sheet = Image.new("RGB", (width * max(map(len, rows)), height * len(rows)))
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            sheet.paste(Image.fromarray(image).resize((width, height)), (x * width, y * height))
    return sheet
