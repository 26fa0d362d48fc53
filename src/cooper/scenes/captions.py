"""Dense captions and small questions about places of the picture: they teach a model to look where it speaks of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cooper.scenes.questions import KINDS, matches, metres, pick
from cooper.scenes.render import View
from cooper.scenes.seen import GRID, Looked, Seen, look
from cooper.scenes.worked import MAX_TOKENS, cell, count_tokens, counted, on_plan, place, tally
from cooper.scenes.world import Scene

#: Orders of base training that belong to no task.
DESCRIBE, RECONSTRUCT = "Describe the picture.", "Draw the picture again."
#: A cell's depth is asked only if the depth within the cell varies by less than this ratio.
_FLAT = 1.15


def caption(scene: Scene, view: View, rng: np.random.Generator, geometry: bool = True) -> str:
    """Every object that can be recognised, in one of several styles and orders, under `MAX_TOKENS` tokens.

    Where that is too long, the objects that show least are left out. Numbers are metres. Without `geometry` nothing is
    told that a flat picture does not show as it is: names and places in it only. A pure function of its arguments.
    """
    seen = [s for s in look(scene, view).seen if s.counted]
    if not seen:
        return "an empty room."
    phrase = pick(rng, _STYLES if geometry else _FLAT_STYLES)
    begin, key = pick(rng, _ORDERS if geometry else _ORDERS[:1])
    chosen: list[Seen] = []
    text = ""
    for s in sorted(seen, key=lambda s: -s.area):
        tried = f"{begin}: {'; '.join(phrase(o) for o in sorted([*chosen, s], key=key))}."
        if count_tokens(tried) >= MAX_TOKENS:
            break
        chosen, text = [*chosen, s], tried
    return text


def _numbers(s: Seen) -> str:
    return f"{s.name} {metres(s.depth)} away, {metres(s.height)} tall, {place(s)}"


#: What is said of each object.
_FLAT_STYLES: tuple[Callable[[Seen], str], ...] = (
    lambda s: f"{s.name} at {cell(s)}",
    lambda s: f"{s.name} {place(s)}",
)
_STYLES: tuple[Callable[[Seen], str], ...] = (
    *_FLAT_STYLES,
    _numbers,
    lambda s: f"{s.name} at {cell(s)}, {metres(s.depth)} away",
    lambda s: f"{s.name} {metres(s.depth)} away",
    lambda s: f"{s.name} {s.height:.1f} tall, {s.width:.1f} wide",
    lambda s: f"{s.name} at {on_plan(s.across, s.ahead)}",
)
_ORDERS: tuple[tuple[str, Callable[[Seen], float]], ...] = (
    ("left to right", lambda s: s.u),
    ("near to far", lambda s: s.depth),
)


def told(scene: Scene, view: View, rng: np.random.Generator) -> str:
    """Every object that can be recognised, in full: what one could find in the picture, in words that replace it.

    A model learns from such rows to look things up and to reason, without learning to see. Numbers are metres; "12 by
    8 percent" is what the object fills of the picture's height and width. A pure function of its arguments.
    """
    begin, key = pick(rng, _ORDERS)
    objects = (
        f"{s.name} at {cell(s)}, {metres(s.depth)} away, {s.height:.1f} tall, {s.width:.1f} wide, "
        f"at {on_plan(s.across, s.ahead)}, fills {_share(s)}"
        for s in sorted((s for s in look(scene, view).seen if s.counted), key=key)
    )
    return f"{begin}: {'; '.join(objects) or 'nothing'}."


@dataclass(frozen=True)
class Listed:
    """What is asked of every object, the answer, and the maps it can be read from."""

    question: str
    answer: str
    maps: tuple[str, ...]


def listed(scene: Scene, view: View, rng: np.random.Generator, geometry: bool = True) -> list[Listed]:
    """One thing about every object, in any order, for each thing that can be told, and what there is of some kinds,
    from left to right; the lists in random order too.

    In the former nothing but its name says which object comes next, so each number has to be looked up by a name: the
    skill that answers need, in many times as many examples as questions give. In the latter the next one has to be
    found, which counting needs. Without `geometry`, no list for which a depth map would have to be read. A pure
    function of its arguments.
    """
    looked = look(scene, view)
    named = looked.named
    made: list[tuple[str, list[str], tuple[str, ...]]] = []
    for question, tell, measured, maps in _LISTS:
        if "depth" in maps and not geometry:
            continue
        lines = [f"{_mention(scene, s, rng)} {tell(s)}" for s in named if s.measured or not measured]
        made.append((question, lines, maps))
    known = [(s, mentions) for s in named if (mentions := _partly(scene, s))]
    made.append(("Which color and shape is everything?", [f"{pick(rng, m)} is {s.name}" for s, m in known], ()))
    lists = [
        Listed(question, f"{'; '.join(lines[i] for i in rng.permutation(len(lines)))}.", maps)
        for question, lines, maps in made
        if lines
    ]
    clear = [kind for kind in KINDS if looked.seen and not any(matches(s, *kind) for s in looked.unclear)]
    for of_color in (False, True):  # there are twice as many colours as shapes, and most have no object here
        kinds = [kind for kind in clear if (kind[0] is not None) == of_color]
        if kinds:
            lists.append(_tallied(looked, pick(rng, kinds)))
    return [lists[i] for i in rng.permutation(len(lists)).tolist()]


def _tallied(looked: Looked, kind: tuple[str | None, str | None]) -> Listed:
    what = counted(*kind)
    found = sorted((s for s in looked.seen if matches(s, *kind)), key=lambda s: s.u)
    answer = f"{tally([(s.name, s.column) for s in found], what)}."
    return Listed(f"List the {what} from left to right.", answer, ("segmentation",))


#: Question, what is told of each object, whether only of those that can be measured, and the maps it is read from.
_LISTS: tuple[tuple[str, Callable[[Seen], str], bool, tuple[str, ...]], ...] = (
    ("Where is everything?", lambda s: f"{s.column}, {s.row}", False, ()),
    ("How far is everything?", lambda s: f"{s.depth:.1f}", False, ("depth",)),
    ("How tall is everything?", lambda s: f"{s.height:.1f}", True, ("depth",)),
    ("How wide is everything?", lambda s: f"{s.width:.1f}", True, ("depth",)),
    ("Where on the plan is everything?", lambda s: on_plan(s.across, s.ahead), False, ("depth",)),
    ("What percent of the picture is everything?", lambda s: _share(s), False, ()),
)


def _mention(scene: Scene, s: Seen, rng: np.random.Generator) -> str:
    """An object's name, or now and then only a part of it that no other has."""
    return pick(rng, [s.name, s.name, *_partly(scene, s)])


def _partly(scene: Scene, s: Seen) -> list[str]:
    """Its shape, and its colour, each if no other object has it."""
    shape = [s.thing.shape] if sum(t.shape == s.thing.shape for t in scene.things) == 1 else []
    color = [f"{s.thing.color} object"] if sum(t.color == s.thing.color for t in scene.things) == 1 else []
    return [*shape, *color]


def _share(s: Seen) -> str:
    return f"{round(100 * (s.bottom - s.top))} by {round(100 * (s.right - s.left))} percent"


def grounded(
    scene: Scene, view: View, rng: np.random.Generator, geometry: bool = True
) -> list[tuple[str, str]]:  # fmt: skip
    """Small questions and answers that tie words to places: where an object is, what is at a place, how far it is.

    Places are cells of a 16 x 16 grid over the picture, columns from the left and rows from the top, from 0. Up to six
    questions, in random order; without `geometry`, none about distances. A pure function of its arguments.
    """
    looked = look(scene, view)
    height, width = view.labels.shape
    if min(height, width) < GRID:
        raise ValueError(f"grounded questions need {GRID} x {GRID} pixels or more, not {height} x {width}")
    pairs: list[tuple[str, str]] = []
    named = looked.named
    for i in rng.permutation(len(named))[:2].tolist():
        ask = pick(rng, ("Where is the {}?", "At which column and row is the {}?", "Find the {}."))
        pairs.append((ask.format(named[i].name), cell(named[i])))
    for _ in range(2):
        column, row = _place(rng, named)
        labels = _block(view.labels, column, row)
        values, counts = np.unique(labels, return_counts=True)
        label, share = int(values[counts.argmax()]), counts.max() / labels.size
        thing = next((s for s in named if s.id == label), None)
        if share > 0.8 and (thing or label == 0):
            ask = pick(rng, ("What is at column {}, row {}?", "Which object is at column {}, row {}?"))
            pairs.append((ask.format(column, row), thing.name if thing else "nothing"))
    for _ in range(2 if geometry else 0):
        column, row = _place(rng, named)
        depth = _block(view.depth, column, row)
        if depth.max() < _FLAT * depth.min():
            ask = pick(rng, ("How far is column {}, row {}?", "What is the depth at column {}, row {}?"))
            pairs.append((ask.format(column, row), metres(float(np.median(depth)))))
    return [pairs[i] for i in rng.permutation(len(pairs)).tolist()]


def _place(rng: np.random.Generator, seen: tuple[Seen, ...]) -> tuple[int, int]:
    """A column and a row: of an object three times out of four, else anywhere."""
    if seen and rng.random() < 0.75:
        s = pick(rng, seen)
        return s.column, s.row
    return int(rng.integers(GRID)), int(rng.integers(GRID))


def _block(image: np.ndarray, column: int, row: int) -> np.ndarray:
    height, width = image.shape
    rows = slice(row * height // GRID, (row + 1) * height // GRID)
    return image[rows, column * width // GRID : (column + 1) * width // GRID]
