"""KITTI: pictures from a driving car, with sparse depth from a laser scanner."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cooper.data.examples import MapExample
from cooper.data.maps import Pairs, depth_example, listed, picture_at, read_bytes, stored_depth
from cooper.modalities import Depth

#: (height, width) at the bottom, in the middle: what all of KITTI's pictures have, and the scanner reaches.
CROP = (352, 1216)
#: Metres that outdoor depth is drawn in.
OUTDOORS = Depth(1e-5, 80.0, "linear")

_PER_METRE = 256


class _Kitti(Pairs):
    modality = OUTDOORS

    def _read(self, picture: Path, truth: Path) -> MapExample:
        stored = stored_depth(read_bytes(truth, picture), truth)  # 0 where no ray came back
        return depth_example(picture_at(picture), stored / _PER_METRE, self.modality, picture, CROP)


class Kitti(_Kitti):
    """The release for depth prediction: annotated depth of drives under `root`, their pictures under `raw` (`root`
    again, if it is not given)."""

    def __init__(self, root: str | Path, raw: str | Path | None = None, split: Literal["train", "val"] = "train"):
        pictures = Path(root if raw is None else raw)
        truths = listed(root, f"{split}/*/proj_depth/groundtruth/image_0[23]/*.png")
        super().__init__((_picture(pictures, truth), truth) for truth in truths)


class KittiSplit(_Kitti):
    """The pairs that a text file lists: "picture depth [focal length]" a line.

    Paths are relative to the folders `pictures` and `depths`, or the file's own. Lines whose depth is "None" are
    pictures without a truth, and left out. Raises ValueError if the file is not such a list.
    """

    def __init__(self, path: str | Path, pictures: str | Path | None = None, depths: str | Path | None = None):
        path = Path(path)
        try:
            lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read ({error}); give a text file of pairs of paths") from None
        short = next((line for line in lines if len(line) < 2), None)
        if short or not lines:
            found = f"this line: {short[0]}" if short else "nothing"
            raise ValueError(f"{path} holds {found}; each line is a picture's path, a depth's path, a focal length")
        of_pictures, of_depths = Path(pictures or path.parent), Path(depths or path.parent)
        super().__init__((of_pictures / line[0], of_depths / line[1]) for line in lines if line[1] != "None")


def _picture(raw: Path, truth: Path) -> Path:
    """The picture whose depth that is: drives begin with their date."""
    camera, drive = truth.parts[-2], truth.parts[-5]
    return raw / drive[: len("2011_09_26")] / drive / camera / "data" / truth.name
