"""ARPO as the released code runs it with its launchers' settings (github.com/RUC-NLPIR/ARPO, `ARPO/scripts/*.sh`).

Every difference from `arpo` is a setting, to be turned off singly; with all of them off this is `arpo` (`released` is
`parts.released`):

| setting                               | `arpo`          | what it does, and where                    |
|---------------------------------------|-----------------|--------------------------------------------|
| late_test, stale_baseline, lockstep,  | false           | `released.rollouts.ReleasedTree`           |
| child_own_baseline, single_fill_up,   |                 |                                            |
| eos_at_call_limit                     |                 |                                            |
| decision "bernoulli"                  | "threshold"     | `released.rollouts.ReleasedARPORollout`    |
| dual_clip 3                           | null            | `core_algos.compute_policy_loss`           |
| aggregation "micro_batch_token_mean"  | "sequence_mean" | `released.trees.MicroBatchTokenMean`       |

What of the released code is not here, and why: see `aepo_released`.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GroupZScore, MicroBatchTokenMean, PPOMin, ReferenceKL, ReleasedARPORollout

ARPO_RELEASED = Algorithm(
    name="arpo-released",
    citation="github.com/RUC-NLPIR/ARPO, ARPO/scripts/ARPO_7B_Reasoning_1node.sh and its deep-search twins",
    rollout=ReleasedARPORollout(),  # initial_rollouts 8 of 16 (14B: 6 of 12), beam 2, probability 0.5, weight 0.2
    advantage=GroupZScore(std_epsilon=1e-6),  # core_algos.compute_grpo_outcome_advantage: soft attribution
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=3.0),  # clip_ratio_c of the yaml
    regularisers=(ReferenceKL(kl_coefficient=0.0),),  # kl_loss_coef 0.0
    aggregation=MicroBatchTokenMean(micro_batch_sequences=2.0),  # token-mean, 2 (P + R) tokens
)
