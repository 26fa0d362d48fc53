"""Training the vision transformer to see: what each small cell of an image shows.

The published model starts from SigLIP, which has read millions of captioned pictures; a small one that starts from
nothing learns to look from dense labels instead, far faster than from answers. Of a picture it tells the shape and the
colour of the thing in each cell, as captions would, and how far away it is: the scale of a room is read from faint
lines all over the picture, and neither the flow loss nor answers reward that enough to be learned. So is the camera:
how wide it sees is most of what makes a scale wrong, and only the spacing of those lines tells. Of pictures and maps it
tells the mean colour of each cell, which is how a map is read. The heads are dropped afterwards.

Eyes that know depth leave little to be learned from maps. Whoever asks what drawing maps teaches (`cooper reproduce`)
trains them without: as SigLIP does, they know names then, and no distances.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from cooper.modalities import modality
from cooper.model.autoencoder import pixels_of
from cooper.model.unified import UnifiedModel
from cooper.model.vision import grid_positions
from cooper.scenes.targets import SceneImages
from cooper.scenes.world import COLORS, SHAPES
from cooper.training.autoencoder import to_tensor
from cooper.training.processes import Share
from cooper.training.stage import Supervised

#: Side of a cell in pixels.
CELL = 4
#: The label of cells of which nothing is told.
UNKNOWN = -1


class VisionWithHeads(nn.Module):
    """The part of the model that looks, and linear heads that say what is in each cell and what camera saw it."""

    def __init__(self, model: UnifiedModel):
        super().__init__()
        self.model = model
        self.cells = model.config.vision.patch // CELL
        self.outputs = (len(SHAPES) + 1, len(COLORS) + 1, 3, 1)  # 0: none, none
        self.head = nn.Linear(model.config.decoder.hidden, self.cells**2 * sum(self.outputs))
        self.camera = nn.Linear(model.config.decoder.hidden, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Images (B, 3, H, W) to logits of shapes and of colours (B, H / CELL, W / CELL, outputs), mean RGB (..., 3),
        the logarithm of the depth in metres (...), and what each patch takes the camera for (B, patches, 3)."""
        rows, columns = (side // self.model.config.vision.patch for side in images.shape[-2:])
        n = self.cells
        tokens = self.model.embed_pictures(images)
        out = self.head(tokens).view(len(images), rows, columns, n, n, -1)
        out = out.transpose(2, 3).reshape(len(images), rows * n, columns * n, -1)
        shape, colour, mean, depth = out.split(self.outputs, dim=-1)
        return shape, colour, mean, depth[..., 0], self.camera(tokens)


class VisionStage(Supervised[VisionWithHeads]):
    """Batches hold images (B, 3, H, W), the numbers of each cell's shape and colour (B, H / CELL, W / CELL, 2), the
    logarithm of its depth in metres (B, H / CELL, W / CELL), and the camera (B, 3).

    Most images are pictures, the others maps. A depth map tells nothing of shape and colour: UNKNOWN; a segmentation
    map nothing of depth, no map of the camera: NaN. Unless it is a `geometry` stage, no picture tells of either.
    """

    name = "vision"

    def __init__(
        self, images: SceneImages, held_out: SceneImages, batch_size: int = 32, seed: int = 0, geometry: bool = True
    ):  # fmt: skip
        self.images, self.held_out, self.batch_size, self.seed = images, held_out, batch_size, seed
        self.geometry = geometry

    def batch(self, step: int, share: Share) -> tuple[Tensor, ...]:
        rng = np.random.default_rng((self.seed, step, share.rank))
        picks = rng.integers(len(self.images), size=max(1, self.batch_size // share.world))
        kinds = rng.choice(self.images.kinds, size=len(picks), p=(0.7, 0.15, 0.15))
        mirrored = rng.random(len(picks)) < 0.5
        chosen = zip(picks.tolist(), kinds.tolist(), mirrored.tolist(), strict=True)
        images, cells, depths, cameras = _batch(self.images, chosen)
        if not self.geometry:
            depths[cameras[:, 0].isfinite()] = torch.nan
            cameras[:] = torch.nan
        return images, cells, depths, cameras

    def loss(self, model: VisionWithHeads, batch: Any) -> tuple[Tensor, dict[str, float]]:
        images, cells, depths, cameras = batch
        *logits, mean, depth, camera = model(images)
        error = (mean.float() - F.avg_pool2d(images, CELL).movedim(1, -1)).abs().mean()
        total, figures = 4 * error, {"error": float(error.detach())}
        things = cells[..., 0] > 0
        for k, name in enumerate(("shape", "colour")):
            scores = logits[k].float().flatten(0, -2)
            loss = F.cross_entropy(scores, cells[..., k].flatten(), reduction="none", ignore_index=UNKNOWN)
            # most of a room is empty
            total = total + loss.mean() + (loss * things.flatten()).sum() / things.sum().clamp(min=1)
            figures[name] = float((logits[k].argmax(dim=-1) == cells[..., k])[things].float().mean())
        for name, seen, true in (
            ("depth", depth.flatten(1)[..., None], depths.flatten(1)[..., None]), ("camera", camera, cameras[:, None])
        ):  # fmt: skip
            known = true[:, 0, 0].isfinite()
            if known.any():
                off = seen[known].float() - true[known]
                # at each place, and over an image: how wrong its scale is
                each, whole = off.abs().mean(), off.mean(dim=1).abs().mean()
                total = total + 5 * (each + whole)
                figures |= {name: float(each.detach()), f"{name}_bias": float(whole.detach())}
        return total, figures

    def sheet(self, model: VisionWithHeads) -> Image.Image:
        """Held-out pictures, what each cell shows, and what it is taken for."""
        images, cells, *_ = _batch(self.held_out, ((i, "picture", False) for i in range(min(6, len(self.held_out)))))
        with torch.no_grad():
            shape, colour, *_ = model(images)
        seen = torch.stack([shape.argmax(dim=-1), colour.argmax(dim=-1)], dim=-1)
        columns = (pixels_of(images), _painted(cells.numpy()), _painted(seen.numpy()))
        return Image.fromarray(np.concatenate([np.concatenate(list(c), axis=0) for c in columns], axis=1))

    def trained(self, model: VisionWithHeads) -> dict[str, nn.Parameter]:
        see = ("head.", "model.vision.", "model.connector_in.", "model.connector_out.")
        begin = (*see, "camera.") if self.geometry else see
        return {k: p for k, p in model.named_parameters() if k.startswith(begin)}


def settle(model: UnifiedModel, images: SceneImages, number: int = 64) -> None:
    """Scale what the vision transformer says of pictures to a mean square of 1, in place.

    Training it alone lets the tokens grow, ten times as large as their positions and all that the decoder's layers add
    to them: it could hardly do more than read them.
    """
    patch, side = model.config.vision.patch, model.config.vision.max_side
    with torch.no_grad():
        pixels = to_tensor(np.stack([images.image(i, "picture") for i in range(min(number, len(images)))]))
        grid = pixels.shape[-2] // patch, pixels.shape[-1] // patch
        content = model.embed_pictures(pixels) - model.vision_table[grid_positions(grid, side, "the picture")]
        size = float(content.square().mean().sqrt())
        model.connector_out.weight.div_(size)
        model.connector_out.bias.div_(size)


def _batch(images: SceneImages, picks: Iterable[tuple[int, str, bool]]) -> tuple[Tensor, ...]:
    """Images (scene, kind, whether mirrored), what their cells show, how far away, and the camera."""
    pixels, cells, depths, cameras = [], [], [], []
    for i, kind, mirrored in picks:
        step = -1 if mirrored else 1
        pixels.append(images.image(i, kind)[:, ::step])
        cells.append(cells_of(images, i, kind)[:, ::step])
        depths.append(depth_of(images, i, kind)[:, ::step])
        cameras.append(camera_of(images, i, kind))
    labels = (torch.from_numpy(np.stack(one)) for one in (cells, depths, cameras))
    return to_tensor(np.stack(pixels)), *labels


def cells_of(images: SceneImages, i: int, kind: str = "picture") -> np.ndarray:
    """The numbers of each cell's shape and colour, int64 (H / CELL, W / CELL, 2); 0 where there is no thing."""
    table, colours = np.zeros((256, 2), dtype=np.int64), list(COLORS)
    for thing in images.shards.scene(i).things:
        table[thing.id] = SHAPES.index(thing.shape) + 1, colours.index(thing.color) + 1
    cells = table[images.shards.labels[i][CELL // 2 :: CELL, CELL // 2 :: CELL]]
    return np.full_like(cells, UNKNOWN) if kind == "depth" else cells


def depth_of(images: SceneImages, i: int, kind: str = "picture") -> np.ndarray:
    """The logarithm of each cell's depth in metres, at its middle: float32 (H / CELL, W / CELL)."""
    if kind == "segmentation":
        return np.full((images.size // CELL,) * 2, np.nan, np.float32)
    return np.log(images.depth(i)[CELL // 2 :: CELL, CELL // 2 :: CELL])


def camera_of(images: SceneImages, i: int, kind: str = "picture") -> np.ndarray:
    """Logarithms of the camera's focal length (in heights of the picture) and height (in metres), its pitch (radians):
    float32 (3,)."""
    if kind != "picture":
        return np.full(3, np.nan, np.float32)
    camera = images.shards.scene(i).camera
    focal = camera.intrinsics(1, 1)[0, 0]
    return np.array([np.log(focal), np.log(camera.height), np.radians(camera.pitch)], np.float32)


def _painted(cells: np.ndarray) -> np.ndarray:
    """Cells (..., 2) as pixels in the colours of the segmentation modality."""
    shape, colour = cells[..., 0], cells[..., 1]
    classes = np.where((shape > 0) & (colour > 0), (colour - 1) * len(SHAPES) + shape, 0)
    return np.kron(modality("segmentation").to_rgb(classes), np.ones((CELL, CELL, 1), dtype=np.uint8))
