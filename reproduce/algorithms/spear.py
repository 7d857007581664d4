"""SPEAR (arXiv 2509.22601): a base with Clip-Cov, a fading reward for tool calls, and replay of good trajectories.

J = J_base + gamma(k) J_SIL, gamma(k) = (1 - cos(pi k / K)) / 2 up to k = K, then 1; k is the RL step
Base ("Dr.BoT"): A = R - group mean in the 75 % of the groups whose rewards vary most, else 0; PPO-min 0.8 to 1.28;
Clip-Cov; token sum / constant. R = task reward + min(0.1 calls, 1) (1 + cos(pi k / 200)) / 2, from k = 200 on the task
reward. J_SIL: the same loss against stored log-probabilities, with A = R - P50 > 0, in optimiser steps of its own after
those of the RL step (`parts/replay.py`: what is stored, and when it is replayed).

Replay has Clip-Cov's on-policy values: in the released math recipe the branch that would read the launcher's (0.02, 1
to 40) is commented out. The ALFWorld and WebShop recipes do read theirs: 0.02, 2 to 60, with K = 100 and 200.

Assumed: the buffer (2048) is one rollout batch here, as it is there (128 x 16), and counts trajectories; a replay's
mini-batches have the size of the step's; k counts from 0; the median of an even number is the mean of the middle two;
the number of groups is rounded up. Left out: the loss mask on overlong, incomplete, repetitive and unreadable rows,
whose rules we do not know.

A replay's steps share Adam's state with the others: it moves the policy by the momentum too, however small gamma is.
In a training of n < K steps the weight of the replay stays below gamma(n), 0.016 at 24 of 300 (`spear/weight`): set
replay_ramp and tool_reward_steps to what the training has.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.clip_cov import CovarianceDrop
from reproduce.algorithms.parts import PPOMin, TokenSumConst
from reproduce.algorithms.parts.replay import MostVaried, SelfImitation
from reproduce.algorithms.parts.tool_reward import FadingToolReward
from reproduce.algorithms.policies import Independent

SPEAR = Algorithm(
    name="spear",
    citation="SPEAR 2025, arXiv 2509.22601, as its math recipe runs",
    rollout=Independent(),
    advantage=MostVaried(varied_share=0.75),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.28, dual_clip=None),
    token_weight=CovarianceDrop(covariance_drop=2e-4, covariance_low=1.0, covariance_high=5.0),
    regularisers=(SelfImitation(),),
    aggregation=TokenSumConst(length_constant=None),
    reward_shaping=FadingToolReward(),
    sources={
        "advantage": "launchers: no standard deviation",
        "aggregation": "launchers: token sum / constant",
        "varied_share": "launchers",
        "clip_low": "launchers",
        "clip_high": "launchers",
        "dual_clip": "released code: none in the Clip-Cov loss",
        "covariance_drop": "launchers",
        "covariance_low": "launchers",
        "covariance_high": "launchers",
        "length_constant": "null is the run's longest possible completion, as dr-grpo (assumed)",
        "replay_rows": "2048 in launcher and paper; null is one rollout batch, as it is there (assumed)",
        "replay_trigger": "released code, `ray_trainer_hybrid`",
        "replay_baselines": "released code",
        "replay_age": "released code, `tolerate_steps` (paper: at most 10)",
        "replay_ramp": "math launcher (ALFWorld 100, WebShop 200)",
        "replay_coefficient": "launchers; the paper's gamma",
        "replay_drop": "as executed (launcher: 0.02, read by the agent recipe alone)",
        "replay_low": "as executed (launcher: 1; ALFWorld, WebShop: 2)",
        "replay_high": "as executed (launcher: 40; ALFWorld, WebShop: 60)",
        "tool_reward": "released code, `recipe/spear/reward`, of an assistant message with a tool call",
        "tool_reward_most": "released code",
        "tool_reward_steps": "released code",
    },
)
