"""A chain as it is made: thoughts, a bar while a map is drawn, the map, and at the end the answer."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text as Styled

from cooper.api import Answer
from cooper.commands.terminal import INDENT, Prose, printable, show_map
from cooper.commands.turn import TurnReader
from cooper.inference.rollout import Event, Finished, FlowStep, MapDrawn, TokenWritten
from cooper.modalities import MapCodes
from cooper.trace import Drawing, Text, Trace

#: why there is no answer, by `Answer.reason`
_NO_ANSWER = {
    "malformed": "the last turn neither answers nor calls for a map that may be drawn",
    "length": "it ran out of tokens",
    "turns": "the last turn calls for another map",
    "answered": "the answer is empty",
}


class ChainView:
    """Shows one trace, event by event or all at once."""

    def __init__(self, console: Console, codes: MapCodes):
        self.console, self.codes = console, codes
        self._prose = Prose(console)
        self._begin_turn()
        self._bar: tuple[Progress, TaskID] | None = None

    def show(self, event: Event) -> None:
        if isinstance(event, TokenWritten):
            self._whole += event.text
            self._read(self._whole)
        elif isinstance(event, FlowStep):
            self._called(event.modality, event.step, event.steps)
        elif isinstance(event, MapDrawn):
            self._looked(event.drawing)
        elif isinstance(event, Finished):
            self._end_turn()

    def replay(self, trace: Trace) -> None:
        """A finished trace."""
        for segment in trace.segments:
            if isinstance(segment, Text) and segment.role == "model":
                self._end_turn()
                self._whole = segment.text
                self._read(self._whole)
            elif isinstance(segment, Drawing):
                self._end_turn(called=True)
                self._looked(segment)
        self._end_turn()

    def answer(self, answer: Answer) -> None:
        """The answer, and what it took."""
        terminal = self.console.is_terminal
        if terminal:
            self.console.print()
        indent = INDENT if terminal else ""
        if answer.answer:
            self.console.print(indent, Styled("Answer: "), Styled(printable(answer.answer), "bold green"), sep="")
        else:
            self.console.print(Styled(f"{indent}No answer: {_NO_ANSWER[answer.reason]}.", "bold yellow"))
        if answer.votes:
            votes = [f"{printable(given)} ({n})" for given, n in sorted(answer.votes.items(), key=lambda v: -v[1])]
            self.console.print(Styled(f"{indent}Votes: {', '.join(votes)}"))
        if terminal:
            took = f"{answer.model}, {answer.mode}, {answer.tokens} tokens, {answer.seconds:.1f} s"
            self.console.print(Styled(indent + took, "dim"))

    def close(self) -> None:
        """Leave the terminal as it was, whatever happened."""
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None
        self._prose.end()

    def _begin_turn(self) -> None:
        self._whole = ""
        self._reader = TurnReader()
        self._call = ""

    def _read(self, text: str, final: bool = False) -> None:
        for kind, part in self._reader.read(text, final):
            if kind == "call":
                self._call += part
            elif kind != "answer":  # the answer comes last, by `answer`
                self._prose.write(part, "dim" if kind == "thought" else "")

    def _end_turn(self, called: bool = False) -> None:
        """The turn is over; a call that no map followed is shown as it was written."""
        self._read(self._whole, final=True)
        if not called:
            self._prose.write(self._call)
        self._prose.end()
        self._begin_turn()

    def _called(self, name: str, step: int, steps: int) -> None:
        self._end_turn(called=True)
        if not self.console.is_terminal:
            return
        if self._bar is None:
            bar = Progress(
                TextColumn(INDENT + "{task.description}"), BarColumn(24), MofNCompleteColumn(),
                console=self.console, transient=True,
            )  # fmt: skip
            bar.start()
            self._bar = bar, bar.add_task(f"drawing {name}", total=steps)
        self._bar[0].update(self._bar[1], completed=step)

    def _looked(self, drawing: Drawing) -> None:
        self.close()
        show_map(self.console, self.codes.view(drawing))


def waiting(console: Console) -> Progress:
    """A bar for work whose parts are not shown; nothing without a terminal."""
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
