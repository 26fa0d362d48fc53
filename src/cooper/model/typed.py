"""Whether what a file says fits a dataclass: Python itself takes anything for a field."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

#: Whole numbers are sizes and numbers of things; larger ones are mistakes, which would be met as too little memory.
_MOST = 10_000_000


def check_fields(made: Any, name: str = "") -> None:
    """Raises ValueError, naming the first field of a dataclass, or of those in it, that does not hold what it is
    annotated with; whole numbers lie in 0 .. 10 million, and others are finite."""
    kinds = get_type_hints(type(made))
    for field in fields(made):
        _check(getattr(made, field.name), kinds[field.name], f"{name}{field.name}")


def _check(value: Any, kind: Any, name: str) -> None:
    if is_dataclass(kind):
        if not isinstance(value, kind):  # type: ignore[arg-type]
            raise ValueError(f"{name} is {value!r}; it has fields of its own")
        check_fields(value, f"{name}.")
    elif not _fits(value, kind):
        raise ValueError(f"{name} is {str(value)[:40]!r}; it must be {_told(kind)}")


def _fits(value: Any, kind: Any) -> bool:
    of, kinds = get_origin(kind), get_args(kind)
    if of in (Union, UnionType):
        return any(_fits(value, one) for one in kinds)
    if of is Literal:
        return isinstance(value, str) and value in kinds
    if of is tuple:
        if not isinstance(value, tuple):
            return False
        each = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        return len(value) == len(each) and all(map(_fits, value, each))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST
    return isinstance(value, kind)


def _told(kind: Any) -> str:
    of, kinds = get_origin(kind), get_args(kind)
    if of in (Union, UnionType):
        return " or ".join(_told(one) for one in kinds)
    if of is Literal:
        return " or ".join(kinds)
    if of is tuple:
        return f"a list, each {_told(kinds[0])}" if kinds[-1] is Ellipsis else f"a list of {len(kinds)} numbers"
    plain = {int: f"a whole number up to {_MOST:,}", float: "a number", bool: "true or false", str: "a text"}
    return "null" if kind is NoneType else plain.get(kind, str(kind))
