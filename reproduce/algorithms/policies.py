"""Rollout policies: how the k trajectories of a prompt are spent on whole samples and on branches.

A policy is a frozen record of settings plus three pure decisions, asked by the agent loop
(`reproduce.rollouts.agent`): how many whole trajectories start at the prompt, whether a path branches after a tool
result, and how its run of consecutive branches continues. Groups always end with exactly k trajectories: branch
budget that no path used is spent on further whole trajectories (ARPO paper section 3.1, step 4).

Entropy of a segment, h: the sum of the full-softmax entropies (nats, at the sampling temperature) of its first
`entropy_tokens` tokens, divided by ln V. The ARPO paper divides by V (eq. 4), which for any real vocabulary makes
the term vanish; the released code divides by ln V, and so does this.
"""

import math
from dataclasses import dataclass, replace

from reproduce.errors import UserError


class Policy:
    """Attributes that the agent loop reads of every policy: `branches` (it may fork), `needs_pilot`, and
    `scored_by_model` (some tokens are not the engine's: the model itself is asked for their log-probs)."""

    branches = False
    needs_pilot = False
    scored_by_model = False


@dataclass(frozen=True)
class Independent(Policy):
    """k independent trajectories from the prompt (GRPO and every trajectory-level method)."""

    def initial(self, k: int, root_entropy: float | None = None, tool_entropy: float | None = None) -> int:
        """Number of whole trajectories to start with: all k."""
        return k

    def with_entropy_tokens(self, tokens: int) -> "Independent":
        """Independent rollouts measure no entropy, so there is nothing to set."""
        return self


@dataclass(frozen=True)
class ARPORollout(Policy):
    """Entropy-based adaptive rollout of ARPO (arXiv 2507.19849, section 3.1, eq. 4 and 5).

    P = alpha + entropy_weight * dH, where dH = h(first tokens after the tool result) - h(first tokens of the path);
    the path forks once (Z = 1 new path) when the test passes and branch budget is left.

    initial_fraction: N / M, 8 of 16 (appendix C.2). alpha 0.5, entropy_weight 0.2, threshold 0.5: appendix C.2.
    entropy_tokens: 20 (released code; the paper's k is not given). decision: "threshold" forks iff P > threshold (the
    paper's rule); "bernoulli" forks with probability P (the distribution of the released code's test).
    """

    initial_fraction: float = 0.5
    alpha: float = 0.5
    entropy_weight: float = 0.2
    threshold: float = 0.5
    entropy_tokens: int = 20
    decision: str = "threshold"

    branches = True

    def __post_init__(self):
        if self.decision not in ("threshold", "bernoulli"):
            raise UserError(f"rollout decision must be 'threshold' or 'bernoulli', not {self.decision!r}")
        if self.entropy_tokens < 1:
            raise UserError(f"entropy_tokens must be at least 1, not {self.entropy_tokens}")

    def initial(self, k: int, root_entropy: float | None = None, tool_entropy: float | None = None) -> int:
        """Number of whole trajectories to start with: a fixed share of k."""
        return max(1, min(k, round(k * self.initial_fraction)))

    def branch_probability(self, entropy_change: float, consecutive: int) -> float:
        """P of eq. 5, clipped to [0, 1]. `consecutive` (branches in a row on this path) has no effect in ARPO."""
        return min(1.0, max(0.0, self.alpha + self.entropy_weight * entropy_change))

    def branch(self, entropy_change: float, consecutive: int, uniform: float) -> bool:
        """Whether a path forks after this tool result. `uniform`: one draw from U(0, 1) of the branching stream."""
        probability = self.branch_probability(entropy_change, consecutive)
        return probability > (self.threshold if self.decision == "threshold" else uniform)

    def with_entropy_tokens(self, tokens: int) -> "ARPORollout":
        """The same policy that measures another number of tokens (a profile with short segments needs fewer)."""
        return replace(self, entropy_tokens=tokens)


@dataclass(frozen=True)
class AEPORollout(ARPORollout):
    """Entropy-balanced adaptive rollout of AEPO (arXiv 2510.14545): pre-monitored budget, penalised branching.

    Budget: m = k * sigmoid(beta * (H_root - H_tool)) whole trajectories, k - m branches, with H_root the entropy h of
    the first tokens of a pilot trajectory and H_tool the mean h of its segments that follow a tool result.
    Branching: P = (alpha + entropy_weight * dH) * (1 - penalty_slope * l), l = branches in a row on this path.

    The paper's constants are not public. beta 0.5 and penalty_slope 0.05 are the released code's; alpha,
    entropy_weight and threshold are ARPO's. m is rounded to the nearest integer (released: floor + 1) and kept in
    [1, k].

    Both components are switches (AEPO's ablations). dynamic_budget False: m is ARPO's fixed share, and no pilot is
    needed. branch_penalty False: P is ARPO's, however many branches came in a row.
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
        """m for one prompt; needs both pilot entropies (a pilot without any tool call passes its root entropy)."""
        if not self.dynamic_budget:
            return super().initial(k)
        return max(1, min(k, round(k * self.budget_share(root_entropy, tool_entropy))))

    def budget_share(self, root_entropy: float | None, tool_entropy: float | None) -> float:
        """sigmoid(beta (H_root - H_tool)): the share of k that starts at the prompt."""
        if root_entropy is None or tool_entropy is None:
            raise ValueError("AEPO's budget needs the pilot's root and tool entropies")
        return 1.0 / (1.0 + math.exp(-self.beta * (root_entropy - tool_entropy)))

    def branch_probability(self, entropy_change: float, consecutive: int) -> float:
        """P with the penalty for branches in a row, clipped to [0, 1]."""
        penalty = max(0.0, 1.0 - self.penalty_slope * consecutive) if self.branch_penalty else 1.0
        return min(1.0, max(0.0, (self.alpha + self.entropy_weight * entropy_change) * penalty))
