"""Arbitrary entropy policy optimisation (arXiv 2510.08141): entropy is held at a target H*. Not AEPO, 2510.14545.

grad J = grad J_GRPO + alpha E_{y ~ pi^(T)}[R(y) grad log pi(y)], T = T_high if H <= H* else T_low, gradient at T = 1

`arbitrary-entropy` is the released code (`ray_trainer.py: fit`, branch AEPO). After the step's own rollout the first
quarter of its questions is sampled again at T. R(y) is a test: of those side rows the ones whose group z-score exceeds
0.05 get the advantage 1, so that a group of correct answers alone gives none. The first n of them join the batch, and
its first n own rows leave it; n is at most 60 of 2560 rows, and half of that, rounded down, while the entropy is above
H*. There is no alpha and no baseline: the weight of the term is n over the batch, and PPO's clip acts on side rows too.
H is the mean of -log pi over the tokens of the last step's updates, 0 before the first, so that the controller starts
hot whatever the entropy is. The released code raises an exception where no side row passes; here n is 0 then.

`dcpo` is a variant in the same repository, without side rows: A becomes (1 - alpha) A + alpha 1[correct]
exp(log pi^(T) - log pi), log probabilities of the policy at rollout, x = min(|H* - H|, 0.1) / share of correct rows and
alpha = x / (1 + x).

Ours (assumed): the limit of 60 rows is a share, rounded up, so that batches of another size give side rows the same
weight; H is over all updates of a step, each with the policy of its time; where no row is correct alpha is 0; T of
`dcpo` follows the same rule. `target_unit` "start" (ours) makes H* a share of the entropy that a run starts with.
"""

from dataclasses import replace

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import PPOMin, TokenMean
from reproduce.algorithms.parts.entropy_control import SideRowsAtTarget, TiltedAdvantage
from reproduce.algorithms.policies import Independent

CITATION = "Arbitrary Entropy Policy Optimization 2025, arXiv 2510.08141, released code"
SOURCES = {
    "aggregation": "launcher",
    "std_epsilon": "as grpo",
    "clip_low": "launcher",
    "clip_high": "launcher",
    "dual_clip": "launcher",
    "entropy_target": "released code (notes on the paper's sweep: best at 0.75)",
    "target_unit": "released code; `start` is ours",
    "temperature_high": "released code",
    "temperature_low": "released code",
}

ARBITRARY_ENTROPY = Algorithm(
    name="arbitrary-entropy",
    citation=CITATION,
    rollout=Independent(),
    advantage=SideRowsAtTarget(
        std_epsilon=1e-6,
        entropy_target=0.5,
        target_unit="nats",
        temperature_high=1.2,
        temperature_low=0.8,
        side_share=0.25,
        side_threshold=0.05,
        side_most=60 / 2560,
    ),
    surrogate=PPOMin(clip_low=0.2, clip_high=0.2, dual_clip=3.0),
    aggregation=TokenMean(),
    sources=SOURCES
    | {
        "side_share": "released code: the first quarter of the prompts",
        "side_threshold": "released code",
        "side_most": "released code: 60 of the launcher's 512 x 5 rows (as a share: assumed)",
    },
)
DCPO = replace(
    ARBITRARY_ENTROPY,
    name="dcpo",
    citation=f"{CITATION}, branch DCPO",
    advantage=TiltedAdvantage(1e-6, 0.5, "nats", 1.2, 0.8, gap_most=0.1),
    sources=SOURCES | {"gap_most": "released code"},
)
