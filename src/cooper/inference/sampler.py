"""Choosing the next token, and the random numbers behind every choice.

Random numbers depend on a trace's own seed and on nothing else: not on the device, nor on what else is in the batch.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: below this temperature logits cannot be divided by it, and sampling is greedy
COLD = 1e-6


@dataclass(frozen=True)
class Demand:
    """One of the texts `of`, as tokens, has to be written before any of the tokens `before`."""

    of: tuple[tuple[int, ...], ...]
    before: tuple[int, ...]


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 is greedy. With `top_p` below 1, only the likeliest tokens that make up that share are eligible;
    tokens that are `banned` never are."""

    temperature: float = 0.0
    top_p: float = 1.0
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"the temperature must be a number and not negative; got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top-p lies above 0 and at most at 1; got {self.top_p}")

    def choose(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, vocabulary) and a uniform random number each (B,) to token ids (B,) and their log-probabilities
        under the distribution that was sampled from (temperature 1 when greedy)."""
        logits = logits.float()
        if (logits.isnan() | (logits == float("inf"))).any():
            raise ValueError(
                "the model's logits are NaN or infinite: its weights are damaged, or out of range in this precision"
            )
        if self.banned:
            logits = logits.index_fill(-1, torch.tensor(self.banned, device=logits.device), float("-inf"))
        if self.temperature < COLD:
            ids = logits.argmax(dim=-1)
            return ids, torch.log_softmax(logits, dim=-1).gather(-1, ids[:, None])[:, 0]
        log_p = torch.log_softmax(logits / self.temperature, dim=-1)
        if self.top_p < 1:
            ordered, where = log_p.exp().sort(dim=-1, descending=True)
            outside = ordered.cumsum(dim=-1) - ordered >= self.top_p
            outside[..., 0] = False  # whatever share it has, in fp32
            log_p = log_p.masked_fill(torch.zeros_like(outside).scatter(-1, where, outside), float("-inf"))
            log_p = log_p - log_p.logsumexp(dim=-1, keepdim=True)
        cumulative = log_p.exp().cumsum(dim=-1)
        # kept below the sum, so that rounding can never push a draw past the last eligible token
        total = cumulative[:, -1:]
        drawn = torch.minimum(uniform.to(cumulative)[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
        ids = torch.searchsorted(cumulative, drawn, right=True)[:, 0]
        return ids, log_p.gather(-1, ids[:, None])[:, 0]


class PendingDemands:
    """What is demanded of rows that write a turn, as long as they have not written it."""

    def __init__(self, demand: Demand | None, rows: int):
        self.demand, self.pending = demand, [demand is not None] * rows
        self.rest: list[tuple[int, ...]] = [()] * rows

    def settle(self, logits: Tensor, ids: Tensor, log_p: Tensor) -> None:
        """Change in place what was chosen (`Sampling.choose`): where it would come too early, the text comes whose
        first token is likeliest, and to its end."""
        if self.demand is None:
            return
        for row, token in enumerate(ids.tolist()):
            if self.pending[row] and token in self.demand.before:
                self.rest[row] = max(self.demand.of, key=lambda text: float(logits[row, text[0]]))  # noqa: B023
            if self.rest[row]:
                token, *rest = self.rest[row]
                self.rest[row], ids[row] = tuple(rest), token
                log_p[row] = torch.log_softmax(logits[row].float(), dim=-1)[token]
            if any(token == text[0] for text in self.demand.of):
                self.pending[row] = False


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator that is a pure function of its key, such as (seed, "text", turn)."""
    plain = tuple(k if isinstance(k, str) else int(k) for k in key)  # NumPy's numbers are written otherwise
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") % 2**63)
