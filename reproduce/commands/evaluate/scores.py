"""The numbers of one question set, from the rows of its run, for the whole set and for its parts.

Shape suffixes: Q questions, N samples of a question.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics import Effect, Estimate, crossed, over_samples, pass_at_k_scores, rate
from reproduce.commands.agreement import Pair
from reproduce.commands.evaluate.reported import DATASETS
from reproduce.evaluation.graders import grade
from reproduce.evaluation.verdicts import NOT_JUDGED
from reproduce.worlds.benchmarks.levels import NAMES
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES
from reproduce.worlds.question import Question


@dataclass(frozen=True)
class Score:
    """The scores of a checkpoint on a set, or on a part of it (`dataset`, as data/papers names it). Shares in [0, 1].

    again: pass@1 with the interval over other samples of the same questions. fresh: the same over other questions, too.
    pass_k, f1: as `fresh`. f1: token F1 of the answers; None in mathematics. formatted: share of trajectories in the
    papers' format. calls, tokens, new_tokens: means of a trajectory; tool results are in `tokens` alone. searches,
    failed: search calls, and those of them that gave an error. graders: rule against judge, None without a judge.
    """

    dataset: str
    whole: bool
    questions: int
    samples: int
    again: Estimate
    fresh: Estimate
    k: int
    pass_k: Estimate
    f1: Estimate | None
    formatted: float
    calls: float
    tokens: float
    new_tokens: float
    searches: int
    failed: int
    graders: Pair | None


def scores(name: str, rows: Sequence[Mapping], questions: Mapping[str, Question], k: int) -> list[Score]:
    """The scores of a set: of all of it first, then of its parts in their order.

    Args:
        name: the question set.
        rows: of eval.parquet.
        questions: id -> question of the set's file.
        k: of pass@k, at most the samples of a question.
    """
    dataset, part = DATASETS[name], {id: _part(name, question) for id, question in questions.items()}
    asked = {row["question_id"] for row in rows}
    strata = {id: part[id] or "" for id in asked}
    found = [_score(dataset, True, rows, questions, k, strata)]
    for label in sorted({part[id] for id in asked} - {None}, key=_order):
        own = [row for row in rows if part[row["question_id"]] == label]
        found.append(_score(f"{dataset} {label}", False, own, questions, k, dict.fromkeys(asked, "")))
    return found


def _part(name: str, question: Question) -> str | None:
    """The part of its set that a question is in, as data/papers calls it; None for sets without parts."""
    if name == "gaia":
        return f"Lv.{question.level}"
    if name == "webwalker":
        return NAMES[question.level - 1] if question.level else None
    part_of = EVALUATION_FILES[name].part_of
    return None if part_of is None else part_of(question.metadata)


def _order(label: str) -> tuple:
    return (NAMES.index(label) if label in NAMES else -1, label)


def _score(
    dataset: str, whole: bool, rows: Sequence[Mapping], questions: Mapping, k: int, strata: Mapping[str, str]
) -> Score:
    of_question: dict[str, list[Mapping]] = {}
    for row in rows:
        of_question.setdefault(row["question_id"], []).append(row)
    strata_Q = [strata[id] for id in of_question]
    correct_QN = np.array([[row["correct"] for row in own] for own in of_question.values()], dtype=bool)
    again, fresh = over_samples(correct_QN), _over_questions(correct_QN.mean(axis=1), strata_Q)
    pass_k = _over_questions(pass_at_k_scores(correct_QN[None], k)[0], strata_Q)
    actions = [action for row in rows for action in row["actions"].split(" > ") if action]
    f1 = None
    if all(questions[id].answer_type == "qa" for id in of_question):
        f1_QN = [[grade(questions[id], row["answer"]).f1 for row in own] for id, own in of_question.items()]
        f1 = _over_questions(np.array(f1_QN).mean(axis=1), strata_Q)
    return Score(
        dataset,
        whole,
        *correct_QN.shape,
        _interval(again, correct_QN.size),
        fresh,
        k,
        pass_k,
        f1,
        float(np.mean([row["format_ok"] for row in rows])),
        float(np.mean([row["tool_calls"] for row in rows])),
        float(np.mean([row["completion_tokens"] for row in rows])),
        float(np.mean([row["sampled_tokens"] for row in rows])),
        sum(action in ("search", "empty", "error") for action in actions),
        actions.count("error"),
        _graders(rows),
    )


def _over_questions(scores_Q: np.ndarray, strata_Q: Sequence[str]) -> Estimate:
    """The mean over questions, with its t interval over questions inside strata; strata of one question are joined."""
    sizes = {label: list(strata_Q).count(label) for label in strata_Q}
    strata = np.array(strata_Q) if min(sizes.values()) > 1 else None
    return _interval(crossed(scores_Q[None], strata), len(scores_Q))


def _interval(effect: Effect, n: int) -> Estimate:
    """The interval of a share; the exact one of Clopper and Pearson where all n values are 0, or all are 1."""
    if effect.error == 0 and effect.value in (0.0, 1.0):
        return rate(round(effect.value * n), n)
    return effect.interval().within(0.0, 1.0)


def _graders(rows: Sequence[Mapping]) -> Pair | None:
    """The rules' verdicts against the judge's, where a judge was asked."""
    if "judged" not in rows[0] or rows[0]["family"] in NOT_JUDGED:
        return None
    both = [(bool(row["graded"]), None if math.isnan(row["judged"]) else row["judged"] == 1.0) for row in rows]
    counts = [both.count(kind) for kind in ((True, True), (False, False), (True, False), (False, True))]
    return Pair("rule", "judge", *counts, len(both) - sum(counts))
