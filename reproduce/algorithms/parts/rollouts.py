"""Rollout policies of `reproduce.rollouts.policies` as parts, with switches for ablations."""

from dataclasses import dataclass

from reproduce.rollouts.policies import AEPORollout, ARPORollout


@dataclass(frozen=True)
class SwitchableAEPORollout(AEPORollout):
    """AEPO's rollout with its two components as switches (its ablations).

    dynamic_budget False: m is ARPO's fixed share (`initial_fraction`), and no pilot is needed.
    branch_penalty False: P is ARPO's, however many branches came in a row.
    """

    dynamic_budget: bool = True
    branch_penalty: bool = True

    @property
    def needs_pilot(self) -> bool:
        return self.dynamic_budget

    def initial(self, k, root_entropy=None, tool_entropy=None) -> int:
        policy = AEPORollout if self.dynamic_budget else ARPORollout
        return policy.initial(self, k, root_entropy, tool_entropy)

    def branch_probability(self, entropy_change: float, consecutive: int) -> float:
        return super().branch_probability(entropy_change, consecutive if self.branch_penalty else 0)
