"""Sibling GRPO, ours by name: turns of a tree are compared with the other turns that follow the same prefix.

Q(node) = mean reward of the leaves below it; a node is a turn, and leaves share it if they share its tokens
A(node) = (Q - mean of its siblings') / (std of its siblings' + 1e-6), 0 for a node without siblings
J = mean over tokens of min(delta A, clip(delta, 1 - eps_low, 1 + eps_high) A)
Siblings are the turns after one prefix: those that start from the question, or after the same tool result.

This is what is public of SEEA-R1 (2025, arXiv 2506.21669), on the trees of ARPO. SEEA-R1 grows its trees by Monte Carlo
tree search, which needs environments that can be set back, discounts returns, and may learn its reward; its constants
are in no public source. "Tree-GRPO" (arXiv 2509.21240) is another method.

Every sibling's turn counts once: a turn of d leaves stands in d rows, and its advantage is divided by d in each. The
mean is over the tokens of all rows. Where nothing forks (no tool is called), only first turns have siblings.
"""

from dataclasses import dataclass, replace

from reproduce.algorithms.arpo import ARPO
from reproduce.algorithms.parts import GroupZScore, PPOMin, TokenMean
from reproduce.algorithms.parts.siblings import nodes, sibling_values

UNKNOWN = "not public (assumed: "


@dataclass(frozen=True)
class SiblingZScore(GroupZScore):
    """A(node) / d at every token of a node that d rows have.

    Metrics: sibling/compared, share of the loss-mask tokens whose turn has siblings; sibling/nodes; sibling/groups, how
    many sets of at least two siblings there are.
    """

    needs = ("turns_BT", "owners_BT")
    metrics = ("sibling/compared", "sibling/nodes", "sibling/groups")

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        found = nodes(groups_B, tensors["turns_BT"], tensors["owners_BT"], mask_BT)
        advantages_BT = sibling_values(rewards_B, groups_B, found, mask_BT, self.std_epsilon)
        siblings_N = found.parent_N.bincount()[found.parent_N] if len(found.parent_N) else found.parent_N
        compared = (siblings_N > 1)[found.of_tokens]
        share = float(compared.double().mean()) if len(compared) else 0.0
        groups = len(found.parent_N[siblings_N > 1].unique())
        return advantages_BT, dict(zip(self.metrics, (share, float(len(siblings_N)), float(groups)), strict=True))


SIBLING_GRPO = replace(
    ARPO,
    name="sibling-grpo",
    citation="ours by name: sibling z-scores, the public part of SEEA-R1 (2025, arXiv 2506.21669), on ARPO's trees",
    advantage=SiblingZScore(std_epsilon=1e-6),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.28, dual_clip=None),
    aggregation=TokenMean(),
    sources={key: f"as arpo (assumed: {source})" for key, source in ARPO.sources.items()}
    | {
        "advantage": "SEEA-R1: z-score over the children of a node",
        "aggregation": "SEEA-R1: mean over the tokens of sibling actions",
        "std_epsilon": f"{UNKNOWN}as grpo, with the unbiased standard deviation)",
        "clip_low": f"{UNKNOWN}as dapo)",
        "clip_high": f"{UNKNOWN}SEEA-R1 raises the upper bound; as dapo)",
        "dual_clip": f"{UNKNOWN}none)",
        "kl_coefficient": f"{UNKNOWN}0, as all methods here; SEEA-R1 has a term of unknown weight)",
    },
)
