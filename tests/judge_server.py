"""A server that speaks as a judge does, and says what it is told to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

RAW = -1


class Server(ThreadingHTTPServer):
    """`replies`: what is answered to an answer, time by time: a status, a reply, and seconds before it.

    The reply of a status above 200 is the message of its error. A status of `RAW` is 200 with the reply as the whole
    body, which is then no JSON.
    """

    daemon_threads = True

    def __init__(self, replies: Mapping[str, Sequence[tuple[int, str, float]]]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = replies
        self.asked: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0
        self.counting = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = body["messages"][-1]["content"].rpartition("Answer: ")[2]
        before = sum(b["messages"][-1] == body["messages"][-1] for b in self.server.asked)
        self.server.asked.append(body)
        replies = self.server.replies[answer]
        status, reply, wait = replies[min(before, len(replies) - 1)]
        with self.server.counting:
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        time.sleep(wait)
        with self.server.counting:
            self.server.at_once -= 1
        message = {"role": "assistant", "content": reply}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        out: dict[str, Any] = {"choices": [choice]} if status == 200 else {}
        if status > 200 and reply:
            out = {"error": {"message": reply, "type": "invalid_request_error", "param": None, "code": None}}
        data = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "m", **out}).encode()
        if status == RAW:
            status, data = 200, reply.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(replies: Mapping[str, Sequence[tuple[int, str, float]]]) -> Iterator[Server]:
    server = Server(replies)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()  # how long it may take to end
    yield server
    server.shutdown()
    server.server_close()
