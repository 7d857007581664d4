"""Majority vote: GRPO without labels, as M-GRPO's released code runs it (arXiv 2512.13070), with its filter of rows.

R_i = 1 if answer i is the most frequent of its question's readable answers and at least half of them give it, else 0;
all 0 (no gradient) without such an answer
Rows whose mean token entropy lies below Q1 - 0.75 (Q3 - Q1) of the batch are left out, after labels and before
advantages; then GRPO.

The released trainer samples from the policy alone and has the threshold of one half, which the paper's description
lacks; the filter is in the description alone. `m_grpo.py` samples from the moving average too.

Assumed: where two answers are equally frequent there is no label; answers are equal as the training reward normalises
them; quartiles are interpolated linearly; a row that is left out stays in the denominators and in the KL term. The
label never sees the correct answer; `vote/right` compares it, and records keep the task's own rewards.
"""

from dataclasses import dataclass, replace

import torch

from reproduce.algorithms.grpo import GRPO
from reproduce.algorithms.parts import BoundedReferenceKL, GroupZScore
from reproduce.algorithms.parts.votes import VoteRewards, low_entropy_rows


@dataclass(frozen=True)
class VotedZScore(GroupZScore):
    """The group z-score of the votes' rewards among the rows that are not left out, which get 0.

    consensus: the least share of the readable answers that a label has. entropy_reach: quartile distances below the
    first quartile at which a row is left out; None: none is. Metrics of a step: vote/labelled, share of the questions
    with a label; vote/right, share of the labels that are correct; vote/left_out, share of the rows.
    """

    consensus: float = 0.5
    entropy_reach: float | None = 0.75
    needs_answers = True
    metrics = ("vote/labelled", "vote/right", "vote/left_out")
    ranges = {"consensus": (0.0, 1.0, True), "entropy_reach": (0.0, float("inf"), True)}

    @property
    def needs(self) -> tuple[str, ...]:
        return () if self.entropy_reach is None else ("entropies_BT",)

    def state(self, run):
        """The votes of each step."""
        return VoteRewards(self.consensus, self.metrics[:2])

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        own_B = self.own_rows(tensors, mask_BT)
        low_B = torch.zeros_like(own_B)
        if self.entropy_reach is not None:
            low_B = low_entropy_rows(tensors["entropies_BT"], mask_BT, self.entropy_reach, own_B)
        alone_B = groups_B.max() + 1 + torch.arange(len(groups_B), device=groups_B.device)
        advantages_BT, _ = super().__call__(rewards_B, torch.where(own_B & ~low_B, groups_B, alone_B), tensors, mask_BT)
        return advantages_BT, {"vote/left_out": float(low_B.sum() / own_B.sum().clamp(min=1))}

    def own_rows(self, tensors, mask_BT):
        """Bool (B,): rows that learn; all."""
        return torch.ones(len(mask_BT), dtype=torch.bool, device=mask_BT.device)


MAJORITY_VOTE = replace(
    GRPO,
    name="majority-vote",
    citation="M-GRPO 2025, arXiv 2512.13070, without its momentum model: label rule as released, filter as described",
    advantage=VotedZScore(std_epsilon=1e-6, consensus=0.5, entropy_reach=0.75),
    surrogate=replace(GRPO.surrogate, clip_low=0.2, clip_high=0.2, dual_clip=3.0),
    regularisers=(BoundedReferenceKL(kl_coefficient=0.005, kl_bound=10.0),),
    sources={
        "aggregation": "GRPO's (assumed; the launcher's is not known)",
        "std_epsilon": "as grpo",
        "consensus": "released code, `reward_manager/m_grpo`",
        "entropy_reach": "the paper's description, in notes; not in the released code",
        "clip_low": "launcher: verl's standard clip",
        "clip_high": "launcher: verl's standard clip",
        "dual_clip": "launcher: verl's standard clip",
        "kl_coefficient": "launcher `math_intuitor.sh`, as a k3 term of the loss",
        "kl_bound": "as epo-released: verl",
    },
)
