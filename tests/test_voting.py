"""Answers that say the same, and which one of them wins."""

from __future__ import annotations

import pytest

from cooper.voting import vote


@pytest.mark.parametrize(
    ("said", "answer", "votes"),
    [
        (["3 m", "2 m", "2.0 m", "3 m", "2 meters"], "2 m", {"3 m": 2, "2 m": 3}),
        (["no", "Yes", "yes.", "no", "\\text{yes}"], "Yes", {"no": 2, "Yes": 3}),
        (["3 m", "1.8 m", "180 cm", "10 ft"], "1.8 m", {"3 m": 1, "1.8 m": 2, "10 ft": 1}),
        (["4 m", "90 cm", "2 m"], "2 m", {"4 m": 1, "90 cm": 1, "2 m": 1}),
        (["2", "2 m", "3"], "2 m", {"2": 1, "2 m": 1, "3": 1}),
        (["the 2 boxes", "2 boxes", "2 boxes"], "2 boxes", {"the 2 boxes": 1, "2 boxes": 2}),
        (["", "", "red"], "red", {"red": 1}), (["", ""], "", {}),
        (["2 boxes", "2 balls", "2 balls"], "2 balls", {"2 boxes": 1, "2 balls": 2}),
        (["two", "2", "3"], "two", {"two": 2, "3": 1}),
        (["25", "twenty five", "twenty-five", "26", "26"], "25", {"25": 3, "26": 2}),
        (["4 chairs", "four chairs", "5 chairs"], "4 chairs", {"4 chairs": 2, "5 chairs": 1}),
        (["3, 4", "3, 5", "3, 5"], "3, 5", {"3, 4": 1, "3, 5": 2}),
        (["12/5/2020", "12/5/2021", "7", "7"], "7", {"12/5/2020": 1, "12/5/2021": 1, "7": 2}),
        (["1/0", "0", "7", "7"], "7", {"1/0": 1, "0": 1, "7": 2}),
        ([".5 m", "0.5 m", "1 m"], ".5 m", {".5 m": 2, "1 m": 1}),
    ],
)  # fmt: skip
def test_what_means_the_same_counts_together(said: list[str], answer: str, votes: dict[str, int]) -> None:
    result = vote([text or None for text in said])
    assert (result.answer, result.votes) == (answer, votes)
    assert not votes or vote([answer, said[result.chosen]]).votes == {answer: 2}, "the chosen one says what is shown"
