"""The figures of a benchmark as a web page: one self-contained HTML file in the style of `cooper.page`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, TypeAlias

from cooper.page_style import whole_page

#: the names of a figure, one a column, and the figure
Named: TypeAlias = tuple[tuple[str, ...], Mapping[str, Any]]

_TABLES = """\
article > h2::first-letter { text-transform: uppercase; }
article > h2 { margin: 0; padding: 1.25rem 1.75rem .5rem; font-size: 1rem; font-weight: 650; }
.scroll { overflow-x: auto; padding: 0 1.75rem 1.25rem; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem 1rem .4rem 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { color: var(--soft); font-size: .8125rem; font-weight: 600; }
tr:last-child td { border-bottom: 0; }
td:first-child { white-space: normal; }
td.figure, th.figure { text-align: right; }
.span { position: relative; display: block; width: 9rem; height: .5rem; border-radius: 4px; background: var(--line); }
.span i { position: absolute; top: 0; bottom: 0; border-radius: 4px; background: var(--accent); opacity: .35; }
.span b { position: absolute; top: -.15rem; bottom: -.15rem; width: 3px; margin-left: -1px; background: var(--accent); }
.note { padding: .75rem 1.75rem; background: var(--warn-tint); color: var(--warn); }
"""
#: What the footer tells, and how it is called there.
_FOOTER = {"model": "model", "weights": "weights", "mode": "mode", "data": "data", "judge": "judge"}


def score_page(summary: Mapping[str, Any]) -> str:
    """The HTML of what `summarise` gives. It loads nothing and runs no script; all text is escaped."""
    note = f'<p class="note">{escape(summary["note"])}</p>' if summary["note"] else ""
    tables = "".join(_table(*table, columns_of(summary)) for table in tables_of(summary))
    body = f"<article>{note}{tables}{_footer(summary)}</article>"
    return whole_page(title_of(summary), body, f'<p class="count">{escape(counted(summary))}</p>', _TABLES)


def tables_of(summary: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...], list[Named]]]:
    """What tables there are to be shown: a name, the heads of its first columns, and its rows."""
    rows: list[Named] = [((name,), figure) for name, figure in summary["readings"].items()]
    tables: list[tuple[str, tuple[str, ...], list[Named]]] = [("all", ("reading",), rows)]
    several = any(len(figures) > 1 for figures in summary["categories"].values())
    heads = ("category", "reading") if several else ("category",)
    rows = [
        ((category, name)[: len(heads)], figure) for category, figures in summary["categories"].items()
        for name, figure in figures.items()
    ]  # fmt: skip
    return [*tables, ("by category", heads, rows)] if rows else tables


def counted(summary: Mapping[str, Any]) -> str:
    """How many answers there are, and how many of them no score could be read from."""
    by = " by both" if "against" in summary else ""
    answered = f"{summary['answers']} of {summary['questions']} questions answered{by}"
    theirs = f" and {summary['against']['no_answer']}" if "against" in summary else ""
    parts = [answered, f"{summary['no_answer']}{theirs} no answer"]
    if summary["no_verdict"]:
        parts.append(f"{summary['no_verdict']} left out without a verdict")
    return ", ".join(parts)


def columns_of(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The heads of what `figure_texts` gives."""
    compared = ("against", "gain") if "against" in summary else ()
    return ("points", *compared, "95 % interval", "scores")


def figure_texts(figure: Mapping[str, Any]) -> tuple[str, ...]:
    """A figure as text: points of 100, those of the run that it is compared to and how many more that are, the interval
    of the last, and how many scores it is of."""
    names = ("score", *(name for name in ("against", "difference") if name in figure))
    sign = "+" if "difference" in figure else ""
    n = str(figure["n"]) + (f" ({figure['incomplete']} incomplete)" if figure["incomplete"] else "")
    if figure["score"] is None:
        return *("-" for _ in names), "-", n
    points = (f"{100 * figure[name]:{sign if name == 'difference' else ''}.1f}" for name in names)
    interval = " to ".join(f"{100 * end:{sign}.1f}" for end in figure["interval"] or ())
    return *points, interval or "-", n


def title_of(summary: Mapping[str, Any]) -> str:
    """Whose answers it is about; where two runs are compared, in what they differ."""
    ours, theirs = summary, summary.get("against")
    if theirs is None:
        return f"{ours['benchmark']}: {ours['model']}, {ours['mode']}"
    names = [name for name in ("model", "mode") if ours[name] != theirs[name]]
    if not names:
        names = [name for name in ("weights", "settings") if ours[name] != theirs[name]] or ["model"]
    told, other = (", ".join(run[name] for name in names) for run in (ours, theirs))
    return f"{ours['benchmark']}: {told} against {other}"


def _table(title: str, first: Sequence[str], rows: Sequence[Named], columns: Sequence[str]) -> str:
    heads = (*(f"<th>{escape(name)}</th>" for name in first), *_cells("th", columns, "<th></th>"))
    body = "".join(_row(names, figure) for names, figure in rows)
    return f'<h2>{escape(title)}</h2><div class="scroll"><table><tr>{"".join(heads)}</tr>{body}</table></div>'


def _row(names: Sequence[str], figure: Mapping[str, Any]) -> str:
    cells = (*(f"<td>{escape(name)}</td>" for name in names), *_cells("td", figure_texts(figure), _span(figure)))
    return f"<tr>{''.join(cells)}</tr>"


def _cells(tag: str, texts: Sequence[str], span: str) -> Iterator[str]:
    """Of a figure: numbers, an interval, what shows it, how many. The number before its interval stands out."""
    *numbers, interval, n = texts
    for k, number in enumerate(numbers, 1):
        told = f"<strong>{number}</strong>" if tag == "td" and k == len(numbers) else number
        yield f'<{tag} class="figure">{told}</{tag}>'
    yield f'<{tag}>{interval}</{tag}>{span}<{tag} class="figure">{n}</{tag}>'


def _span(figure: Mapping[str, Any]) -> str:
    """A cell with the score and its interval as a mark on a bar from 0 to 100; a difference has none."""
    if figure["interval"] is None or "difference" in figure:
        return "<td></td>"
    low, high = (100 * end for end in figure["interval"])
    mark = f'<b style="left: {100 * figure["score"]:.2f}%"></b>'
    return f'<td><span class="span"><i style="left: {low:.2f}%; width: {high - low:.2f}%"></i>{mark}</span></td>'


def _footer(summary: Mapping[str, Any]) -> str:
    runs = [_run(summary), *([_run(summary["against"])] if "against" in summary else [])]
    return f"<footer>{'<p>against</p>'.join(runs)}</footer>"


def _run(told: Mapping[str, Any]) -> str:
    items = "".join(
        f"<div><dt>{name}</dt><dd>{escape(str(told[key]))}</dd></div>" for key, name in _FOOTER.items() if told.get(key)
    )
    return f"<dl>{items}</dl><p>{escape(told['settings'])}</p>"
