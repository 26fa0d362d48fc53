"""A user's own data, made up: pictures, and a question that the tiny model has never been asked.

    python examples/own_questions.py runs/own      # writes train.jsonl, test.jsonl, pictures/; needs the extra scenes

Pictures are of the synthetic world, because there the truth is known; the files are what docs/data.md describes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

from cooper.scenes.render import Renderer
from cooper.scenes.seen import SceneView
from cooper.scenes.world import SPLITS, sample_scene

QUESTION = "What stands nearest to the camera?"
#: the nearest is nearer than the next by this ratio, or nobody could tell from the picture
GAP = 1.15


def write(folder: Path, name: str, first: int, rows: int) -> None:
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    with Renderer(128) as renderer, (folder / f"{name}.jsonl").open("w") as file:
        seed = first
        while rows:
            scene = sample_scene(seed)
            view = renderer.render(scene)
            things = sorted(SceneView(scene, view).named, key=lambda seen: seen.depth)
            if len(things) > 1 and things[1].depth > GAP * things[0].depth:
                picture = f"pictures/{seed}.png"
                Image.fromarray(view.rgb).save(folder / picture)
                row = {"image": picture, "question": QUESTION, "answer": things[0].name, "type": "Word",
                       "category": "nearest", "index": seed}  # fmt: skip
                file.write(json.dumps(row) + "\n")
                rows -= 1
            seed += 1


if __name__ == "__main__":
    out = Path(sys.argv[1])
    write(out, "train", SPLITS["train"].start + 900_000, 600)
    write(out, "test", SPLITS["validation"].start + 50_000, 200)
    print(out)
