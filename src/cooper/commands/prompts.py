"""`cooper prompts import`: the words that published weights know, out of the user's copy of the release."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from cooper.commands.outputs import check_file

#: what names are given for: `prompts_in`
_WHAT = ("system", "reflection", "depth", "segmentation", "text", "perception")
_Name = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: told by the text)")]


@dataclass(frozen=True)
class Import:
    """Read prompts out of a Python file, which is parsed and never run, and write them to a prompts.json.

    Put that file beside the weights, or give it with --prompts.
    """

    source: Annotated[Positional[Path], arg(metavar="FILE.py")]
    """A file of the release that assigns its prompts to names."""
    out: Annotated[Path, arg(metavar="FILE")]
    """Where to write them."""
    system: _Name = None
    """The name that the system prompt has in the file."""
    reflection: _Name = None
    """The name of the text after each map."""
    depth: _Name = None
    """The name of the instruction to draw depth."""
    segmentation: _Name = None
    """The name of the instruction to draw the segmentation."""
    text: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: none)")] = None
    """The name of the system prompt of answers that are thought about without maps (--mode text)."""
    perception: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: none)")] = None
    """The name of the system prompt of answers for which all maps are drawn first (--mode perception)."""

    def run(self) -> int:
        from cooper.checkpoints.prompts_in_code import prompts_in

        check_file(self.out, "--out", self.source)
        given = {name: getattr(self, name) for name in _WHAT}
        prompts_in(self.source, {what: name for what, name in given.items() if name is not None}).save(self.out)
        print(self.out)
        return 0
