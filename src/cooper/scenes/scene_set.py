"""A set of scenes, named by their seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cooper.progress import OnProgress
from cooper.scenes.render import Renderer, View
from cooper.scenes.shards import open_shards
from cooper.scenes.world import SPLITS, Scene, sample_scene


@dataclass(frozen=True)
class SceneSet:
    """The scenes of `n` seeds of a split, from `start` (default: the first of the split), rendered at `size` pixels or
    read from a folder of `shards`.

    Raises ValueError for an unknown split, no scenes, and seeds outside of the split.
    """

    n: int
    split: str = "test"
    start: int | None = None
    size: int = 128
    shards: str | Path | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n, the number of scenes, is at least 1, not {self.n}")
        if self.split not in SPLITS:
            raise ValueError(f"no split is called {self.split!r}; choose from {', '.join(SPLITS)}")
        whole, seeds = SPLITS[self.split], self.seeds
        if seeds[0] not in whole or seeds[-1] not in whole:
            raise ValueError(
                f"seeds of {self.split} are {whole[0]} to {whole[-1]}; {seeds[0]} to {seeds[-1]} lie outside"
            )

    @property
    def seeds(self) -> range:
        start = SPLITS[self.split].start if self.start is None else self.start
        return range(start, start + self.n)

    @property
    def pixels(self) -> int:
        """Side of the pictures: of shards, that of what they hold."""
        return self.size if self.shards is None else int(open_shards(self.shards).rgb.shape[1])

    def load(self, on_progress: OnProgress = lambda *_: None) -> list[tuple[Scene, View]]:
        """The scenes and their pictures. Raises ValueError if shards lack one of them."""
        if self.shards is not None:
            stored = open_shards(self.shards)
            index = {int(seed): i for i, seed in enumerate(stored.seeds[:])}
            missing = [seed for seed in self.seeds if seed not in index]
            if missing:
                raise ValueError(f"{self.shards} lacks {len(missing)} scenes, the first is {missing[0]}; make them")
            return [stored[index[seed]] for seed in self.seeds]
        scenes: list[tuple[Scene, View]] = []
        with Renderer(self.size) as renderer:
            for seed in self.seeds:
                scene = sample_scene(seed)
                scenes.append((scene, renderer.render(scene)))
                on_progress("scenes", len(scenes), self.n)
        return scenes
