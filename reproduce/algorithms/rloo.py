"""RLOO, REINFORCE Leave-One-Out (arXiv 2402.14740): the completion is one action, its baseline the other samples.

grad J = (1/G) sum_i A_i grad log pi(y_i), A_i = R_i - mean_{j != i} R_j

Its log-probability is the sum over tokens, so the loss sums over tokens and averages over rows. There is no ratio and
no clip: the estimator is meant for samples of the current policy. The paper's KL penalty inside R is left out, as for
every method here.
"""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import LeaveOneOut, PolicyGradient, TokenSumConst
from reproduce.algorithms.policies import Independent

RLOO = Algorithm(
    name="rloo",
    citation="Ahmadian et al. 2024, Back to Basics, arXiv 2402.14740",
    rollout=Independent(),
    advantage=LeaveOneOut(),
    surrogate=PolicyGradient(importance_weight=False),
    aggregation=TokenSumConst(length_constant=1),
    sources={
        "log_ratio_bound": "as grpo; the ratio is read by metrics only",
        "importance_weight": "the paper: REINFORCE on samples of the current policy (TRL and verl: a clipped ratio, "
        "which is inert there)",
        "length_constant": "the paper: log-probabilities are summed over the completion, not averaged",
    },
)
