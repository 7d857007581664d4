"""EPO, Entropy-regularised Policy Optimization (arXiv 2509.22576 v2), on PPO and on GRPO, and its ablations.

L_EPO = L_MT - lambda (L_H - beta_k L_smooth)                                                          [eq. 6]
L_H = mean over trajectories, turns, tokens of H; L_smooth: the same mean of alpha P                   [eq. 2, 4]
P = relu(kappa_l Hbar - H) + relu(H - kappa_r Hbar), Hbar = mean entropy of the past RL steps          [eq. 3]
beta_k = 1 + exp(-gamma k / floor(K / 2)); no smoothing in the first step                              [eq. 5, alg. 1]
L_MT is the loss of the base method, aggregated as it is there.

A token's entropy gradient is multiplied by 1 - alpha beta_k above the corridor, 1 + alpha beta_k below it: with the
published constants smoothing weakens the bonus by 10 to 20 % on the tokens above, and kappa_l = 0 leaves none below.
EPO-Base: the bonus alone. EPO w/o DW: a constant in place of beta_k. EPO-Decay: the bonus falls with the turn.
"""

from dataclasses import replace

from reproduce.algorithms.grpo import GRPO
from reproduce.algorithms.parts import EPO, DecayingEntropyBonus, EntropyBonus
from reproduce.algorithms.ppo import PPO

CITATION = "Xu et al. 2025, EPO, arXiv 2509.22576 v2"
# lambda, kappa, gamma: tables 2 and 3; alpha: 0.1 in table 3 and the appendix (0.05 in table 2)
TERMS = EPO(
    entropy_bonus=0.001, entropy_aggregation="turns", smoothing=True, smoothing_weight=0.1, corridor_low=0.0,
    corridor_high=2.0, smoothing_reference="step", phase_schedule="paper", phase_decay=3.0,
)  # fmt: skip


def _on(base, name: str, section: str, term):
    return replace(base, name=name, citation=f"{CITATION}, {section}", regularisers=(*base.regularisers, term))


GRPO_EPO = _on(GRPO, "grpo+epo", "section 4, on GRPO", TERMS)
PPO_EPO = _on(PPO, "ppo+epo", "section 4, on PPO", TERMS)
EPO_BASE = _on(PPO, "epo-base", "sections 4.1 and 5.3, on PPO", EntropyBonus(entropy_bonus=0.001))
# the constant is not printed: 1, what beta_k tends to (assumed)
EPO_NO_DW = _on(PPO, "epo-no-dw", "section 5.3, on PPO", replace(TERMS, phase_schedule="constant", phase_weight=1.0))
# by turn: section 5.4 and every analysis of it (appendix B.4.1 says by training step); form and constants assumed
EPO_DECAY = _on(
    PPO, "epo-decay", "section 5.4, on PPO",
    DecayingEntropyBonus(entropy_bonus=0.001, decay_by="turn", decay_start=2.0, decay_end=1.0, decay_rate=3.0),
)  # fmt: skip
