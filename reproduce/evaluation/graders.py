"""Graders of final answers: mathematics by symbolic equivalence, question answering by normalised match and token F1.

Two normalisers exist in the released ARPO/AEPO code and they differ; both are here under their own names:
`normalise_training` (the reward: lower case, punctuation deleted, articles dropped) and `normalise_evaluation` (the
evaluation scripts: lower case, articles dropped, punctuation kept). `grade` uses the evaluation one unless told
otherwise. The papers' own headline accuracies come from an LLM judge, which is more lenient than either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from reproduce.errors import UserError
from reproduce.tasks.benchmarks import Question
from reproduce.tasks.rewards import ARTICLES, boxed, exact_match, normalise_training, token_f1

MATH_TIMEOUT_SECONDS = 2  # per parse and per comparison; typical cost is below 1 ms
MAX_ANSWER_CHARS = 1000  # longer "answers" are runaway generations and are wrong without parsing


@lru_cache(maxsize=65536)
def normalise_evaluation(answer: str) -> str:
    """The evaluation scripts' normaliser: lower case, articles a/an/the dropped, single spaces; punctuation stays."""
    return " ".join(ARTICLES.sub(" ", answer.lower()).split())


NORMALISERS: dict[str, Callable[[str], str]] = {"evaluation": normalise_evaluation, "training": normalise_training}


class Grade(NamedTuple):
    """correct: the verdict; f1: best token F1 over the golds, in [0, 1]; method: what decided.

    method is "empty", "too long", "equal" (same text up to spaces and outer dollar signs), "math-verify", or
    "match (evaluation)" / "match (training)".
    """

    correct: bool
    f1: float
    method: str


def grade(question: Question, answer: str | None, *, normaliser: str = "evaluation") -> Grade:
    """Grade a final answer.

    answer: the answer string, or a text that holds it in `\\boxed{...}` (then the last box counts); None or blank is
    wrong. Questions with `answer_type` "math": equal text first, then equivalence by math-verify, so that no
    peculiarity of a gold's LaTeX can fail an answer that repeats it. "qa": exact match after the normaliser.
    Raises UserError for an unknown normaliser or a missing math-verify, RuntimeError when mathematics is graded
    outside the main thread (math-verify's time limit is a signal: use processes).
    """
    if normaliser not in NORMALISERS:
        raise UserError(f"unknown normaliser {normaliser!r}; known: {', '.join(NORMALISERS)}")
    if answer is not None and "\\boxed{" in answer:
        answer = boxed(answer)
    if answer is None or not answer.strip():
        return Grade(False, 0.0, "empty")
    if len(answer) > MAX_ANSWER_CHARS:
        return Grade(False, 0.0, "too long")
    normalise = NORMALISERS[normaliser]
    f1 = token_f1(answer, question.golds, normalise=normalise)
    if question.answer_type == "math":
        correct, method = _grade_math(answer, question.golds)
        return Grade(correct, f1, method)
    return Grade(exact_match(answer, question.golds, normalise=normalise), f1, f"match ({normaliser})")


def _plain(text: str) -> str:
    return " ".join(text.strip().strip("$").split())


def _grade_math(answer: str, golds: list[str]) -> tuple[bool, str]:
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("mathematics must be graded on the main thread: math-verify's time limit is a signal")
    if any(_plain(answer) == _plain(gold) for gold in golds):
        return True, "equal"
    return any(_equivalent(gold, answer) for gold in golds), "math-verify"


def _equivalent(gold: str, answer: str) -> bool:
    """Whether math-verify finds the two expressions equivalent; False if either cannot be parsed in time."""
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise UserError("math-verify is missing; install requirements.txt to grade mathematics") from error
    if not _balanced(answer):
        return False
    expected = parse(f"\\boxed{{{gold}}}", parsing_timeout=MATH_TIMEOUT_SECONDS)
    given = parse(f"\\boxed{{{answer}}}", parsing_timeout=MATH_TIMEOUT_SECONDS)
    return bool(expected and given and verify(expected, given, timeout_seconds=MATH_TIMEOUT_SECONDS))


def _balanced(text: str) -> bool:
    """Whether the answer's braces close within it, so that it cannot break out of the box it is parsed in."""
    content = boxed(f"\\boxed{{{text}}}")
    return content is not None and content == text.strip()
