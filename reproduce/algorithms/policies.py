"""Rollout policies: how the k trajectories of a question are divided between whole samples and branches.

A policy is a frozen record of settings plus three pure decisions that the agent loop (`reproduce.rollouts.agent`) asks
for: how many whole trajectories start at the prompt, whether a path branches after a tool result, and how its run of
consecutive branches continues. A group always ends with exactly k trajectories: branch budget that no path used is
spent on further whole trajectories (ARPO, section 3.1, step 4).

Entropy of a segment, h: the sum of the full-softmax entropies (nats, at the sampling temperature) of its first
`entropy_tokens` tokens, divided by ln V. The ARPO paper divides by V (eq. 4), which makes the term vanish for any real
vocabulary. The released code divides by ln V, and so do we.
"""

import math
from dataclasses import dataclass, replace

from reproduce.errors import UserError, one_of


class Policy:
    """Attributes that the agent loop reads of every policy: `branches` (it may fork), `needs_pilot`, and
    `scored_by_model` (some tokens are not the engine's: the model itself is asked for their log-probs)."""

    branches = False
    needs_pilot = False
    scored_by_model = False


@dataclass(frozen=True)
class Independent(Policy):
    """Sample k independent trajectories from the prompt (GRPO and every trajectory-level method)."""

    def initial(self, k: int, root_entropy: float | None = None, tool_entropy: float | None = None) -> int:
        """Return the number of whole trajectories to start with: all k."""
        return k

    def with_entropy_tokens(self, tokens: int) -> "Independent":
        """Return the policy itself: independent rollouts measure no entropy."""
        return self


@dataclass(frozen=True)
class ARPORollout(Policy):
    """ARPO's entropy-based adaptive rollout (arXiv 2507.19849, section 3.1, eq. 4 and 5).

    P = alpha + entropy_weight * dH, where dH = h(first tokens after the tool result) - h(first tokens of the path). The
    path forks once (Z = 1 new path) if the test passes and branch budget is left.

    initial_fraction: N / M, 8 of 16 (appendix C.2). alpha 0.5, entropy_weight 0.2, threshold 0.5: appendix C.2.
    entropy_tokens: 20 (released code; the paper does not give its k). decision: "threshold" forks if and only if P >
    threshold (the paper's rule); "bernoulli" forks with probability P (the distribution of the released code's test).
    """

    initial_fraction: float = 0.5
    alpha: float = 0.5
    entropy_weight: float = 0.2
    threshold: float = 0.5
    entropy_tokens: int = 20
    decision: str = "threshold"

    branches = True

    def __post_init__(self):
        one_of("decision", self.decision, ("threshold", "bernoulli"))
        if self.entropy_tokens < 1:
            raise UserError(f"entropy_tokens must be at least 1, not {self.entropy_tokens}")

    def initial(self, k: int, root_entropy: float | None = None, tool_entropy: float | None = None) -> int:
        """Return the number of whole trajectories to start with: a fixed share of k."""
        return max(1, min(k, round(k * self.initial_fraction)))

    def branch_probability(self, entropy_change: float, consecutive: int) -> float:
        """Compute P of eq. 5, clipped to [0, 1].

        Args:
            entropy_change: dH, in nats / ln V.
            consecutive: branches in a row on this path; ARPO ignores it.
        """
        return min(1.0, max(0.0, self.alpha + self.entropy_weight * entropy_change))

    def branch(self, entropy_change: float, consecutive: int, uniform: float) -> bool:
        """Decide whether a path forks after this tool result.

        Args:
            entropy_change: dH, in nats / ln V.
            consecutive: branches in a row on this path.
            uniform: one draw from U(0, 1) of the branching stream.
        """
        probability = self.branch_probability(entropy_change, consecutive)
        return probability > (self.threshold if self.decision == "threshold" else uniform)

    def with_entropy_tokens(self, tokens: int) -> "ARPORollout":
        """Return the policy with another number of measured tokens; profiles with short segments need fewer."""
        return replace(self, entropy_tokens=tokens)


@dataclass(frozen=True)
class AEPORollout(ARPORollout):
    """AEPO's entropy-balanced adaptive rollout (arXiv 2510.14545): pre-monitored budget, penalised branching.

    Budget: m = k * sigmoid(beta * (H_root - H_tool)) whole trajectories and k - m branches. H_root is the entropy h of
    the first tokens of a pilot trajectory, H_tool the mean h of its segments that follow a tool result. Branching: P =
    (alpha + entropy_weight * dH) * (1 - penalty_slope * l), with l branches in a row on this path.

    The paper's constants are not public. beta 0.5 and penalty_slope 0.05 are the released code's; alpha, entropy_weight
    and threshold are ARPO's. m is rounded to the nearest integer (released: floor + 1) and kept in [1, k].

    Both components are switches, as in AEPO's ablations. With dynamic_budget False m is ARPO's fixed share and no pilot
    is needed. With branch_penalty False P is ARPO's, however many branches came in a row.
    """

    beta: float = 0.5
    penalty_slope: float = 0.05
    dynamic_budget: bool = True
    branch_penalty: bool = True

    @property
    def needs_pilot(self) -> bool:
        """Whether the budget depends on a pilot trajectory."""
        return self.dynamic_budget

    def initial(self, k: int, root_entropy: float | None = None, tool_entropy: float | None = None) -> int:
        """Compute m for one prompt.

        Args:
            k: trajectories of the group.
            root_entropy: H_root of the pilot.
            tool_entropy: H_tool of the pilot; H_root for a pilot without a tool call.

        Raises:
            ValueError: the budget is dynamic and an entropy is missing.
        """
        if not self.dynamic_budget:
            return super().initial(k)
        return max(1, min(k, round(k * self.budget_share(root_entropy, tool_entropy))))

    def budget_share(self, root_entropy: float | None, tool_entropy: float | None) -> float:
        """Compute sigmoid(beta (H_root - H_tool)), the share of k that starts at the prompt."""
        if root_entropy is None or tool_entropy is None:
            raise ValueError("AEPO's budget needs the pilot's root and tool entropies")
        return 1.0 / (1.0 + math.exp(-self.beta * (root_entropy - tool_entropy)))

    def branch_probability(self, entropy_change: float, consecutive: int) -> float:
        """Compute P with the penalty for branches in a row, clipped to [0, 1]. Arguments as of `ARPORollout`."""
        penalty = max(0.0, 1.0 - self.penalty_slope * consecutive) if self.branch_penalty else 1.0
        return min(1.0, max(0.0, (self.alpha + self.entropy_weight * entropy_change) * penalty))
