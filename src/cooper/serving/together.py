"""Requests that wait at the same time are answered together: the engine advances many traces at once.

One thread runs the model. What is waiting when it is free, and wants to be answered in the same way, is its next batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from cooper.api import Answer, Cooper
from cooper.inference.rollout import Event, OnEvent
from cooper.options import Options
from cooper.trace import Trace


class Busy(Exception):
    """More is waiting than can be answered in reasonable time."""


class _NobodyWaits(Exception):
    """All who asked have left: ends what the model is doing for them."""


@dataclass
class _Waiting:
    prompt: Trace
    options: Options
    answer: asyncio.Future[Answer]
    tell: Callable[[Event], None] | None
    """Told what happens on the way, within the event loop."""


class Together:
    """Answers prompts of many callers, at most their `Options.batch` at once; at most `room` may wait, with at most
    `room_bytes` of pictures. Used within one event loop."""

    def __init__(self, cooper: Cooper, room: int = 1024, room_bytes: int = 1 << 30):
        self.cooper, self.room, self.room_bytes = cooper, room, room_bytes
        self._waiting: deque[_Waiting] = deque()
        # always the same thread, so that PyTorch knows its number of threads
        self._thread = ThreadPoolExecutor(1, "model")
        self._working: asyncio.Task[None] | None = None
        self._closed = False
        self._running: Future[list[Answer]] | None = None

    async def stream(self, prompt: Trace, options: Options) -> AsyncIterator[Event | Answer]:
        """What happens when it happens, as `Cooper.stream` yields it, and the answer last. Raises as `answer`."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        answering = asyncio.ensure_future(self.answer(prompt, options, events.put_nowait))
        answering.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield answering.result()
        finally:  # whoever has left is told nothing any more
            answering.cancel()

    async def answer(
        self, prompt: Trace, options: Options, tell: Callable[[Event], None] | None = None
    ) -> Answer:
        """The answer, whoever else is answered with it; `tell` is told what happens on the way. Raises `Busy` if too
        many wait, and ValueError as `Cooper.answer_many`."""
        if self._closed:
            raise Busy("the server is about to end")
        there = [one for one in self._waiting if not one.answer.done()]
        asked = [prompt, *(one.prompt for one in there)]
        held = sum(picture.image.nbytes for one in asked for picture in one.pictures)
        if len(there) >= self.room or (there and held > self.room_bytes):
            raise Busy(f"{len(there)} requests are waiting; try again later")
        one = _Waiting(prompt, options, asyncio.get_running_loop().create_future(), tell)
        self._waiting.append(one)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await one.answer

    @property
    def busy(self) -> bool:
        """Whether the model is answering something."""
        return self._running is not None and not self._running.done()

    def close(self) -> None:
        """Answers nothing any more but what is being answered."""
        self._closed = True
        for one in self._waiting:
            if not one.answer.done():
                one.answer.set_exception(Busy("the server ends"))
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while batch := self._next():
            await self._answer(batch)

    async def _answer(self, batch: list[_Waiting]) -> None:
        """Tells whoever waits for it. What goes wrong with several is tried one by one: it may be of one alone."""
        try:
            self._running = self._thread.submit(
                self.cooper.answer_many, [one.prompt for one in batch], batch[0].options,
                seeds=[one.options.seed for one in batch], on_event=_telling(batch),
            )  # fmt: skip
            answers = await asyncio.wrap_future(self._running)
        except (Exception, asyncio.CancelledError) as error:
            if len(batch) > 1 and isinstance(error, Exception) and not self._closed:
                for one in batch:
                    one.tell = None  # what it was told is not told again
                    if not one.answer.done():
                        await self._answer([one])
                return
            for one in batch:
                if not one.answer.done():
                    ended = isinstance(error, asyncio.CancelledError) or self._closed
                    one.answer.set_exception(Busy("the server ends") if ended else error)
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        for one, answer in zip(batch, answers, strict=True):
            if not one.answer.done():  # its caller may have left
                one.answer.set_result(answer)

    def _next(self) -> list[_Waiting]:
        """Of those whose callers are still there: the first, and what can be answered with it."""
        there = [one for one in self._waiting if not one.answer.done()]
        most = there[0].options.batch if there else 0
        batch = [one for one in there if _alike(one.options, there[0].options)][:most]
        taken = {id(one) for one in batch}
        self._waiting = deque(one for one in there if id(one) not in taken)
        return batch


def _telling(batch: list[_Waiting]) -> OnEvent:
    """Tells each of the events of its first rollout, from the thread of the model, which it ends if all have left."""
    loop, samples = asyncio.get_running_loop(), batch[0].options.samples

    def told(event: Event) -> None:
        if all(one.answer.done() for one in batch):
            raise _NobodyWaits
        prompt, number = divmod(event.number, samples)
        tell = batch[prompt].tell
        if tell is not None and not number and not batch[prompt].answer.done():
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell, replace(event, number=0))

    return told


def _alike(one: Options, other: Options) -> bool:
    """Whether they can be answered together: in the same way, each with a seed of its own."""
    return replace(one, seed=other.seed) == other
