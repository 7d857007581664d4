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
COMMON = {"surrogate": PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=3.0), "aggregation": TokenMean()}
KL = BoundedReferenceKL(kl_coefficient=0.01, kl_bound=10.0)
BONUS = EntropyBonus(entropy_bonus=0.001, entropy_aggregation="tokens")
TERMS = ReleasedEPO(entropy_bonus=0.001, smoothing_weight=0.1, corridor_low=0.0, corridor_high=2.0)
COMMON_SOURCES = {
    "clip_low": "launcher's yaml",
    "clip_high": "launcher's yaml",
    "dual_clip": "launcher's yaml (`clip_ratio_c`)",
    "kl_coefficient": "launcher (`kl_loss_coef`, k3); the paper mentions no KL",
    "kl_bound": "verl: the estimate is cut at 10 nats",
    "entropy_bonus": "launcher: 0.001 for every run unless it is switched off by hand, plain GRPO too",
    "entropy_aggregation": "released: mean over all tokens; `turns` is the paper",
}
TERMS_SOURCES = {
    "smoothing": "the launcher forwards its flags on GRPO",
    "smoothing_weight": "README commands (ALFWorld; ScienceWorld: 0.05)",
    "corridor_low": "README commands (launcher default: 0.5)",
    "corridor_high": "README commands (launcher default: 1.5)",
    "smoothing_reference": "released: token of turn t against the entry of turn t; `step` is the paper",
    "phase_schedule": "released: 1 to 0.83, then 0.8 to 0.04; `paper` is eq. 5",
    "phase_decay": "read only with `phase_schedule` `paper`",
    "phase_weight": "read only with `phase_schedule` `constant`",
    "penalty_form": "released: a constant, zero gradient; `relu` is the paper",
    "include_current_step": "released: the history is appended before the update, so the first step is smoothed too; "
    "false is the paper",
    "left_padded_history": "released: entropies of a step in which all episodes end early are shifted to the last "
    "turns; false keeps their place",
    "turn_gate": "released: a misread key makes it 25 whatever the environment; null is the paper. Where no trajectory "
    "has so many turns nothing is ever smoothed",
    "schedule_epochs": "released: a constant, whatever the number of steps",
}
NO_SMOOTHING = (
    "the launcher's PPO branch drops the smoothing flags, whatever the run is called: what is left is the bonus"
)

GRPO_RELEASED = replace(
    GRPO,
    name="grpo-released",
    citation=f"{CITATION}, GRPO",
    advantage=TurnRowZScore(std_epsilon=1e-6),
    regularisers=(KL, BONUS),
    sources=COMMON_SOURCES
    | {"std_epsilon": "released code; statistics over the turns of a group, so that a long episode counts more"},
    **COMMON,
)
EPO_RELEASED = replace(
    GRPO_RELEASED,
    name="epo-released",
    citation=f"{CITATION}, on GRPO",
    regularisers=(KL, TERMS),
    sources=GRPO_RELEASED.sources | TERMS_SOURCES,
)
PPO_EPO_RELEASED = replace(
    PPO,
    name="ppo+epo-released",
    citation=f"{CITATION}, on PPO",
    regularisers=(KL, replace(TERMS, smoothing=False)),
    sources=PPO.sources | COMMON_SOURCES | TERMS_SOURCES | {"smoothing": NO_SMOOTHING},
    **COMMON,
)
