"""What is logged of a step of training, put together from the losses of all processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal


class Logged(float):
    """What is logged of a loss. What is logged of a step is the mean of those of all its losses, in all processes, each
    of which counts as its `weight`; or their sum, or the largest."""

    weight: float
    how: Literal["mean", "sum", "max"]

    def __new__(cls, value: float, weight: float = 1.0, how: Literal["mean", "sum", "max"] = "mean") -> Logged:
        figure = super().__new__(cls, value)
        figure.weight, figure.how = weight, how
        return figure

    def __reduce__(self) -> tuple[type[Logged], tuple[float, float, str]]:
        return Logged, (float(self), self.weight, self.how)


def of_step(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The figures of a step, from those of its losses. (A loss may lack some.)"""
    found: dict[str, list[Logged]] = {}
    for row in rows:
        for name, value in row.items():
            figure = value if isinstance(value, Logged) else Logged(value)
            if figure.weight:
                found.setdefault(name, []).append(figure)
    return {name: _one(figures) for name, figures in found.items()}


def _one(figures: Sequence[Logged]) -> float:
    if figures[0].how == "max":
        return float(max(figures))
    whole = 1.0 if figures[0].how == "sum" else sum(figure.weight for figure in figures)
    return sum(figure * figure.weight for figure in figures) / whole
