"""Interruptions are held where something would be left half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from cooper.signals import ENDING, interrupt_once, uninterrupted


@pytest.fixture(params=ENDING, autouse=True)
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """SIGTERM is taken for an interruption, as commands do."""
    before = {number: signal.getsignal(number) for number in ENDING}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield request.param
    for each, handler in before.items():
        signal.signal(each, handler)


def test_it_is_held_until_the_end(number: signal.Signals) -> None:
    done: list[str] = []
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  (what is tested is where it is raised)
        with uninterrupted(), uninterrupted():
            signal.raise_signal(number)
            done.append("the rest")
        done.append("what follows")
    assert done == ["the rest"] and signal.getsignal(number) is before
    with uninterrupted():
        done.append("more")
    with pytest.raises(ValueError, match="wrong"), uninterrupted():
        raise ValueError("wrong")
    assert done == ["the rest", "more"] and signal.getsignal(number) is before


def test_what_is_ignored_goes_on_being_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    with uninterrupted():
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_IGN


def test_one_interruption_is_enough(number: signal.Signals) -> None:
    interrupt_once()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    for each in ENDING:
        signal.raise_signal(each)
