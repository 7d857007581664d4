"""GPPO, Gradient-Preserving clipping Policy Optimization (Klear-Reasoner, arXiv 2508.07629).

    J = mean over tokens of min(delta A, clip(delta; (1 - eps) delta / sg(delta), (1 + eps) delta / sg(delta)) A)

The value is PPO's. Out of range the gradient is (1 + eps) A (A > 0, delta too high) or (1 - eps) A (A < 0, delta too
low) instead of 0. AEPO's clip is the upper half of it. Klear-Reasoner's additional SFT loss does not belong to GPPO.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GradientKeeping, GroupZScore, TokenMean
from reproduce.algorithms.policies import Independent

GPPO = Algorithm(
    name="gppo",
    citation="Su et al. 2025, Klear-Reasoner, arXiv 2508.07629",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=GradientKeeping(clip_low=0.2, clip_high=0.28, dual_clip=None, beta_1=1.0, beta_2=1.0),
    aggregation=TokenMean(),
    sources={
        "aggregation": "released code",
        "std_epsilon": "as grpo",
        "log_ratio_bound": "as grpo; a kept gradient does not end there",
        "clip_low": "released launchers (Kwai-Klear/KlearReasoner, `recipe/dapo/perf_run_dapo_ours_math.sh`, "
        "`..._code.sh`)",
        "clip_high": "as `clip_low`",
        "dual_clip": "the paper's objective has none (launchers: 10; the code's default: 3)",
        "beta_1": "the definition; Klear-Reasoner's general form sets both to 1",
        "beta_2": "as `beta_1`",
    },
)
