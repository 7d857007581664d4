"""DAPO on forking tokens (arXiv 2506.01939, "beyond the 80/20 rule"): the fifth of highest entropy alone learns.

J = sum of k min(delta A, clip(delta, 1 - eps_low, 1 + eps_high) A) / sum of k, k = 1 for the ceil(0.2 N) tokens of
highest entropy under the current policy, chosen anew in every update
The paper speaks of a batch, its code ranks each micro-batch; here the update is ranked.
"""

from dataclasses import replace

from reproduce.algorithms.dapo import DAPO
from reproduce.algorithms.parts import TopEntropy

DAPO_8020 = replace(
    DAPO,
    name="dapo-8020",
    citation="Wang et al. 2025, Beyond the 80/20 Rule, arXiv 2506.01939, on DAPO",
    surrogate=replace(DAPO.surrogate, clip_low=0.2, clip_high=0.28, dual_clip=10.0),
    token_weight=TopEntropy(top_entropy_fraction=0.2, top_entropy_denominator="kept"),
    sources=DAPO.sources
    | {
        "clip_low": "released launcher, `run_only_top20_high_entropy_tokens_dapo_qwen3_14b.sh`",
        "clip_high": "released launcher",
        "dual_clip": "released launcher",
        "top_entropy_fraction": "the paper; released launcher",
        "top_entropy_denominator": "the paper; released code (TRL divides by all tokens)",
    },
)
