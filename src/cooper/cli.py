"""The `cooper` command: which command is meant, and what becomes of its errors. The commands are in `cooper.commands`.

Exit codes: 0 done, 1 what was measured is not what must be, 2 the user's mistake (one line on standard error says
which), 130 interrupted, 141 nobody reads the output any more.
"""

from __future__ import annotations

import os

# Beside any other busy process, spinning OpenMP threads cost a factor of ten; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib  # noqa: E402
import errno  # noqa: E402
import importlib  # noqa: E402
import io  # noqa: E402
import itertools  # noqa: E402
import re  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from types import FrameType  # noqa: E402
from typing import Any, Protocol  # noqa: E402


class Command(Protocol):
    """A frozen dataclass whose fields are the command's arguments."""

    def run(self) -> int:
        """Do it; returns the exit code. Raises ValueError, OSError or ImportError for what the user can mend."""


@dataclass(frozen=True)
class Leaf:
    """A command: where its class is, imported only if it is the one that was asked for, and what it does."""

    module: str
    name: str
    about: str


@dataclass(frozen=True)
class Group:
    """Commands that share their first word."""

    about: str
    members: dict[str, Leaf | Group]


COMMANDS = Group(
    "A model that looks, draws what it needs to see, thinks, and answers. `cooper --version` prints the version.",
    {
        "ask": Leaf("ask", "Ask", "Ask a question about a picture."),
        "depth": Leaf("draw", "Depth", "Draw the depth of a picture."),
        "segment": Leaf("draw", "Segment", "Draw the objects of a picture."),
        "inspect": Leaf("checkpoints", "Inspect", "Tell what a checkpoint is, and the memory that it needs."),
        "convert": Leaf("checkpoints", "Convert", "Write a checkpoint in another layout or dtype."),
        "prompts": Group(
            "The words that published weights were trained with.",
            {"import": Leaf("prompts", "Import", "Read prompts out of a copy of the release.")},
        ),
        "scenes": Group(
            "Render scenes of the synthetic world, with ground truth and questions.",
            {
                "render": Leaf("scenes", "Render", "Render one scene, with all that is known about it."),
                "make": Leaf("scenes", "Make", "Render many scenes into shards to train on."),
                "sheet": Leaf("scenes", "Sheet", "Render a contact sheet of scenes."),
                "export": Leaf("export", "Export", "Write questions as a table, for `cooper eval tsv`."),
            },
        ),
        "data": Group(
            "Find out which questions maps help with.",
            {"flag": Leaf("data", "Flag", "Find out which questions maps help with.")},
        ),
        "serve": Leaf("serve", "Serve", "Serve a model over HTTP, as OpenAI's chat completions."),
        "train": Leaf("train", "Train", "Train a model, from nothing or further, on scenes or your own data."),
        "reproduce": Leaf("reproduce", "Reproduce", "Train all that the paper compares, and test its claims."),
        "eval": Group(
            "Measure a model.",
            {
                "scenes": Leaf("evaluate", "EvalScenes", "Score answers and maps on scenes."),
                "sibench": Leaf("benchmarks", "Sibench", "SIBench, questions about single pictures."),
                "q-spatial": Leaf("benchmarks", "QSpatial", "Q-Spatial, lengths in photographs."),
                "mmvp": Leaf("benchmarks", "Mmvp", "MMVP, pairs of pictures that look alike."),
                "mmbench": Leaf("benchmarks", "Mmbench", "MMBench V1.1, multiple choice with rotations."),
                "mm-vet": Leaf("benchmarks", "MmVet", "MM-Vet, open questions for a judge."),
                "vsi": Leaf("benchmarks", "Vsi", "VSI-Bench's questions, about frames."),
                "cv-bench": Leaf("benchmarks", "CvBench", "CV-Bench, 2D and 3D multiple choice."),
                "3dsrbench": Leaf("benchmarks", "ThreeDsr", "3DSRBench, with rotations and flips."),
                "tsv": Leaf("benchmarks", "Tsv", "Any table of pictures, questions and answers."),
                "depth": Leaf("map_quality", "EvalDepth", "Drawn depth against the true one of a set."),
                "segmentation": Leaf("map_quality", "EvalSegmentation", "Drawn labels against the true ones of a set."),
            },
        ),
        "score": Leaf("score", "Score", "Score the answers that `eval` kept, without a model."),
        "bench": Group(
            "Measure speed, memory, and what precision costs.",
            {
                "engine": Leaf("bench", "BenchEngine", "Speed of reading, writing and drawing."),
                "answer": Leaf("bench", "BenchAnswer", "Seconds for one scripted answer and for a group, by part."),
                "reinforcement": Leaf("bench", "BenchReinforcement", "Seconds of a step of reinforcement learning."),
                "precision": Leaf("bench", "BenchPrecision", "What fewer bits cost, in answers and maps."),
                "big": Leaf("bench", "BenchBig", "Memory and seconds of the published size, on random weights."),
            },
        ),
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (default: the program's arguments); returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    told_to_end = threading.Event()
    if threading.current_thread() is threading.main_thread():

        def end(number: int, frame: FrameType | None) -> None:
            told_to_end.set()
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGTERM, end)  # whoever is told to end keeps what there is, too
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as of what a shell starts in the background
            signal.signal(signal.SIGINT, end)
    warnings.showwarning = _note
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as some services start programs
            setattr(sys, name, open(os.devnull, "w"))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # models and paths have any character; not every terminal knows them
    try:
        if argv == ["--version"]:
            from cooper import __version__

            print(f"cooper {__version__}")
            return 0
        return _parse(argv).run()
    except SystemExit as done:  # help has been printed, or a parsing error
        if isinstance(done.__context__, BrokenPipeError):  # as rich ends a program whose output nobody reads
            return 141
        return done.code if isinstance(done.code, int) else 0
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:  # whoever read our output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, ImportError) as error:
        # libraries that are being imported take an interruption for a fault of theirs
        return _complain("interrupted", 130) if told_to_end.is_set() else _complain(str(error))
    except RecursionError:
        return _complain("a file that was given is nested too deeply to be read")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("out of memory|not enough memory|allocate", str(error)):
            raise  # our own mistake
        return _complain("not enough memory for this; use fewer samples or turns, or a smaller model")
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        room = "; make room and run it again" if error.errno == errno.ENOSPC else ""
        return _complain(f"{where}{error.strerror or error}{room}")


def _note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """What should be known, in one line, without the place in the code that Python would tell."""
    print(f"cooper: note: {' '.join(str(message).split())}", file=sys.stderr)


def _complain(what: str, code: int = 2) -> int:
    print(f"cooper: {' '.join(what.split())}", file=sys.stderr)
    return code


def _parse(argv: list[str]) -> Command:
    """The command with its arguments. Raises SystemExit after help, ValueError for arguments that do not fit."""
    import tyro  # which takes a moment, in which somebody may interrupt

    # flags have no `--no-...` twin, and a field that may be None is left out to be None
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    node: Leaf | Group = COMMANDS
    words = ["cooper"]
    while isinstance(node, Group) and argv and argv[0] in node.members:
        node, words, argv = node.members[argv[0]], [*words, argv[0]], argv[1:]
    prog = " ".join(words)
    if "" in argv:  # a variable of the shell that is not set; as a path it would be the current folder
        before = [prog, *argv][argv.index("")]
        raise ValueError(f"the argument after {before} is empty; give it, or leave it out (see {prog} --help)")
    if isinstance(node, Leaf):
        kind = getattr(importlib.import_module(f"cooper.commands.{node.module}"), node.name)
        return _strictly(prog, lambda: tyro.cli(kind, prog=prog, args=argv, config=config))
    if argv and not argv[0].startswith("-"):
        raise ValueError(f"there is no command {prog} {argv[0]}; choose from {', '.join(node.members)}")
    # only help can come of this: tyro lists the commands without importing them
    choices = {name: _nothing(member.about) for name, member in node.members.items()}
    about = node.about
    return _strictly(
        prog,
        lambda: tyro.extras.subcommand_cli_from_dict(choices, prog=prog, description=about, args=argv or ["--help"]),
    )


def _nothing(about: str) -> Callable[[], None]:
    def nothing() -> None:
        pass

    nothing.__doc__ = about
    return nothing


def _strictly(prog: str, parse: Callable[[], Any]) -> Any:
    """`parse()`, with tyro's box around an error made a ValueError of one line."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return parse()
    except SystemExit as done:
        if not done.code:
            raise
        said = _said(printed.getvalue())
        apart = re.match(r"Unrecognized options: [^-]", said)  # words
        hint = "; put what has blanks in it in quotes" if apart else ""
        raise ValueError(f"{said}{hint} (see {prog} --help)") from None


def _said(box: str) -> str:
    """What an error's box says: its lines after the title, up to the next rule. (How it looks is not promised by tyro,
    which therefore has an upper bound in pyproject.toml.)"""
    lines = [line.strip("│ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]]
    said = itertools.dropwhile(_is_rule, lines)
    return " ".join(itertools.takewhile(lambda line: not _is_rule(line), said)).strip()


def _is_rule(line: str) -> bool:
    return not line.strip("─-╰╯ ")
