"""What evaluation harnesses have in common: a model by name and options, pictures and prompts in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cooper.api import Cooper
from cooper.images import ImageSource, load_image
from cooper.options import Options
from cooper.trace import Picture, Text, Trace


class Answerer:
    """A model that a harness asks. Options come as a harness passes them on: words, or numbers in words."""

    def __init__(
        self, model: str = "tiny", mode: str = "interleaved", precision: str = "fp32", base: str | None = None,
        adapter: str | None = None, prompts: str | None = None, compat: str = "consistent", seed: int | str = 0,
        device: str | None = None,
    ):  # fmt: skip
        self.cooper = Cooper.load(
            model, precision, base=base, adapter=adapter, prompts=None if prompts is None else Path(prompts),  # type: ignore[arg-type]
            compat=compat,  # type: ignore[arg-type]
            device=device or "cpu",
        )  # fmt: skip
        self.options = Options(mode=mode, seed=int(seed))

    def answers(self, asked: Sequence[tuple[Sequence[ImageSource], str]]) -> list[str]:
        """What the model answers to (pictures, prompt) pairs; where it gives no answer, the last that it wrote.

        Raises ValueError unless each has one picture: this model looks at one.
        """
        for pictures, prompt in asked:
            if len(pictures) != 1:
                raise ValueError(f"{prompt[:60]!r} has {len(pictures)} pictures; only questions about one can be asked")
        # benchmarks' prompts may be far longer than what a person asks
        prompts = [Trace((Picture(load_image(p[0])), Text(prompt.strip()))) for p, prompt in asked]
        return [answer.text for answer in self.cooper.answer_many(prompts, self.options)]


def known_options(given: dict[str, Any]) -> dict[str, Any]:
    """A harness's options without those that it always passes and that mean nothing here."""
    return {name: value for name, value in given.items() if name not in ("batch_size", "max_batch_size")}
