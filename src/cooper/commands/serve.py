"""`cooper serve`: a model behind OpenAI's chat completions, for clients and harnesses."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass

from cooper.commands.options import WithModel, options
from cooper.policy import Mode


@dataclass(frozen=True)
class Serve(WithModel):
    """Serve a model over HTTP, as OpenAI's chat completions: a user's text, and a picture as a data URL.

    POST /v1/chat/completions, GET /v1/models, GET /health. The answer is the message's content; "cooper" beside it has
    the chain, its maps as data URLs; a stream has its thoughts and maps as they come. temperature, top_p, seed and
    mode may come with each request; requests that wait at the same time are answered together. The model has its own
    system message and ends its turns itself: system messages, max_tokens and stop are passed over. There is no
    authentication: anyone who can reach the port can use the model.
    """

    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 is every one this machine has."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    mode: Mode = "interleaved"
    """How to answer where a request does not say: direct, text, perception or interleaved."""
    batch: int = 32
    """Most requests to answer together; the more, the more memory they take."""

    def run(self) -> int:
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f"--port is a number from 0 to 65535, not {self.port}")
        if not self.host.strip():
            raise ValueError("--host is blank; give 0.0.0.0 to listen at every address this machine has")
        given = options(mode=self.mode, batch=self.batch)
        try:
            import uvicorn

            from cooper.serving.app import make_app
        except ImportError:
            raise ImportError("serving needs an extra: pip install 'cooper-spatial[serve]'") from None

        # before the model is loaded: a port that is taken is told at once
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listening = socket.create_server((self.host, self.port), family=family)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise ValueError(f"cannot listen at {self.host}, port {self.port}: {why}; choose others") from None
        with listening:
            app = make_app(self.load(), given)
            host = f"[{self.host}]" if ":" in self.host else self.host
            print(f"{self.model} at http://{host}:{listening.getsockname()[1]}/v1 (Ctrl-C ends it)", flush=True)
            # what is being answered has so many seconds; then what waits is told to try again
            config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10)
            try:
                uvicorn.Server(config).run(sockets=[listening])
            finally:
                if app.state.together.busy:  # nobody waits for it any more, and Python would wait for its thread
                    print("cooper: ended while it was answering", file=sys.stderr, flush=True)
                    os._exit(130)
        return 0
