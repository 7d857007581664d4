"""Methods that the code released for EPO runs (September 2025), on GRPO and on PPO, and its GRPO without EPO.

L = L_PPO-min with dual clip - 0.001 mean of H + 0.01 k3 KL to the initial policy, all token means, and a smoothing term
that is a constant: 0.001 w_k alpha [H outside the corridor]. Its gradient is exactly zero, so every EPO run of that
code learns as one with the bonus alone; only the logged loss differs.
Quirks, each a switch: the penalty's form; a reference per turn that includes the current step and is shifted when all
episodes end early; the gate at turn 25; the schedule of 150 epochs; statistics over turns, not trajectories (GRPO).
The launcher forwards the smoothing flags on GRPO; on PPO it drops them, so there `smoothing` is false.
Not here: the reward's penalty of 0.1 for a badly formatted turn and groups of different tasks (both belong to the
environment), copied rows that fill up a batch, and token means per micro-batch (an update here is one).
"""

from dataclasses import replace

from reproduce.algorithms.grpo import GRPO
from reproduce.algorithms.parts import BoundedReferenceKL, EntropyBonus, PPOMin, ReleasedEPO, TokenMean, TurnRowZScore
from reproduce.algorithms.ppo import PPO

CITATION = "Xu et al. 2025, EPO, arXiv 2509.22576, released code"
COMMON = {
    "surrogate": PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=3.0),
    "aggregation": TokenMean(),
}
KL = BoundedReferenceKL(kl_coefficient=0.01, kl_bound=10.0)  # launcher
BONUS = EntropyBonus(entropy_bonus=0.001, entropy_aggregation="tokens")  # the launcher's default for every run
TERMS = ReleasedEPO(
    entropy_bonus=0.001, smoothing_weight=0.1, corridor_low=0.0, corridor_high=2.0,  # the commands of its README
)  # fmt: skip

GRPO_RELEASED = replace(
    GRPO, name="grpo-released", citation=f"{CITATION}, GRPO", advantage=TurnRowZScore(std_epsilon=1e-6),
    regularisers=(KL, BONUS), **COMMON,
)  # fmt: skip
EPO_RELEASED = replace(GRPO_RELEASED, name="epo-released", citation=f"{CITATION}, on GRPO", regularisers=(KL, TERMS))
PPO_EPO_RELEASED = replace(
    PPO, name="ppo+epo-released", citation=f"{CITATION}, on PPO",
    regularisers=(KL, replace(TERMS, smoothing=False)), **COMMON,
)  # fmt: skip
