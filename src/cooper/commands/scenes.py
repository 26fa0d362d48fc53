"""`cooper scenes`: the synthetic world as files to look at and to train on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tyro.conf import arg

from cooper.commands.options import check_counts
from cooper.commands.outputs import check_file, check_folder
from cooper.files import new_file, new_folder, save_array

if TYPE_CHECKING:
    from cooper.scenes.render import View
    from cooper.scenes.world import Scene


@dataclass(frozen=True)
class Render:
    """Render one scene: rgb.png, depth.npy (float32 metres), depth.png (coloured), labels.png and scene.json."""

    seed: int
    """The scene: 0 .. 9999999 are for training, from 10000000 for validation, from 20000000 for tests."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for the files."""
    size: int = 128
    """Height and width of the pictures, pixels."""

    def run(self) -> int:
        from cooper.scenes.render import Renderer
        from cooper.scenes.world import sample_scene

        scene = sample_scene(self.seed)
        check_folder(self.out)
        with Renderer(self.size) as renderer:
            view = renderer.render(scene)
        with new_folder(self.out) as folder:
            Image.fromarray(view.rgb).save(folder / "rgb.png")
            save_array(folder / "depth.npy", view.depth)
            Image.fromarray(coloured_depth(view.depth)).save(folder / "depth.png")
            labels_image(scene, view.labels).save(folder / "labels.png")
            text = json.dumps(about(scene, view), indent=1)
            (folder / "scene.json").write_text(text + "\n", encoding="utf-8")
        print(f"scene {self.seed}: {', '.join(thing.name for thing in scene.things)}; in {self.out}")
        return 0


@dataclass(frozen=True)
class Make:
    """Render many scenes into shards. Those that are there already are kept, so an interrupted run goes on."""

    n: int
    """Number of scenes."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for the shards."""
    split: Literal["train", "validation", "test"] = "train"
    """Which seeds: no two splits share one."""
    start: Annotated[int | None, arg(metavar="SEED", help_behavior_hint="(default: the first of the split)")] = None
    """First seed."""
    size: int = 128
    """Height and width of the pictures, pixels."""
    processes: int = 2
    """Processes that render at once; what they write does not depend on their number."""

    def run(self) -> int:
        from cooper.scenes.shards import make_shards
        from cooper.scenes.world import SPLITS, split_of

        check_counts(self, "n", "size", "processes")
        start = SPLITS[self.split].start if self.start is None else self.start
        if split_of(start) != self.split:
            raise ValueError(f"seed {start} belongs to {split_of(start)}; give --split {split_of(start)} to use it")
        check_folder(self.out)
        paths = make_shards(self.out, start, self.n, self.size, self.processes)
        print(f"{self.n} scenes in {len(paths)} shard{'' if len(paths) == 1 else 's'} in {self.out}")
        return 0


@dataclass(frozen=True)
class Sheet:
    """Render a contact sheet: picture, depth and objects of scenes one after the other."""

    out: Annotated[Path, arg(metavar="FILE")]
    """The sheet, a .png file."""
    seed: int = 0
    """Seed of the first scene."""
    n: int = 24
    """Number of scenes."""
    size: int = 128
    """Height and width of each picture, pixels."""

    def run(self) -> int:
        from cooper.scenes.render import Renderer
        from cooper.scenes.world import sample_scene
        from cooper.training.sheet import contact_sheet

        if not 1 <= self.n <= 400:
            raise ValueError(f"--n must be 1 to 400 scenes on a sheet, not {self.n}")
        if self.out.suffix != ".png":
            raise ValueError(f"--out {self.out} does not end in .png; the sheet is a PNG picture")
        check_file(self.out)
        scenes = [sample_scene(self.seed + i) for i in range(self.n)]
        with Renderer(self.size) as renderer:
            tiles = [tile(scene, renderer.render(scene)) for scene in scenes]
        with new_file(self.out) as file:
            contact_sheet(in_rows(tiles), _MARGIN, "white").save(file)
        print(f"{self.n} scenes from seed {self.seed} on {self.out}")
        return 0


def coloured_depth(metres: np.ndarray) -> np.ndarray:
    """Depth as the drawn maps are shown: uint8 RGB (height, width, 3)."""
    from cooper.modalities import modality

    depth = modality("depth")
    return depth.view(depth.to_rgb(metres)).image


def labels_image(scene: Scene, labels: np.ndarray) -> Image.Image:
    """Labels as a palette picture: its pixels are the ids of the things, its colours those of the drawn maps."""
    from cooper.modalities import Segmentation, modality

    segmentation = modality("segmentation")
    assert isinstance(segmentation, Segmentation)
    palette = np.zeros((256, 3), np.uint8)
    for thing in scene.things:
        palette[thing.id] = segmentation.palette[segmentation.number(thing.name)]
    image = Image.fromarray(labels, "P") if labels.dtype == np.uint8 else Image.fromarray(labels.astype(np.uint8), "P")
    image.putpalette(palette.tobytes())
    return image


def about(scene: Scene, view: View) -> dict[str, Any]:
    """All that is known of a scene, as JSON values. Lengths are metres, matrices lists of rows."""
    from cooper.scenes.questions import ask_all

    height, width = view.labels.shape
    objects = [
        {
            "id": t.id, "name": t.name, "shape": t.shape, "color": t.color, "size": list(t.size),
            "position": list(t.position), "yaw": t.yaw, "on": t.on, "visible": round(view.visible[t.id], 4),
        }
        for t in scene.things
    ]  # fmt: skip
    return {
        "seed": scene.seed,
        "camera": {
            "height": scene.camera.height, "pitch": scene.camera.pitch, "fov": scene.camera.fov,
            "intrinsics": scene.camera.intrinsics(width, height).tolist(),
            "pose": scene.camera.pose.tolist(),
        },
        "room": asdict(scene.room),
        "objects": objects,
        "questions": [asdict(q) for q in ask_all(scene, view, np.random.default_rng(scene.seed))],
    }  # fmt: skip


def tile(scene: Scene, view: View) -> Image.Image:
    """Picture, depth and objects beside each other, the seed above."""
    size = view.rgb.shape[0]
    image = Image.new("RGB", (3 * size, size + _CAPTION), "white")
    parts = (Image.fromarray(view.rgb), Image.fromarray(coloured_depth(view.depth)), labels_image(scene, view.labels))
    for i, part in enumerate(parts):
        image.paste(part.convert("RGB"), (i * size, _CAPTION))
    ImageDraw.Draw(image).text((2, 1), f"seed {scene.seed}", "black", ImageFont.load_default(11))
    return image


_CAPTION = 16  # pixels above a tile, for its seed
_MARGIN = 8  # pixels between tiles


def in_rows(tiles: list[Image.Image]) -> list[list[np.ndarray]]:
    """Tiles of one size in so many rows that their sheet is about as wide as it is high."""
    width, height = tiles[0].width + _MARGIN, tiles[0].height + _MARGIN
    columns = max(1, min(len(tiles), round((len(tiles) * height / width) ** 0.5)))
    return [[np.asarray(one) for one in tiles[i : i + columns]] for i in range(0, len(tiles), columns)]
