"""The judge's verdicts in a run's evaluation, beside those of math-verify and exact match."""

import math
from collections.abc import Mapping

from reproduce.evaluation.judge import CORRECT, UNDECIDED, Judge, Verdict, summary
from reproduce.worlds.question import Question

NOT_JUDGED = ("hotpotqa", "2wiki", "musique", "bamboogle")
"""Sets that ARPO (arXiv 2507.19849) scores without a judge, by token F1. Their `correct` stays exact match."""


def judged(rows: list[dict], questions: Mapping[str, Question], judge: Judge) -> tuple[list[dict], dict]:
    """Put the judge's verdicts into rows of eval.parquet.

    Args:
        rows: with `question_id`, `family`, `answer` and `correct`.
        questions: by id.
        judge: the judge.

    Returns:
        The rows with the judge's verdict as `correct`, and `judge.summary` of all verdicts. New columns: `graded`, 1 or
            0, the earlier `correct`; `judged`, 1 or 0, NaN if the judge did not decide (then `correct` is false) or was
            not asked (`NOT_JUDGED`; then `correct` stays).
    """
    asked = [row["family"] not in NOT_JUDGED for row in rows]
    answers = [(questions[row["question_id"]], row["answer"]) for row, ask in zip(rows, asked, strict=True) if ask]
    verdicts = judge.judge_many(answers)
    given = iter(verdicts)
    return [_row(row, next(given) if ask else None) for row, ask in zip(rows, asked, strict=True)], summary(verdicts)


def _row(row: dict, verdict: Verdict | None) -> dict:
    graded = {"graded": float(row["correct"])}
    if verdict is None:
        return row | graded | {"judged": math.nan}
    right = verdict.verdict == CORRECT
    return row | graded | {"correct": right, "judged": math.nan if verdict.verdict == UNDECIDED else float(right)}
