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
    rollout=ReleasedARPORollout(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=3.0),
    regularisers=(ReferenceKL(kl_coefficient=0.0),),
    aggregation=MicroBatchTokenMean(micro_batch_sequences=2.0),
    sources={
        "advantage": "`core_algos.compute_grpo_outcome_advantage`: soft attribution",
        "aggregation": "token-mean, 2 (P + R) tokens",
        "initial_fraction": "launchers: 8 of 16 (14B: 6 of 12)",
        "alpha": "released test u - w dH <= 0.5: `branch_probability` 0.5",
        "entropy_weight": "launchers",
        "threshold": "read only with decision `threshold`",
        "entropy_tokens": "released code",
        "decision": "released code; `threshold` is the paper",
        "late_test": "released: the branch test reads the segment before the call; false is the paper",
        "stale_baseline": "released: initial entropies are kept by index and never cleared; false is the paper",
        "child_own_baseline": "released: a branch measures its own; false is the paper (assumed: its parent's)",
        "lockstep": "released: one segment per round for the whole batch; false: each path by itself",
        "single_fill_up": "released: one whole trajectory per round; false is the paper: all that is missing",
        "eos_at_call_limit": "released: appended and trained on; false: nothing that was not sampled is trained on",
        "std_epsilon": "released code",
        "clip_low": "launchers' yaml",
        "clip_high": "launchers' yaml",
        "dual_clip": "launchers' yaml (`clip_ratio_c`); null is the paper",
        "kl_coefficient": "launchers (`kl_loss_coef`)",
        "micro_batch_sequences": "launchers: 2 (P + R) tokens, here in completions (assumed: a loss sees no prompts)",
        "micro_batch_limit": "R, the limit on completions, where a number is given; `null`: the longest completion "
        "of the update batch, as in the committed runs",
    },
)
