"""What a server reads of a request: OpenAI's fields, of which some have a meaning here, and bytes, within limits."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

from fastapi import Request
from pydantic import BaseModel

from cooper.images import load_image
from cooper.options import Options
from cooper.trace import Picture, Text, Trace

#: most bytes of a request, where a picture of 80 megapixels as JPEG fits, and of all that are read at the same time
MAX_BODY, MAX_BODIES = 64 << 20, 512 << 20
#: most characters of a question, which benchmarks make far longer than people do
MAX_QUESTION = 20_000
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
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None

    @property
    def parts(self) -> list[Part]:
        return [Part(type="text", text=self.content)] if isinstance(self.content, str) else self.content or []


class Chat(BaseModel):
    """What is read of a request. Other fields, such as the most tokens, have no meaning here and are passed over: a
    chain ends when it has answered. What a client would wait for in vain is refused."""

    model: str | None = None
    messages: list[Message]
    mode: str | None = None
    """Not OpenAI's: the way of answering."""
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    n: int | None = 1
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    tools: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None

    def prompt(self) -> Trace:
        """The picture and the question. Raises `Refused` unless there is one of each."""
        if any(message.role in ("assistant", "tool") for message in self.messages):
            raise Refused(400, "only single questions can be asked, without earlier turns; send one user message")
        parts = [part for message in self.messages if message.role == "user" for part in message.parts]
        urls = [str((part.image_url or {}).get("url", "")) for part in parts if part.type == "image_url"]
        text = "\n".join(part.text.strip() for part in parts if part.type == "text").strip()
        if len(urls) != 1:
            raise Refused(400, f"a question is about one picture; this one has {len(urls)}")
        if not 0 < len(text) <= MAX_QUESTION:
            raise Refused(400, f"a question has between 1 and {MAX_QUESTION} characters; this one has {len(text)}")
        return Trace((Picture(load_image(_content(urls[0]))), Text(text)))

    @property
    def counts(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return bool((self.stream_options or {}).get("include_usage"))

    def options(self, defaults: Options) -> Options:
        """How it is to be answered. Raises `Refused` for what cannot be done, and `OptionError`."""
        if self.n not in (1, None):
            raise Refused(400, "answers come one at a time; leave out n")
        if self.tools or self.logprobs or (self.response_format or {}).get("type", "text") != "text":
            raise Refused(400, "answers are plain text; leave out tools, response_format and logprobs")
        given = {name: getattr(self, name) for name in ("mode", "temperature", "top_p", "seed")}
        return replace(defaults, **{name: value for name, value in given.items() if value is not None})


class Bodies:
    """The requests that are being read: not too much of one, and not too much of all, however slowly they come."""

    def __init__(self) -> None:
        self.held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """A request's JSON, counted until it is let go of. Raises `Refused` if it is something else, or too much."""
        kind = request.headers.get("content-type", "")
        # a page in somebody's browser may send anything else to a server on their machine without being asked first
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, f"a request is JSON (Content-Type: application/json), not {kind or 'of no type'}")
        body = bytearray()
        try:
            if int(request.headers.get("content-length", 0)) > MAX_BODY:
                raise _too_much()
            async for chunk in request.stream():
                self.held += len(chunk)
                body += chunk
                if len(body) > MAX_BODY:
                    raise _too_much()
                if self.held > MAX_BODIES:
                    raise Refused(503, "too much is being sent at the same time; try again later")
            yield body
        finally:
            self.held -= len(body)


def _too_much() -> Refused:
    return Refused(413, f"a request has at most {MAX_BODY >> 20} MiB; send a smaller picture")


def _content(url: str) -> bytes:
    """The bytes of a data URL."""
    match = _DATA_URL.match(url)
    if match is None:
        raise Refused(400, "a picture is sent as a data URL (data:image/png;base64,...); none is fetched")
    try:
        return base64.b64decode(url[match.end() :], validate=True)
    except ValueError as error:
        raise Refused(400, f"the picture is broken base64 ({error})") from None
