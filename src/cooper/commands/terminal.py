"""What the terminal is shown: flowing text, and maps as small pictures. Without a terminal, plain text only."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.style import Style
from rich.text import Text

from cooper.modalities.base import MapView
from cooper.progress import OnProgress

#: Widest line of prose, in columns.
PROSE = 96
#: Most columns and rows of a map's preview; a row shows two rows of pixels.
PREVIEW = (40, 18)
INDENT = "  "
#: So many things that cannot be used are told of one by one.
LEFT_OUT = 5


def open_console() -> Console:
    """Standard output, with colours and movement only if it is a terminal, whatever the environment says."""
    return Console(highlight=False, soft_wrap=True, force_terminal=None if sys.stdout.isatty() else False)


@contextmanager
def progress_bars() -> Iterator[OnProgress]:
    """Bars on standard error: a function that is told what is worked on, how much is done, and of how much. What fails
    before it is told anything leaves no line of them."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    bars: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in bars:
            bars[what] = progress.add_task(what, total=total)
        progress.start()  # once
        progress.update(bars[what], completed=done)

    try:
        yield show
    finally:
        if bars:
            progress.stop()


def between(interval: Sequence[float] | None, digits: int) -> str:
    """An interval, or a dash where nothing tells how sure a figure is."""
    return "-" if interval is None else " .. ".join(f"{end:.{digits}f}" for end in interval)


def tell_left_out(lines: Sequence[str], what: str) -> None:
    """What cannot be used, on standard error: a line for each of the first few, and how many more there are."""
    for line in lines[:LEFT_OUT]:
        print(f"left out: {line}", file=sys.stderr)
    if len(lines) > LEFT_OUT:
        print(f"left out: {len(lines) - LEFT_OUT} {what} more that cannot be used", file=sys.stderr)


def printable(text: str) -> str:
    """`text` without control characters, so that what a model writes cannot steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


class Prose:
    """Text that arrives in bits, written word by word, wrapped and indented in a terminal."""

    def __init__(self, console: Console):
        self.console = console
        self.width = min(console.width, PROSE) if console.is_terminal else sys.maxsize
        self.indent = INDENT if console.is_terminal else ""
        self._column = 0
        self._gap = ""
        self._word = ""
        self._style = ""

    def write(self, text: str, style: str = "") -> None:
        if style != self._style:
            self._put_word()
            self._style = style
        for part in re.split(r"(\s+)", printable(text)):
            if part.isspace():
                self._put_word()
                self._gap = "\n" if "\n" in part + self._gap else " "
            else:
                self._word += part

    def end(self) -> None:
        """The paragraph is over."""
        self._put_word()
        if self._column:
            self.console.print()
        self._column, self._gap = 0, ""

    def _put_word(self) -> None:
        if not self._word:
            return
        wide = cell_len(self._word)
        if self._column and (self._gap == "\n" or (self._gap and self._column + 1 + wide > self.width)):
            self.console.print()
            self._column = 0
        before = (self._gap and " ") if self._column else self.indent
        self.console.print(before, Text(self._word, self._style), sep="", end="")
        self.console.file.flush()
        self._column += len(before) + wide
        self._word = self._gap = ""


def described(view: MapView) -> str:
    """What a map shows, in words: the range of its numbers, or the names of its things."""
    if view.bar:
        unit = f" {view.unit}" if view.unit else ""
        return f"{view.bar[0][0]:.1f} to {view.bar[-1][0]:.1f}{unit}"
    if view.legend is not None:
        return ", ".join(name for name, _ in view.legend) or "nothing"
    return ""


def show_map(console: Console, view: MapView) -> None:
    """A map: as a small picture with its key where the terminal has colours, else in words."""
    if not _has_colours(console):
        words = described(view)
        indent = INDENT if console.is_terminal else ""
        console.print(Text(f"{indent}[{view.title}{': ' if words else ''}{words}]"))
        return
    for line in _half_blocks(view, min(PREVIEW[0], console.width - len(INDENT))):
        console.print(INDENT, line, sep="")
    for line in _key(view, console.width - len(INDENT)):
        console.print(INDENT, line, sep="")
    console.print()


def _has_colours(console: Console) -> bool:
    known = console.color_system in ("truecolor", "256", "windows") and not console.no_color
    return console.is_terminal and known and console.encoding.lower().startswith("utf")


def _half_blocks(view: MapView, columns: int) -> list[Text]:
    """Two rows of pixels a line: the upper one is the colour of a half block, the lower one that of its ground."""
    height, width = view.image.shape[:2]
    scale = min(columns / width, 2 * PREVIEW[1] / height, 1)
    rows, columns = max(1, round(height * scale / 2)), max(1, round(width * scale))
    # colours of areas must not be mixed
    how = Image.Resampling.NEAREST if view.legend is not None else Image.Resampling.BOX
    pixels = np.asarray(Image.fromarray(view.image).resize((columns, 2 * rows), how)).tolist()
    lines = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        line = Text()
        for a, b in zip(upper, lower, strict=True):
            line.append("▀", Style(color=Color.from_rgb(*a), bgcolor=Color.from_rgb(*b)))
        lines.append(line)
    return lines


def _key(view: MapView, width: int) -> list[Text]:
    """A map's title and what its colours mean, in lines of at most so many columns."""
    lines = [Text(view.title, "bold")]
    items = [Text.assemble(("■", _solid(colour)), (f" {name}", "dim")) for name, colour in view.legend or ()]
    if view.bar:
        unit = f" {view.unit}" if view.unit else ""
        low, high = (f"{end:.1f}{unit}" for end, _ in (view.bar[0], view.bar[-1]))
        colours = [("██", _solid(colour)) for _, colour in view.bar]
        items.insert(0, Text.assemble((f"{low} ", "dim"), *colours, (f" {high}", "dim")))
    for item in items:
        if lines[-1].cell_len + 2 + item.cell_len > width:
            lines.append(item)
        else:
            lines[-1] = Text.assemble(lines[-1], "  ", item)
    return lines


def _solid(colour: tuple[int, int, int]) -> Style:
    return Style(color=Color.from_rgb(*colour))
