"""M-GRPO (arXiv 2512.13070): GRPO on majority votes, in which a moving average of the policy votes too.

Per question, G trajectories of the policy and G / 4 of the momentum model; the most frequent of all answers is the
label, R_i = 1 if answer i is the label, else 0. GRPO on the policy's rows alone, with the filter of `majority_vote.py`.
theta_k <- m theta_k + (1 - m) theta_q after every RL step; it starts as the policy.

This is the method as it is described. The released trainer updates the average and never samples from it (the lines are
commented out): what runs there is `majority-vote`. Released code has a consensus threshold of one half (`consensus`),
the description none. Not public: whether the z-score is over the G rows or all (here: G), ties (here: no label).

The average is a second copy of the weights, in memory and in checkpoints, and its trajectories cost a quarter more
sampling, which `sampled_tokens` counts: compare it with others at equal tokens.
"""

from dataclasses import dataclass, replace

from reproduce.algorithms.majority_vote import MAJORITY_VOTE, VotedZScore
from reproduce.algorithms.parts.momentum import MomentumVotes


@dataclass(frozen=True)
class MomentumVotedZScore(VotedZScore):
    """`VotedZScore` whose votes are the policy's and the momentum model's; the latter's rows do not learn.

    momentum: m. momentum_share: trajectories of the momentum model for each of the policy's.
    """

    consensus: float = 0.0
    momentum: float = 0.99
    momentum_share: float = 0.25
    holds_average = True
    ranges = VotedZScore.ranges | {"momentum": (0.0, 1.0, True), "momentum_share": (0.0, 1.0, False)}

    @property
    def needs(self) -> tuple[str, ...]:
        return (*super().needs, "sides_BT")

    def state(self, run) -> MomentumVotes:
        """The momentum model, and the votes of each step."""
        return MomentumVotes(run, self.momentum, self.momentum_share, self.consensus, self.metrics[:2])

    def own_rows(self, tensors, mask_BT):
        """Bool (B,): rows that learn; those of the policy."""
        return ~((tensors["sides_BT"] == 1) & mask_BT).any(1)


M_GRPO = replace(
    MAJORITY_VOTE,
    name="m-grpo",
    citation="M-GRPO 2025, arXiv 2512.13070, as described in notes; its released code never samples from the average",
    advantage=MomentumVotedZScore(std_epsilon=1e-6, consensus=0.0, entropy_reach=0.75),
    sources=MAJORITY_VOTE.sources
    | {
        "consensus": "the paper's description has none (released code: 0.5)",
        "momentum": "the paper's description and the released code",
        "momentum_share": "the paper's description: N = G / 4, here beside the G rows (assumed)",
    },
)
