"""Labels by majority of a question's own answers, and rows of low entropy (M-GRPO, arXiv 2512.13070)."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reproduce.algorithms.parts.state import Outcomes, State
from reproduce.errors import UserError


class Votes(NamedTuple):
    """rewards: 1 for the label, 0 for any other answer, all 0 without a label. labels: question -> label or None."""

    rewards: list[float]
    labels: dict[int, str | None]


def majority(answers: Sequence[str | None], questions: Sequence[int], consensus: float) -> Votes:
    """Reward each answer that is its question's most frequent one.

    Args:
        answers: None where there is none to read. Answers are equal if and only if the strings are.
        questions: of each answer.
        consensus: the least share of the readable answers that a label must have, from 0 to 1.

    Returns:
        The votes. A question has no label if no answer is readable, if two answers are equally frequent, or below the
        consensus.
    """
    given = defaultdict(Counter)
    for answer, question in zip(answers, questions, strict=True):
        given[question].update([] if answer is None else [answer])
    labels: dict[int, str | None] = {}
    for question, counts in given.items():
        first, second = [*counts.most_common(2), (None, 0), (None, 0)][:2]
        agreed = first[1] > second[1] and first[1] >= consensus * counts.total()
        labels[question] = first[0] if agreed else None
    pairs = zip(answers, questions, strict=True)
    rewards = [float(answer is not None and answer == labels[question]) for answer, question in pairs]
    return Votes(rewards, labels)


def low_entropy_rows(entropies_BT: Tensor, mask_BT: Tensor, reach: float, among_B: Tensor | None = None) -> Tensor:
    """Mark the rows whose mean token entropy lies below Q1 - reach * (Q3 - Q1), quartiles over rows.

    Args:
        entropies_BT: token entropies (B, T), in nats.
        mask_BT: loss mask (B, T).
        reach: 0.75 in M-GRPO.
        among_B: bool (B,), the rows that are judged; None: all. Rows without a loss-mask token never are.

    Returns:
        low_B (B,), bool.
    """
    counts_B = mask_BT.sum(1)
    means_B = torch.where(mask_BT, entropies_BT, 0.0).sum(1) / counts_B.clamp(min=1)
    judged_B = (counts_B > 0) if among_B is None else (counts_B > 0) & among_B
    if not judged_B.any():
        return judged_B
    first, third = torch.quantile(means_B[judged_B], means_B.new_tensor([0.25, 0.75]))
    return judged_B & (means_B < first - reach * (third - first))


class VoteRewards(State):
    """Replaces the task's rewards by those of the vote, over side rows too.

    consensus: as of `majority`. metrics: names of the share of questions with a label, and of the share of labels that
    are right.
    """

    name = "votes"

    def __init__(self, consensus: float, metrics: tuple[str, str]):
        self._consensus, self._metrics = consensus, metrics

    def rewards(self, outcomes: Outcomes) -> tuple[Tensor, dict[str, float]]:
        if outcomes.answers is None:
            raise UserError(
                "majority vote: an environment's episodes end without an answer to vote on; take another task or method"
            )
        votes = majority(outcomes.answers, outcomes.questions_J.tolist(), self._consensus)
        chosen_J = torch.tensor(votes.rewards, dtype=outcomes.rewards_J.dtype, device=outcomes.rewards_J.device)
        labelled = [label is not None for label in votes.labels.values()]
        found = {self._metrics[0]: sum(labelled) / len(labelled)}
        right = {int(q) for q in outcomes.questions_J[(chosen_J > 0) & outcomes.correct_J]}
        if any(labelled):
            found[self._metrics[1]] = len(right) / sum(labelled)
        return chosen_J, found
