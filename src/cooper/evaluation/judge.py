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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cooper.quantities import FORMATTING

INSTRUCTION = (
    "You compare an answer with the true one. They agree if they mean the same; wording, units written differently and "
    "added explanations do not matter, a different fact or number does. Reply with one word: yes if they agree, "
    "no if not."
)
GRADING = (
    "You grade how right an answer is, given the true one: 0 if it is wrong, 1 if it is right, a number between if a "
    "part of it is. In the true answer, <AND> joins parts that must all be there, and <OR> joins parts of which one is "
    "enough. Wording and added explanations do not matter. Reply with the number alone, with one decimal."
)
T = TypeVar("T", bool, float)


@dataclass(frozen=True)
class Claim:
    """An answer to be judged."""

    question: str
    truth: str
    answer: str

    @property
    def text(self) -> str:
        return f"Question: {self.question}\nTrue answer: {self.truth}\nAnswer: {self.answer}"


class _Unjudged(Exception):
    """This claim was refused, or what answers is no judge, or nobody does (`away`): why, in one line. So it may be with
    every claim."""

    def __init__(self, why: str, away: bool = False):
        super().__init__(why)
        self.away = away


class Judge:
    """`model` on the server at `url` (such as http://localhost:8000/v1). Needs the extra `judge`.

    `timeout` is in seconds for one try, of which there are up to 1 + `retries` a claim, further and further apart,
    when the server is busy or away; `workers` claims are judged at once. A reply has up to `tokens`, which leaves room
    for models that think first. `cache` is a JSON Lines file of verdicts. The key is read from the environment variable
    OPENAI_API_KEY unless it is given; local servers need none.
    """

    def __init__(
        self, url: str, model: str, *, key: str | None = None, timeout: float = 120.0, retries: int = 3,
        workers: int = 8, cache: Path | None = None, tokens: int = 1024,
    ):  # fmt: skip
        try:
            import openai
        except ImportError:
            raise ImportError("a judge needs the extra: pip install 'cooper-spatial[judge]'") from None
        self._openai: Any = openai
        key = key or os.environ.get("OPENAI_API_KEY") or "none"
        try:
            (urlsplit(url).hostname or "").encode("idna")
            self.client: Any = openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=retries)
        except Exception as error:  # whatever the client's own library finds in an address
            raise ValueError(f"{url!r} is not the address of a judge ({error})") from None
        self.url, self.model, self.workers, self.tokens = url, model, workers, tokens
        self.cache = cache
        self._known: dict[str, bool | float] = {} if cache is None else _read(cache)
        self._lock = threading.Lock()
        self._asks: dict[str, Any] = {"temperature": 0, "max_tokens": tokens}
        self._heard = False
        """Whether the server has answered once."""

    def check(self) -> None:
        """Asks for one verdict. Raises ValueError if the server does not judge: better now than after hours."""
        try:
            self._reply(Claim("How many eyes has a cat?", "two", "two"), INSTRUCTION)  # whatever is in the cache
        except _Unjudged as refusal:
            raise ValueError(str(refusal)) from None

    def verdicts(self, claims: Sequence[Claim]) -> list[bool | None]:
        """For each claim whether it is right, or None if there is no verdict: no reply, or neither a yes nor a no.

        Raises ValueError if the server refuses to judge at all: an unknown model, a wrong key, or nothing but refusals;
        and if it has not answered once, for which as many claims are tried as there are `workers`. One claim that it
        refuses, such as one that is too long for it, has no verdict.
        """
        return self._all(claims, INSTRUCTION, parse_verdict)

    def grades(self, claims: Sequence[Claim]) -> list[float | None]:
        """For each claim how right it is, 0..1, or None if there is no grade; otherwise as `verdicts`."""
        return self._all(claims, GRADING, parse_grade)

    def _all(
        self, claims: Sequence[Claim], instruction: str, parse: Callable[[str | None], T | None]
    ) -> list[T | None]:
        different = list(dict.fromkeys(claims))
        refusals: list[_Unjudged] = []

        def fatal() -> list[_Unjudged]:
            # what has judged before, as its cache tells, may refuse single claims; whether it still does is not known
            return [] if self._heard else [one for one in refusals if one.away or not self._known]

        def one(claim: Claim) -> T | None:
            if len(fatal()) >= self.workers:
                return None  # nobody is there
            try:
                return self._one(claim, instruction, parse)
            except _Unjudged as refusal:
                refusals.append(refusal)
                return None

        with ThreadPoolExecutor(self.workers) as pool:
            found = dict(zip(different, pool.map(one, different), strict=True))
        if whys := fatal():
            raise ValueError(str(whys[0]))
        return [found[claim] for claim in claims]

    def _one(self, claim: Claim, instruction: str, parse: Callable[[str | None], Any]) -> Any:
        key = hashlib.sha256(repr((self.model, instruction, claim.text)).encode()).hexdigest()
        if key in self._known:
            return self._known[key]
        right = parse(self._reply(claim, instruction))
        if right is not None:
            with self._lock:
                self._known[key] = right
                if self.cache is not None:
                    with self.cache.open("a", encoding="utf-8") as file:
                        # a line that was cut ends here
                        file.write("\n" + json.dumps({"key": key, "right": right}))
        return right

    def _reply(self, claim: Claim, instruction: str) -> str | None:
        messages = [{"role": "system", "content": instruction}, {"role": "user", "content": claim.text}]
        refusals = (
            self._openai.AuthenticationError, self._openai.PermissionDeniedError, self._openai.NotFoundError,
        )  # fmt: skip
        who = f"the judge {self.model} at {self.url} refuses"
        try:
            reply = self._completion(messages)
            content = reply.choices[0].message.content if reply.choices != [] else None
        except refusals as error:
            raise ValueError(f"{who}: {_line(error)}") from None
        except self._openai.BadRequestError as error:
            raise _Unjudged(f"{who}: {_line(error)}") from None
        except self._openai.OpenAIError as error:
            raise _Unjudged(
                f"the judge {self.model} at {self.url} does not answer ({_line(error)}); is it running, and is the "
                "address right?",
                away=True,
            ) from None
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            why = "its reply has no choices; is the address right? It often ends in /v1"
            raise _Unjudged(f"what answers at {self.url} is no judge: {why}") from None
        self._heard = True
        return content if isinstance(content, str) else None

    def _completion(self, messages: list[dict[str, str]]) -> Any:
        """The server's reply. Models that reason refuse some parameters by name, and are asked without from then on."""
        try:
            return self.client.chat.completions.create(model=self.model, messages=messages, **self._asks)
        except self._openai.BadRequestError as error:
            if not re.search("max_tokens|temperature", str(error)) or "max_tokens" not in self._asks:
                raise
            asks: dict[str, Any] = {"max_completion_tokens": self.tokens}
            reply = self.client.chat.completions.create(model=self.model, messages=messages, **asks)
            self._asks = asks
            return reply


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def parse_verdict(reply: str | None) -> bool | None:
    """A yes or a no that is the last line of a reply, or its first word; "Verdict: yes" is one, too."""
    said = _said(reply)
    last = rf"^\W*{_CALLED % 'verdict|answer|judge?ment'}(yes|no)\W*\Z"
    # not "no doubt: they are the same", nor "yes or no"
    plainly = r"yes|no(?=\s*(?:\Z|[^\w\s])|[ \t]*\n|\s+(?:it|they|the|this|that|these|those)\b)"
    first = rf"\W*({plainly})\b(?!\s*/|,?\s*\bor\b|\s+(?:and|nor)\b)"
    found = re.search(last, said, _FLAGS) or re.match(first, said, _FLAGS)
    return None if found is None else found[1].lower() == "yes"


def parse_grade(reply: str | None) -> float | None:
    """A reply whose last line is one number in 0..1, if it is; so are "Score: 0.5", "0.5/1" and "0.5 out of 1"."""
    called = _CALLED % "score|grade|correctness"
    line = (
        rf"^{_AROUND}*{called}(0(?:\.\d+)?|1(?:\.0+)?|\.\d+)"
        rf"(?:\s*(?:/|out\s+of)\s*1(?:\.0)?(?![\d.]*\d))?(?:{_AROUND}|\.)*\Z"
    )
    number = re.search(line, _said(reply), _FLAGS)
    return None if number is None else float(number[1])


_FLAGS = re.IGNORECASE | re.MULTILINE
_AROUND = r"[\s*\"'`\u2018-\u201d]"
# what replies call what they give: "**Score:** 0.5", "The answer is yes"
_CALLED = rf"(?:(?:the\s+|final\s+|my\s+|\*)*\b(?:%s)\b(?:{_AROUND}|[:=]|\bis\b)*)?"
_MARKS = re.compile(rf"{FORMATTING}|[{{}}$]|</?answer>")


def _said(reply: str | None) -> str:
    """A reply after its thoughts, without marks; nothing if they were cut off. Some servers leave out where they
    begin."""
    return _MARKS.sub(" ", re.sub(r"\A.*</think>|<think>.*", "", reply or "", flags=re.DOTALL)).strip()


def _read(path: Path) -> dict[str, bool | float]:
    """The verdicts and grades of a file. A line that was cut, or is damaged, is passed over: that claim is
    judged again."""
    known: dict[str, bool | float] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                if isinstance(row["right"], (bool, float)) and 0 <= row["right"] <= 1:
                    known[row["key"]] = row["right"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
    return known
