"""ResT (arXiv 2509.21826): tokens are weighted by what part of a tool call they are.

J = sum of w min(delta A, clip(delta, 1 - eps, 1 + eps) A) / sum of w, with mean_t w = 1 in every row
w by region at RL step s: tags 1; the tool's name 1.2; its arguments min(0.6 + 0.002 s, 1.2); reasoning between <think>
tags min(0.6 + 0.002 s, 1); 0 for everything else, the final answer included

This is the released code (`recipe/custom/token_weighting.py: build_token_weight`). The paper's form differs: it
averages tokens by row, says that the format's weight falls, which is commented out there, and derives weights from the
entropies of regions, which no released code reads. Its slopes and ends are not known, so it is not built. Reasoning
saturates at s = 200, arguments at 300: a run of 24 steps stays at its first weights but for 0.05.

The released code cuts the decoded text into tokens again, which may shift regions against the sampled tokens; here each
sampled token has its own place (`rollouts.regions`). Its sum of weights is over a micro-batch, ours over the update.
Calls of these worlds are tags: the word in `<search>` counts as the tool's name, what the tags enclose as the
arguments, and `<answer>` as the format tag `<response>` (assumed). Where every turn is a row, a row is a turn.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GroupZScore, PPOMin, TokenMean
from reproduce.algorithms.parts.regions import RegionWeight
from reproduce.algorithms.policies import Independent

REST = Algorithm(
    name="rest",
    citation="ResT 2025, arXiv 2509.21826, released code",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=3.0),
    token_weight=RegionWeight(),
    aggregation=TokenMean(),
    sources={
        "aggregation": "launcher, `token-mean-weighted`: over the sum of the weights",
        "std_epsilon": "as grpo",
        "clip_low": "launcher sets none: verl's",
        "clip_high": "launcher sets none: verl's",
        "dual_clip": "launcher sets none: verl's",
        "region_format": "released code, constant (the paper: falling)",
        "region_name": "released code, constant",
        "region_start": "released code, of arguments and reasoning",
        "region_slope": "released code, per RL step",
        "region_arguments": "released code",
        "region_reasoning": "released code",
        "region_least": "released code",
        "region_most": "released code",
    },
)
