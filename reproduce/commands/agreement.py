"""Where graders disagree on the same answers: counts for every pair, and examples to look at. The graders:

grade      math-verify for mathematics, exact match after the evaluation scripts' normaliser for text
reward     token F1 as the training reward computes it, right from a set value on
judge      a language model (`reproduce.evaluation.judge`), where there is one
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from reproduce.evaluation.graders import final_answer, grade
from reproduce.evaluation.judge import CORRECT, UNDECIDED, Judge, summary
from reproduce.worlds.benchmarks.questions import Question
from reproduce.worlds.rewards import token_f1

F1_RIGHT = 0.5  # ours: the papers report mean F1 and draw no line


class Pair(NamedTuple):
    """How two graders compare on the answers that both decide.

    both, neither, first_only, second_only: answers that they call right. agreement: share with one opinion, in [0, 1].
    kappa: Cohen's kappa, agreement beyond chance; None where one of the graders gives a single verdict throughout and
    chance alone agrees. undecided: answers left out because one of the two did not decide.
    """

    first: str
    second: str
    both: int
    neither: int
    first_only: int
    second_only: int
    undecided: int

    @property
    def decided(self) -> int:
        return self.both + self.neither + self.first_only + self.second_only

    @property
    def agreement(self) -> float | None:
        return (self.both + self.neither) / self.decided if self.decided else None

    @property
    def kappa(self) -> float | None:
        n = self.decided
        first, second = self.both + self.first_only, self.both + self.second_only
        chance = (first * second + (n - first) * (n - second)) / n**2 if n else 1.0
        return (self.agreement - chance) / (1.0 - chance) if chance < 1.0 else None


class Agreement(NamedTuple):
    """pairs: every two graders. accuracy: grader -> share of all answers that it calls right (an undecided one is not).
    undecided: grader -> answers without a verdict. examples: answers on which some graders disagree, in order."""

    answers: int
    pairs: list[Pair]
    accuracy: dict[str, float]
    undecided: dict[str, int]
    examples: list[dict[str, Any]]


def compare(
    answers: Sequence[tuple[Question, str | None]], verdicts: Mapping[str, Sequence[bool | None]], examples: int = 10
) -> Agreement:
    """Compares graders. verdicts: grader -> for each answer True, False, or None where it did not decide.

    examples: how many for each pair and direction. ValueError if lengths differ or there is no answer.
    """
    if not answers or any(len(column) != len(answers) for column in verdicts.values()):
        raise ValueError("compare() needs at least one answer, and a verdict of every grader for each")
    n = len(answers)
    pairs, shown = [], set()
    for first, second in combinations(verdicts, 2):
        both = list(zip(verdicts[first], verdicts[second], strict=True))
        counts = [both.count(kind) for kind in ((True, True), (False, False), (True, False), (False, True))]
        pairs.append(Pair(first, second, *counts, n - sum(counts)))
        for kind in ((True, False), (False, True)):
            shown.update([i for i, pair in enumerate(both) if pair == kind][:examples])
    rows = []
    for i in sorted(shown):
        question, answer = answers[i]
        row = {"id": question.id, "question": question.question, "golds": list(question.golds), "answer": answer}
        rows.append(row | {name: column[i] for name, column in verdicts.items()})
    accuracy = {name: sum(v is True for v in column) / n for name, column in verdicts.items()}
    undecided = {name: sum(v is None for v in column) for name, column in verdicts.items()}
    return Agreement(n, pairs, accuracy, undecided, rows)


def agreement(
    answers: Sequence[tuple[Question, str | None]],
    judge: Judge | None = None,
    *,
    f1: float = F1_RIGHT,
    examples: int = 10,
    judged_before: Sequence[bool | None] | None = None,
) -> tuple[Agreement, dict[str, Any] | None]:
    """Grades the answers with every grader and compares: (agreement, `judge.summary` or None).

    judged_before: verdicts that a run's evaluation holds, in the place of a judge that is asked now. An
    answer may hold its text in `\\boxed{...}`.
    """
    plain = [final_answer(answer) for _, answer in answers]
    verdicts: dict[str, list[bool | None]] = {
        "grade": [grade(q, a).correct for (q, _), a in zip(answers, plain, strict=True)],
        "reward": [bool(a) and token_f1(a, q.golds) >= f1 for (q, _), a in zip(answers, plain, strict=True)],
    }
    judged = None
    if judged_before is not None and any(verdict is not None for verdict in judged_before):
        verdicts["judge"] = list(judged_before)
    if judge is not None:
        given = judge.judge_many(answers)
        verdicts["judge"] = [None if v.verdict == UNDECIDED else v.verdict == CORRECT for v in given]
        judged = summary(given)
    return compare(answers, verdicts, examples), judged
