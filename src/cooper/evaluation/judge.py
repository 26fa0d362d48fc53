"""Another model as the judge of answers in words, over any OpenAI-compatible server.

A judge that fails has given no verdict, which is not the same as "wrong": None. Verdicts are kept in a file, so that
the same answer is judged once, and an evaluation goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSTRUCTION = (
    "You compare an answer with the true one. They agree if they mean the same; wording, units written differently and "
    "added explanations do not matter, a different fact or number does. Reply with one word: yes if they agree, "
    "no if not."
)


@dataclass(frozen=True)
class Claim:
    """An answer to be judged."""

    question: str
    truth: str
    answer: str

    @property
    def text(self) -> str:
        return f"Question: {self.question}\nTrue answer: {self.truth}\nAnswer: {self.answer}"


class Judge:
    """`model` on the server at `url` (such as http://localhost:8000/v1). Needs the extra `judge`.

    `timeout` is in seconds for one try, of which there are up to 1 + `retries` a claim, further and further apart,
    when the server is busy or away; `workers` claims are judged at once. `cache` is a JSON Lines file of verdicts. The
    key is read from the environment variable OPENAI_API_KEY unless it is given; local servers need none.
    """

    def __init__(
        self, url: str, model: str, *, key: str | None = None, timeout: float = 30.0, retries: int = 3,
        workers: int = 8, cache: Path | None = None,
    ):  # fmt: skip
        try:
            import openai
        except ImportError:
            raise ImportError("a judge needs the extra: pip install 'cooper-spatial[judge]'") from None
        self._openai: Any = openai
        key = key or os.environ.get("OPENAI_API_KEY") or "none"
        self.client: Any = openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=retries)
        self.url, self.model, self.workers = url, model, workers
        self.cache = cache
        self._known: dict[str, bool] = {} if cache is None else _read(cache)
        self._lock = threading.Lock()

    def verdicts(self, claims: Sequence[Claim]) -> list[bool | None]:
        """For each claim whether it is right, or None if there is no verdict: no reply, or neither a yes nor a no.

        Raises ValueError if the server refuses to judge at all: an unknown model, a wrong key.
        """
        different = list(dict.fromkeys(claims))
        with ThreadPoolExecutor(self.workers) as pool:
            found = dict(zip(different, pool.map(self._verdict, different), strict=True))
        return [found[claim] for claim in claims]

    def _verdict(self, claim: Claim) -> bool | None:
        key = hashlib.sha256(repr((self.model, INSTRUCTION, claim.text)).encode()).hexdigest()
        if key in self._known:
            return self._known[key]
        verdict = parse_verdict(self._reply(claim))
        if verdict is not None:
            with self._lock:
                self._known[key] = verdict
                if self.cache is not None:
                    with self.cache.open("a", encoding="utf-8") as file:
                        # a line that was cut ends here
                        file.write("\n" + json.dumps({"key": key, "right": verdict}))
        return verdict

    def _reply(self, claim: Claim) -> str | None:
        messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": claim.text}]
        refusals = (
            self._openai.AuthenticationError, self._openai.PermissionDeniedError, self._openai.NotFoundError,
            self._openai.BadRequestError,
        )  # fmt: skip
        try:
            reply = self.client.chat.completions.create(
                model=self.model, messages=messages, temperature=0, max_tokens=8
            )
        except refusals as error:
            raise ValueError(f"the judge {self.model} at {self.url} refuses: {' '.join(str(error).split())}") from None
        except self._openai.OpenAIError:
            return None
        return reply.choices[0].message.content if reply.choices else None


def parse_verdict(reply: str | None) -> bool | None:
    """The first word of a reply, if it is a yes or a no."""
    first = re.match(r"\W*(yes|no)\b", reply or "", re.IGNORECASE)
    return None if first is None else first[1].lower() == "yes"


def _read(path: Path) -> dict[str, bool]:
    """The verdicts of a file. A line that was cut is passed over: that claim is judged again."""
    known: dict[str, bool] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                known[row["key"]] = bool(row["right"])
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
    return known
