"""Switches of the rollouts in the code released for ARPO and AEPO; `reproduce.rollouts.released_agent` obeys them.

"Released" is the authors' repository. The two files meant below are, under `ARPO/verl_arpo_entropy/` and
`AEPO/verl_aepo_entropy/`, `verl/workers/rollout/vllm_rollout/vllm_rollout_with_tools.py`. GS is its function
`generate_sequences`, DYN `_calculate_initial_rollouts_dynamical`.
"""

from dataclasses import dataclass

from reproduce.algorithms.policies import AEPORollout, ARPORollout


@dataclass(frozen=True)
class ReleasedTree:
    """Switches that the released rollouts of ARPO and AEPO share (GS of both). False is the paper, for each switch.

    late_test: the branch test after a tool result reads the segment generated before the call (`current_entropy_dict`),
        not the first tokens after the result. dH is 0 at the first call of a path with a baseline of its own.
    stale_baseline: the initial entropy is kept by the trajectory's index in the batch (`initial_entropy_dict`), set
        when the index is first seen and never cleared, so from the second batch on it is another question's.
    child_own_baseline: a branch has an index of its own, so its initial entropy is that of its first segment after the
        fork. False: its parent's.
    lockstep: all paths of a batch generate one segment per round, and all branch tests of a round fall together, in
        order of creation. False: a path is tested as soon as it gets there, so budget goes to short segments first.
    single_fill_up: a question without an active path gets one whole trajectory per round, which may branch again.
        False, or without lockstep: all that it is short of, at once.
    eos_at_call_limit: a path that calls a tool beyond the limit gets an end-of-sequence token with loss mask 1, though
        it was never sampled. It is scored under the sampling policy. False: the path ends with its call.
    """

    late_test: bool = True
    stale_baseline: bool = True
    child_own_baseline: bool = True
    lockstep: bool = True
    single_fill_up: bool = True
    eos_at_call_limit: bool = True

    penalty_per_prompt = False
    pilot_mean_all_segments = False

    @property
    def scored_by_model(self) -> bool:
        """Whether the model itself is asked for log-probs: of the tokens that were never sampled."""
        return self.eos_at_call_limit


@dataclass(frozen=True)
class ReleasedARPORollout(ReleasedTree, ARPORollout):
    """ARPO's rollout as released: `ReleasedTree`, and a fork with probability P (decision "bernoulli").

    GS tests u - w dH <= 0.5 with u from U(0, 1); the chance of that is clip(0.5 + w dH).
    """

    decision: str = "bernoulli"


@dataclass(frozen=True)
class ReleasedAEPORollout(ReleasedTree, AEPORollout):
    """AEPO's rollout as released: `ReleasedTree`, and what follows (GS unless DYN is said). False is the paper.

    decision: "bernoulli", as for ARPO.
    dynamic_budget: off in both launchers (ENABLE_DYNAMIC_ROLLOUTS=False), unlike in the paper.
    penalised_draw: the test is (u + w dH) p >= 1 - alpha with p = 1 - slope l, so P = clip(1 - (1 - alpha) / p + w dH)
        and the penalty leaves w dH whole. The paper: P = (alpha + w dH) p.
    penalty_per_prompt: l counts rounds in a row in which the question got a new trajectory, by branch or fill-up, and
        starts again at 0 only in a round in which another question got one (`consecutive_branches`). The paper:
        branches in a row on the path, as without lockstep.
    budget_floor_plus_one: m = floor(k sigmoid) + 1 (DYN); 9 of 16 at equal entropies. False: rounded to the nearest.
    pilot_mean_all_segments: H_tool averages all segments of the pilot (DYN), its first included. False: those after a
        tool result.
    """

    decision: str = "bernoulli"
    dynamic_budget: bool = False
    penalised_draw: bool = True
    penalty_per_prompt: bool = True
    budget_floor_plus_one: bool = True
    pilot_mean_all_segments: bool = True

    def initial(self, k, root_entropy=None, tool_entropy=None) -> int:
        if not (self.dynamic_budget and self.budget_floor_plus_one):
            return super().initial(k, root_entropy, tool_entropy)
        return max(1, min(k, int(k * self.budget_share(root_entropy, tool_entropy)) + 1))

    def branch_probability(self, entropy_change: float, consecutive: int) -> float:
        if not (self.penalised_draw and self.branch_penalty):
            return super().branch_probability(entropy_change, consecutive)
        penalty = max(0.0, 1.0 - self.penalty_slope * consecutive)
        if penalty == 0.0:
            return 0.0
        return min(1.0, max(0.0, 1.0 - (1.0 - self.alpha) / penalty + self.entropy_weight * entropy_change))
