"""Questions about pictures as the rows of a table, in the forms in which they are published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cooper.data.examples import Flag, QuestionExample
from cooper.data.fields import PICTURE, field, given, picture_in
from cooper.data.options import letter_among, lettered, options_in, options_of
from cooper.data.tables import BadRow, Row, TableReader, open_table
from cooper.trace import asked
from cooper.turns import answer_of, boxed_in

#: What an answer's field holds where there is none.
NO_ANSWERS = ("inf", "-inf", "nan")
#: What stands for yes and no beside these words.
YES_NO = {"1": "yes", "0": "no", "true": "yes", "false": "no"}


def plain_question(text: str) -> str:
    """A question without the mark of where its picture stands among the words: it comes first here."""
    return text.replace("<image>", "").strip()


def plain_answer(text: str) -> str:
    """The answer in an answer's field: some hold whole turns, or have it boxed."""
    return next(found for found in (answer_of(text), boxed_in(text), text) if found is not None).strip()


@dataclass(frozen=True)
class Fields:
    """Names of fields. Of several, the first that is not empty counts."""

    picture: tuple[str, ...] = PICTURE
    question: tuple[str, ...] = ("question", "query", "problem")
    answer: tuple[str, ...] = ("answer", "solution", "correct_answer", "label")


class QuestionRows(TableReader[QuestionExample]):
    """A table with a picture, a question and an answer in each row, and possibly a `flag` (docs/method.md, section 4).

    Paths of pictures are relative to `pictures`, or the table's own folder. Two forms mean more than their fields say:
    - `caption` and `label` (VSR): whether the caption is true of the picture, "yes" or "no";
    - `answers` beside `correct_answer` (SAT): the answers are choices, which the question then ends with.
    Options, as a list in `options` or `choices` or in fields A, B .., are put behind the question, and the answer is
    the letter of one, as the evaluation of a table asks for it (`cooper.evaluation.benchmarks.tsv`).
    """

    def __init__(self, path: str | Path, pictures: str | Path | None = None, fields: Fields = Fields()):
        self.table = open_table(path)
        self.pictures = self.table.folder if pictures is None else Path(pictures)
        self.fields = fields

    def _at(self, i: int) -> QuestionExample:
        row, where = self.table[i], self.table.where(i)
        question, answer = self._question(row, where)
        try:
            question = asked(question)
        except ValueError as error:
            raise BadRow(where, error) from None
        answer = plain_answer(answer)
        if not answer or answer in NO_ANSWERS:
            raise BadRow(where, "its answer is empty, or no number; leave the row out")
        question, answer = _with_options(row, question, answer, where)
        named = next((row[name] for name in self.fields.picture if given(row.get(name))), None)
        other = isinstance(named, str) and named.isdigit() and not (self.pictures / named).exists()
        pictured = self.table.referred(i, named) if other else row
        picture = picture_in(pictured or row, self.fields.picture, self.pictures, where)
        rest = {name: value for name, value in row.items() if name not in self.fields.picture}
        return QuestionExample(picture, question, answer, _flag(row), where, rest)

    def _question(self, row: Row, where: str) -> tuple[str, str]:
        """Question and answer, unchecked."""
        if row.get("caption") and not any(row.get(name) for name in self.fields.question):
            label = str(field(row, ("label",), where)).lower()
            if label not in YES_NO:
                raise BadRow(where, f"its label is {label!r}; whether a caption is true is 1 or 0")
            return f"Is this true? {row['caption']}", YES_NO[label]
        question, answer = field(row, self.fields.question, where), field(row, self.fields.answer, where)
        for value in (question, answer):
            if not isinstance(value, str | int | float):
                raise BadRow(where, f"questions and answers are text; this row has {type(value).__name__}")
        choices = row.get("answers")
        if isinstance(choices, list) and "correct_answer" in row:
            # sorted: there the right one tends to come first
            question = f"{question} Choose one: {', '.join(sorted(map(str, choices)))}."
        if isinstance(answer, bool) or str(row.get("type")).lower() == "yn":
            answer = YES_NO.get(str(answer).lower(), answer)
        return plain_question(str(question)), str(answer)


def _with_options(row: Row, question: str, answer: str, where: str) -> tuple[str, str]:
    """The question with its options below it, and the letter of the right one; both as they are if the row has none."""
    try:
        options = options_of(row, "options", "choices")
        if not options:
            return question, answer
        letter = letter_among(options, answer)
    except ValueError as error:
        raise BadRow(where, error) from None
    # some questions list them already
    return question if options_in(question) else "\n".join((question, *lettered(options))), letter


def _flag(row: Row) -> Flag | None:
    flag = row.get("flag")
    if flag in (None, ""):
        return None
    return flag if flag in ("positive", "negative") else "boundary"
