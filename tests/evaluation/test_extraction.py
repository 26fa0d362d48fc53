"""What rules read in answers, and what they must not."""

from __future__ import annotations

import pytest

from cooper.evaluation.extraction import answer_in, final_text, letter, quantity, yes_no

THINGS = ("the red ball", "box", "left", "front left")


@pytest.mark.parametrize(
    ("turns", "text"),
    [
        (["<think>A or B?</think><answer>\\boxed{B}</answer>"], "B"),
        (["<answer>A</answer> no, <answer> the box </answer>"], "the box"),
        (["<answer>\\boxed{\\text{B}} and more</answer>"], "\\text{B}"),
        (["\\boxed{1 m}, or rather \\boxed{2 m}"], "2 m"),
        (["first", "<answer>B"], "B"),
        (["It is B."], "It is B."),
        (["<think>It must be B"], ""),
        (["<think>Far.</think><depth-estimation>draw the depth</depth-estimation>"], ""),
        (["<answer>A</answer>", ""], ""),
        ([], ""),
    ],
)
def test_what_is_said_in_the_end(turns: list[str], text: str) -> None:
    assert final_text(turns) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("B", "B"), ("b", "B"), ("(B)", "B"), ("B.", "B"), ("**B**", "B"), ("\\text{B}", "B"), ("A", "A"),
        ("B. box", "B"), ("B) box", "B"), ("(B) box", "B"), ("B: box", "B"), ("B - box", "B"), ("B\nIt is.", "B"),
        ("The answer is B", "B"), ("answer: (b)", "B"), ("Answer: b.", "B"), ("The correct option is B.", "B"),
        ("Option B: box", "B"), ("So I pick D!", "D"), ("B is right", "B"), ("A because of that", "A"),
        ("It must be (B), I think", "B"), ("the answer is A, the red ball", "A"),
        # a later choice counts, a later mention does not
        ("The answer is A. No, the answer is C.", "C"), ("The answer is B, because option C is far", "B"),
        ("Option A is wrong, so the answer is C.", "C"),
        # in words
        ("box", "B"), ("The box.", "B"), ("It is the box", "B"), ("the answer is a box", "B"), ("red ball", "A"),
        ("to the left", "C"), ("it is to the front left of it", "D"),
    ],
)  # fmt: skip
def test_letters(text: str, found: str) -> None:
    assert letter(text, THINGS) == found


@pytest.mark.parametrize(
    "text",
    [
        "", "I can't tell", "A table is in the middle", "A-shaped things", "E.g. a chair", "The answer is A chair",
        "the red ball, or the box", "It is not the box", "I don't know whether it is the box",
        "either option A or option B",
        "A. the red ball\nB. box\nC. left", "(A) or (B)", "A, B and C", "The answer is not B", "E", "H.", "answer: G",
        "The boxes", "Vitamin C", "B-ball",
    ],
)  # fmt: skip
def test_no_letter(text: str) -> None:
    assert letter(text, THINGS) is None


def test_letters_of_numbers_and_of_unknown_options() -> None:
    assert letter("three", ("2", "3")) == letter("There are 3 of them", ("2", "3")) == "B"
    assert letter("4", ("2", "3")) is None and letter("50 cm", ("1 m", "50 cm")) == "B"
    assert letter("2", ("2", "2")) is None, "two options say the same"
    assert letter("2 of the 3", ("2", "3")) is None
    assert letter("(D) somewhere") == "D" and letter("somewhere") is None and letter("A ball") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Yes", "yes"), ("yes, it is", "yes"), ("No.", "no"), ("**No**, it is not", "no"), ("no it is behind", "no"),
        ("No\nBecause", "no"), ("True", "yes"), ("false", "no"), ("The answer is no", "no"), ("Answer: true.", "yes"),
        ("I think so, yes.", "yes"), ("That is not true.", None), ("Is it false?", None),
        ("No idea", None), ("No balls are there", None), ("There is no ball", None), ("I can't tell", None),
        ("", None), ("yesterday", None), ("not sure", None),
    ],
)  # fmt: skip
def test_yes_or_no(text: str, found: str | None) -> None:
    assert yes_no(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1.5 m", (1.5, "m")), ("about 180 cm", (180.0, "cm")), ("three", (3.0, None)),
        ("6 feet 2 inches", (6 + 1 / 6, "ft")), ("2 to 3 m", (2.5, "m")), ("2-3 m", (2.5, "m")),
        ("10\u201320cm", (15.0, "cm")), ("two to three metres", (2.5, "m")),
        ("between 2 and 3 metres", (2.5, "m")), ("50 cm to 1 m", (0.75, "m")), ("from 1.2 m to 1.4 m", (1.3, "m")),
        # no ranges
        ("3 - 2 = 1 m", (1.0, "m")), ("1.5 m; the box is 2 to 3 m away", (1.5, "m")),
        ("next to three balls", (3.0, None)), ("between the ball and the box: 2 m", (2.0, "m")), ("-2 m", (-2.0, "m")),
        ("The ball is at 4 m. The answer is 3 m.", (3.0, "m")), ("The answer is above: 2 m", (2.0, "m")),
        ("I can't tell", None), ("", None), ("far", None),
    ],
)  # fmt: skip
def test_quantities(text: str, found: tuple[float, str | None] | None) -> None:
    assert quantity(text) == (found if found is None else (pytest.approx(found[0]), found[1]))


def test_each_kind_is_read_in_its_way() -> None:
    assert answer_in("choice", "the box", THINGS) == "B" and answer_in("yes_no", "Yes!") == "yes"
    assert answer_in("length", "two to three metres") == "2.5 m" and answer_in("count", "three") == "3"
    assert answer_in("number", "far") is answer_in("word", "") is answer_in("open", "") is None
    assert answer_in("open", "A cat (B).") == "A cat (B)." and answer_in("word", "red") == "red"
