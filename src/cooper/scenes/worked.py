"""Worked traces: how a person who looks, draws a map where it helps, reads it and reasons would answer a question.

All numbers are readings of the ground truth. What is quoted always adds up: the arithmetic that is written down gives
the answer that is given. Every turn stays under `MAX_TOKENS`. Everything is said in one way: other words for the same
cost a small model room, and reinforcement would see differences between rollouts that make none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import floor, hypot
from typing import TypeAlias

from cooper.modalities import modality
from cooper.policy import MODES, Mode
from cooper.scenes.question import Question
from cooper.scenes.questions import article, matches, mentioned, metres, plural
from cooper.scenes.render import View
from cooper.scenes.seen import SceneView, SeenObject, look
from cooper.scenes.world import Scene

#: Words, digits, punctuation marks and tags that a turn may have.
MAX_TOKENS = 80


@dataclass(frozen=True)
class Turn:
    """What the model writes in one turn, and the modality of the map it then draws (None if the turn answers)."""

    text: str
    draws: str | None = None


def worked_turns(scene: Scene, view: View, question: Question, mode: Mode) -> tuple[Turn, ...]:
    """The model's turns on the way to the answer of `question`, one of `ask_all(scene, view, ...)`.

    `direct` answers at once. `text` thinks, without maps. `perception` draws depth, then segmentation, then answers.
    `interleaved` draws `question.maps`, reads them and reasons. A pure function of its arguments. Raises ValueError for
    an unknown mode.
    """
    answer = f"<answer>\\boxed{{{question.answer}}}</answer>"
    if mode == "direct":
        return (Turn(answer),)
    if mode == "perception":
        return (*(Turn(_think(_PERCEIVE[m]) + modality(m).call, m) for m in _PERCEIVE), Turn(answer))
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}; choose one of {', '.join(MODES)}")
    looked = look(scene, view)
    locate, read = _STORIES[question.task](looked, question)
    if mode == "interleaved" and question.maps:
        draws = tuple(wanted(m, locate if i == 0 else "") for i, m in enumerate(question.maps))
        return (*draws, _last_turn(("On the map,", read), answer))
    if question.maps:
        read = _join("By eye,", read)
    return (_last_turn((locate, read), answer),)


def wanted(name: str, seen: str = "") -> Turn:
    """The turn that asks for a map, after what is `seen` in the picture."""
    return Turn(_think(_join(seen, _WANT[name])) + modality(name).call, name)


def count_tokens(text: str) -> int:
    """Tags, words, digits and punctuation marks of a text: how long it is for a small tokenizer."""
    return len(re.findall(r"</?[a-z-]+>|[^\W\d]+|\d|[^\w\s]", text))


_PERCEIVE = {"depth": "First the depth.", "segmentation": "Then the objects."}
_WANT = {"depth": "A depth map will tell.", "segmentation": "A map of the objects will tell."}


def _last_turn(parts: tuple[str, str], answer: str) -> Turn:
    """The turn that answers; the first part is left out if the two are too long together."""
    text = _think(_join(*parts)) + answer
    return Turn(text if count_tokens(text) < MAX_TOKENS else _think(_join(parts[1])) + answer)


def _think(thought: str) -> str:
    return f"<think>{thought}</think>"


def _join(*parts: str) -> str:
    """Sentences in a row. After a part that does not end its sentence the next goes on in lower case."""
    text = ""
    for part in filter(None, parts):
        text += (" " if text else "") + (part if text.endswith((",", ":")) else part[0].upper() + part[1:])
    return text


def place(seen: SeenObject) -> str:
    """Where in the picture: "on the left", "low in the middle", "high on the far right"."""
    sides = ("on the far left", "on the left", "in the middle", "on the right", "on the far right")
    level = "high " if seen.v < 0.42 else "low " if seen.v > 0.65 else ""
    return level + sides[min(4, int(seen.u * 5))]


def cell(seen: SeenObject) -> str:
    """ "column 3, row 9" of the grid over the picture."""
    return f"column {seen.column}, row {seen.row}"


def on_plan(across: float, ahead: float) -> str:
    """Where something stands, metres from the camera, on a plan of which the camera stands at 4, 0.

    Each number grows in one direction, so that one is always subtracted from the other: "0.9 left" and "0.4 right"
    have to be added, and a model that subtracted numbers ahead (92 % right to 0.1) got these wrong (38 %).
    """
    return f"{4 + across:.1f}, {ahead:.1f}"


def _where(a: SeenObject, b: SeenObject | None = None) -> str:
    return f"the {a.name} is {place(a)}{f', the {b.name} {place(b)}' if b else ''}."


Story: TypeAlias = tuple[str, str]  # what is seen in the picture, what is read from the map and follows


def _distance_to_camera(looked: SceneView, question: Question) -> Story:
    s = looked[question.things[0]]
    return _where(s), f"the {s.name} is {metres(s.depth)} away."


#: Metres by which the heights of two centres must differ for their distance to be reasoned about in three dimensions.
_RISE = 0.2


def _distance_between(looked: SceneView, question: Question) -> Story:
    a, b = (looked[i] for i in question.things)
    rise = abs(a.up - b.up)
    exact = (a.across, b.across, a.ahead, b.ahead, *([rise] if rise >= _RISE else []))
    ax, bx, ay, by, *up = _rounded(exact, question.answer)
    first, second = (f"{s.name} at {on_plan(x, y)}" for s, x, y in ((a, ax, ay), (b, bx, by)))
    return _where(a, b), f"{first}; {second}. {apart((ax, ay), (bx, by), up)} gives {question.answer}."


def apart(a: tuple[float, float], b: tuple[float, float], up: Sequence[float] = ()) -> str:
    """How far two places, each metres (across, ahead), are from each other along each axis."""
    parts = [f"{abs(a[0] - b[0]):.1f} across", f"{abs(a[1] - b[1]):.1f} deep", *(f"{z:.1f} up" for z in up)]
    return ", ".join(parts)


def _rounded(exact: tuple[float, ...], answer: str) -> tuple[float, ...]:
    """Two coordinates across, two ahead and perhaps a rise, metres, in tenths such that they give the answer.

    Of all ways to round each number to a neighbouring tenth: the one with the smallest squared error whose length,
    itself rounded, is the answer; plain rounding if there is none.
    """
    tenths = [10 * x for x in exact]
    best, lowest = tuple(round(x) for x in tenths), float("inf")
    for tried in product(*((floor(x), floor(x) + 1) for x in tenths)):
        error = sum((x - y) ** 2 for x, y in zip(tried, tenths, strict=True))
        if error < lowest and metres(hypot(tried[0] - tried[1], tried[2] - tried[3], *tried[4:]) / 10) == answer:
            best, lowest = tried, error
    return tuple(x / 10 for x in best)


def _extent(length: str, side: str) -> Callable[[SceneView, Question], Story]:
    def story(looked: SceneView, question: Question) -> Story:
        s = looked[question.things[0]]
        share = s.bottom - s.top if side == "height" else s.right - s.left
        fills = f"It fills {round(100 * share)} percent of the {side}, so it is {question.answer} {length}."
        return _where(s), f"the {s.name} is {metres(s.depth)} away. {fills}"

    return story


def _closer(looked: SceneView, question: Question) -> Story:
    a, b = (looked[i] for i in question.things)
    return _where(a, b), closer((a.name, a.depth), (b.name, b.depth))


def closer(a: tuple[str, float], b: tuple[str, float]) -> str:
    """Which of two named things is closer, from their depths."""
    return f"{_two_depths(a, b)} {_compared(a, b, a[1] < b[1], 'closer')}"


def _two_depths(a: tuple[str, float], b: tuple[str, float]) -> str:
    return f"the {a[0]} is {metres(a[1])} away, the {b[0]} {metres(b[1])}."


def _compared(a: tuple[str, float], b: tuple[str, float], first: bool, what: str) -> str:
    """Which of two named numbers it is: always the first compared with the second, then which of the two in order, then
    its name. From the larger number told first, a model often went on to the wrong name: it had to find out whose that
    number was."""
    word, number, name = ("less" if a[1] < b[1] else "more"), *(("first", a[0]) if first else ("second", b[0]))
    return f"{a[1]:.1f} is {word} than {b[1]:.1f}, so the {number}, the {name}, is {what}."


def _taller(looked: SceneView, question: Question) -> Story:
    a, b = (looked[i] for i in question.things)
    return _where(a, b), taller((a.name, a.depth, a.height), (b.name, b.depth, b.height))


def taller(a: tuple[str, float, float], b: tuple[str, float, float]) -> str:
    """Which of two named things is taller, from their depths and heights."""
    both = ", ".join(f"the {name} {depth:.1f} away and {height:.1f} tall" for name, depth, height in (a, b))
    return f"{both}. {_compared((a[0], a[2]), (b[0], b[2]), a[2] > b[2], 'taller')}"


def _relative_position(looked: SceneView, question: Question) -> Story:
    a, b = (looked[i] for i in question.things)
    if "depth" in question.maps:
        order = _order(question, f"{a.depth:.1f}", f"{b.depth:.1f}", a.depth < b.depth, ("in front", "behind"))
        return _where(a, b), f"{_two_depths((a.name, a.depth), (b.name, b.depth))} {order}"
    columns = f"the {a.name} is at column {a.column}, the {b.name} at column {b.column}."
    return "", f"{columns} {_order(question, str(a.column), str(b.column), a.u < b.u, ('on the left', 'on the right'))}"


def _order(question: Question, a: str, b: str, less: bool, sides: tuple[str, str]) -> str:
    """Which of two numbers is less, and so which of two sides it is, or whether it is the side that was asked about.

    Yes or no is made of two words that stand beside each other, what would have to be and what is. From a side in the
    question and the other one in the thought a model did not find "no" once.
    """
    word, side = ("less", sides[0]) if less else ("more", sides[1])
    if question.answer not in ("yes", "no"):
        return f"{a} is {word} than {b}, so it is {side}."
    asked = less == (question.answer == "yes")  # whether it is the first side
    would = f"{sides[0]} is less" if asked else f"{sides[1]} is more"
    return f"{would[0].upper()}{would[1:]} than {b}. {a} is {word}, so {question.answer}."


def _counting(looked: SceneView, question: Question) -> Story:
    color, shape = mentioned(question.text)
    what = counted(color, shape)
    found = [s for s in sorted(looked.seen, key=lambda s: s.u) if matches(s, color, shape)]
    numbered = tally([(s.name, s.column) for s in found], what)
    return f"I count the {what}.", f"from left to right: {numbered}, so {len(found)}."


def counted(color: str | None, shape: str | None) -> str:
    """What is counted, in the plural: "balls", "red objects", "objects"."""
    return plural(shape) if shape else f"{color} objects" if color else "objects"


def tally(found: Sequence[tuple[str, int]], what: str) -> str:
    """Names and columns of what counts, numbered.

    There is one way of counting: with a second one, which lists everything, a model lists everything in the first, too.
    The column says what "the next one" is. Whether there is one is asked in the same place each time, none or many.
    """
    return ", ".join([*(f"{i} {name} {column}" for i, (name, column) in enumerate(found, 1)), f"no more {what}"])


def _occlusion(looked: SceneView, question: Question) -> Story:
    s = looked[question.things[0]]
    # what is told apart is told apart in one place, right behind the name of what is looked at
    found = f"the {looked[looked.covers[s.id]].name}, which hides a part" if question.answer == "yes" else "nothing"
    return _where(s), f"in front of the {s.name} is {found}."


def _existence(looked: SceneView, question: Question) -> Story:
    """Where it is. A model that knows whether a name has found something (98 % of direct answers) need not list what
    else has the colour, and draw a conclusion (54 %)."""
    color, shape = mentioned(question.text)
    found = place(looked[question.things[0]]) if question.answer == "yes" else "nowhere"
    return "", f"I look for {article(f'{color} {shape}')}: {found}."


def _color(looked: SceneView, question: Question) -> Story:
    s = looked[question.things[0]]
    return f"the {s.thing.shape} is {place(s)}.", f"it is {s.thing.color}."


_TRAITS = {
    "ball": "it is round all over",
    "box": "it has flat sides and corners",
    "cylinder": "it has a round top and straight sides",
    "cone": "it ends in a point",
}


def _shape(looked: SceneView, question: Question) -> Story:
    s = looked[question.things[0]]
    where = f"the {s.thing.color} object is {place(s)}."
    return where, f"{_TRAITS[s.thing.shape]}, so it is {article(s.thing.shape)}."


_STORIES: dict[str, Callable[[SceneView, Question], Story]] = {
    "distance_to_camera": _distance_to_camera,
    "distance_between": _distance_between,
    "height": _extent("tall", "height"),
    "size": _extent("wide", "width"),
    "closer": _closer,
    "taller": _taller,
    "relative_position": _relative_position,
    "counting": _counting,
    "occlusion": _occlusion,
    "existence": _existence,
    "color": _color,
    "shape": _shape,
}
