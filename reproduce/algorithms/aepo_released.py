"""AEPO as the released code runs it with its launchers' settings (github.com/RUC-NLPIR/ARPO, `AEPO/scripts/*.sh`).

GRPO on trees, with the penalty on branching and the one-sided gradient-keeping clip: the dynamic budget is switched off
by the launchers, and the entropy-aware advantage by a coefficient. Every difference from `aepo` is a setting, to be
turned off singly; `parts.released.rollouts` and `parts.released.trees` say what each does, and in which function it is.

The paper's form of the factor, from entropies at rollout: `token_weight="none", advantage="entropy_aware"`.

Not here, because the engine cannot measure it or because it can change nothing here:

| released code                                                   | here                                              |
|-----------------------------------------------------------------|---------------------------------------------------|
| h from the 10 likeliest tokens and the sampled one, log-probs    | full softmax: engines give no top-k entropies.    |
| neither renormalised nor complete (`logprobs = 10`)             | Never smaller; equal if 10 tokens hold all mass   |
| H_root from a separate generation of up to 50 tokens            | the pilot's first segment: the same distribution  |
| NaN of hi / sg(delta) * delta at delta 0 or inf, masked or not  | finite (`parts.surrogates.ppo_min`)          |
| NaN of z(H) over a single token                                 | 0 (`parts.released.packing`)                 |
| pi_old recomputed by the trainer in bf16                        | the sampler's own log-probabilities               |
| packing by Karmarkar-Karp, mean over GPUs (FSDP)                | longest first, one process                        |
| tool results encoded with special tokens (a BOS in Llama 3)     | this tokenizer adds none                          |
| paths overshoot the length and are cut; allowed_token_ids = all | the same tokens are trained on                    |
| branch tests at a per-call length limit; duplicated rollouts    | never reached: max_tokens and fill-ups prevent it |
| KL loss at coefficient 0; misordered entropies, clip fraction    | no gradient; logs only                            |
"""

from reproduce.algorithms.arpo_released import ARPO_RELEASED
from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import (
    CurrentEntropyFactor,
    GroupZScore,
    MicroBatchTokenMean,
    ReferenceKL,
    ReleasedAEPORollout,
    UpperGradientKeeping,
)

AEPO_RELEASED = Algorithm(
    name="aepo-released",
    citation="github.com/RUC-NLPIR/ARPO, AEPO/scripts/AEPO_Qwen3_14B_DeepResearch.sh and its 7B twin",
    rollout=ReleasedAEPORollout(),
    advantage=GroupZScore(std_epsilon=1e-6),
    token_weight=CurrentEntropyFactor(factor_silently_off=True),
    surrogate=UpperGradientKeeping(clip_low=0.2, clip_high=0.2, dual_clip=3.0, gradient_keeping_clip=True),
    regularisers=(ReferenceKL(kl_coefficient=0.0),),
    aggregation=MicroBatchTokenMean(micro_batch_sequences=2.0),
    sources=ARPO_RELEASED.sources
    | {
        "aggregation": "token-mean, 2 (P + R) tokens",
        "alpha": "released test (u + w dH) p >= 0.5, p the penalty: `branch_probability` 0.5",
        "beta": "released code; read only with `dynamic_budget`",
        "penalty_slope": "released code",
        "dynamic_budget": "launchers (`ENABLE_DYNAMIC_ROLLOUTS=False`); true is the paper",
        "branch_penalty": "released code and the paper",
        "penalised_draw": "released: the draw is scaled, not P; false is the paper",
        "penalty_per_prompt": "released: counted by question and round, fill-ups too; false is the paper: by path",
        "budget_floor_plus_one": "released code; read only with `dynamic_budget`; false rounds to the nearest",
        "pilot_mean_all_segments": "released code; read only with `dynamic_budget`; false: segments after a result",
        "gradient_keeping_clip": "released code and the paper",
        "entropy_advantage": "launchers (`enable_entropy_balanced_advantage`)",
        "factor_silently_off": "released: without an entropy bonus (yaml: `entropy_coeff` 0) no entropies reach the "
        "factor; false: it acts",
        "entropy_coefficient": "released code",
        "statistics_sequences": "as `micro_batch_sequences`",
        "statistics_limit": "as `micro_batch_limit`",
    },
)
