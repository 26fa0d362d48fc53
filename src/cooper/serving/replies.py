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

from fastapi.responses import StreamingResponse
from PIL import Image
from starlette.types import Receive, Scope, Send

from cooper.api import Answer, Cooper
from cooper.inference.rollout import Event, FlowStep, MapDrawn, TokenWritten
from cooper.modalities import MapCodes
from cooper.serving.together import Busy
from cooper.trace import Drawing, Text, Trace

_ANSWER = "<answer>"
_THOUGHT = ("<think>", "</think>")
_END = "data: [DONE]\n\n"
_LOG = logging.getLogger(__name__)


def completion(answer: Answer, cooper: Cooper, maps: bool = True) -> dict[str, Any]:
    """The whole reply, with or without its maps."""
    shown = [_picture(answer.codes, drawing) for drawing in answer.trace.drawings] if maps else []
    asked = cooper.sequencer.tokens(_read(answer.trace))
    message = {"role": "assistant", "content": answer.text}
    ended = "length" if answer.reason in ("length", "turns") else "stop"
    return {
        **_about(cooper, "chat.completion"), "choices": [{"index": 0, "message": message, "finish_reason": ended}],
        "usage": {
            "prompt_tokens": asked, "completion_tokens": answer.tokens, "total_tokens": asked + answer.tokens,
        },
        "cooper": answer.to_dict(shown),
    }  # fmt: skip


class Stream(StreamingResponse):
    """The reply as server-sent events: the first of what happens to a single rollout, and all that follows. With
    `usage`, the tokens are counted in a last chunk of their own, as OpenAI does it."""

    def __init__(
        self, first: Event | Answer, events: AsyncIterator[Event | Answer], cooper: Cooper, usage: bool = False
    ):
        # proxies would keep what comes until all of it is there
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_told(first, events, cooper, usage), media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:  # the server ends; the status is sent already
            last = _sent(error_body(503, "the server ends")) + _END
            await send({"type": "http.response.body", "body": last.encode(), "more_body": False})


async def _told(
    first: Event | Answer, events: AsyncIterator[Event | Answer], cooper: Cooper, usage: bool
) -> AsyncIterator[str]:  # fmt: skip
    about, thoughts = _about(cooper, "chat.completion.chunk"), _Thoughts()

    def chunk(delta: dict[str, str], ended: str | None = None, **more: Any) -> str:
        return _sent({**about, "choices": [{"index": 0, "delta": delta, "finish_reason": ended}], **more})

    yield chunk({"role": "assistant", "content": ""})
    event = first
    try:
        while not isinstance(event, Answer):
            match event:
                case TokenWritten():
                    if text := thoughts.add(event.text):
                        yield chunk({"reasoning_content": text})
                case FlowStep():  # a comment, which clients pass over and proxies take for a sign of life
                    yield f": {event.modality} {event.step}/{event.steps}\n\n"
                case MapDrawn():
                    thoughts = _Thoughts()
                    url = await asyncio.to_thread(_picture, cooper.model.config.codes, event.drawing)
                    said = {"reasoning_content": "\n"}  # of the next turn
                    yield chunk(said, cooper={"map": url, "modality": event.drawing.modality})
            event = await anext(events)
        # maps are not sent twice: clients do not read lines of any length
        whole = await asyncio.to_thread(completion, event, cooper, maps=False)
    except Exception as error:  # the status is sent already
        if not isinstance(error, Busy):
            _LOG.exception("a request could not be answered")
        yield _sent(error_body(500, f"{type(error).__name__}: {error}"))
    else:
        (choice,) = whole["choices"]
        yield chunk({"content": choice["message"]["content"]})
        yield chunk({}, choice["finish_reason"], cooper=whole["cooper"])
        if usage:
            yield _sent({**about, "choices": [], "usage": whole["usage"]})
    yield _END


def error_body(status: int, why: str) -> dict[str, Any]:
    """What went wrong, in the way that clients read."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": why, "type": kind, "code": None, "param": None}}


class _Thoughts:
    """What a turn says before its answer, piece by piece, without the tags of thoughts: clients have their own way to
    show these."""

    def __init__(self) -> None:
        self._kept, self._answers = "", False

    def add(self, text: str) -> str:
        """What can be told now: what may yet become a tag is held back."""
        if self._answers:
            return ""
        told, answers, _ = (self._kept + text).partition(_ANSWER)
        self._kept, self._answers = "", bool(answers)
        for tag in _THOUGHT:
            told = told.replace(tag, "")
        if not answers:
            begun = max(k for tag in (*_THOUGHT, _ANSWER) for k in range(len(tag)) if told.endswith(tag[:k]))
            told, self._kept = told[: len(told) - begun], told[len(told) - begun :]
        return told


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
