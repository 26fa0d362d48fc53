"""The server, over real HTTP, asked by OpenAI's own client and by hand."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cooper import Cooper
from cooper.api import Answer
from cooper.cli import main
from cooper.files import shipped
from cooper.images import load_image
from cooper.inference.rollout import MapDrawn, TokenWritten
from cooper.options import Options
from cooper.trace import Picture, Text, Trace

pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")

from cooper.serving import requests  # noqa: E402
from cooper.serving.app import READING, make_app  # noqa: E402
from cooper.serving.replies import _Thoughts  # noqa: E402
from cooper.serving.together import Busy, Together, _NobodyWaits  # noqa: E402

FOLDER = shipped("tiny")
assert FOLDER is not None
ROOM = sorted((FOLDER.parent / "examples").rglob("*.png"))[0]
QUESTION = "How many objects are there?"


def data_url(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def asking(*urls: str, text: str = QUESTION, **more: Any) -> dict[str, Any]:
    """A request about these pictures."""
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": [*pictures, {"type": "text", "text": text}]}], **more}


class Counting(Cooper):
    """Remembers how many prompts came at a time."""

    batches: list[int]

    def answer_many(self, prompts: Any, *options: Options, **changes: Any) -> list[Answer]:
        self.batches.append(len(prompts))
        return super().answer_many(prompts, *options, **changes)


@pytest.fixture(scope="module")
def cooper() -> Counting:
    loaded = Counting.load("tiny")
    assert isinstance(loaded, Counting)
    loaded.batches = []
    return loaded


@pytest.fixture(scope="module")
def address(cooper: Counting) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(cooper, Options(mode="direct")), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def post(address: str, body: bytes | dict[str, Any], kind: str = "application/json") -> tuple[int, dict[str, Any]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/v1/chat/completions", content, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_openais_client_is_answered_as_the_library_answers(address: str, cooper: Counting) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
    assert [model.id for model in client.models.list()] == ["tiny"] and client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client.models.retrieve("gpt")
    url = data_url(ROOM.read_bytes())
    for mode in ("direct", "interleaved"):
        made = client.chat.completions.create(
            model="tiny", max_tokens=50, extra_body={"mode": mode}, messages=[
                {"role": "system", "content": "You look closely."},
                {"role": "user", "content": [
                    {"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": url}},
                ]},
            ],
        )  # fmt: skip
        # what the system is told, clients say of their own accord: it is not part of the question
        prompt = Trace((Picture(load_image(ROOM)), Text(QUESTION)))
        own = cooper.answer_many([prompt], mode=mode)[0]
        assert made.choices[0].message.content == own.text and made.choices[0].finish_reason == "stop"
        words = sum(len(cooper.sequencer.ids(text)) for text in (cooper.policy(mode).system or "", QUESTION))
        read = 2 * 8 * 8 + words  # the picture is looked at through both the autoencoder and the vision transformer
        assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (read, own.tokens)
        assert made.usage.total_tokens == read + own.tokens
        turns = made.model_extra["cooper"]["turns"]
        assert [turn["text"] for turn in turns] == list(own.trace.turns)
        maps = [turn["map"] for turn in turns if turn["map"]]
        assert len(maps) == len(own.trace.drawings) == (mode == "interleaved")
        for url_of_map, drawing in zip(maps, own.trace.drawings, strict=True):
            shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(url_of_map.partition(",")[2]))))
            assert np.array_equal(shown, own.codes.view(drawing).image)


def test_a_stream_tells_thoughts_and_maps_as_they_come(
    address: str, cooper: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
    url = data_url(ROOM.read_bytes()).replace("image/png", "image/PNG;a=b")
    image = {"type": "image_url", "image_url": {"url": url}}
    messages = [{"role": "user", "content": [{"type": "text", "text": QUESTION}, image]}]
    asked = {"model": "tiny", "messages": messages, "extra_body": {"mode": "interleaved"}}
    whole = client.chat.completions.create(**asked)

    heard, answer_many = threading.Event(), cooper.answer_many

    def answering(*args: Any, on_event: Any, **changes: Any) -> list[Answer]:
        def told(event: Any) -> None:
            on_event(event)
            if isinstance(event, MapDrawn):
                assert heard.wait(60), "what it thought before the map is heard while it goes on"

        return answer_many(*args, on_event=told, **changes)

    monkeypatch.setattr(cooper, "answer_many", answering)
    chunks = []
    for chunk in client.chat.completions.create(**asked, stream=True):
        chunks.append(chunk)
        if (chunk.model_extra or {}).get("cooper"):  # the map
            heard.set()
    deltas = [(chunk.choices[0].delta.model_extra or {}).get("reasoning_content") for chunk in chunks]
    turns = [thought_in(turn["text"]) for turn in whole.model_extra["cooper"]["turns"]]
    assert len(turns) == 2 and "".join(filter(None, deltas)) == "\n".join(turns)
    maps = [k for k, chunk in enumerate(chunks[:-1]) if (chunk.model_extra or {}).get("cooper")]
    (drawn,) = maps
    assert "".join(filter(None, deltas[:drawn])) == turns[0]
    told = chunks[drawn].model_extra["cooper"]
    assert told == {"map": whole.model_extra["cooper"]["turns"][0]["map"], "modality": "segmentation"}
    assert chunks[0].choices[0].delta.role == "assistant" and len({chunk.id for chunk in chunks}) == 1
    assert [c.choices[0].delta.content for c in chunks if c.choices[0].delta.content] == [
        whole.choices[0].message.content
    ]
    assert [c.choices[0].finish_reason for c in chunks[-2:]] == [None, "stop"] and chunks[-1].usage is None
    last, once = chunks[-1].model_extra["cooper"], whole.model_extra["cooper"]
    assert last["answer"] == once["answer"] and [turn["text"] for turn in last["turns"]] == [
        turn["text"] for turn in once["turns"]
    ]
    assert [turn["map"] for turn in last["turns"]] == [None, None], "sent once"
    options = {"stream_options": {"include_usage": True}}
    *_, ends, counted = client.chat.completions.create(**asked, stream=True, **options)
    assert ends.choices[0].finish_reason == "stop" and ends.usage is None
    assert counted.choices == [] and counted.usage == whole.usage


def thought_in(turn: str) -> str:
    """What a stream tells of a turn, but for its answer."""
    return turn.partition("<answer>")[0].replace("<think>", "").replace("</think>", "")


def sent(address: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What comes in a stream, but for its end."""
    content = json.dumps({**body, "stream": True}).encode()
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", content, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        assert reply.headers["X-Accel-Buffering"] == "no"
        lines = reply.read().decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2] if not line.startswith(": ")]


def test_what_goes_wrong_in_a_stream_is_told_there(
    address: str, cooper: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, on_event: Any, **__: Any) -> Any:
        on_event(TokenWritten(0, 1, "Look."))
        raise ValueError("the model's logits are NaN")

    monkeypatch.setattr(cooper, "answer_many", failing)
    *chunks, last = sent(address, asking(data_url(ROOM.read_bytes())))
    assert [c["choices"][0]["delta"] for c in chunks] == [
        {"role": "assistant", "content": ""}, {"reasoning_content": "Look."}
    ]  # fmt: skip
    assert last["error"]["type"] == "server_error" and "NaN" in last["error"]["message"]


def test_streams_are_answered_with_all_others(address: str, cooper: Counting) -> None:
    url = data_url(ROOM.read_bytes())
    texts = [QUESTION, "What color is the ball?", "Is there a red ball?"] * 2
    alone = [post(address, asking(url, text=text, mode="text"))[1] for text in texts[:3]]
    cooper.batches.clear()
    with ThreadPoolExecutor(len(texts) + 1) as pool:
        first = pool.submit(post, address, asking(url))
        streams = [pool.submit(sent, address, asking(url, text=text, mode="text")) for text in texts[:5]]
        last = pool.submit(post, address, asking(url, text=texts[5], mode="text"))
        replies = [stream.result() for stream in streams]
        assert first.result()[0] == 200
    assert last.result()[1]["choices"][0]["message"] == alone[2]["choices"][0]["message"]
    assert sum(cooper.batches) == 7 and len(cooper.batches) < 6
    for chunks, whole in zip(replies, alone + alone, strict=False):
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        assert chunks[-1]["cooper"]["turns"] == whole["cooper"]["turns"], "its own, not its neighbour's"
        thought = "".join(delta.get("reasoning_content", "") for delta in deltas)
        assert thought == thought_in(whole["cooper"]["turns"][0]["text"]) != ""


def test_what_may_begin_the_answer_is_held_back() -> None:
    thoughts = _Thoughts()
    pieces = ["<th", "ink>1 ", "<", " 2 </think><an", "swer", ">4 m</answer>", "<b>"]
    assert [thoughts.add(piece) for piece in pieces] == ["", "1 ", "", "< 2 ", "", "", ""]


def test_paths_that_are_not_there_are_told_in_the_same_way(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{address}/v1/completions")
    assert json.load(raised.value)["error"]["message"] == "GET /v1/completions: Not Found"


def test_what_waits_is_answered_together(address: str, cooper: Counting) -> None:
    url = data_url(ROOM.read_bytes())
    asked = [asking(url, text=text) for text in (QUESTION, "What color is the ball?", "Is there a red ball?")] * 4
    asked.append(asking(url, mode="text"))  # not with the others
    alone = [post(address, one)[1]["choices"][0]["message"]["content"] for one in asked[:3]]
    cooper.batches.clear()
    with ThreadPoolExecutor(len(asked)) as pool:
        replies = list(pool.map(lambda one: post(address, one), asked))
    assert [status for status, _ in replies] == [200] * 13
    assert [reply["choices"][0]["message"]["content"] for _, reply in replies[:12]] == alone * 4
    assert replies[-1][1]["cooper"]["mode"] == "text"
    assert sum(cooper.batches) == 13 and len(cooper.batches) < 8


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"{", 400, "JSON"),
        ({"model": "tiny"}, 400, "messages: Field required"),
        (asking(), 400, "about one picture; this one has 0"),
        (asking("data:image/png;base64,AA==", "data:image/png;base64,AA=="), 400, "this one has 2"),
        (asking("https://127.0.0.1:1/room.png"), 400, "sent as a data URL"),
        (asking("file:///etc/passwd"), 400, "sent as a data URL"),
        (asking("data:image/png;base64,?"), 400, "broken base64"),
        (asking(data_url(b"nothing")), 400, "the picture given as bytes"),
        (asking(data_url(ROOM.read_bytes()), text=" "), 400, "this one has 0"),
        (asking(data_url(ROOM.read_bytes()), text="a" * 20_001), 400, "between 1 and 20000 characters"),
        (asking(data_url(ROOM.read_bytes()), text="\U0001f600" * 1500), 400, "at most 4096 tokens; this one has 6"),
        (asking(data_url(ROOM.read_bytes()), model="gpt"), 404, "there is no model 'gpt' here; this is tiny"),
        (asking(data_url(ROOM.read_bytes()), mode="dream"), 400, "dream"),
        (asking(data_url(ROOM.read_bytes()), n=2), 400, "leave out n"),
        (asking(data_url(ROOM.read_bytes()), tools=[{"type": "function"}]), 400, "leave out tools"),
        (asking(data_url(ROOM.read_bytes()), response_format={"type": "json_object"}), 400, "leave out tools"),
        (asking(data_url(ROOM.read_bytes()), temperature=-1), 400, "temperature must be 0 or more, and at"),
        (asking(data_url(ROOM.read_bytes()), top_p=0), 400, "top_p lies above 0 and at most at 1, not 0"),
        (asking(data_url(ROOM.read_bytes()), seed=-1), 400, "seed must be at least 0, not -1"),
        (asking(data_url(ROOM.read_bytes()), temperature="hot"), 400, "temperature: "),
        ({"messages": [{"role": "assistant", "content": "Yes."}]}, 400, "without earlier turns"),
        ({"messages": [{"role": "assistant", "content": None}]}, 400, "without earlier turns"),
        ({"messages": [{"role": "tool", "content": "2"}]}, 400, "without earlier turns"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, 400, "0.type: Input should be 'text' or"),
    ],
)
def test_mistakes_are_told_as_openai_tells_them(
    body: bytes | dict[str, Any], status: int, why: str, address: str, cooper: Counting
) -> None:
    cooper.batches.clear()
    code, reply = post(address, body)
    assert (code, reply["error"]["type"]) == (status, "invalid_request_error") and why in reply["error"]["message"]
    assert "\n" not in reply["error"]["message"] and not cooper.batches
    assert post(address, asking(data_url(ROOM.read_bytes())))[0] == 200, "it goes on"


def test_too_much_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_BODY", 1000)
    code, reply = post(address, asking(data_url(bytes(2000))))
    assert code == 413 and "smaller picture" in reply["error"]["message"]


def test_all_that_is_sent_at_once_has_so_much_room(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may be slow, or never send the rest: what they take is told to who comes then, and freed when they go."""
    monkeypatch.setattr(requests, "MAX_BODIES", 60_000)
    asked = asking(data_url(ROOM.read_bytes()))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as slow:
        slow.sendall(head + b"Content-Length: 100000\r\n\r\n" + bytes(55_000))
        time.sleep(1)
        assert post(address, asked | {"user": "a" * 10_000})[0] == 503
    time.sleep(1)
    assert post(address, asked | {"user": "a" * 10_000})[0] == 200


def test_so_many_pictures_are_read_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of few bytes may be one of many pixels."""
    inside, most, lock = 0, 0, threading.Lock()
    read = requests.load_image

    def slowly(content: Any) -> Any:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.2)
        with lock:
            inside -= 1
        return read(content)

    monkeypatch.setattr(requests, "load_image", slowly)
    with ThreadPoolExecutor(6) as pool:
        codes = [code for code, _ in pool.map(lambda _: post(address, asking(data_url(ROOM.read_bytes()))), range(6))]
    assert codes == [200] * 6 and most == READING


def test_what_a_page_in_a_browser_may_send_unasked_is_refused(address: str, cooper: Counting) -> None:
    cooper.batches.clear()
    body = json.dumps(asking(data_url(ROOM.read_bytes()))).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        code, reply = post(address, body, kind)
        assert code == 415 and f"application/json), not {kind}" in reply["error"]["message"]
    assert not cooper.batches and post(address, body, "application/json; charset=utf-8")[0] == 200


def test_one_batchs_error_and_a_caller_that_left_cost_nobody_else(cooper: Counting) -> None:
    prompt = Trace((Picture(load_image(ROOM)), Text(QUESTION)))

    async def ask() -> tuple[list[Any], list[int]]:
        together, direct = Together(cooper, room=4), Options(mode="direct")
        cooper.batches.clear()
        broken, left, well, same = (
            asyncio.create_task(together.answer(prompt, options))
            for options in (Options(mode="none"), direct, direct, direct)
        )
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="4 requests are waiting"):
            await together.answer(prompt, direct)
        left.cancel()
        return await asyncio.gather(broken, left, well, same, return_exceptions=True), cooper.batches

    (broken, left, well, same), batches = asyncio.run(ask())
    assert isinstance(broken, ValueError) and isinstance(left, asyncio.CancelledError)
    assert well.answer == same.answer and batches == [1, 2]


def test_the_model_does_not_go_on_for_nobody(cooper: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that gives up and tries again would otherwise wait for what it has given up."""
    prompt = Trace((Picture(load_image(ROOM)), Text(QUESTION)))
    ends: list[BaseException | None] = []
    answer_many = cooper.answer_many

    def watched(*args: Any, **changes: Any) -> Any:
        try:
            answers = answer_many(*args, **changes)
        except BaseException as error:
            ends.append(error)
            raise
        ends.append(None)
        return answers

    monkeypatch.setattr(cooper, "answer_many", watched)

    async def ask() -> Answer:
        together, events = Together(cooper), asyncio.Queue[Any]()
        perception, direct = Options(mode="perception"), Options(mode="direct")
        leaving = [asyncio.create_task(together.answer(prompt, perception, events.put_nowait)) for _ in range(2)]
        await events.get()
        for one in leaving:
            one.cancel()
        return await together.answer(prompt, direct)

    assert asyncio.run(ask()).mode == "direct"
    assert isinstance(ends[0], _NobodyWaits) and ends[1:] == [None]


def test_so_many_are_answered_together(cooper: Counting) -> None:
    """As many as asked for, more than the engine would by itself, too."""
    prompt = Trace((Picture(load_image(ROOM)), Text(QUESTION)))

    async def ask(batch: int, n: int) -> list[int]:
        together, cooper.batches[:] = Together(cooper), []
        options = Options(mode="direct", batch=batch)
        await asyncio.gather(*(together.answer(prompt, options) for _ in range(n)))
        return cooper.batches

    assert asyncio.run(ask(2, 5)) == [2, 2, 1]
    assert asyncio.run(ask(40, 36)) == [36]


@pytest.mark.parametrize(("mode", "samples"), [("interleaved", 1), ("text", 3)])
def test_each_has_its_own_seed(cooper: Counting, mode: str, samples: int) -> None:
    """Whoever is answered with it: all random numbers are those of the seed that was asked for."""
    prompts = [Trace((Picture(load_image(ROOM)), Text(text))) for text in (QUESTION, "What is left of the red ball?")]
    steps = 2 if mode == "interleaved" else None
    how = Options(mode, temperature=1.5, samples=samples, max_tokens=40, flow_steps=steps)
    asked = [(prompts[k], replace(how, seed=seed)) for k, seed in ((0, 7), (1, 40), (0, 20), (0, 7))]

    async def ask() -> list[Answer]:
        together, cooper.batches[:] = Together(cooper), []
        return await asyncio.gather(*(together.answer(prompt, options) for prompt, options in asked))

    answers, batches = asyncio.run(ask()), list(cooper.batches)
    assert batches == [4]
    alone = [cooper.answer_many([prompt], options)[0] for prompt, options in asked]
    for one, other in zip(answers, alone, strict=True):
        assert (one.answer, one.votes, one.seed, one.reason) == (other.answer, other.votes, other.seed, other.reason)
        assert one.trace.turns == other.trace.turns and one.tokens == other.tokens
    told = [(one.trace.turns, one.votes, one.tokens) for one in answers]
    assert told[0] == told[3] != told[2], "the seed decides"


def test_what_cannot_be_answered_costs_those_beside_it_nothing(
    cooper: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [Trace((Picture(load_image(ROOM)), Text(text))) for text in (QUESTION, "broken", QUESTION)]
    answer_many = cooper.answer_many

    def answering(asked: list[Trace], *options: Options, **changes: Any) -> list[Answer]:
        if any(isinstance(one, Text) and one.text == "broken" for prompt in asked for one in prompt.segments):
            raise ValueError("this one")
        return answer_many(asked, *options, **changes)

    async def ask() -> list[Any]:
        together, direct = Together(cooper), Options(mode="direct")
        tasks = [asyncio.create_task(together.answer(prompt, direct)) for prompt in prompts]
        return await asyncio.gather(*tasks, return_exceptions=True)

    monkeypatch.setattr(cooper, "answer_many", answering)
    first, broken, last = asyncio.run(ask())
    assert first.answer == last.answer and str(broken) == "this one"


def test_faults_of_ours_are_told_as_ours(address: str, cooper: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise ValueError("the model's logits are NaN")

    monkeypatch.setattr(cooper, "answer_many", failing)
    code, reply = post(address, asking(data_url(ROOM.read_bytes())))
    assert code == 500 and reply["error"]["type"] == "server_error" and "NaN" in reply["error"]["message"]


def test_pictures_that_wait_have_so_much_room(cooper: Counting) -> None:
    prompt = Trace((Picture(load_image(ROOM)), Text(QUESTION)))

    async def ask() -> list[Any]:
        together, options = Together(cooper, room_bytes=3 * prompt.pictures[0].image.nbytes), Options(mode="direct")
        asked = [asyncio.create_task(together.answer(prompt, options)) for _ in range(4)]
        return await asyncio.gather(*asked, return_exceptions=True)

    *answered, refused = asyncio.run(ask())
    assert isinstance(refused, Busy) and len({answer.answer for answer in answered}) == 1


def test_who_has_left_is_not_answered(address: str, cooper: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is being answered while others come and go again; then comes a last one."""
    answering, gone = threading.Event(), threading.Event()
    answer_many = cooper.answer_many

    def held(*args: Any, **changes: Any) -> Any:
        answering.set()
        assert gone.wait(60)
        return answer_many(*args, **changes)

    monkeypatch.setattr(cooper, "answer_many", held)
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    url = data_url(ROOM.read_bytes())
    body, in_parts = (json.dumps(asking(url, mode="perception", stream=s)).encode() for s in (False, True))
    cooper.batches.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, address, body)
        assert answering.wait(60)
        for left in (body, in_parts, body, in_parts):
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as leaving:
                leaving.sendall(f"{head}Content-Length: {len(left)}\r\n\r\n".encode() + left)
        time.sleep(1)  # until the server has seen them go
        gone.set()
        assert first.result()[0] == 200 and post(address, body)[0] == 200
    assert cooper.batches == [1, 1]


def test_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    argv = [sys.executable, "-m", "cooper", "serve", "--port", "0", "--mode", "direct"]
    serving = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
    assert serving.stdout is not None
    line = serving.stdout.readline()
    address = line.split()[2].removesuffix("/v1")
    assert line.startswith("tiny at http://127.0.0.1:") and post(address, asking(data_url(ROOM.read_bytes())))[0] == 200
    with urllib.request.urlopen(f"{address}/health") as reply:
        assert json.load(reply) == {"status": "ok", "model": "tiny"}
    taken = address.rpartition(":")[2]
    assert main(["serve", "--port", taken]) == 2
    assert f"cannot listen at 127.0.0.1, port {taken}: Address already in use" in capfd.readouterr().err
    began = time.monotonic()
    serving.send_signal(signal.SIGINT)
    assert serving.wait(20) in (0, 130) and time.monotonic() - began < 15


SLOW = """
import sys, time
import uvicorn
from cooper.api import Cooper
from cooper.cli import main
from cooper.inference.rollout import TokenWritten

def answer_many(self, *_, on_event=None, **__):
    print("answering", flush=True)
    if on_event is not None:
        on_event(TokenWritten(0, 1, "Look."))
    time.sleep(300)

class Impatient(uvicorn.Config):
    def __init__(self, *args, **more):
        super().__init__(*args, **{**more, "timeout_graceful_shutdown": 1})

Cooper.answer_many, uvicorn.Config = answer_many, Impatient
sys.exit(main(["serve", "--port", "0"]))
"""


@pytest.mark.parametrize("streams", [False, True])
def test_it_ends_though_it_is_answering(streams: bool) -> None:
    serving = subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    body = asking(data_url(ROOM.read_bytes()))
    try:
        assert serving.stdout is not None
        address = serving.stdout.readline().split()[2].removesuffix("/v1")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(sent if streams else post, address, body)  # type: ignore[arg-type]
            assert serving.stdout.readline() == "answering\n"
            serving.send_signal(signal.SIGTERM)
            _, told = serving.communicate(timeout=60)
            replied: Any = asked.result()
        assert serving.returncode != 0 and "ended while it was answering" in told and "Traceback" not in told
        if streams:
            begins, thinks, ends = replied
            assert thinks["choices"][0]["delta"] == {"reasoning_content": "Look."}
            assert ends["error"]["message"] == "the server ends" and begins["object"] == "chat.completion.chunk"
        else:
            assert replied[0] == 503 and replied[1]["error"]["message"] == "the server ends"
    finally:
        serving.kill()


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--port", "70000"], "--port is a number from 0 to 65535"),
        (["--mode", "dream"], "dream"), (["--host", ""], "--host is empty"),
        (["--host", "not.a.host.invalid", "--port", "0"], "cannot listen at not.a.host.invalid"),
        (["--model", "nowhere", "--port", "0"], "there is no model 'nowhere'"),
    ],
)
def test_mistakes(argv: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *argv]) == 2
    told = capsys.readouterr().err
    assert told.startswith("cooper: ") and why in told and told.count("\n") == 1
