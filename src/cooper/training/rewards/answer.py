"""Is the answer right?"""

from __future__ import annotations

from cooper.data.options import options_in
from cooper.evaluation.extraction import answer_in, final_text
from cooper.evaluation.grading import grade
from cooper.evaluation.judge import Claim
from cooper.evaluation.scores import score_answer
from cooper.quantities import parse_number, quantity, to_metres
from cooper.trace import Drawing, Trace
from cooper.training.rewards.record import Record


def answer_reward(
    trace: Trace, record: Record, tolerance: float | None = None, verdict: bool | None = None
) -> float:
    """0..1 for what the last turn answers. Without `<answer>` a judge reads the whole turn, as in the paper. Rules find
    there what evaluation finds, or else the first number of a thought would be paid for: in benchmarks' kinds what
    stands outside of thoughts, in the synthetic world's nothing.

    Words, counts, letters, yes and no are right or wrong; numbers are graded by mean relative accuracy. So are lengths
    in metres, or, with a `tolerance`, they are right if their relative error is at most that. Of a judged question the
    `verdict` decides; NaN if there is none, which is not the same as a wrong answer. A rollout that ends in a drawing,
    or without a turn, has no answer: 0.
    """
    given = given_answer(trace)
    if given is None:
        return 0.0
    if record.kind == "judged":
        return float("nan") if verdict is None else float(verdict)
    if record.kind == "choice" or record.kind == "yes_no" or record.kind == "number":
        text = final_text(trace.turns)
        said = answer_in(record.kind, text, options_in(record.question), record.answer)
        return grade(record.kind, said, record.answer)
    if trace.answer is None:
        return 0.0
    if record.kind != "metres" or tolerance is None:
        return score_answer(record.kind, given, record.answer, record.value)
    number, true = quantity(given), record.value
    if true is None:
        parsed = parse_number(record.answer)
        if parsed is None:
            raise ValueError(f"the true answer {record.answer!r} has no number; give the record a value")
        true = to_metres(*parsed)
    metres = None if number is None else to_metres(*number)
    return float(metres is not None and abs(metres - true) <= tolerance * abs(true) + 1e-9)


def given_answer(trace: Trace) -> str | None:
    """What a rollout answers, or None if it ends in a drawing, or without a turn."""
    if not trace.turns or isinstance(trace.segments[-1], Drawing):
        return None
    return trace.answer if trace.answer is not None else trace.turns[-1]


def claim_of(trace: Trace, record: Record) -> Claim | None:
    """What a judge is asked about a rollout; None if rules decide."""
    given = given_answer(trace)
    return None if record.kind != "judged" or given is None else Claim(record.question, record.answer, given)
