"""Mixing sets: shares, every example once, draws by number, ranks, and what is broken."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cooper.data.mixture import Mixture, Unbroken, draws
from cooper.data.nyu import Nyu
from cooper.data.tables import BadRow, open_table


def names(set_name: str, number: int) -> list[str]:
    return [f"{set_name}{i}" for i in range(number)]


def paper(seed: int = 0) -> Mixture[str]:
    return Mixture([(names("h", 90), 0.45), (names("v", 7), 0.05), (names("a", 100), 0.5)], seed)


def test_every_block_of_draws_has_each_sets_share() -> None:
    mixture = paper()
    for start in (0, 256 * 3, 256 * 10**9):
        counts = Counter(mixture.example(start + k)[0] for k in range(256))
        for name, share in (("h", 0.45), ("v", 0.05), ("a", 0.5)):
            assert abs(counts[name] - 256 * share) <= 2, (start, counts)
    counts = Counter(mixture.example(k)[0] for k in range(256 * 8))
    assert all(abs(counts[name] - 2048 * share) <= 2 for name, share in (("h", 0.45), ("v", 0.05), ("a", 0.5)))


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0.01, 5)), min_size=1, max_size=4), st.integers(0, 99))
def test_every_example_comes_once_before_any_comes_twice(sets: list[tuple[int, float]], seed: int) -> None:
    mixture = Mixture([(range(number), weight) for number, weight in sets], seed)
    seen: dict[int, list[int]] = {}
    for k in range(400):
        s, item = mixture.place(k)
        seen.setdefault(s, []).append(item)
    for s, items in seen.items():
        length = sets[s][0]
        for epoch in range(0, len(items), length):
            part = items[epoch : epoch + length]
            assert len(set(part)) == len(part), (s, epoch)


def test_a_draw_depends_on_the_seed_and_its_number_alone() -> None:
    stream = [paper().example(k) for k in range(1000)]
    other = paper()
    assert [other.example(k) for k in reversed(range(1000))] == stream[::-1]  # whatever was drawn before
    assert sum(a == b for a, b in zip(stream, (paper(1).example(k) for k in range(1000)), strict=True)) < 100
    # nor do the sets come in the same order in every block: by chance 45 in 100 agree
    assert sum(a[0] == b[0] for a, b in zip(stream[:256], stream[256:512], strict=True)) < 170
    epochs = [x for x in stream if x[0] == "h"]
    assert sorted(epochs[:90]) == sorted(epochs[90:180]) and epochs[:90] != epochs[90:180]  # another order each time
    assert paper().example(10**15) == paper().example(10**15)


@given(st.integers(1, 9), st.integers(0, 500))
def test_ranks_deal_the_stream_out_and_it_can_be_resumed_on_any_number_of_them(world: int, first: int) -> None:
    dealt = sorted(k for rank in range(world) for k in islice(draws(rank, world, first), 5))
    assert dealt == list(range(first, first + 5 * world))
    assert list(islice(draws(0, 3), 2)) == [0, 3]
    with pytest.raises(ValueError, match="there is no rank"):
        draws(world, world)


def test_each_rank_draws_from_all_sets() -> None:
    mixture = Mixture([(names("a", 50), 0.5), (names("b", 50), 0.5)])
    for rank in range(2):
        counts = Counter(mixture.example(k)[0] for k in islice(draws(rank, 2), 256))
        assert min(counts.values()) > 90  # taking turns would give a rank one set alone


def test_mixtures_that_cannot_be() -> None:
    for parts, why in (([], "at least one set"), ([([1], 1.0), ([], 1.0)], "set 2 of the mixture is empty"),
                       ([([1], 0.0)], "the weight 0"), ([([1], float("nan"))], "the weight nan")):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            Mixture(parts)


# ---------------------------------------------------------------- what is broken


def rows(path: Path, number: int, broken: set[int]) -> Path:
    path.write_text("".join("{broken\n" if i in broken else f'{{"n": {i}}}\n' for i in range(number)))
    return path


def test_a_broken_row_is_told_once_and_the_next_of_its_set_is_taken(tmp_path: Path) -> None:
    good = open_table(rows(tmp_path / "good.jsonl", 20, set()))
    bad = open_table(rows(tmp_path / "bad.jsonl", 10, {3, 7}))
    mixture = Mixture([(good, 0.5), (bad, 0.5)])
    told: list[str] = []
    whole = Unbroken(mixture, lambda error: told.append(str(error)))
    drawn = [whole.example(k) for k in range(120)]
    assert sorted(error.split(":")[0] for error in told) == [f"{tmp_path}/bad.jsonl, row {n}" for n in (4, 8)]
    assert set(whole.bad) == {(1, 3), (1, 7)} and {row["n"] for row in drawn} == set(range(20))
    for k in range(120):  # whole draws are as before, broken ones are of the same set; none is shifted
        s, item = mixture.place(k)
        assert drawn[k]["n"] == item if (s, item) not in whole.bad else drawn[k]["n"] in set(range(10)) - {3, 7}
    # another process that begins in the middle draws the same
    again = Unbroken(mixture, lambda error: None)
    assert [again.example(k) for k in range(60, 120)] == drawn[60:]


def test_strict_raises_at_the_first(tmp_path: Path) -> None:
    table = open_table(rows(tmp_path / "rows.jsonl", 4, {2}))
    strict = Unbroken(Mixture([(table, 1.0)]), lambda error: pytest.fail("it is raised, not told"), strict=True)
    with pytest.raises(BadRow, match="rows.jsonl, row 3: this is not JSON"):
        for k in range(4):
            strict.example(k)


def test_a_set_that_is_all_broken_ends_with_one_error(tmp_path: Path) -> None:
    (tmp_path / "rgb").mkdir()
    for i in range(150):
        Image.fromarray(np.zeros((2, 2, 3), dtype=np.uint8)).save(tmp_path / "rgb" / f"{i}.png")
    told: list[BadRow] = []
    broken = Unbroken(Mixture([(Nyu(tmp_path), 1.0)]), told.append)
    with pytest.raises(ValueError, match="all of 100 examples tried of set 1 are broken; .* The last: .*png"):
        broken.example(0)
    assert len(told) == len(broken.bad) == 100
    few = Unbroken(Mixture([(open_table(rows(tmp_path / "rows.jsonl", 2, {0, 1})), 1.0)]), told.append)
    for _ in range(2):  # also where nothing new is found
        with pytest.raises(ValueError, match="all of 2 examples tried .* this is not JSON"):
            few.example(5)
    assert len(told) == 102
