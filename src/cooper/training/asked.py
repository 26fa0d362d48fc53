"""Questions about scenes or of a user's own, as reinforcement needs them: with a rule by which answers are right or
wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from cooper.data.examples import Example, Flag, QuestionExample
from cooper.data.mixture import Unbroken
from cooper.data.tables import BadRow
from cooper.evaluation.grading import kind_of
from cooper.scenes.chosen import Asked
from cooper.scenes.render import View
from cooper.scenes.world import Scene
from cooper.training.reinforcement import PicturedQuestion
from cooper.training.rewards import Record

#: a question, and the number of what it is about: a scene's seed, or a row's place in a table
Numbered: TypeAlias = tuple[int, PicturedQuestion]


@dataclass(frozen=True)
class AskedRows:
    """Draw k of a mixture of questions."""

    examples: Unbroken[Example]
    judged: bool = False
    """Whether another model judges answers in words; otherwise they have to be the true ones."""

    def example(self, k: int) -> PicturedQuestion:
        """Draw k. Raises ValueError if it is a map or a trace."""
        return pictured(self.examples.example(k), self.judged)


def about_scenes(scenes: Sequence[tuple[Scene, View]], asked: Iterable[Asked]) -> Iterator[Numbered]:
    """Questions about these scenes; nothing is said about maps."""
    for a in asked:
        q = a.question
        record = Record(q.text, q.answer, q.kind, q.value, task=q.task)
        yield a.seed, PicturedQuestion(scenes[a.index][1].rgb, record)


def pictured(example: Example, judged: bool = False) -> PicturedQuestion:
    """Raises ValueError for a map or a trace."""
    if not isinstance(example, QuestionExample):
        raise ValueError(f"{example.name} is no question with an answer, from which alone reinforcement learns")
    record = record_of(example.question, example.answer, example.flag, judged)
    return PicturedQuestion(example.picture, replace(record, row=example.row))


def pictured_rows(examples: Sequence[Example], n: int, on_bad: Callable[[BadRow], None]) -> Iterator[Numbered]:
    """The first `n` questions of a set that can be read, with their places in it; `on_bad` is told of the others.

    Raises ValueError as `pictured` does.
    """
    for i in range(n):
        try:
            yield i, pictured(examples[i])
        except BadRow as error:
            on_bad(error)


def record_of(question: str, answer: str, flag: Flag | None = None, judged: bool = False) -> Record:
    """A question and its true answer, which tells how answers are compared: a letter, yes or no, a count, a number with
    or without a unit, or words. Without a flag, nothing is said about maps."""
    kind, truth = kind_of(answer)
    named = "judged" if kind == "word" and judged else kind
    return Record(question, truth, named, None, flag or "boundary", task=named)
