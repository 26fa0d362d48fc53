"""A trace as a web page: one self-contained HTML file with what was seen, thought, drawn and answered."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TypeAlias

import numpy as np
from PIL import Image

from cooper.modalities.base import MapView
from cooper.page_style import whole_page
from cooper.quantities import plain_text
from cooper.trace import Drawing, Picture, Text, Trace
from cooper.turns import Part, answer_of, answers_of, calls_of, thoughts_of

RGB: TypeAlias = tuple[int, int, int]

#: What the footer shows first, and how it is called there; other short values of `Trace.meta` follow.
_FOOTER = {"model": "model", "mode": "mode", "seed": "seed", "seconds": "time"}
#: Longest side of an image on the page, pixels; photographs are larger, and would make a page of many megabytes.
_LONGEST = 1280

#: How the drawings of a trace are shown: one view per drawing in their order, or a function that makes one.
Views: TypeAlias = Sequence[MapView] | Callable[[Drawing], MapView]


def trace_page(trace: Trace, *, title: str, maps: Views) -> str:
    """The HTML of one trace. It loads nothing, runs no script, and all text of the trace is escaped.

    Raises ValueError if `maps` is a list that does not have one view per drawing.
    """
    return whole_page(title, _article(trace, maps))


def traces_page(rows: Iterable[tuple[Trace, Views]], title: str) -> str:
    """The HTML of many traces below each other, numbered from 1; as `trace_page` otherwise."""
    articles = [_article(trace, maps, number) for number, (trace, maps) in enumerate(rows, start=1)]
    count = f'<p class="count">{len(articles)} trace{"" if len(articles) == 1 else "s"}</p>'
    return whole_page(title, "\n".join(articles), count)


def _article(trace: Trace, maps: Views, number: int | None = None) -> str:
    views = [maps(drawing) for drawing in trace.drawings] if callable(maps) else list(maps)
    if len(views) != len(trace.drawings):
        raise ValueError(f"a trace with {len(trace.drawings)} drawings needs as many views, not {len(views)}")
    is_turn = [isinstance(s, Drawing) or (isinstance(s, Text) and s.role == "model") for s in trace.segments]
    start = is_turn.index(True) if True in is_turn else len(is_turn)
    pictures = [_figure(s.image, "The picture") for s in trace.segments[:start] if isinstance(s, Picture)]
    texts = [_read(s) for s in trace.segments[:start] if isinstance(s, Text)]
    label = f'<p class="number">{number}</p>' if number is not None else ""
    waiting = iter(views)
    steps = [_step(segment, waiting) for segment in trace.segments[start:]]
    chain = f'<ol class="chain">\n{"".join(steps)}</ol>\n' if steps else ""
    return (
        f'<article>{label}\n<section class="asked">{"".join(pictures)}<div>{"".join(texts)}</div></section>\n'
        f"{chain}{_footer(trace)}</article>"
    )


def _step(segment: Text | Picture | Drawing, views: Iterable[MapView]) -> str:
    if isinstance(segment, Drawing):
        view = next(iter(views))
        note = "" if segment.shown else "to be drawn; not looked at"
        return f'<li class="drawn">{_map(view, note)}</li>\n'
    if isinstance(segment, Picture):
        return f'<li class="seen">{_figure(segment.image, "A picture")}</li>\n'
    if segment.role == "model":
        return f'<li class="turn">{_turn(segment.text)}</li>\n'
    return f'<li class="seen">{_read(segment)}</li>\n'


def _read(text: Text) -> str:
    """What the model only reads. The system prompt is long and always the same, so it is folded away."""
    if text.role == "system":
        return f"<details><summary>Instructions</summary>{_prose(text.text, 'system')}</details>"
    return _prose(text.text, "question" if text.role == "user" else "reflection")


def _turn(text: str) -> str:
    """Thoughts, calls and answers in the order written. What is none of these is shown as it stands."""
    parts = [(thought.start, thought.end, _prose(thought.inside, "thought")) for thought in thoughts_of(text)]
    parts += [(answer.start, answer.end, _answer(answer, text)) for answer in answers_of(text)]
    for call in calls_of(text):
        chip = f'<p class="call"><b>{escape(call.tag)}</b><span>{escape(call.instruction.strip())}</span></p>'
        parts.append((call.start, call.end, chip))
    html, position = [], 0
    for start, end, part in [*sorted(parts), (len(text), len(text), "")]:
        if start < position:
            continue  # inside of what has been shown
        stray = text[position:start].strip()
        html += [f'<pre class="stray">{escape(stray)}</pre>' if stray else "", part]
        position = end
    return "".join(html)


def _answer(part: Part, turn: str) -> str:
    answer, sentence = _plain(answer_of(turn[part.start : part.end]) or ""), _plain(part.inside)
    said = _prose(sentence, "said") if sentence.rstrip(".") != answer.rstrip(".") else ""
    return f'<div class="answer"><span>Answer</span><strong>{escape(answer)}</strong>{said}</div>'


def _plain(text: str) -> str:
    """Without the marks of LaTeX and Markdown, paragraph by paragraph."""
    return "\n\n".join(map(plain_text, _paragraphs(text)))


def _paragraphs(text: str) -> list[str]:
    return [p.strip() for p in re.split(r"\n\s*\n", text) if p.strip()]


def _prose(text: str, kind: str) -> str:
    return "".join(f'<p class="{kind}">{escape(p)}</p>' for p in _paragraphs(text))


def _figure(image: np.ndarray, name: str) -> str:
    return f'<figure class="picture"{_narrow(image)}>{_image(image, name)}</figure>'


def _map(view: MapView, note: str) -> str:
    key = (_bar(view.bar, view.unit) if view.bar else "") + (_legend(view.legend) if view.legend else "")
    note = f"<small>{escape(note)}</small>" if note else ""
    return (
        f'<figure class="map"><figcaption>{escape(view.title)}{note}</figcaption>'
        f'<div class="reading"{_narrow(view.image)}>{_image(view.image, view.title)}{key}</div></figure>'
    )


def _bar(bar: Sequence[tuple[float, RGB]], unit: str | None) -> str:
    """An upright colour bar, the smallest value at the bottom, with ticks at its ends and at round values between."""
    low, high = bar[0][0], bar[-1][0]
    span = (high - low) or 1.0
    stops = ", ".join(f"{_css(colour)} {100 * (value - low) / span:.4g}%" for value, colour in [*bar, bar[-1]])
    suffix = f" {escape(unit)}" if unit else ""
    ticks = "".join(
        f'<span style="bottom: {100 * (value - low) / span:.4g}%">{value:.{decimals}f}{suffix}</span>'
        for value, decimals in _ticks(low, high)
    )
    return f'<div class="bar"><i style="background: linear-gradient(to top, {stops})"></i><div>{ticks}</div></div>'


def _ticks(low: float, high: float) -> list[tuple[float, int]]:
    """Where ticks stand, and with how many decimals: both ends, and about four round values well away from them."""
    if high <= low:
        return [(low, 2)]
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(step * power for step in (1, 2, 5, 10) if step * power * 5 >= high - low)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    inner = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    inner = [value for value in inner if min(value - low, high - value) > 0.13 * (high - low)]
    return [(v, decimals if abs(v - round(v, decimals)) < step / 100 else decimals + 1) for v in (low, *inner, high)]


def _legend(legend: Sequence[tuple[str, RGB]]) -> str:
    rows = (f'<li><i style="background: {_css(colour)}"></i>{escape(name)}</li>' for name, colour in legend)
    return f'<ul class="legend">{"".join(rows)}</ul>'


def _footer(trace: Trace) -> str:
    known = [(key, name) for key, name in _FOOTER.items() if key in trace.meta]
    known += [(key, key.replace("_", " ")) for key in trace.meta if key not in _FOOTER]
    shown = [(name, _short(key, trace.meta[key])) for key, name in known]
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in shown if text)
    return f"<footer><dl>{items}</dl></footer>\n" if items else ""


def _short(key: str, value: object) -> str:
    """A value of `meta` for the footer; empty if it is not a short one."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:.1f} s" if key == "seconds" else f"{value:.4g}" if isinstance(value, float) else str(value)
    return value if isinstance(value, str) and len(value) <= 80 else ""


def _css(colour: RGB) -> str:
    return "#" + "".join(f"{int(c):02x}" for c in colour)


def _narrow(image: np.ndarray) -> str:
    """Pictures taller than wide become no taller than the others are wide."""
    height, width = image.shape[:2]
    return f' style="--w: {width / height:.4g}"' if height > width else ""


def _image(image: np.ndarray, name: str) -> str:
    file = io.BytesIO()
    shown = Image.fromarray(image)
    shown.thumbnail((_LONGEST, _LONGEST))
    shown.save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    width, height = shown.size
    return f'<img alt="{escape(name)}" width="{width}" height="{height}" src="data:image/png;base64,{data}">'
