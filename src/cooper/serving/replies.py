"""What a server replies: OpenAI's completion, in one piece or as a stream.

The answer is the message's content. Beside it, under "cooper", is what `cooper ask --json` prints, with the drawn maps
as data URLs. A stream tells what the model thinks while it writes, as the `reasoning_content` that servers of reasoning
models send, and each map as it is drawn; then the answer, and the chain whole.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from PIL import Image

from cooper.api import Answer, Cooper
from cooper.inference.engine import Event, MapDrawn, TokenWritten
from cooper.modalities import MapCodes
from cooper.serving.together import Busy
from cooper.trace import Drawing, Text, Trace

_ANSWERS = "<answer>"
_LOG = logging.getLogger(__name__)


def completion(answer: Answer, cooper: Cooper) -> dict[str, Any]:
    """The whole reply."""
    maps = [_picture(answer.codes, drawing) for drawing in answer.trace.drawings]
    asked = cooper.sequencer.tokens(_read(answer.trace))
    message = {"role": "assistant", "content": answer.text}
    ended = "length" if answer.reason in ("length", "turns") else "stop"
    return {
        **_about(cooper, "chat.completion"), "choices": [{"index": 0, "message": message, "finish_reason": ended}],
        "usage": {
            "prompt_tokens": asked, "completion_tokens": answer.tokens, "total_tokens": asked + answer.tokens,
        },
        "cooper": answer.to_dict(maps),
    }  # fmt: skip


async def streamed(
    first: Event | Answer, events: AsyncIterator[Event | Answer], cooper: Cooper
) -> AsyncIterator[str]:  # fmt: skip
    """The reply as server-sent events, from those of a single rollout."""
    about, thoughts = _about(cooper, "chat.completion.chunk"), _Thoughts()

    def chunk(delta: dict[str, str], ended: str | None = None, **more: Any) -> str:
        return _sent({**about, "choices": [{"index": 0, "delta": delta, "finish_reason": ended}], **more})

    yield chunk({"role": "assistant", "content": ""})
    event = first
    try:
        while not isinstance(event, Answer):
            if isinstance(event, TokenWritten):
                if text := thoughts.add(event.text):
                    yield chunk({"reasoning_content": text})
            elif isinstance(event, MapDrawn):
                thoughts = _Thoughts()
                url = await asyncio.to_thread(_picture, cooper.model.config.codes, event.drawing)
                yield chunk({}, cooper={"map": url, "modality": event.drawing.modality})
            event = await anext(events)
        whole = await asyncio.to_thread(completion, event, cooper)
    except Exception as error:  # the status is sent already
        if not isinstance(error, Busy):
            _LOG.exception("a request could not be answered")
        yield _sent(error_body(500, f"{type(error).__name__}: {error}"))
    else:
        (choice,) = whole["choices"]
        yield chunk({"content": choice["message"]["content"]})
        yield chunk({}, choice["finish_reason"], usage=whole["usage"], cooper=whole["cooper"])
    yield "data: [DONE]\n\n"


def error_body(status: int, why: str) -> dict[str, Any]:
    """What went wrong, in the way that clients read."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": why, "type": kind, "code": None, "param": None}}


class _Thoughts:
    """What a turn says before its answer, piece by piece."""

    def __init__(self) -> None:
        self._text, self._told = "", 0

    def add(self, text: str) -> str:
        """What can be told now: what may yet begin the answer is held back."""
        self._text += text
        ends = self._text.find(_ANSWERS)
        if ends < 0:
            begun = max(k for k in range(len(_ANSWERS)) if self._text.endswith(_ANSWERS[:k]))
            ends = len(self._text) - begun
        told, self._told = self._told, max(ends, self._told)
        return self._text[told : self._told]


def _about(cooper: Cooper, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": cooper.name}


def _read(trace: Trace) -> Trace:
    """What the model read before it wrote: its system prompt, the picture, the question."""
    written = [isinstance(one, Text) and one.role == "model" for one in trace.segments]
    return Trace(trace.segments[: written.index(True)])


def _picture(codes: MapCodes, drawing: Drawing) -> str:
    """A map as it is shown, as a data URL."""
    file = io.BytesIO()
    Image.fromarray(codes.view(drawing).image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _sent(row: dict[str, Any]) -> str:
    return f"data: {json.dumps(row)}\n\n"
