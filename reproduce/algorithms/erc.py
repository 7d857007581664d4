"""ERC, entropy ratio clipping (arXiv 2512.05591): tokens whose entropy moved too far since the rollout do not learn.

J = mean over tokens of k l, l the token's objective of DAPO (`erc`) or GPPO (`erc-gppo`), and
k = 1 if beta_low < (H + 1e-8) / (H_old + 1e-8) < beta_high, else 0
H is the entropy of the current policy, H_old that of the policy at rollout, both from the trainer's full softmax. The
paper writes k as an indicator, its code detaches the term: the gradient is the same, only the printed loss differs. The
gate acts after the bounds of the ratio, so it brings no clipped token back.

Where H_old is nearly 0 the ratio is ill-conditioned: at 1e-4 nats a change of 6e-6 closes the gate, less than the noise
of a bfloat16 pass. `erc/kept_0` to `erc/kept_9` say how many tokens of each decile of H_old learn.
"""

from dataclasses import dataclass, replace

import torch

from reproduce.algorithms.dapo import DAPO
from reproduce.algorithms.gppo import GPPO

DECILES = 10


@dataclass(frozen=True)
class EntropyRatioGate:
    """Weight 1 where the ratio of entropies lies strictly between entropy_ratio_low and entropy_ratio_high, else 0.

    entropy_floor: nats, added to both entropies. Metrics: erc/kept, share of the tokens with weight 1, and erc/kept_0
    to erc/kept_9, the same of the tokens in each tenth of old entropy, lowest first (left out where a tenth is empty).
    """

    entropy_ratio_low: float = 0.95
    entropy_ratio_high: float = 1.05
    entropy_floor: float = 1e-8
    needs = ("entropies_BT", "old_entropies_BT")
    metrics = ("erc/kept", *(f"erc/kept_{i}" for i in range(DECILES)))
    ranges = {"entropy_floor": (0.0, float("inf"), False)}
    acts_only_off_policy = True

    def __call__(self, tensors, mask_BT):
        entropies_BT, old_BT = tensors["entropies_BT"].detach(), tensors["old_entropies_BT"].detach()
        ratio_BT = (entropies_BT + self.entropy_floor) / (old_BT + self.entropy_floor)
        keep_BT = mask_BT & (ratio_BT > self.entropy_ratio_low) & (ratio_BT < self.entropy_ratio_high)
        kept = keep_BT[mask_BT][old_BT[mask_BT].argsort(stable=True)].double()
        parts = zip(self.metrics, (kept, *torch.tensor_split(kept, DECILES)), strict=True)
        return keep_BT.to(entropies_BT.dtype), {name: float(part.mean()) for name, part in parts if len(part)}


SOURCES = {
    "aggregation": "released code: over all tokens, kept or not",
    "std_epsilon": "as grpo",
    "entropy_ratio_low": "launchers (the configuration's default: 0.8)",
    "entropy_ratio_high": "launchers (the configuration's default: 1.2)",
    "entropy_floor": "released code, `compute_policy_loss_grpo_erc`",
    "dual_clip": "launchers",
    "dynamic_sampling": "launchers; the test is as in dapo",
    "max_generation_batches": "as dapo",
}
CITATION = "ERC 2025, Entropy Ratio Clipping, arXiv 2512.05591"

ERC = replace(
    DAPO,
    name="erc",
    citation=f"{CITATION}, on DAPO",
    surrogate=replace(DAPO.surrogate, clip_low=0.2, clip_high=0.28, dual_clip=10.0),
    token_weight=EntropyRatioGate(),
    reward_shaping=None,
    sources=SOURCES | {"clip_low": "launchers", "clip_high": "launchers"},
)
ERC_GPPO = replace(
    GPPO,
    name="erc-gppo",
    citation=f"{CITATION}, on GPPO",
    surrogate=replace(GPPO.surrogate, clip_low=0.2, clip_high=0.2, dual_clip=10.0),
    token_weight=EntropyRatioGate(),
    group_filter=DAPO.group_filter,
    sources=SOURCES
    | {"clip_low": "launchers", "clip_high": "launchers", "beta_1": "as gppo", "beta_2": "as gppo"}
    | {"log_ratio_bound": "as gppo"},
)
