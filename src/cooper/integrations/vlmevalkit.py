"""A model class for VLMEvalKit. It has no way to be found from outside: add it to `vlmeval/config.py`:

    from cooper.integrations.vlmevalkit import CooperModel
    supported_VLM["cooper-tiny"] = partial(CooperModel, model="tiny", mode="interleaved")

and run `python run.py --model cooper-tiny --data ...`. Options are those of `Answerer`.
"""

from __future__ import annotations

from typing import Any

from vlmeval.vlm.base import BaseModel

from cooper.integrations.answering import Answerer, known_options


class CooperModel(BaseModel):
    """Asks a COOPER, one question at a time, as VLMEvalKit does."""

    INSTALL_REQ = False
    INTERLEAVE = False

    def __init__(self, **options: Any):
        super().__init__()
        self.answerer = Answerer(**known_options(options))

    def generate_inner(self, message: list[dict[str, str]], dataset: str | None = None) -> str:
        """The answer to a message: parts of the type "image" (a path) and "text"."""
        pictures = [part["value"] for part in message if part["type"] == "image"]
        prompt = "\n".join(part["value"] for part in message if part["type"] == "text")
        return self.answerer.answers([(pictures, prompt)])[0]
