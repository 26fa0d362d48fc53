"""Settings of a stage: changed by name, `objective.kl=0.01`, as a command takes them, within their ranges, and as they
are noted."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable
from dataclasses import Field, fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_type_hints

import tyro

T = TypeVar("T")


#: Metadata of a field that came when runs and results without it were there: while it has its default, `noted` leaves
#: it out, and they go on. The default must then mean what was done before, and stay what it is.
LATER = {"later": True}
#: Metadata of a field that says how a stage is computed or shown, and nothing of what is learned: a run goes on with
#: another one. With `LATER` it is never noted.
ASIDE = {"aside": True}


def noted(settings: Any) -> str:
    """Settings as runs note them and results are named by: their `repr`, without what is `LATER` and has its default,
    and with the defaults of what is `ASIDE`."""
    if is_dataclass(settings) and not isinstance(settings, type):
        kept = (f for f in fields(settings) if f.repr and not (f.metadata.get("later") and _told_nothing(settings, f)))
        told = ", ".join(
            f"{f.name}={noted(f.default if f.metadata.get('aside') else getattr(settings, f.name))}" for f in kept
        )
        return f"{type(settings).__qualname__}({told})"
    if type(settings) is dict:
        return f"{{{', '.join(f'{noted(k)}: {noted(v)}' for k, v in settings.items())}}}"
    if type(settings) is tuple:
        return f"({', '.join(map(noted, settings))}{',' if len(settings) == 1 else ''})"
    return repr(settings)


def _told_nothing(settings: Any, field: Field[Any]) -> bool:
    return bool(field.metadata.get("aside") or getattr(settings, field.name) == field.default)


def within(settings: object, low: float, high: float, *names: str) -> None:
    """Raises ValueError if one of these numbers, or one number of a pair, is not from `low` to `high`, or is infinite;
    None is no number."""
    for name in names:
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not (low <= number <= high and math.isfinite(number)):
                most = f" to {high:g}" if math.isfinite(high) else " on, and finite"
                raise ValueError(f"{name} must be from {low:g}{most}, not {number:g}")


def with_changes(settings: T, changes: Iterable[str]) -> T:
    """`settings`, a dataclass, with changes such as "updates=2", "objective.kl=0.01", "objective.clip=0.2,0.28" or
    "turn_tokens=None", made one after another.

    Raises ValueError, naming the change, for a setting that is not there and for a value that it cannot have.
    """
    for change in changes:
        path, given, text = change.partition("=")
        if not given:
            raise ValueError(f"{change!r} changes nothing; write NAME=VALUE, such as objective.kl=0.01")
        try:
            settings = _changed(settings, path.split("."), text)
        except ValueError as error:
            raise ValueError(f"{change!r}: {error}") from None
    return settings


def _changed(settings: Any, path: list[str], text: str) -> Any:
    name, *deeper = path
    names = [field.name for field in fields(settings)]
    if name not in names:
        raise ValueError(f"there is no {name!r} among {', '.join(names)}")
    hint, value = get_type_hints(type(settings))[name], getattr(settings, name)
    group: Any = next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)), None)
    if group and text == "None" and not deeper and type(None) in get_args(hint):
        return replace(settings, **{name: None})
    if group:
        value = group() if value is None else value
        if not deeper:
            names = [f"{name}.{field.name}" for field in fields(group)]
            raise ValueError(f"{name} is a group of settings; give one of {', '.join(names)}")
        return replace(settings, **{name: _changed(value, deeper, text)})
    if deeper:
        raise ValueError(f"{name} is one setting, and nothing is in it")
    return replace(settings, **{name: _read(text, hint)})


def _read(text: str, hint: Any) -> Any:
    words = text.split(",") if text else []
    try:
        if any(word.startswith("--") for word in words):  # tyro's own, such as --help
            raise SystemExit
        with contextlib.redirect_stderr(io.StringIO()):  # a box about a command line that there is not
            return tyro.cli(hint, args=words)
    except SystemExit:
        kind = str(getattr(hint, "__name__", hint) if not get_args(hint) else hint).replace("typing.", "")
        raise ValueError(f"{text!r} is no {kind}") from None
