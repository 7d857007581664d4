"""EPO, Entropy-regularised Policy Optimization (arXiv 2509.22576 v2), on PPO and on GRPO, and its ablations.

L_EPO = L_MT - lambda (L_H - beta_k L_smooth)                                                          [eq. 6]
L_H = mean over trajectories, turns, tokens of H; L_smooth: the same mean of alpha P                   [eq. 2, 4]
P = relu(kappa_l Hbar - H) + relu(H - kappa_r Hbar), Hbar = mean entropy of the past RL steps          [eq. 3]
beta_k = 1 + exp(-gamma k / floor(K / 2)); no smoothing in the first step                              [eq. 5, alg. 1]
L_MT is the loss of the base method, aggregated as it is there (assumed: the paper writes expectations).

A token's entropy gradient is multiplied by 1 - alpha beta_k above the corridor, 1 + alpha beta_k below it: with the
published constants smoothing weakens the bonus by 10 to 20 % on the tokens above, and kappa_l = 0 leaves none below.
EPO-Base: the bonus alone. EPO w/o DW: a constant in place of beta_k. EPO-Decay: the bonus falls with the turn.
The ablations are built on PPO: section 5.4 compares PPO+EPO-Base with PPO+EPO-Decay.
"""

from dataclasses import replace

from reproduce.algorithms.grpo import GRPO
from reproduce.algorithms.parts import EPO, DecayingEntropyBonus, EntropyBonus
from reproduce.algorithms.ppo import PPO

CITATION = "Xu et al. 2025, EPO, arXiv 2509.22576 v2"
BONUS = EntropyBonus(entropy_bonus=0.001, entropy_aggregation="turns")
TERMS = EPO(
    entropy_bonus=0.001,
    entropy_aggregation="turns",
    smoothing=True,
    smoothing_weight=0.1,
    corridor_low=0.0,
    corridor_high=2.0,
    smoothing_reference="step",
    phase_schedule="paper",
    phase_decay=3.0,
)
DECAY = DecayingEntropyBonus(entropy_bonus=0.001, decay_by="turn", decay_start=2.0, decay_end=1.0, decay_rate=3.0)
BONUS_SOURCES = {
    "entropy_bonus": "EPO tables 2 and 3 (lambda)",
    "entropy_aggregation": "EPO eq. 2 (released code: `tokens`)",
}
SOURCES = BONUS_SOURCES | {
    "smoothing": "EPO eq. 3 to 6; false leaves epo-base",
    "smoothing_weight": "alpha: 0.1 in table 3 (ALFWorld, printed as lambda_k) and appendix A; table 2 (ScienceWorld): "
    "0.05. Above 1 / beta_k it reverses the bonus, which the paper excludes",
    "corridor_low": "EPO tables 2 and 3 (kappa_l): there is nothing below; remark A.19 calls 0.5 a robust default",
    "corridor_high": "EPO tables 2 and 3 (kappa_r); remark A.19: 1.5",
    "smoothing_reference": "EPO section 4.2: one mean of the past steps, each the mean over its tokens (released code: "
    "`turn`)",
    "phase_schedule": "EPO eq. 5; it falls from 2, as section 4.2 says, not rises, as the abstract does",
    "phase_decay": "EPO tables 2 and 3 (gamma)",
    "phase_weight": "read only with `phase_schedule` `constant`",
}
CONSTANT_SOURCES = SOURCES | {
    "phase_schedule": "this ablation: a constant in place of beta_k (EPO section 5.3)",
    "phase_decay": "read only with `phase_schedule` `paper`",
    "phase_weight": "assumed: the constant is not printed; beta_k tends to 1",
}
DECAY_SOURCES = BONUS_SOURCES | {
    "decay_by": "section 5.4 and its figures: higher for early turns (appendix B.4.1 says early in training: `step`)",
    "decay_start": "assumed: no formula or constant is printed; the authors' later run names suggest 2.0",
    "decay_end": "assumed, as `decay_start` (1.0, in one run 0.6)",
    "decay_rate": "assumed, as `decay_start` (3.0, in one run 5.0)",
}


def _on(base, name: str, section: str, term, sources: dict[str, str]):
    return replace(
        base,
        name=name,
        citation=f"{CITATION}, {section}",
        regularisers=(*base.regularisers, term),
        sources=base.sources | sources,
    )


CONSTANT = replace(TERMS, phase_schedule="constant", phase_weight=1.0)
GRPO_EPO = _on(GRPO, "grpo+epo", "section 4, on GRPO", TERMS, SOURCES)
PPO_EPO = _on(PPO, "ppo+epo", "section 4, on PPO", TERMS, SOURCES)
EPO_BASE = _on(PPO, "epo-base", "sections 4.1 and 5.3, on PPO", BONUS, BONUS_SOURCES)
EPO_NO_DW = _on(PPO, "epo-no-dw", "section 5.3, on PPO", CONSTANT, CONSTANT_SOURCES)
EPO_DECAY = _on(PPO, "epo-decay", "section 5.4, on PPO", DECAY, DECAY_SOURCES)
