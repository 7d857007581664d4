"""Effects of EPO's released code: the smoothing term, its reference, its schedule, and the base it stands on."""

import numpy as np
import torch

from analysis.fidelity.batch import Batch, Gradient, advantages, compared, distance, gradient
from analysis.fidelity.losses import cell
from analysis.fidelity.measures import measure
from reproduce.algorithms import load
from reproduce.algorithms.parts import epo_terms as epo
from reproduce.algorithms.parts.released import epo as released_epo
from reproduce.seeding import stream

ACTING = {"turn_gate": None}  # the released gate lets nothing act in episodes of fewer than 26 turns
STEPS = 125  # EPO table 2
MINI_BATCH = 64  # turn samples, EPO table 2 for PPO
DRAWS = 20


def zeros(batch: Batch) -> torch.Tensor:
    """Advantages of 0: what is left of a gradient is that of its entropy terms."""
    return torch.zeros_like(batch.tensors["logps_BT"])


@measure("%", "distance of the released gradient with smoothing, from the one without")
def indicator_gradient(batch):
    return compared(batch, ("epo-released", {"smoothing": False}), ("epo-released", ACTING))


@measure("%", "by which the logged loss of the entropy terms differs")
def indicator_loss(batch):
    entropy_terms = {"kl_coefficient": 0.0}
    off = gradient(batch, "epo-released", zeros(batch), smoothing=False, **entropy_terms).loss
    return 100 * abs(gradient(batch, "epo-released", zeros(batch), **ACTING, **entropy_terms).loss / off - 1)


@measure("%", "distance of the paper's entropy gradient with smoothing, from the bonus alone")
def relu_entropy_term(batch):
    return compared(batch, ("grpo+epo", {"smoothing": False}), ("grpo+epo", {}), zeros(batch))


@measure("%", "share of tokens above the corridor, the only ones whose bonus it scales (kappa_l is 0)")
def above_corridor(batch):
    above = batch.tensors["entropies_BT"][batch.mask_BT] > 2 * references(batch, "entropy_reference")
    return 100 * float(above.double().mean())


@measure("%", "distance of GRPO's whole gradient with the paper's smoothing, from the bonus alone")
def relu_whole_gradient(batch):
    return compared(batch, ("grpo+epo", {"smoothing": False}), ("grpo+epo", {}))


@measure("%", "distance of GRPO's gradient with the bonus alone, from the one without")
def bonus_whole_gradient(batch):
    return compared(batch, ("grpo", {}), ("grpo+epo", {"smoothing": False}))


@measure("%", "distance of the released gradient if PPO's launcher forwarded the flags")
def flags_gradient(batch):
    return compared(batch, ("ppo+epo-released", {}), ("ppo+epo-released", {"smoothing": True, **ACTING}))


@measure("%", "distance of the entropy gradient if they were forwarded and the penalty were the paper's")
def flags_relu_entropy_term(batch):
    forwarded = {"smoothing": True, "penalty_form": "relu", "kl_coefficient": 0.0, **ACTING}
    return compared(batch, ("ppo+epo-released", {"kl_coefficient": 0.0}), ("ppo+epo-released", forwarded), zeros(batch))


def references(batch: Batch, name: str) -> torch.Tensor:
    """The reference entropy of every loss-mask token, in nats."""
    value = batch.numbers[name]
    return value[batch.tensors["turns_BT"][batch.mask_BT]] if value.dim() else value.expand(batch.tokens)


def other_side(batch: Batch, one: torch.Tensor, other: torch.Tensor) -> float:
    """Share in percent of the tokens that stand on another side of the corridor (0 to 2 times the reference)."""
    entropies = batch.tensors["entropies_BT"][batch.mask_BT]
    sides = [epo.corridor_side(entropies, reference, 0.0, 2.0) for reference in (one, other)]
    return 100 * float((sides[0] != sides[1]).double().mean())


@measure("%", "share of tokens on another side of the corridor")
def reference_side(batch):
    names = ("entropy_reference", "turn_entropy_reference_with_current")
    return other_side(batch, *(references(batch, name) for name in names))


@measure("%", "mean gap between the two references, relative to the paper's")
def reference_gap(batch):
    paper, released = (references(batch, name) for name in ("entropy_reference", "turn_entropy_reference_with_current"))
    return 100 * float(((released - paper).abs() / paper).mean())


@measure("%", "share of tokens on another side of the corridor, with lists of 30 turns as in ScienceWorld")
def left_padding(batch):
    lists = [torch.tensor(turns).double() for turns in batch.about["history"]["turn_means"]]
    turns = batch.tensors["turns_BT"][batch.mask_BT]
    kept, shifted = (
        torch.stack([torch.nn.functional.pad(one, side(30 - len(one))) for one in lists]).mean(0)
        for side in (lambda n: (0, n), lambda n: (n, 0))
    )
    return other_side(batch, kept[turns], shifted[turns])


@measure("%", "trajectories that reach turn 25, without which nothing is smoothed")
def gate_open(batch):
    return 100 * float((batch.tensors["turns_BT"].amax(1) >= 25).double().mean())


@measure("times", "paper's phase weight over the released one in the first of 125 steps")
def schedule_start(batch):
    return epo.phase_weight(0, STEPS) / released_epo.phase_weight(0)


@measure("times", "paper's phase weight over the released one in the last of 125 steps")
def schedule_end(batch):
    return epo.phase_weight(STEPS - 1, STEPS) / released_epo.phase_weight(STEPS - 1)


@measure("%", "distance of the bonus's gradient as a mean over all tokens, from means over turns and trajectories")
def mean_entropy_term(batch):
    bonus = {"regularisers": ["entropy_bonus"], "entropy_bonus": 0.001}
    forms = [("grpo", {**bonus, "entropy_aggregation": kind}) for kind in ("turns", "tokens")]
    return compared(batch, *forms, zeros(batch))


@measure("nats", "largest gap between the sampler's log-probabilities and those of a forward pass on the same tokens")
def context_gap(batch):
    return batch.about["sampler_gap"]


@measure("%", "distance of EPO's gradient with the KL term and the dual clip")
def kl_and_dual_clip(batch):
    released = {"regularisers": ["bounded_reference_kl", "epo"], "kl_coefficient": 0.01, "dual_clip": 3.0}
    return compared(batch, ("grpo+epo", {}), ("grpo+epo", released))


@measure("points", "by which a stated training reward exceeds the released code's maximum of 10", of="papers")
def impossible_reward(papers):
    return cell(papers, metric="training reward (exceeds the code maximum of 10)") - 10


@measure("%", f"distance of GRPO's gradient in groups of any questions, mean of {DRAWS} draws")
def mixed_groups(batch):
    on_policy = batch.with_tensors(logps_BT=batch.tensors["old_logps_BT"])  # where no clip acts
    own = gradient(on_policy, "grpo")
    return float(
        np.mean([distance(batch, own, gradient(on_policy, "grpo", mixed)) for mixed in mixed_advantages(batch)])
    )


@measure("%", "trajectories whose advantage has another sign in such groups, of those that have one in their own")
def mixed_signs(batch):
    own_B = advantages(batch, load("grpo")).sum(1)
    flips = [(mixed.sum(1).sign() != own_B.sign())[own_B != 0].double().mean() for mixed in mixed_advantages(batch)]
    return 100 * float(np.mean(flips))


def mixed_advantages(batch: Batch) -> list[torch.Tensor]:
    """GRPO's advantages with the trajectories dealt out to groups at random, `DRAWS` times."""
    orders = [stream(0, "fidelity-groups", draw).permutation(len(batch.rows)) for draw in range(DRAWS)]
    return [
        advantages(batch.with_tensors(groups_B=batch.tensors["groups_B"][torch.from_numpy(order)]), load("grpo"))
        for order in orders
    ]


def turn_samples(batch: Batch) -> list[tuple[int, int]]:
    """(row, turn) of every turn with a loss-mask token: what the released code calls a sample."""
    turns_BT = batch.tensors["turns_BT"]
    return [(row, turn) for row, mask in enumerate(batch.mask_BT) for turn in turns_BT[row][mask].unique().tolist()]


@measure("samples", f"copies that fill up the batch's turn samples to a multiple of {MINI_BATCH}")
def copied_samples(batch):
    return -len(turn_samples(batch)) % MINI_BATCH


@measure("%", "distance of GRPO's gradient with these copies")
def copied_gradient(batch):
    samples, turns_BT = turn_samples(batch), batch.tensors["turns_BT"]
    weight_BT = batch.mask_BT.double()
    for chosen in stream(0, "fidelity-copies").choice(len(samples), copied_samples(batch), replace=False):
        row, turn = samples[chosen]
        weight_BT[row] += (turns_BT[row] == turn) & batch.mask_BT[row]
    own = gradient(batch, "grpo", aggregation="token_mean")
    scale = batch.tokens / float(weight_BT.sum())
    return distance(batch, own, Gradient(own.logp_BT * weight_BT * scale, own.entropy_BT, own.loss))


@measure("games", "by which the paper's count exceeds ALFWorld's 3553 + 140 + 134", of="formula")
def alfworld_games():
    return 4639 - (3553 + 140 + 134)
