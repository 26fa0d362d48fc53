"""Prompts out of the Python code of a release, which is parsed and never run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from cooper.modalities import Modality, modality
from cooper.policy import POLICIES
from cooper.prompts import Prompts


def prompts_in(source: str | Path, names: Mapping[str, str]) -> Prompts:
    """The prompts that a Python file assigns to names. It is parsed, and never run.

    `names` says which name holds what: "system" (how interleaved answers are asked for), "reflection", modalities, and
    other modes, whose system prompts are only read if they are named. What it does not say is told by what a text looks
    like: an order is nothing but a tag and what is in it; the system prompt speaks of thinking and of the tags of maps;
    the reflection is the one text left that speaks of the map. Texts are taken to the letter, white space and all.
    Raises ValueError, listing what there is, if one of them cannot be told.
    """
    path = Path(source)
    try:
        texts = _texts(ast.parse(path.read_bytes(), str(path)))
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path} is not a Python file: {error}") from None
    except (RecursionError, MemoryError):
        raise ValueError(f"{path} is nested too deeply to be read; give the file that has the prompts") from None
    unknown = sorted({*names.values()} - texts.keys())
    if unknown:
        raise ValueError(f"{path} gives no text the name {', '.join(unknown)}; it has {', '.join(texts) or 'none'}")
    kinds = {name: modality(name) for name in POLICIES["interleaved"].calls}
    found: dict[str, str] = {what: texts[name] for what, name in names.items()}
    for what in ("system", "reflection", *kinds):
        if what in found:
            continue
        fitting = {t for t in texts.values() if _looks_like(what, t, kinds) and t not in found.values()}
        if len(fitting) != 1:
            many = f"{len(fitting)} texts" if fitting else "no text"
            raise ValueError(
                f"{path} has {many} that could be the {what} prompt; say which with --{what} NAME; "
                f"it has {', '.join(texts) or 'none'}"
            )
        found[what] = fitting.pop()
    orders = {name: _inside(found[name], kind) for name, kind in kinds.items()}
    others = {mode: found[mode] for mode in POLICIES if mode in found}
    return Prompts({"interleaved": found["system"], **others}, found["reflection"], orders)


def _texts(tree: ast.Module) -> dict[str, str]:
    """Texts that are assigned to names, in order, at any depth: constants, names that hold them, and what is added or
    formatted of those without anything that would have to be computed. What a dict holds is called NAME.KEY. Inside of
    a function or class a name that the module has is called OUTER.NAME. A name whose last value is not known, or hangs
    on which branch is taken, is left out."""
    found: dict[str, str] = {}
    _collect(tree, "", {}, found)
    return found


#: Names, and the texts that they hold; None: nobody knows what.
_Known: TypeAlias = dict[str, str | None]
_Scope: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _collect(scope: _Scope | ast.Module, outer: str, around: _Known, found: dict[str, str]) -> None:
    """Those of a module, function or class, and then of those in it; `around` are the names that it sees."""
    inner: list[_Scope] = []
    if not isinstance(scope, ast.Module | ast.ClassDef):
        around = {**around, **{one.arg: None for one in ast.walk(scope.args) if isinstance(one, ast.arg)}}
    own = _after(scope.body, {}, around, inner)
    for name, text in own.items():
        if text is not None:
            found[f"{outer}{name}" if name in found else name] = text
    seen = around if isinstance(scope, ast.ClassDef) else {**around, **own}
    for one in inner:
        _collect(one, f"{outer}{one.name}.", seen, found)


def _after(body: Sequence[ast.stmt], known: _Known, around: _Known, inner: list[_Scope]) -> _Known:
    """What names hold after these statements, where they held `known` before. Functions and classes are added to
    `inner`."""

    def after(body: Sequence[ast.stmt], before: _Known) -> _Known:
        return _after(body, before, around, inner)

    for node in body:
        before, known = known, dict(known)
        for name in _bound(node):
            known |= {key: None for key in known if key.startswith(f"{name}.")} | {name: None}
        if isinstance(node, _Scope):
            inner.append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            known |= _assigned(node, before, around)
        elif isinstance(node, ast.With | ast.AsyncWith):
            known = after(node.body, known)
        elif isinstance(node, ast.If):
            known = _either(after(node.body, known), after(node.orelse, known))
        elif isinstance(node, ast.For | ast.AsyncFor | ast.While):
            known = after(node.orelse, _either(after(node.body, known), known))
        elif isinstance(node, ast.Match):
            known = _either(known, *(after(case.body, known) for case in node.cases))
        elif isinstance(node, ast.Try | ast.TryStar):
            handled = [after(handler.body, known) for handler in node.handlers]
            known = after(node.finalbody, _either(after([*node.body, *node.orelse], known), *handled))
    return known


#: what dicts are changed by
_CHANGING = ("update", "setdefault", "pop", "popitem", "clear")


def _bound(node: ast.stmt) -> Iterator[str]:
    """Names that a statement itself gives other values to, or takes away; not those in statements inside of it."""
    if isinstance(node, _Scope):
        yield node.name
        return
    if isinstance(node, ast.AnnAssign) and node.value is None:
        return
    todo: list[ast.AST] = [node]
    while todo:
        part = todo.pop()
        if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
            yield part.id
        elif isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load):
            yield part.attr
        elif isinstance(part, ast.Subscript) and not isinstance(part.ctx, ast.Load):
            yield from _bound_by(part.value)
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in _CHANGING:
            yield from _bound_by(part.func.value)
        elif isinstance(part, ast.alias):
            yield (part.asname or part.name).partition(".")[0]
        elif isinstance(part, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and part.name is not None:
            yield part.name
        elif isinstance(part, ast.MatchMapping) and part.rest is not None:
            yield part.rest
        todo += [child for child in ast.iter_child_nodes(part) if not isinstance(child, ast.stmt)]


def _bound_by(changed: ast.expr) -> Iterator[str]:
    """The name of what a statement changes in its place."""
    if isinstance(changed, ast.Name | ast.Attribute):
        yield changed.id if isinstance(changed, ast.Name) else changed.attr


def _either(*ways: _Known) -> _Known:
    """What is known where one of several ways has been taken: of a name that some set to other texts than others do,
    nothing; one that only some set can only be that."""
    texts: dict[str, set[str | None]] = {}
    for way in ways:
        for name, text in way.items():
            texts.setdefault(name, set()).add(text)
    return {name: held.pop() if len(held) == 1 else None for name, held in texts.items()}


def _assigned(node: ast.Assign | ast.AnnAssign | ast.AugAssign, before: _Known, around: _Known) -> _Known:
    """The texts that single names are given; `before` is what was known then."""
    made: _Known = {}
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        if node.value is None or not isinstance(target, ast.Name | ast.Attribute):
            continue
        name = target.id if isinstance(target, ast.Name) else target.attr
        value: ast.expr = node.value
        if isinstance(node, ast.AugAssign):
            if (old := before.get(name)) is None:
                continue
            value = ast.BinOp(ast.Constant(old), node.op, value)
        made |= _named(name, value, {**around, **before})
    return made


def _named(name: str, value: ast.expr, known: Mapping[str, str | None]) -> dict[str, str]:
    """The text that is assigned to a name, or those in a dict that is."""
    if isinstance(value, ast.Dict):
        pairs = [
            (_constant(key, known), held) for key, held in zip(value.keys, value.values, strict=True) if key is not None
        ]
        named = [_named(f"{name}.{key}", held, known) for key, held in pairs if key is not None]
        return {k: text for one in named for k, text in one.items()}
    text = _constant(value, known)
    return {} if text is None else {name: text}


def _constant(node: ast.expr, known: Mapping[str, str | None]) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.FormattedValue):
        return None if node.format_spec is not None or node.conversion != -1 else _constant(node.value, known)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _constant(node.left, known), _constant(node.right, known)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.JoinedStr):
        parts = [_constant(part, known) for part in node.values]
        return None if None in parts else "".join(part for part in parts if part)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "strip":
        inner = _constant(node.func.value, known)
        return None if inner is None or node.args else inner.strip()
    return None


def _looks_like(what: str, text: str, kinds: Mapping[str, Modality]) -> bool:
    tags = [f"<{kind.tag}>" for kind in kinds.values()]
    if what in kinds:
        return _order(text, kinds[what]) is not None
    if what == "system":
        return "<think>" in text and all(tag in text for tag in tags)
    return not any(tag in text for tag in ("<think>", *tags)) and "{" not in text and (
        re.search(r"\b(maps?|images?|depth|segmentation|visual\w*)\b", text, re.IGNORECASE) is not None
        and re.search(r"\b(reflect|inaccura\w+|check|verify|continue|go on|look)\w*\b", text, re.IGNORECASE) is not None
    )


def _order(text: str, kind: Modality) -> str | None:
    """What stands in the tag, if the text is nothing else."""
    found = re.fullmatch(rf"\s*<{kind.tag}>([^<]*)</{kind.tag}>\s*", text)
    return None if found is None else found[1]


def _inside(text: str, kind: Modality) -> str:
    """The order in a text, with its tag or without."""
    order = _order(text, kind)
    return text.strip() if order is None else order
