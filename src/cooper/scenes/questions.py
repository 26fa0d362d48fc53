"""Questions about a scene with exact answers, asked only where a person could answer from the picture.

What distance, height, width and so on mean is defined in `cooper.scenes.seen`. An object is named only if its name is
unique and enough of it is visible; a comparison is asked only if the difference can be perceived.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np

from cooper.scenes.question import Question
from cooper.scenes.render import View
from cooper.scenes.seen import SceneView, SeenObject, distance_between, look
from cooper.scenes.world import COLORS, SHAPES, Scene

T = TypeVar("T")

#: Questions of one task about one scene, at most.
PER_TASK = 2
#: Lengths below this are not asked for: one decimal would say too little about them. Metres.
SHORTEST = 0.25
#: Smallest differences that are asked about: nearer by, in front by, taller by (metres; and by this ratio) ...
CLOSER_GAP, FRONT_GAP, TALLER_GAP, TALLER_RATIO = 0.25, 0.3, 0.1, 1.1
#: ... and farther left by, as a fraction of the picture's width: one column of the grid.
SIDE_GAP = 1 / 16
#: Visible shares up to which an object counts as partly hidden, and from which it counts as not hidden.
HIDDEN, WHOLE = 0.85, 0.97
#: How often an unhidden object is asked about, in scenes with and without a hidden one: half of the answers are "no",
#: and most of those cannot be told from the scene as a whole.
ASK_WHOLE = {True: 0.7, False: 0.06}


def ask_all(scene: Scene, view: View, rng: np.random.Generator) -> list[Question]:
    """Questions of every task that this picture allows, at most `PER_TASK` of each, in order of task.

    A pure function of its arguments. Over many scenes the answers are balanced: "yes" as often as "no", "left" as
    often as "right", and the first-named of two as often as the second. Shapes tell something, though: cylinders and
    cones are mostly taller than boxes and balls.
    """
    looked = look(scene, view)
    return [question for ask in ASK.values() for question in ask(looked, rng)]


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of `options`, each equally likely."""
    return options[int(rng.integers(len(options)))]


def metres(value: float) -> str:
    """ "1.8 m" """
    return f"{value:.1f} m"


def article(noun: str) -> str:
    """ "a red ball", "an orange ball" """
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("x") else "s")


def mentioned(text: str) -> tuple[str | None, str | None]:
    """The first colour and the first shape that a question's text speaks of."""
    words = re.findall("[a-z]+", text.lower())
    color = next((w for w in words if w in COLORS), None)
    shape = next((s for w in words for s in SHAPES if w in (s, plural(s))), None)
    return color, shape


def matches(seen: SeenObject, color: str | None, shape: str | None) -> bool:
    """Whether an object has that colour and that shape, None for any."""
    return color in (None, seen.thing.color) and shape in (None, seen.thing.shape)


def _some(rng: np.random.Generator, options: Sequence[T]) -> list[T]:
    """`PER_TASK` of the options in random order, or all of them if there are fewer."""
    return [options[int(i)] for i in rng.permutation(len(options))[:PER_TASK]]


def _coin(rng: np.random.Generator) -> bool:
    return bool(rng.integers(2))


def _the(looked: SceneView, seen: SeenObject, rng: np.random.Generator) -> str:
    """ "the red ball", or now and then "the ball" where there is no other, or "the red object"."""
    dice = rng.random()
    things = looked.scene.things
    if dice < 0.15 and sum(t.shape == seen.thing.shape for t in things) == 1:
        return f"the {seen.thing.shape}"
    if dice > 0.92 and sum(t.color == seen.thing.color for t in things) == 1:
        return f"the {seen.thing.color} object"
    return f"the {seen.name}"


def _pairs(seen: Sequence[SeenObject], rng: np.random.Generator) -> list[tuple[SeenObject, SeenObject]]:
    """Every pair once, in random order and orientation."""
    pairs = list(combinations(seen, 2))
    return [pairs[i] if _coin(rng) else pairs[i][::-1] for i in rng.permutation(len(pairs)).tolist()]


_TO_CAMERA = (
    "How far away is {}?",
    "How far is {} from the camera?",
    "What is the distance to {}?",
    "How many metres away is {}?",
    "What is the distance from the camera to {}?",
)


def _distance_to_camera(looked: SceneView, rng: np.random.Generator) -> Iterator[Question]:
    for s in _some(rng, looked.named):
        text = pick(rng, _TO_CAMERA).format(_the(looked, s, rng))
        yield Question("distance_to_camera", text, metres(s.depth), "metres", s.depth, (s.id,), ("depth",))


_BETWEEN = (
    "How far is {} from {}?",
    "What is the distance between {} and {}?",
    "How far apart are {} and {}?",
    "How many metres are there between {} and {}?",
    "What is the distance from {} to {}?",
    "How far is it from the middle of {} to the middle of {}?",
)


def _distance_between(looked: SceneView, rng: np.random.Generator) -> Iterator[Question]:
    pairs = [(a, b) for a, b in _pairs(looked.named, rng) if distance_between(a.thing, b.thing) >= SHORTEST]
    for a, b in pairs[:PER_TASK]:
        value = distance_between(a.thing, b.thing)
        text = pick(rng, _BETWEEN).format(_the(looked, a, rng), _the(looked, b, rng))
        yield Question("distance_between", text, metres(value), "metres", value, (a.id, b.id), ("depth",))


_HEIGHT = (
    "How tall is {}?",
    "What is the height of {}?",
    "How many metres tall is {}?",
    "How tall is {} from bottom to top?",
)
_SIZE = (
    "How wide is {}?",
    "What is the width of {}?",
    "How wide is {} from left to right?",
    "How many metres wide is {}?",
)


def _measure(
    task: str, wordings: Sequence[str], length: Callable[[SeenObject], float]
) -> Callable[[SceneView, np.random.Generator], Iterator[Question]]:
    def ask(looked: SceneView, rng: np.random.Generator) -> Iterator[Question]:
        for s in _some(rng, [s for s in looked.seen if s.measured and length(s) >= SHORTEST]):
            text = pick(rng, wordings).format(_the(looked, s, rng))
            yield Question(task, text, metres(length(s)), "metres", length(s), (s.id,), ("depth",))

    return ask


_CLOSER = (
    "Which is closer, {} or {}?",
    "Which is closer to the camera, {} or {}?",
    "Which is nearer, {} or {}?",
    "Which one is nearer to the camera: {} or {}?",
    "What is closer to us, {} or {}?",
)
_TALLER = (
    "Which is taller, {} or {}?",
    "Which one is taller: {} or {}?",
    "Which is taller from bottom to top, {} or {}?",
    "What is taller, {} or {}?",
)


def _closer(looked: SceneView, rng: np.random.Generator) -> Iterator[Question]:
    for a, b in [p for p in _pairs(looked.named, rng) if _differ_in_depth(*p, CLOSER_GAP)][:PER_TASK]:
        text = pick(rng, _CLOSER).format(f"the {a.name}", f"the {b.name}")
        answer = f"the {min(a, b, key=lambda s: s.depth).name}"
        yield Question("closer", text, answer, "word", None, (a.id, b.id), ("depth",))


def _taller(looked: SceneView, rng: np.random.Generator) -> Iterator[Question]:
    for a, b in [p for p in _pairs([s for s in looked.seen if s.measured], rng) if _differ_in_height(*p)][:PER_TASK]:
        text = pick(rng, _TALLER).format(f"the {a.name}", f"the {b.name}")
        answer = f"the {max(a, b, key=lambda s: s.height).name}"
        yield Question("taller", text, answer, "word", None, (a.id, b.id), ("depth",))


def _differ_in_depth(a: SeenObject, b: SeenObject, gap: float) -> bool:
    """Whether one is nearer by `gap`, whichever way one looks at it: surface, nearest point or centre."""
    near, far = sorted((a, b), key=lambda s: s.depth)
    return far.depth - near.depth > gap and near.nearest < far.nearest and near.ahead < far.ahead


def _differ_in_side(a: SeenObject, b: SeenObject) -> bool:
    """Whether one is farther left by `SIDE_GAP`, in the picture and in the room."""
    return abs(a.u - b.u) > SIDE_GAP and (a.u < b.u) == (a.across < b.across)


def _differ_in_height(a: SeenObject, b: SeenObject) -> bool:
    low, high = sorted((a.height, b.height))
    return high > TALLER_RATIO * low and high - low > TALLER_GAP


_SIDE_YES_NO = (
    "Is {} to the {side} of {}?",
    "Is {} on the {side} of {}?",
    "Is {} farther {side} than {}?",
    "Seen from the camera, is {} {side} of {}?",
)
_SIDE_CHOICE = (
    "Is {} to the left or to the right of {}?",
    "Is {} left or right of {}?",
    "On which side of {1} is {0}, left or right?",
    "Seen from the camera, is {} left or right of {}?",
)
_FRONT_YES_NO = (
    "Is {} {side} {}?",
    "Seen from the camera, is {} {side} {}?",
    "Is it true that {} is {side} {}?",
    "Would you say that {} is {side} {}?",
)
_FRONT_CHOICE = (
    "Is {} in front of or behind {}?",
    "Is {} in front of {} or behind it?",
    "Seen from the camera, is {} in front of or behind {}?",
    "Where is {}, in front of or behind {}?",
)


def _relative_position(looked: SceneView, rng: np.random.Generator) -> Iterator[Question]:
    pairs = _pairs(looked.named, rng)
    side = next(((a, b) for a, b in pairs if _differ_in_side(a, b)), None)
    if side:
        yield _relation(looked, rng, *side, ("left", "right"), lambda s: s.u, _SIDE_YES_NO, _SIDE_CHOICE, ())
    front = next(((a, b) for a, b in pairs if _differ_in_depth(a, b, FRONT_GAP)), None)
    if front:
        words = ("in front", "behind")
        yield _relation(looked, rng, *front, words, lambda s: s.depth, _FRONT_YES_NO, _FRONT_CHOICE, ("depth",))


def _relation(
    looked: SceneView,
    rng: np.random.Generator,
    a: SeenObject,
    b: SeenObject,
    words: tuple[str, str],
    order: Callable[[SeenObject], float],
    yes_no: Sequence[str],
    choice: Sequence[str],
    maps: tuple[str, ...],
) -> Question:
    """How `a` stands to `b`: a choice between `words` (the first if `a` comes first in `order`), or yes or no."""
    truth = words[order(a) > order(b)]
    names = (_the(looked, a, rng), _the(looked, b, rng))
    if _coin(rng):
        text, answer = pick(rng, choice).format(*names), truth
    else:
        side = pick(rng, words)
        answer = "yes" if side == truth else "no"
        text = pick(rng, yes_no).format(*names, side="in front of" if side == "in front" else side)
    return Question("relative_position", text, answer, "word", None, (a.id, b.id), maps)


_COUNT = (
    "How many {} are there?",
    "How many {} can you see?",
    "How many {} are in the picture?",
    "Count the {}.",
    "What is the number of {} in the picture?",
)


#: What is counted: objects of any colour (None) and shape, of a shape, of a colour.
KINDS: tuple[tuple[str | None, str | None], ...] = (
    (None, None), *((None, shape) for shape in SHAPES), *((color, None) for color in COLORS)
)  # fmt: skip


def _counting(looked: SceneView, rng: np.random.Generator) -> Iterator[Question]:
    """Objects of a shape, of a colour, or all. The number is chosen first, so that small numbers do not crowd."""
    if not looked.seen:
        return
    by_number: dict[int, list[tuple[str | None, str | None]]] = {}
    for kind in KINDS:
        if not any(matches(s, *kind) for s in looked.unclear):
            by_number.setdefault(sum(matches(s, *kind) for s in looked.seen), []).append(kind)
    numbers = list(by_number)
    # 0 and 1 are possible in nearly every scene, higher numbers in some.
    weights = np.array([{0: 0.3, 1: 0.4}.get(n, 1.0) for n in numbers])
    for _ in range(min(PER_TASK, len(numbers))):
        n = numbers[int(rng.choice(len(numbers), p=weights / weights.sum()))]
        weights[numbers.index(n)] = 0.0
        color, shape = pick(rng, by_number[n])
        noun = plural(shape or "object") if color is None else f"{color} objects"
        ids = tuple(s.id for s in looked.seen if matches(s, color, shape))
        yield Question("counting", pick(rng, _COUNT).format(noun), str(n), "count", float(n), ids, ("segmentation",))


_OCCLUSION = (
    "Is {} partly hidden by something?",
    "Is a part of {} hidden?",
    "Does something hide a part of {}?",
    "Is anything in front of {} that hides a part of it?",
    "Is {} partly covered by another object?",
)


def _occlusion(looked: SceneView, rng: np.random.Generator) -> Iterator[Question]:
    """Not asked of what carries another object, which covers its top: people disagree on whether that hides it."""
    carriers = {t.on for t in looked.scene.things}
    inside = [s for s in looked.seen if not s.cut and s.id not in carriers]
    hidden = [s for s in inside if s.counted and s.share < HIDDEN and s.id in looked.covers]
    whole = [s for s in inside if s.named and s.share > WHOLE]
    asked = [(pick(rng, hidden), "yes")] if hidden else []
    if whole and rng.random() < ASK_WHOLE[bool(hidden)]:
        asked.append((pick(rng, whole), "no"))
    for s, answer in asked:
        text = pick(rng, _OCCLUSION).format(_the(looked, s, rng))
        yield Question("occlusion", text, answer, "word", None, (s.id,), ("segmentation",))


_EXISTENCE = (
    "Is there {} in the picture?",
    "Is there {}?",
    "Can you see {}?",
    "Does the picture show {}?",
    "Do you see {} here?",
)


def _existence(looked: SceneView, rng: np.random.Generator) -> Iterator[Question]:
    """Absent things are mostly tempting ones: of a colour and a shape that are there, on two different objects."""
    there = {(t.color, t.shape) for t in looked.scene.things}
    near = [(c, s) for c, _ in sorted(there) for _, s in sorted(there) if (c, s) not in there]
    absent = [(c, s) for c in COLORS for s in SHAPES if (c, s) not in there]
    for _ in range(PER_TASK):
        seen = pick(rng, looked.named) if looked.named and _coin(rng) else None
        kind = pick(rng, near if near and rng.random() < 0.7 else absent)
        text = pick(rng, _EXISTENCE).format(article(seen.name if seen else " ".join(kind)))
        yield Question("existence", text, "yes" if seen else "no", "word", None, (seen.id,) if seen else ())


_COLOR = (
    "What color is the {}?",
    "What colour is the {}?",
    "What is the color of the {}?",
    "What is the colour of the {}?",
    "Which color does the {} have?",
)
_SHAPE = (
    "What shape is the {} object?",
    "What is the shape of the {} object?",
    "Which shape does the {} object have?",
    "What kind of thing is the {} object?",
    "What is the {} object?",
)


def _color(looked: SceneView, rng: np.random.Generator) -> Iterator[Question]:
    things = looked.scene.things
    alone = [s for s in looked.named if sum(t.shape == s.thing.shape for t in things) == 1]
    for s in _some(rng, alone):
        text = pick(rng, _COLOR).format(s.thing.shape)
        yield Question("color", text, s.thing.color, "word", None, (s.id,))


def _shape(looked: SceneView, rng: np.random.Generator) -> Iterator[Question]:
    things = looked.scene.things
    alone = [s for s in looked.named if sum(t.color == s.thing.color for t in things) == 1]
    for s in _some(rng, alone):
        text = pick(rng, _SHAPE).format(s.thing.color)
        yield Question("shape", text, s.thing.shape, "word", None, (s.id,))


#: How each task asks, in the order in which `ask_all` gives them.
ASK: dict[str, Callable[[SceneView, np.random.Generator], Iterator[Question]]] = {
    "distance_to_camera": _distance_to_camera,
    "distance_between": _distance_between,
    "height": _measure("height", _HEIGHT, lambda s: s.height),
    "size": _measure("size", _SIZE, lambda s: s.width),
    "closer": _closer,
    "taller": _taller,
    "relative_position": _relative_position,
    "counting": _counting,
    "occlusion": _occlusion,
    "existence": _existence,
    "color": _color,
    "shape": _shape,
}
