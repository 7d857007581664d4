"""Effects of what papers and code of the entropy family disagree about, or leave open."""

import torch

from analysis.fidelity.batch import Batch, advantages, compared
from analysis.fidelity.measures import measure
from reproduce.algorithms import inert_at_one_update, load
from reproduce.algorithms.parts.balanced_clip import share
from reproduce.algorithms.parts.ratios import token_ratio
from reproduce.algorithms.parts.regions import FORMAT, RegionWeight

INERT = ("kl-cov", "erc", "erc-gppo", "minpro", "bapo", "bapo-paper")
WITHOUT = {"ratio": "token", "surrogate": "ppo_min", "token_weight": "none", "regularisers": "none"}
LAUNCHER = {"balance_target": 0.5, "low_start": 0.8, "low_end": 0.95, "high_step": 0.1}
RISES_UNTIL = 300  # RL step at which the last of ResT's weights stops rising


# ---------------------------------------------------------------- BAPO


def low_bound_effect(batch: Batch, mass: str) -> float:
    """Points by which the share of rewarded mass changes as BAPO's low bound rises from 0.6 to 0.9, high bound 1.2."""
    part = load("bapo", balance_mass=mass).surrogate
    ratio = token_ratio(batch.tensors["logps_BT"], batch.tensors["old_logps_BT"], batch.mask_BT)
    a_BT = advantages(batch, load("bapo"))
    shares = [share(*part.masses(ratio, a_BT, low, 1.2)) for low in (0.6, 0.9)]
    return 100 * (shares[1] - shares[0])


@measure("points", "by which the share of rewarded mass changes as the low bound rises from 0.6 to 0.9")
def low_bound_value(batch):
    return low_bound_effect(batch, "value")


@measure("points", "the same of the mass that carries gradient")
def low_bound_gradient(batch):
    return low_bound_effect(batch, "gradient")


@measure("%", "distance of the released gradient with the example launcher's values, from the recipe's")
def bapo_launcher(batch):
    return compared(batch, ("bapo", {}), ("bapo", LAUNCHER))


@measure("%", "distance of the released gradient with both bounds at the end of their search, from the first bounds")
def bapo_ends(batch):
    return compared(batch, ("bapo", {"balance_target": 1e-9}), ("bapo", {"balance_target": 1e9}))


# ---------------------------------------------------------------- STAPO, Clip-Cov, KL-Cov, MinPRO


def gated(batch: Batch, quantile: float) -> dict[str, float]:
    """Metrics of STAPO's gate on the batch, at probabilities below 0.02: ten times its own bound."""
    algorithm = load("stapo", spurious_quantile=quantile, spurious_probability=0.02)
    tensors = batch.tensors | {"advantages_BT": advantages(batch, algorithm)}
    return algorithm.token_weight(tensors, batch.mask_BT)[1]


@measure("tokens", "rewarded tokens of a probability below 0.02, ten times the gate's bound")
def rare_tokens(batch):
    return round(gated(batch, 0.8)["stapo/rare"] * batch.tokens)


@measure("tokens", "of these, tokens that the gate silences if the lowest 80 % of entropy count as low")
def silenced_tokens(batch):
    return round(gated(batch, 0.8)["stapo/silenced"] * batch.tokens)


@measure("times", "the entropy bound of that reading, against the bound if the lowest 20 % count as low")
def entropy_bounds(batch):
    return gated(batch, 0.8)["stapo/entropy_threshold"] / gated(batch, 0.2)["stapo/entropy_threshold"]


@measure("%", "distance of Clip-Cov's gradient with a dual clip of 3")
def clip_cov_dual_clip(batch):
    drawn = batch.with_tensors(draw_seed=0)
    return compared(drawn, ("clip-cov", {}), ("clip-cov", {"dual_clip": 3.0}))


@measure("%", "distance of KL-Cov's gradient if 0.2 is read as a share and not as a percentage")
def kl_cov_percentage(batch):
    return compared(batch, ("kl-cov", {}), ("kl-cov", {"covariance_fraction": 0.2}))


@measure("%", "distance of MinPRO's gradient at weights from 0.8 to 1.28, from those up to 5")
def minpro_bounds(batch):
    return compared(batch, ("minpro", {}), ("minpro", {"clip_low": 0.2, "clip_high": 0.28}))


# ---------------------------------------------------------------- ResT


@measure("times", "the tags' weight at RL step 300, before the row's mean, against that at step 0", of="formula")
def rest_format():
    part = RegionWeight()
    return part.of_regions(RISES_UNTIL)[FORMAT] / part.of_regions(0)[FORMAT]


# ---------------------------------------------------------------- Arbitrary-Entropy


@measure("%", "share of correct side rows whose group of five is all correct, at an accuracy of 0.8", of="formula")
def side_rows_left_out():
    return 100 * 0.8**4


@measure("nats", "mean of -log pi on the batch, where the controller assumes 0 before its first update")
def blind_start(batch):
    return -batch.tensors["old_logps_BT"][batch.mask_BT].mean()


# ---------------------------------------------------------------- one update


def inert_distances(batch: Batch) -> list[float]:
    """Distance of each inert method's gradient from the method without the parts that act only off policy."""
    found = []
    for name in INERT:
        slots = [part.split()[0] for part in inert_at_one_update(load(name))]
        found.append(compared(batch, (name, {}), (name, {slot: WITHOUT[slot] for slot in slots})))
    return found


def on_policy(batch: Batch) -> Batch:
    """The batch as the first update sees it: the policy is the one that sampled."""
    t = batch.tensors
    return batch.with_tensors(
        logps_BT=t["old_logps_BT"], entropies_BT=torch.where(batch.mask_BT, t["old_entropies_BT"], 0.0)
    )


@measure("%", "largest distance that such a part makes in the family at one update per rollout batch")
def family_inert_at_ratio_one(batch):
    return max(inert_distances(on_policy(batch)))


@measure("%", "smallest distance that it makes on the batch's own ratios")
def family_inert_off_ratio_one(batch):
    return min(inert_distances(batch))
