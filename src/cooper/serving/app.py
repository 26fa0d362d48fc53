"""A model behind the interface that clients and harnesses know: OpenAI's chat completions, with one picture.

A question is what users' messages say, with one picture, as a data URL: nothing is fetched from anywhere. Messages of
the system are passed over, as the models here know only their own. What is replied is in `cooper.serving.replies`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cooper.api import Cooper
from cooper.options import Options
from cooper.serving.replies import Stream, completion, error_body
from cooper.serving.requests import Bodies, Chat, Refused
from cooper.serving.together import Busy, Together
from cooper.trace import Text

#: most tokens of a question, whose cost grows with their square
MAX_TOKENS = 4096
#: pictures that are read at the same time: each may take a quarter of a GB
READING = 2
_LOG = logging.getLogger(__name__)
T = TypeVar("T")


def make_app(cooper: Cooper, options: Options) -> FastAPI:
    """The server of a model. Requests may change some of the options; at most `options.batch` are answered together."""
    together, called = Together(cooper), cooper.name
    bodies, reading = Bodies(), asyncio.Semaphore(READING)

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
            async with bodies.read(request) as body:
                chat = Chat.model_validate_json(body)
                if chat.model not in (None, called):
                    raise Refused(404, f"there is no model {chat.model!r} here; this is {called}")
                how, streams, counts = chat.options(options), chat.stream, chat.counts
                cooper.policy(how.mode)
                async with reading:
                    prompt = await asyncio.to_thread(chat.prompt)  # a large picture takes a while to be read
                del chat, body  # a picture's base64 need not be kept while it waits
            tokens = sum(len(cooper.sequencer.ids(one.text)) for one in prompt.segments if isinstance(one, Text))
            if tokens > MAX_TOKENS:
                raise Refused(400, f"a question has at most {MAX_TOKENS} tokens; this one has {tokens}")
        except ValidationError as error:
            # content is text or a list, and neither fits: what is wrong deeper inside is what was meant
            told = max(error.errors(include_url=False), key=lambda one: len(one["loc"]))
            return _error(400, f"{'.'.join(map(str, told['loc'])) or 'the request'}: {told['msg']}")
        except Refused as error:
            return _error(error.status, str(error))
        except ClientDisconnect:
            return Response(status_code=499)
        except asyncio.CancelledError:
            return _error(503, "the server ends")
        except ValueError as error:
            return _error(400, str(error))
        try:
            if streams:
                events = together.stream(prompt, how)
                first = await _unless_gone(request, anext(events))  # what is refused is refused by its status
                return Stream(first, events, cooper, counts)
            answer = await _unless_gone(request, together.answer(prompt, how))
            # maps are drawn as pictures, and the prompt's is resized once more
            return JSONResponse(await asyncio.to_thread(completion, answer, cooper))
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


async def _unless_gone(request: Request, answer: Awaitable[T]) -> T:
    """What is waited for; raises `Refused`, and lets go of it, if whoever asked has left meanwhile."""

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


def _error(status: int, why: str) -> JSONResponse:
    return JSONResponse(error_body(status, why), status)
