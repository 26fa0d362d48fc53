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
        (["<think>It must be B <answer>\\boxed{B}</answer>"], "B"),
        (["<think>Not <answer>A</answer>.</think> It is B."], "It is B."),
        (["<think>Far.</think><depth-estimation>draw the depth</depth-estimation>"], ""),
        (["<answer>A</answer>", ""], ""),
        (["A or B? </think> C"], "C"),
        # a unit behind the box belongs to its number
        (["<answer>\\boxed{30} inches</answer>"], "30 inches"), (["It is $\\boxed{30}$ in."], "30 in"),
        (["\\boxed{120}~\\text{cm}"], "120 cm"), (["\\boxed{1.2} (meters)"], "1.2 meters"), (["\\boxed{30}\""], '30"'),
        (["\\boxed{\\frac{1}{2}} feet"], "\\frac{1}{2} feet"), (["\\boxed{5-6} feet"], "5-6 feet"),
        (["\\boxed{about 5} feet"], "about 5 feet"), (["\\boxed{2.5\\times 10^2} cm"], "2.5\\times 10^2 cm"),
        (["\\boxed{3} in the room"], "3"), (["\\boxed{3} balls"], "3"), (["\\boxed {B} m"], "B"),
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
        ("A, because it is closer.", "A"), ("A; it is closer.", "A"), ("A, the box's left leg", "A"), ("A, not B", "A"),
        ("The answer is clearly B", "B"), ("The answer is most likely (b).", "B"), ("Answer: clearly, B", "B"),
        ("Probably B", "B"), ("It's probably B.", "B"), ("So, most probably, B.", "B"), ("Likely (b)", "B"),
        ("Unlikely B", None), ("Probably not B", None), ("Possibly A or B", None), ("Clearly A ball is near", None),
        ("I think B", "B"), ("I'm not sure, but I think it is B.", "B"), ("I'd say D", "D"),
        ("It is not visible, so the answer is B", "B"), ("The answer is B, C is too far", "B"),
        ("I don't think it is A. The answer is B.", "B"), ("It is not (A) but (B)", "B"),
        # a later choice counts, a later mention does not
        ("The answer is A... wait, no, it's B.", "B"), ("The answer is A. Actually, that is far.", "A"),
        ("The answer is A. No, the answer is C.", "C"), ("The answer is B, because option C is far", "B"),
        ("Option A is wrong, so the answer is C.", "C"),
        # the plainest choice counts, whatever is thought of others
        ("The answer is B because I think A is farther away.", "B"), ("Answer: B\nI think A is behind.", "B"),
        ("B is the correct answer since I believe A is hidden", "B"), ("B. I guess A is farther.", "B"),
        ("The answer is B, whereas many would choose A.", "B"), ("A. is red. The correct one is B. box", "B"),
        ("I initially thought the answer is A, but it's B", "B"), ("A is wrong. B is correct.", "B"),
        ("I choose A. But the answer is B.", "B"), ("I think B is the right answer.", "B"), ("B is closer.", "B"),
        ("The answer is A. No, it is B.", "B"), ("the answer is A? No, B.", "B"), ("The answer is A... no, B", "B"),
        ("The answer is A. No ball is closer.", "A"), ("The answer is A, no doubt.", "A"),
        ("It is B.", "B"), ("It's C.", "C"), ("So B", "B"), ("The closest thing is C.", "C"), ("Final: C", "C"),
        ("Ans: B", "B"), ("It must be B.", "B"), ("I'm going with B", "B"), ("I'd go for B.", "B"),
        ("not A but B", "B"),
        ("The answer is not A but B.", "B"), ("Not (A), but (B)", "B"),
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
        "The answer is A or B", "The answer is (A) or (B), the box", "Option A or B", "A, B", "A; B", "A/B", "A, or B",
        "The answer is A, B or C", "The answer is unlikely B", "I don't think B", "I would not pick B", "B is wrong",
        "I do not think the answer is B", "It is not option B", "I think A table is in the way", "I think C is too far",
        "The boxes", "Vitamin C", "B-ball",
        # said of a letter
        "A is far away. B is near.", "A - red ball: far\nB - box: near", "Before the box (B) stands the red ball.",
        "Option A is the red ball, which is far. The box is near.", "I think A is behind", "What is A?", "It is not B.",
        "A) No. B) No. C) Yes. D) No.", "There is no box", "I see no such box here", "Neither A nor B is correct",
        "B is closer than A", "Both A and B are correct",
    ],
)  # fmt: skip
def test_no_letter(text: str) -> None:
    assert letter(text, THINGS) is None


@pytest.mark.parametrize(
    ("text", "options", "found"),
    [
        ("Yes, the dog is wearing a hat.", "Yes/No", "A"), ("No, the dog is not wearing a hat.", "Yes/No", "B"),
        ("No, it isn't.", "Yes/No", "B"), ("No, there is not.", "No/Yes", "A"), ("False, it's not.", "True/False", "B"),
        ("No", "Yes/No", "B"), ("B", "Yes/No", "B"), ("Yes or no", "Yes/No", None), ("I can't tell", "Yes/No", None),
        ("It is not open.", "open/not open", "B"), ("It is open.", "open/not open", "A"),
        ("It is not clear whether it is open", "open/not open", None), ("I can't tell.", "left/can't tell", "B"),
    ],
)  # fmt: skip
def test_options_that_deny(text: str, options: str, found: str | None) -> None:
    assert letter(text, options.split("/")) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The answer is \\(B\\).", "B"), ("\\(\\text{B}\\)", "B"), ("So the final answer is: \\[B\\]", "B"),
        ("The answer is \\(\\textbf{B}\\).", "B"), ("\\textsf{B}", "B"), ("\\displaystyle B", "B"),
        ("\\left(B\\right)", "B"),
        ("The answer is not \\(B\\).", None), ("\\(A\\) or \\(B\\)", None),
        # other widths and scripts
        ("\uff22", "B"), ("\uff08B\uff09", "B"), ("B\u3001box", "B"), ("\u7b54\u6848\uff1aB", "B"),
        ("\u7b54\u6848\u662fB\u3002", "B"),
        ("\u9009B", "B"), ("\u9009\u9879B", "B"), ("\u7b54\u3048\u306fB", "B"), ("\u7b54\u6848\u662fA\u6216B", None),
    ],
)  # fmt: skip
def test_letters_within_marks_and_other_scripts(text: str, found: str | None) -> None:
    assert letter(text, THINGS) == found


@pytest.mark.parametrize(
    "text", ["The answer is \\(\\text{No}\\).", "Answer: \\textbf{no}", "\\[\\mathrm{No}\\]", "\uff2e\uff4f"]
)
def test_no_within_marks(text: str) -> None:
    assert yes_no(text) == "no"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("(B) cannot be determined", "B"), ("B cannot be determined.", "B"), ("C, A chair", "C"), ("C. A chair", "C"),
        ("The answer is (B) cannot be determined.", "B"), ("not (C) A chair", None), ("B, A chair", None),
        ("A) a table B) cannot be determined C) a chair", None),
    ],
)
def test_a_letter_with_its_words_whatever_they_say(text: str, found: str | None) -> None:
    assert letter(text, ("a table", "cannot be determined", "A chair")) == found


def test_letters_of_numbers_and_of_unknown_options() -> None:
    assert letter("three", ("2", "3")) == letter("There are 3 of them", ("2", "3")) == "B"
    assert letter("1.2", ("1 m", "1.2 m")) == "B"
    assert letter("4", ("2", "3")) is None and letter("50 cm", ("1 m", "50 cm")) == "B"
    assert letter("2", ("2", "2")) is None, "two options say the same"
    assert letter("2 of the 3", ("2", "3")) is None
    assert letter("(D) somewhere") == "D" and letter("somewhere") is None and letter("A ball") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Yes", "yes"), ("yes, it is", "yes"), ("No.", "no"), ("**No**, it is not", "no"), ("no it is behind", "no"),
        ("No\nBecause", "no"), ("True", "yes"), ("false", "no"), ("The answer is no", "no"), ("Answer: true.", "yes"),
        ("It is true", "yes"), ("The statement is false.", "no"), ("Not really", "no"), ("Probably not.", "no"),
        ("I wonder whether it is true", None), ("Not really sure", None), ("I doubt if it is true", None),
        ("I think so, yes.", "yes"), ("That is not true.", None), ("Is it false?", None),
        ("No idea", None), ("No balls are there", None), ("There is no ball", None), ("I can't tell", None),
        ("", None), ("yesterday", None), ("not sure", None),
        ("The answer is yes, because the ball is closer.", "yes"), ("Answer: No, the ball is behind", "no"),
        ("Based on the image, yes, it is.", "yes"), ("The answer is clearly no.", "no"), ("I would say yes", "yes"),
        ("It is not closer, no.", "no"), ("I'm not sure but no", "no"), ("It is not visible so I say no", "no"),
        ("Yes or no? Yes.", "yes"), ("Yes, it may be. But the answer is no.", "no"),
        ("I cannot say yes", None), ("The answer isn't yes", None), ("It is unclear whether yes or no", None),
        ("Nope", "no"), ("Yep.", "yes"), ("Yeah, it is", "yes"), ("Absolutely not.", "no"),
        # corrections
        ("Yes. Wait, no.", "no"), ("Yes... wait, no.", "no"), ("No, wait, yes.", "yes"),
        ("Yes. Actually, no, it is not.", "no"),
        ("Yes. Hmm, actually no, it is not.", "no"), ("The answer is yes. On second thought, no.", "no"),
        ("Yes. Wait, let me look again.", "yes"), ("I wouldn't actually say yes", None),
        ("Actually, it is true", "yes"),
        ("Yes, it is actually no ball", "yes"), ("Wait. No.", "no"),
        ("Yes or no", None), ("yes/no", None), ("The answer is neither yes nor no", None), ("Is it yes?", None),
        ("Options: yes, no", None), ("The answer is no ball", None),
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
        # what a sum comes to
        ("2 + 3 = 5", (5.0, None)), ("5 = 2 + 3", (5.0, None)), ("The answer is 2 + 3 = 5.", (5.0, None)),
        ("There are 2 red and 3 blue, so 5", (5.0, None)), ("two red and three blue, so there are five", (5.0, None)),
        ("There are 2 on the left and 1 on the right, making 3", (3.0, None)), ("2 + 1 makes 3", (3.0, None)),
        ("2 red, 3 blue, 5 in total", (5.0, None)), ("5 in total: 2 red, 3 blue", (5.0, None)),
        ("2 red, 3 blue, a total of 5, of which 1 is far", (5.0, None)), ("2 red, 3 blue; altogether 5", (5.0, None)),
        ("2 m + 1 m = 3 m", (3.0, "m")), ("It is 2 m away, so it is the nearest one", (2.0, "m")),
        ("The answer is 3, so I am sure", (3.0, None)), ('I see a "stop" sign, 3 in total', (3.0, None)),
        ("no it is not", None), ("No items", (0.0, None)),
        ("There are no chairs", (0.0, None)), ("There are no more than 3", (3.0, None)),
        ("2 m away, so 2 people fit", (2.0, "m")), ("1.2 m wide, so it fits a 3 m wall", (1.2, "m")),
        # what something is said to be
        ("The distance between chair 1 and chair 2 is 3.", (3.0, None)), ("Number of chairs: 4", (4.0, None)),
        ("A door of 2 m. The height of the shelf is about 1.2 m.", (1.2, "m")),
        ("Based on a door of 80 inches, I estimate the gap to be 20 inches.", (20.0, "in")),
        ("Assuming the door is 2.0 m tall, the shelf is 1.2 m tall.", (1.2, "m")),
        ("1. chair\n2. sofa\n\nThere are 3 things.", (3.0, None)),
        ("No chairs.", (0.0, None)), ("No chair is visible.", (0.0, None)), ("No idea", None), ("No, 3", (3.0, None)),
        ("There aren't any chairs.", (0.0, None)), ("I don't see any chairs", (0.0, None)),
        ("There isn't any way to tell", None),
        # corrections
        ("2... no wait, 3", (3.0, None)), ("I see 2. Actually 3.", (3.0, None)), ("not 2 but 3", (3.0, None)),
        ("2 m. Wait, it is 3 m.", (3.0, "m")), ("I first thought 2, but it's 3", (3.0, None)),
        ("It is 2 m. No, 3 m.", (3.0, "m")),
        ("The answer is 2. Actually, there are 3.", (3.0, None)), ("It is not 2 m but 3 m", (3.0, "m")),
        ("3, not 2", (3.0, None)),
        ("A lamp of 2 m. The box is actually 3 m wide.", (2.0, "m")), ("2 m, actually a 3 seat sofa", (2.0, "m")),
        ("I see 2. Wait, the red one is no chair.", (2.0, None)),
        # in many ways
        ("5\u201910\u201d", (5 + 10 / 12, "ft")), ("2\u00bd m", (2.5, "m")), ("2 and a half meters", (2.5, "m")),
        ("a quarter of a meter", (0.25, "m")), ("three quarters of a metre", (0.75, "m")),
        ("two and a quarter metres", (2.25, "m")), ("1.5 \u00b1 0.2 m", (1.5, "m")), ("1.5 \\pm 0.2 m", (1.5, "m")),
        ("15 decimeters", (15.0, "dm")), ("1.2 (meters)", (1.2, "m")), ("distance: 30; unit: inches", (30.0, "in")),
        ("\\scalar{30} \\distance_unit{inches}", (30.0, "in")),
        ("1.5 to 2 km", (1.75, "km")), ("2' to 3'", (2.5, "ft")), ("2-3 in", (2.5, "in")),
        ("I can't tell", None), ("", None), ("far", None), ("that one", None), ("no", None),
        # a part of a number is none, powers of ten, feet and inches without a space
        ("1.5k", None), ("3.5x", None), ("1.9m\u00b2", None), ("5.2 \u00d7 10^1 cm", (52.0, "cm")),
        ("$5.2 \\times 10^{-1}$ m", (0.52, "m")), ("5ft6in", (5.5, "ft")),
        ("Depths are 3 m and 2 m. The difference is 1 m.", (1.0, "m")),
    ],
)  # fmt: skip
def test_quantities(text: str, found: tuple[float, str | None] | None) -> None:
    assert quantity(text) == (found if found is None else (pytest.approx(found[0]), found[1]))


@pytest.mark.parametrize(
    ("text", "number", "length"),
    [
        ("24 m\u00b2", "24", None), ("1.9m\u00b2", "1.9", None), ("24 square meters", "24", None),
        ("24 m^2", "24", None), ("$24\\text{ m}^2$", "24", None), ("about 12 sqm", "12", None), ("2.5m2", "2.5", None),
        ("24 metres", "24 m", "24 m"),
        ("The room is 6 m by 4 m, which is 24 square meters.", "24", "6 m"), ("thirty square metres", "30", None),
        ("100 square feet", "9.290304", None), ("4 m2 or 5 m2", None, None),
        ("The table of 2 m\u00b2 is 1.5 m high", "2", "1.5 m"), ("1. a room\n2. a hall\nThe area is 20.", "20", "20"),
    ],
)  # fmt: skip
def test_areas_are_numbers_and_no_lengths(text: str, number: str | None, length: str | None) -> None:
    assert (answer_in("number", text), answer_in("length", text)) == (number, length)


@pytest.mark.parametrize(
    ("text", "number", "of_length"),
    [
        ("The answer is 3 m, as the room has 20 sq m.", "3 m", "3 m"),
        ("The room has 20 sq m. The answer is about 3 m.", "3 m", "3 m"),
        ("The rug covers 6 square feet; the distance is 2 feet.", "2 ft", "2 ft"),
        ("The distance is 3 m. The room has 20 sq m.", "3 m", "3 m"),
        ("The room is about 20 square meters, and the distance is 3 m", "3 m", "3 m"),
        ("The length is 6 m and the width 4 m, so the area is 24 m\u00b2.", "24", "6 m"),
        ("The answer is 6 m by 4 m, which is 24 square meters.", "24", "6 m"),
        ("3 m, one side of 9 square meters", "9", "3 m"), ("The answer is about 24 m^2, 6 m x 4 m", "24", "6 m"),
    ],
)  # fmt: skip
def test_an_area_is_taken_where_nothing_says_that_it_is_a_length(text: str, number: str, of_length: str) -> None:
    assert (answer_in("number", text), answer_in("number", text, truth="3 metres")) == (number, of_length)
    assert answer_in("number", text, truth="24 m^2") == answer_in("number", text, truth="24") == number


def test_each_kind_is_read_in_its_way() -> None:
    assert answer_in("choice", "the box", THINGS) == "B" and answer_in("yes_no", "Yes!") == "yes"
    assert answer_in("length", "two to three metres") == "2.5 m" and answer_in("count", "three") == "3"
    assert answer_in("number", "far") is answer_in("word", "") is answer_in("open", "") is None
    assert answer_in("open", "A cat (B).") == "A cat (B)." and answer_in("word", "red") == "red"
