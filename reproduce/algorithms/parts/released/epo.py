"""EPO and its GRPO as their released code computes them, where that is not what the paper says."""

from dataclasses import dataclass

from reproduce.algorithms.parts import epo_terms as epo
from reproduce.algorithms.parts.advantages import finite_rewards
from reproduce.algorithms.parts.regularisers import EPO, one_of
from reproduce.algorithms.parts.turn_means import turn_row_zscore


@dataclass(frozen=True)
class TurnRowZScore:
    """GRPO's z-score with statistics over the turns of a group, not its trajectories (EPO's released code)."""

    std_epsilon: float = 1e-6
    needs = ("turns_BT",)

    def __call__(self, rewards_B, groups_B, tensors, mask_BT):
        rewards_B = finite_rewards(rewards_B, groups_B)
        advantages_B = turn_row_zscore(rewards_B, groups_B, mask_BT, tensors["turns_BT"], self.std_epsilon)
        return advantages_B[:, None].expand(mask_BT.shape), {}


@dataclass(frozen=True)
class ReleasedEPO(EPO):
    """EPO's entropy terms as in its released code. The smoothing penalty is a constant there: it has no gradient.

    Switches, each with the paper's choice as its other value:
    penalty_form: "indicator", 1 outside the corridor (the paper: "relu"). include_current_step: the reference's mean
    holds this step's entropy too (the paper: past steps only, so none at k = 0). left_padded_history: the list of a
    step's entropies per turn is filled up with zeros in front when all episodes ended early, which shifts its turns.
    turn_gate: nothing is smoothed in a (micro-)batch without a token of this turn or a later one, everything in any
    other (the paper: None). phase_schedule "released" falls to almost 0 at schedule_epochs, which is 150 whatever K is;
    its other choices, those of smoothing_reference and those of entropy_aggregation are as in `EPO`.
    """

    entropy_aggregation: str = "tokens"
    smoothing_reference: str = "turn"
    phase_schedule: str = "released"
    penalty_form: str = "indicator"
    include_current_step: bool = True
    left_padded_history: bool = True
    turn_gate: int | None = 25
    schedule_epochs: int = 150

    SCHEDULES = ("released", *EPO.SCHEDULES)

    def __post_init__(self):
        super().__post_init__()
        one_of("penalty_form", self.penalty_form, ("indicator", "relu"))

    @property
    def reference_name(self) -> str:
        padded = "_left_padded" if self.left_padded_history and self.smoothing_reference == "turn" else ""
        return super().reference_name + ("_with_current" if self.include_current_step else "") + padded

    @property
    def needs(self) -> tuple[str, ...]:
        gate = ("turns_BT",) if self.smoothing and self.turn_gate is not None else ()
        return tuple(dict.fromkeys((*super().needs, *gate)))

    def reference(self, tensors, mask_BT):
        if self.turn_gate is not None and not bool((tensors["turns_BT"][mask_BT] >= self.turn_gate).any()):
            return None
        return super().reference(tensors, mask_BT)

    def beta(self, tensors) -> float:
        if self.phase_schedule == "released":
            return epo.released_phase_weight(tensors["rl_step"], self.schedule_epochs)
        return super().beta(tensors)

    def penalty(self, entropies_BT, reference_BT):
        if self.penalty_form == "indicator":
            return epo.indicator_penalty(entropies_BT, reference_BT, self.corridor_low, self.corridor_high)
        return super().penalty(entropies_BT, reference_BT)

    def effect(self, beta: float) -> float:
        return 0.0 if self.penalty_form == "indicator" else super().effect(beta)
