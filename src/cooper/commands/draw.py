"""`cooper depth` and `cooper segment`: one map of a picture, without a question."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cooper.commands.options import Flag, FlowSteps, Guidance, OutFile, PicturePath, WithModel, options
from cooper.commands.outputs import check_file

if TYPE_CHECKING:
    from cooper.api import Map


@dataclass(frozen=True)
class _Draw(WithModel, ABC):
    picture: PicturePath
    """Path of the picture (PNG, JPEG, WebP, BMP, TIFF, GIF), or - for standard input."""
    out: OutFile = None
    """FILE.npy for the values, FILE.png for colours, at the picture's size; both if it has neither ending."""
    flow_steps: FlowSteps = None
    """Calls of the model per map, one fewer than time points (the release's num_timesteps=50 is 49): more is slower and
    cleaner."""
    guidance: Guidance = None
    """Scales of text and image guidance; 1 is none."""
    seed: int = 0
    """Seed of the noise the map is drawn from."""
    json: Flag = False
    """Print one JSON object in place of the summary."""

    modality: ClassVar[str]

    def run(self) -> int:
        from cooper.images import load_image

        options(flow_steps=self.flow_steps, guidance=self.guidance, seed=self.seed)  # before anything slow begins
        files = self._files()
        for file in files:
            check_file(file, reads=self.picture)
        picture = load_image(self.picture)

        from cooper.commands.terminal import open_console, show_map

        console = open_console()
        model = self.load()
        began = time.perf_counter()
        made = model.draw(
            picture, self.modality, flow_steps=self.flow_steps, guidance=self.guidance, seed=self.seed
        )
        seconds = time.perf_counter() - began
        for file in files:
            made.save(file)
        if self.json:
            height, width = made.values.shape
            about = {
                "modality": made.modality, "width": width, "height": height, "unit": made.unit, **self._figures(made),
                "model": model.name, "seed": self.seed, "files": [str(file) for file in files],
                "seconds": round(seconds, 3),
            }  # fmt: skip
            print(json.dumps(about))
        else:
            if console.is_terminal:
                show_map(console, made.view)
            print(self._summary(made))
            if len(files) > 1:  # whoever named a folder, or none, did not name them
                print(*files, sep="\n")
        return 0

    def _files(self) -> list[Path]:
        if self.out is None:
            return []
        if str(self.out) == "-":
            raise ValueError("--out names files; a map is not written to standard output")
        if self.out.suffix.lower() in (".npy", ".png"):
            return [self.out]
        if self.out.is_dir():
            return [self.out / f"{self.modality}.npy", self.out / f"{self.modality}.png"]
        if self.out.suffix or not self.out.name:
            raise ValueError(f"--out {self.out} ends in neither .npy (values) nor .png (colours); name a file with one")
        return [self.out.with_suffix(".npy"), self.out.with_suffix(".png")]

    @abstractmethod
    def _figures(self, made: Map) -> dict[str, Any]:
        """What `--json` says of a map."""

    @abstractmethod
    def _summary(self, made: Map) -> str:
        """A line about a map."""


@dataclass(frozen=True)
class Depth(_Draw):
    """Draw the depth of a picture: metres along the optical axis (float32 in a .npy file). Published models draw
    relative depth, 0 to 1."""

    modality: ClassVar[str] = "depth"

    def _figures(self, made: Map) -> dict[str, Any]:
        import numpy as np

        low, middle, high = (float(v) for v in np.quantile(made.values, (0, 0.5, 1)))
        return {"min": round(low, 4), "median": round(middle, 4), "max": round(high, 4)}

    def _summary(self, made: Map) -> str:
        figures = self._figures(made)
        unit = f" {made.unit}" if made.unit else ""
        low, middle, high = (f"{figures[key]:.2f}{unit}" for key in ("min", "median", "max"))
        relative = "" if made.unit else " (relative: 0 is the nearest that it draws, 1 the farthest)"
        return f"depth from {low} to {high}, median {middle}{relative}"


@dataclass(frozen=True)
class Segment(_Draw):
    """Draw the objects of a picture: one number per kind of object, 0 for background (int32 in a .npy file)."""

    modality: ClassVar[str] = "segmentation"

    def _figures(self, made: Map) -> dict[str, Any]:
        import numpy as np

        labels, pixels = np.unique(made.labels[made.labels > 0], return_counts=True)
        found = zip(labels.tolist(), pixels.tolist(), strict=True)
        return {"objects": [{"name": made.kind.name_of(label), "label": label, "pixels": n} for label, n in found]}

    def _summary(self, made: Map) -> str:
        objects = self._figures(made)["objects"]
        shares = [f"{o['name']} {o['pixels'] / made.labels.size:.1%}" for o in objects]
        return f"{len(objects)} object{'' if len(objects) == 1 else 's'}{': ' if objects else ''}{', '.join(shares)}"
