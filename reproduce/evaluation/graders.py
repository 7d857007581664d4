"""Grade final answers: mathematics by equivalence, question answering by normalised match and token F1.

The released ARPO/AEPO code has two normalisers that differ. We have both: `normalise_training` (the reward: lower case,
no punctuation, no articles) and `normalise_evaluation` (the evaluation scripts: lower case, no articles, punctuation
kept). `grade` uses the evaluation one unless you choose. Both, and so exact match and token F1, are as published except
that gold and answer are first brought to one Unicode form. The papers' own headline accuracies come from an LLM judge,
which is more lenient than either.

Mathematics: we undress both sides (`undress`), read them part by part (`answers`) and compare (`equivalence`);
math-verify compares single expressions. `data/graders/pairs.csv` shows where this changes math-verify's own verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from reproduce.errors import UserError
from reproduce.evaluation.equivalence import equivalent
from reproduce.evaluation.expressions import TimeLimit
from reproduce.evaluation.undress import plain_text, unify
from reproduce.worlds.question import Question
from reproduce.worlds.rewards import ARTICLES, boxed, exact_match, normalise_training, token_f1

MAX_ANSWER_CHARS = 1000  # longer "answers" are runaway generations and are wrong without parsing


@lru_cache(maxsize=65536)
def normalise_evaluation(answer: str) -> str:
    """Normalise as the evaluation scripts do: lower case, no articles a/an/the, single spaces; punctuation stays.

    Before that, bring the answer to one Unicode form (`undress.unify`).
    """
    return " ".join(ARTICLES.sub(" ", unify(answer).lower()).split())


NORMALISERS: dict[str, Callable[[str], str]] = {"evaluation": normalise_evaluation, "training": normalise_training}


class Grade(NamedTuple):
    """correct: the verdict. f1: best token F1 over the golds, in [0, 1]. method: how it was decided.

    method is "empty", "too long", "equal" (same text up to spaces and outer dollar signs), "math-verify" (compared part
    by part, expressions by math-verify), "time limit" (wrong, because the comparison took too long), or "match
    (evaluation)" / "match (training)".
    """

    correct: bool
    f1: float
    method: str


def final_answer(text: str | None) -> str | None:
    """Return the content of a text's last box, or the whole text if it has none; None if the last box never closes, or
    for None.
    """
    return boxed(text) if text and "\\boxed" in text else text


def grade(question: Question, answer: str | None, *, normaliser: str = "evaluation") -> Grade:
    """Grade a final answer. Any thread may call this.

    For questions with `answer_type` "math" equal text is right, then equivalence decides, so that no peculiarity of a
    gold's LaTeX can fail an answer that repeats it. "qa" is exact match after the normaliser; marks around the whole
    answer (bold, code, `\\text{}`, dollar signs) are removed.

    Args:
        question: with its golds.
        answer: the answer, or a text that holds it in `\\boxed{...}` (then the last box counts). None or blank is
            wrong.
        normaliser: "evaluation" or "training".

    Raises:
        UserError: the normaliser is unknown, or math-verify is missing. No answer raises.
    """
    if normaliser not in NORMALISERS:
        raise UserError(f"unknown normaliser {normaliser!r}; known: {', '.join(NORMALISERS)}")
    answer = final_answer(answer)
    if answer is None or not answer.strip():
        return Grade(False, 0.0, "empty")
    if len(answer) > MAX_ANSWER_CHARS:
        return Grade(False, 0.0, "too long")
    normalise = NORMALISERS[normaliser]
    if question.answer_type == "math":
        correct, method = _grade_math(answer, question)
        return Grade(correct, token_f1(answer, question.golds, normalise=normalise), method)
    if not exact_match(answer, question.golds, normalise=normalise):
        answer = plain_text(answer)
    f1 = token_f1(answer, question.golds, normalise=normalise)
    return Grade(exact_match(answer, question.golds, normalise=normalise), f1, f"match ({normaliser})")


def _plain(text: str) -> str:
    return " ".join(text.strip().strip("$").split())


def _grade_math(answer: str, question: Question) -> tuple[bool, str]:
    if any(_plain(answer) == _plain(gold) for gold in question.golds):
        return True, "equal"
    asked = question.question.lower()
    percent = "percent" in asked or "%" in asked
    method = "math-verify"
    for gold in question.golds:
        try:
            if equivalent(gold, answer, percent_asked=percent):
                return True, "math-verify"
        except TimeLimit:
            method = "time limit"
    return False, method
