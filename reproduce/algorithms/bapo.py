"""BAPO, balanced policy optimisation with adaptive clipping (arXiv 2510.18927): both bounds of PPO's clip move.

J = mean over tokens of min(delta A, clip(delta, c_low, c_high) A), with (c_low, c_high) searched in every update.

`bapo` is the released code: c_low first, then c_high, until sum_{A > 0} min(delta, c_high) A is at least rho_0 times
sum_{A < 0} max(delta, c_low) |A|; a dual clip of 3. `bapo-paper` is the form of notes on the paper: c_high first, then
c_low, until rewarded tokens have the share rho_0 of the mass; no dual clip. A share of 0.5 is a ratio of 1.

In both the low bound works against its purpose: where A < 0 and delta < c_low the mass is c_low |A|, so raising c_low
adds to what it should take from. Below the target `bapo` therefore runs c_low to its end, and `bapo-paper` does so once
c_high is exhausted; only the gradient that c_low removes is as intended. `balance_mass` "gradient" (ours) counts the
mass that carries gradient, and then c_low does help.

The sources give four sets of values. README: target share 0.5, c_low 0.6 to 0.9, c_high 1.2 to 3. Recipe: ratio 1, 0.6
to 0.8, 1.2 to 2, steps of 0.05. Example launcher: ratio 0.5, which is a share of a third, 0.8 to 0.95, 1.2 to 2, steps
of 0.05 and 0.1. Notes: share 0.4, steps of 0.02 (low) and 0.05 (high). Which of them gave the paper's numbers is not
known; its authors say that these come from another, internal code. The released search starts anew in every
micro-batch, ours in every update. With one update per rollout batch the method is PPO's clip: it is refused.
"""

from dataclasses import replace

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import GroupZScore, TokenMean
from reproduce.algorithms.parts.balanced_clip import BalancedClip
from reproduce.algorithms.policies import Independent

SOURCES = {"aggregation": "launcher", "std_epsilon": "as grpo", "balance_mass": "released code; `gradient` is ours"}

BAPO = Algorithm(
    name="bapo",
    citation="BAPO 2025, arXiv 2510.18927, released code",
    rollout=Independent(),
    advantage=GroupZScore(std_epsilon=1e-6),
    surrogate=BalancedClip(
        balance_criterion="ratio",
        balance_order="low_first",
        balance_mass="value",
        balance_target=1.0,
        low_start=0.6,
        low_end=0.8,
        low_step=0.05,
        high_start=1.2,
        high_end=2.0,
        high_step=0.05,
        dual_clip=3.0,
    ),
    aggregation=TokenMean(),
    sources=SOURCES
    | {
        "log_ratio_bound": "released code, `compute_policy_loss_bapo`",
        "balance_criterion": "released code, `_compute_effective_advantage`",
        "balance_order": "released code",
        "balance_target": "recipe's yaml (README: a share of 0.5, the same; example launcher: 0.5, a share of a third)",
        "dual_clip": "released code",
    }
    | dict.fromkeys(("low_start", "low_end"), "recipe's yaml (README: 0.6 to 0.9; launcher: 0.8 to 0.95)")
    | dict.fromkeys(("high_start", "high_end"), "recipe's yaml, launcher (README: 1.2 to 3)")
    | {"low_step": "recipe's yaml, launcher", "high_step": "recipe's yaml (launcher: 0.1)"},
)
BAPO_PAPER = replace(
    BAPO,
    name="bapo-paper",
    citation="BAPO 2025, arXiv 2510.18927, as notes and the authors' README describe it",
    surrogate=BalancedClip("share", "high_first", "value", 0.5, 0.6, 0.9, 0.02, 1.2, 3.0, 0.05, None),
    sources=SOURCES
    | {
        "balance_criterion": "notes on the paper: the share of positive mass",
        "balance_order": "notes on the paper",
        "balance_mass": "notes on the paper; `gradient` is ours",
        "balance_target": 'README, "as in the paper" (notes: 0.4)',
        "dual_clip": "not in the notes' objective (assumed: none)",
        "low_step": "notes on the paper (delta_2)",
        "high_step": "notes on the paper (delta_1)",
    }
    | dict.fromkeys(("low_start", "low_end", "high_start", "high_end"), 'README, "as in the paper"'),
)
