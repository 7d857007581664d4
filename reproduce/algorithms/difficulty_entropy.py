"""Difficulty entropy, ours: GRPO with an entropy bonus on hard questions, steered to a share of the first entropy.

J = GRPO + c mean over tokens of lambda_i H_t
lambda_i = 1 - acc_i if acc_i < a_0, else 0; acc_i is the share of correct trajectories in the row's group
c <- max(0, c + eta (tau H_0 - H)) in every RL step, before its updates; c = 0 at the start; H is the mean entropy of
the step's tokens at rollout, H_0 that of the first step

A stand-in for AER (2025, arXiv 2510.10959), which is a bonus by difficulty and a global coefficient that holds the
entropy near tau H_0. AER's map from accuracy to coefficient, its threshold and its controller are in no public source,
so all of them are ours here, but for tau, and results do not carry its name.
"""

import math
from dataclasses import dataclass, replace

from reproduce.algorithms.grpo import GRPO
from reproduce.algorithms.parts import aggregation
from reproduce.algorithms.parts.entropy_target import COEFFICIENT, WEIGHT, EntropyTarget

METRICS = ("coefficient", "target", "entropy", "weight_mean")


@dataclass(frozen=True)
class DifficultyEntropyBonus:
    """-c * token mean of lambda_i H_t, whatever the surrogate's aggregation.

    difficulty_threshold: a_0. entropy_share: tau. controller_rate: eta, per nat. controller_start: c before the first
    step. Metrics of a step, entropies in nats: difficulty/coefficient (c of its updates), difficulty/target (tau H_0),
    difficulty/entropy (H), difficulty/weight_mean (lambda over trajectories).
    """

    difficulty_threshold: float = 0.5
    entropy_share: float = 0.4
    controller_rate: float = 0.05
    controller_start: float = 0.0
    needs = ("entropies_BT", WEIGHT, COEFFICIENT)
    metrics = tuple(f"difficulty/{name}" for name in METRICS)
    ranges = {"difficulty_threshold": (0.0, 1.0, True), "controller_rate": (0.0, math.inf, False)}
    ranges |= {"entropy_share": (0.0, math.inf, False), "controller_start": (0.0, math.inf, True)}
    own_aggregation = True

    def state(self, run) -> EntropyTarget:
        """H_0 and c."""
        return EntropyTarget(
            self.difficulty_threshold, self.entropy_share, self.controller_rate, self.controller_start, self.metrics
        )

    def __call__(self, tensors, mask_BT, normalizer, rows):
        weighted_BT = tensors[WEIGHT] * tensors["entropies_BT"]
        return -tensors[COEFFICIENT] * aggregation.token_mean(weighted_BT, mask_BT, normalizer), {}


DIFFICULTY_ENTROPY = replace(
    GRPO,
    name="difficulty-entropy",
    citation="ours: a stand-in for AER (2025, arXiv 2510.10959), whose equations are not public, on GRPO",
    regularisers=(*GRPO.regularisers, DifficultyEntropyBonus()),
    sources=GRPO.sources
    | {
        "difficulty_threshold": "ours (assumed); AER's is not public",
        "entropy_share": "notes on AER: 0.4 is reported as best",
        "controller_rate": "ours (assumed); AER's controller is not public",
        "controller_start": "ours (assumed)",
    },
)
