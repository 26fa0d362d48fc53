"""A server that speaks as the Hugging Face hub does, as far as models are pushed and fetched by `huggingface_hub`."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit


class Hub(ThreadingHTTPServer):
    """`repos`: the files of each, by OWNER/NAME; `sent`: those that were fetched, in order; `made`: what was asked for
    when a repository was made."""

    daemon_threads = True

    def __init__(self, repos: dict[str, dict[str, bytes]]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos, self.sent = repos, list[str]()
        self.made: list[dict[str, Any]] = []

    def environment(self, home: Path) -> dict[str, str]:
        """Of a process that takes this for the hub, and keeps in `home` all that it has of it."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        path = os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))
        hub = {"HF_ENDPOINT": f"http://127.0.0.1:{self.server_port}", "HF_HOME": str(home), "HF_TOKEN": "t"}
        return {**ours, **hub, "NO_PROXY": "127.0.0.1", "PYTHONPATH": path}


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        """Of a repository: what it is, its list of files (tree), or one of them (resolve)."""
        owner, name, *rest = urlsplit(self.path).path.removeprefix("/api/models").strip("/").split("/")
        repo, what, path = f"{owner}/{name}", rest[0] if rest else "", "/".join(rest[2:])
        files = self.server.repos.get(repo, {})
        state = sha1(repr(sorted(files.items())).encode()).hexdigest()
        if repo not in self.server.repos or (what == "resolve" and path not in files):
            self._send({}, 404, "X-Error-Code", "EntryNotFound" if repo in self.server.repos else "RepoNotFound")
        elif what == "resolve":
            self.server.sent += [path] if self.command == "GET" else []
            self._send(files[path], 200, "X-Repo-Commit", state)
        elif what == "tree":
            self._send([{"type": "file", "path": k, "size": len(v), "oid": _id(v)} for k, v in files.items()])
        else:
            self._send({"id": f"{owner}/{name}", "sha": state, "siblings": [{"rfilename": k} for k in files]})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """A repository is made, files are announced (preupload), or come and go (commit)."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":  # the card's front matter
            return self._send({"errors": [], "warnings": []})
        lines = [json.loads(line) for line in body.splitlines()]
        _, _, owner, name, what, *_ = f"{self.path}//".split("/")[1:]
        if what == "preupload":
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            self._send({"files": [{"path": file["path"], **modes} for file in lines[0]["files"]]})
        elif what == "commit":
            files = self.server.repos.setdefault(f"{owner}/{name}", {})
            for one in lines[1:]:
                if one["key"] == "file":
                    files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
                else:
                    assert one["key"] == "deletedFile"
                    del files[one["value"]["path"]]
            self._send({"commitUrl": f"http://{self.headers['Host']}/{owner}/{name}/commit/{'0' * 40}",
                        "commitOid": "0" * 40})  # fmt: skip
        else:
            self.server.made += lines
            made = "/".join(lines[0][k] for k in ("organization", "name"))
            self.server.repos.setdefault(made, {})
            self._send({"url": f"http://{self.headers['Host']}/{made}", "name": made})

    def _send(self, content: Any, status: int = 200, header: str = "", value: str = "") -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, said in (("Content-Length", str(len(data))), ("ETag", f'"{_id(data)}"'), (header, value)):
            if key:
                self.send_header(key, said)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


def _id(data: bytes) -> str:
    return sha1(data).hexdigest()


@contextmanager
def hub(repos: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    server = Hub(repos)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()  # how long it may take to end
    yield server
    server.shutdown()
    server.server_close()
