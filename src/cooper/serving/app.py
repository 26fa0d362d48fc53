"""A model behind the interface that clients and harnesses know: OpenAI's chat completions, with one picture.

A question is what users' messages say, with one picture, as a data URL: nothing is fetched from anywhere. Messages of
the system are passed over, as the models here know only their own. The answer is the message's content; beside it,
under "cooper", is what `cooper ask --json` prints, with the drawn maps as data URLs.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from PIL import Image
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cooper.api import Answer, Cooper, Options
from cooper.images import load_image
from cooper.serving.together import Busy, Together
from cooper.trace import Picture, Text, Trace

#: most bytes of a request; a picture of 80 megapixels as JPEG fits
MAX_BODY = 64 << 20
#: most characters of a question, which benchmarks make far longer than people do, and most tokens, whose cost grows
#: with their square
MAX_QUESTION, MAX_TOKENS = 20_000, 4096
#: pictures that are read at the same time: each may take a quarter of a GB
READING = 2
_LOG = logging.getLogger(__name__)
_DATA_URL = re.compile(r"data:image/[\w.+-]+(?:;[^;,]{1,200})*;base64,", re.ASCII | re.IGNORECASE)


class Refused(Exception):
    """A request that cannot be answered: an HTTP status, and why, in one line."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


class Part(BaseModel):
    """A part of a message's content."""

    type: Literal["text", "image_url"]
    text: str = ""
    image_url: dict[str, Any] | None = None


class Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    @property
    def parts(self) -> list[Part]:
        return [Part(type="text", text=self.content)] if isinstance(self.content, str) else self.content


class Chat(BaseModel):
    """What is read of a request. Other fields, such as the most tokens, have no meaning here and are passed over: a
    chain ends when it has answered. What a client would wait for in vain is refused."""

    model: str | None = None
    messages: list[Message]
    mode: str | None = None
    """Not OpenAI's: the way of answering."""
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0)
    n: int | None = 1
    stream: bool | None = False
    """The answer then comes as one piece of a stream, when it is there."""
    tools: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None

    def prompt(self) -> Trace:
        """The picture and the question. Raises `Refused` unless there is one of each."""
        if any(message.role == "assistant" for message in self.messages):
            raise Refused(400, "only single questions can be asked, without earlier turns; send one user message")
        parts = [part for message in self.messages if message.role == "user" for part in message.parts]
        urls = [str((part.image_url or {}).get("url", "")) for part in parts if part.type == "image_url"]
        text = "\n".join(part.text.strip() for part in parts if part.type == "text").strip()
        if len(urls) != 1:
            raise Refused(400, f"a question is about one picture; this one has {len(urls)}")
        if not 0 < len(text) <= MAX_QUESTION:
            raise Refused(400, f"a question has between 1 and {MAX_QUESTION} characters; this one has {len(text)}")
        return Trace((Picture(load_image(_content(urls[0]))), Text(text)))

    def options(self, defaults: Options) -> Options:
        """How it is to be answered. Raises `Refused` for what cannot be done."""
        if self.n not in (1, None):
            raise Refused(400, "answers come one at a time; leave out n")
        if self.tools or self.logprobs or (self.response_format or {}).get("type", "text") != "text":
            raise Refused(400, "answers are plain text; leave out tools, response_format and logprobs")
        given = {name: getattr(self, name) for name in ("mode", "temperature", "top_p", "seed")}
        return replace(defaults, **{name: value for name, value in given.items() if value is not None})


def make_app(cooper: Cooper, options: Options) -> FastAPI:
    """The server of a model; requests may change some of the options."""
    together, called, reading = Together(cooper), cooper.name, asyncio.Semaphore(READING)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        together.close()

    app = FastAPI(title="COOPER", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.together = together

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, f"{request.method} {request.url.path}: {error.detail}")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok", "model": called}

    about = {"id": called, "object": "model", "created": 0, "owned_by": "cooper"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [about]}

    @app.get("/v1/models/{name:path}", response_model=None)
    async def model(name: str) -> dict[str, Any] | JSONResponse:
        return about if name == called else _error(404, f"there is no model {name!r} here; this is {called}")

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        try:
            chat = Chat.model_validate_json(await _body(request))
            if chat.model not in (None, called):
                raise Refused(404, f"there is no model {chat.model!r} here; this is {called}")
            how = chat.options(options)
            cooper.policy(how.mode)
            async with reading:
                prompt = await asyncio.to_thread(chat.prompt)  # a large picture takes a while to be read
            tokens = sum(len(cooper.sequencer.ids(one.text)) for one in prompt.segments if isinstance(one, Text))
            if tokens > MAX_TOKENS:
                raise Refused(400, f"a question has at most {MAX_TOKENS} tokens; this one has {tokens}")
            streams = chat.stream
            del chat  # a picture's base64 need not be kept while it waits
        except ValidationError as error:
            # content is text or a list, and neither fits: what is wrong deeper inside is what was meant
            told = max(error.errors(include_url=False), key=lambda one: len(one["loc"]))
            return _error(400, f"{'.'.join(map(str, told['loc'])) or 'the request'}: {told['msg']}")
        except Refused as error:
            return _error(error.status, str(error))
        except ClientDisconnect:
            return Response(status_code=499)
        except ValueError as error:
            return _error(400, str(error))
        try:
            answer = await _unless_gone(request, together.answer(prompt, how))
            # maps are drawn as pictures, and the prompt's is resized once more
            whole = await asyncio.to_thread(
                lambda: _completion(answer, called, cooper.sequencer.tokens(_read(answer.trace)))
            )
            if streams:
                return StreamingResponse(_streamed(whole), media_type="text/event-stream")
            return JSONResponse(whole)
        except Refused as error:
            return _error(error.status, str(error))
        except Busy as error:
            return _error(503, str(error))
        except asyncio.CancelledError:  # it ends, and what is being answered takes too long
            return _error(503, "the server ends")
        except Exception as error:  # ours: it is told in the way that clients read, too
            _LOG.exception("a request could not be answered")
            return _error(500, f"{type(error).__name__}: {error}")

    return app


async def _unless_gone(request: Request, answer: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer; raises `Refused`, and lets go of what waits, if whoever asked has left meanwhile."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answering, leaving = asyncio.ensure_future(answer), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise Refused(499, "nobody waits for the answer any more")
        return answering.result()
    finally:
        for one in (answering, leaving):
            one.cancel()


async def _body(request: Request) -> bytes:
    """All of a request, unless it is too much."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refused(413, f"a request has at most {MAX_BODY >> 20} MiB; send a smaller picture")
    return bytes(body)


def _content(url: str) -> bytes:
    """The bytes of a data URL."""
    match = _DATA_URL.match(url)
    if match is None:
        raise Refused(400, "a picture is sent as a data URL (data:image/png;base64,...); none is fetched")
    try:
        return base64.b64decode(url[match.end() :], validate=True)
    except ValueError as error:
        raise Refused(400, f"the picture is broken base64 ({error})") from None


def _read(trace: Trace) -> Trace:
    """What the model read before it wrote: its system prompt, the picture, the question."""
    written = [isinstance(one, Text) and one.role == "model" for one in trace.segments]
    return Trace(trace.segments[: written.index(True)])


def _completion(answer: Answer, model: str, asked: int) -> dict[str, Any]:
    maps = [_png(answer.codes.view(drawing).image) for drawing in answer.trace.drawings]
    ended = "length" if answer.reason in ("length", "turns") else "stop"
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion", "created": int(time.time()), "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": answer.text}, "finish_reason": ended}
        ],
        "usage": {
            "prompt_tokens": asked, "completion_tokens": answer.tokens, "total_tokens": asked + answer.tokens,
        },
        "cooper": answer.to_dict(maps),
    }  # fmt: skip


def _streamed(whole: dict[str, Any]) -> Iterator[str]:
    """A completion as those clients read it that ask for a stream."""
    (choice,) = whole["choices"]
    about = {name: whole[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    said = {"index": 0, "delta": choice["message"], "finish_reason": None}
    ends = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    for part in ({"choices": [said]}, {"choices": [ends], "usage": whole["usage"], "cooper": whole["cooper"]}):
        yield f"data: {json.dumps({**about, **part})}\n\n"
    yield "data: [DONE]\n\n"


def _png(image: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _error(status: int, why: str) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse({"error": {"message": why, "type": kind, "code": None, "param": None}}, status)
