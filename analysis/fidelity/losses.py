"""Effects of the released losses and logs of ARPO and AEPO, and other differences between ways to write a loss."""

import torch

from analysis import style
from analysis.fidelity.batch import Batch, Gradient, advantages, compared, distance, gradient, norm
from analysis.fidelity.measures import measure
from reproduce.algorithms import inert_at_one_update, load, names
from reproduce.algorithms.parts.advantages import entropy_factor
from reproduce.algorithms.parts.released import packing
from reproduce.worlds.benchmarks.datasets.rl import RL_FILES

# ---------------------------------------------------------------- ARPO's and AEPO's losses


@measure("%", "distance of AEPO's gradient without the entropy factor")
def factor_absent(batch):
    return compared(batch, ("aepo", {}), ("aepo", {"entropy_advantage": False}))


def factors(batch: Batch, a: float = 0.2) -> torch.Tensor:
    """AEPO's factor 1 + a z(H) of every loss-mask token."""
    return entropy_factor(batch.tensors["old_entropies_BT"], batch.mask_BT, a)[batch.mask_BT]


@measure("%", "share of tokens whose advantage the factor changes by more than a tenth")
def factor_tokens(batch):
    unequal = advantages(batch, load("arpo"))[batch.mask_BT] != 0
    return 100 * (unequal & ((factors(batch) - 1).abs() > 0.1)).double().mean()


@measure("times", "largest factor")
def largest_factor(batch):
    return factors(batch).max()


@measure("%", "distance of the released gradients with the flag on and off")
def factor_flag(batch):
    return compared(batch, ("aepo-released", {}), ("aepo-released", {"entropy_advantage": False}))


@measure("%", "distance of AEPO's gradient with a dual clip")
def dual_clip_aepo(batch):
    return compared(batch, ("aepo", {}), ("aepo", {"dual_clip": 3.0}))


@measure("%", "distance of ARPO's gradient with a dual clip")
def dual_clip_arpo(batch):
    return compared(batch, ("arpo", {}), ("arpo", {"dual_clip": 3.0}))


@measure("tokens", "tokens that the dual clip stops (ratio above 3, A < 0)")
def dual_clip_tokens(batch):
    falling = advantages(batch, load("arpo"))[batch.mask_BT] < 0
    return int(((batch.ratios > 3) & falling).sum())


def kept_top_share(batch) -> float:
    """Share of the tokens whose gradient is kept that are among the fifth of highest entropy; 0 where none is kept."""
    entropies, tokens = batch.tensors["old_entropies_BT"][batch.mask_BT], kept(batch)
    return float((entropies[tokens] >= entropies.quantile(0.8)).double().mean()) if bool(tokens.any()) else 0.0


def kept(batch: Batch) -> torch.Tensor:
    """Which loss-mask tokens have a gradient that AEPO's clip keeps: ratio above the upper bound, A > 0."""
    return (batch.ratios > 1.2) & (advantages(batch, load("arpo"))[batch.mask_BT] > 0)


@measure("tokens", "tokens with a kept gradient (ratio above 1.2, A > 0)")
def kept_tokens(batch):
    return kept(batch).sum()


@measure("tokens", "of these, tokens that are not among the 20 % of highest entropy")
def kept_of_low_entropy(batch):
    entropies = batch.tensors["old_entropies_BT"][batch.mask_BT]
    return (entropies[kept(batch)] < entropies.quantile(0.8)).sum()


def released_kept_clip(logps_BT, old_logps_BT, advantages_BT, mask_BT, low=0.8, high=1.2):
    """Loss of AEPO's clip as the released code writes it: hi / sg(delta) * delta, masked by a product."""
    delta_BT = (logps_BT - old_logps_BT).exp()
    bounded_BT = torch.minimum(delta_BT.clamp(min=low), high / delta_BT.detach() * delta_BT)
    objective_BT = torch.minimum(delta_BT * advantages_BT, bounded_BT * advantages_BT)
    return -(objective_BT * mask_BT).sum() / mask_BT.sum()


@measure("tokens", "tokens whose ratio is 0 or inf in float32")
def broken_ratios(batch):
    ratios = batch.ratios.float()
    return int(((ratios == 0) | ratios.isinf()).sum())


@measure("losses of 2", "that are NaN once one masked-out ratio underflows to 0: the released formula's, not ours")
def masked_nan(batch):
    t = batch.tensors
    logps_BT = t["logps_BT"].float()
    logps_BT[tuple((~batch.mask_BT).nonzero()[0])] = -200.0
    advantages_BT = advantages(batch, load("aepo-released"))
    released = released_kept_clip(logps_BT, t["old_logps_BT"].float(), advantages_BT, batch.mask_BT)
    ours, _ = load("aepo-released").loss(logps_BT, t["old_logps_BT"].float(), advantages_BT, batch.mask_BT)
    return int(released.isnan()) + int(ours.isnan())


@measure("%", "distance of the acting factor's gradient with statistics of micro-batches, from those of the batch")
def packed_statistics(batch):
    whole = {"factor_silently_off": False, "micro_batch_limit": batch.completion_limit, "statistics_sequences": None}
    packed = whole | {"statistics_sequences": 2.0, "statistics_limit": batch.completion_limit}
    return compared(batch, ("aepo-released", whole), ("aepo-released", packed))


@measure("%", "distance of its gradient at budgets of 4 rows, from the one at budgets of 2")
def packing_choice(batch):
    limit = batch.completion_limit
    acting = {"factor_silently_off": False, "micro_batch_limit": limit, "statistics_limit": limit}
    return compared(batch, ("aepo-released", acting), ("aepo-released", acting | {"statistics_sequences": 4.0}))


def packed_mean(batch: Batch) -> dict:
    """The overrides that take token means of micro-batches, under the launchers' budget: two rows of the limit."""
    return {"aggregation": "micro_batch_token_mean", "micro_batch_limit": batch.completion_limit}


@measure("%", "distance of AEPO's gradient with token means of micro-batches")
def packed_mean_aepo(batch):
    return compared(batch, ("aepo", {}), ("aepo", packed_mean(batch)))


@measure("%", "distance of ARPO's gradient with token means of micro-batches")
def packed_mean_arpo(batch):
    return compared(batch, ("arpo", {}), ("arpo", packed_mean(batch)))


@measure("%", "distance of GPPO's gradient at .2 on both sides from its launchers' (.2 and .28, dual clip 10)")
def gppo_launcher(batch):
    return compared(batch, ("gppo", {"clip_high": 0.2}), ("gppo", {"dual_clip": 10.0}))


@measure("%", "distance of CE-GPPO's gradient with the dual clip 10 of its launchers")
def ce_gppo_launcher(batch):
    return compared(batch, ("ce-gppo", {}), ("ce-gppo", {"dual_clip": 10.0}))


def log_error(batch: Batch, mask_BT: torch.Tensor) -> float:
    """Error in percent of a mean entropy whose rows stand in the order of the micro-batches, its masks in their own."""
    order = torch.argsort(packing.micro_batches(batch.mask_BT, 2.0, batch.completion_limit), stable=True)
    entropies_BT = batch.tensors["all_entropies_BT"]
    right, wrong = (float(values_BT[mask_BT].mean()) for values_BT in (entropies_BT, entropies_BT[order]))
    return 100 * (wrong / right - 1)


@measure("%", "error of the mean over loss-mask tokens if rows are permuted by packing and masks are not")
def logged_entropy(batch):
    return log_error(batch, batch.mask_BT)


@measure("%", "error of the mean over all completion tokens, tool results included")
def logged_entropy_all(batch):
    lengths_B = torch.tensor(batch.rows["completion_tokens"].to_numpy())
    return log_error(batch, torch.arange(batch.mask_BT.shape[1]) < lengths_B[:, None])


@measure("%", "by which a logged response length exceeds the generated tokens if tool results count")
def logged_length(batch):
    return 100 * (batch.rows["completion_tokens"].sum() / batch.tokens - 1)


@measure("%", "share of tool results in the tokens that the response limit counts")
def result_share(batch):
    return 100 * (1 - batch.tokens / batch.rows["completion_tokens"].sum())


@measure("trajectories", "trajectories with a tag of the grammar inside a tool result")
def tags_in_results(batch):
    return (batch.rows["tags_in_results"] > 0).sum()


@measure("trajectories", "rewarded trajectories whose bonus the two rules decide differently")
def bonus_rule(batch):
    rewarded = batch.rows["reward"] > 0
    return (rewarded & (batch.rows["both_closing_tags"] != batch.rows["both_tools"])).sum()


@measure("questions", "by which the shipped set exceeds its name", of="formula")
def questions_over_1k():
    return RL_FILES["hard_search_1k"].rows - 1000


def cell(papers, **where) -> float:
    """The one reported number at these columns."""
    for column, wanted in where.items():
        papers = papers[papers[column] == wanted]
    if len(papers) != 1:
        raise ValueError(f"{len(papers)} reported numbers at {where}, expected one")
    return papers["number"].iloc[0]


ARPO_14B = {"model": "Qwen3-14B", "method": "ARPO", "metric": "accuracy (LLM judge), pass@1"}
HLE_QUESTIONS = {"HLE NS": 330, "HLE CE": 75, "HLE SF": 95}  # data/papers/README.md


@measure("points", "between ARPO's GAIA score in the table and in the text", of="papers")
def gaia_gap(papers):
    table = cell(papers, file="arpo_table2", dataset="GAIA Avg.", **ARPO_14B)
    text = papers[papers["table"].str.startswith("Section 4.5")]
    return table - cell(text, dataset="GAIA", **ARPO_14B)


@measure("points", "between the mean of ARPO's HLE splits and the printed average", of="papers")
def hle_gap(papers):
    splits = sum(n * cell(papers, file="arpo_table2", dataset=d, **ARPO_14B) for d, n in HLE_QUESTIONS.items())
    average = cell(papers, file="arpo_table2", dataset="HLE Avg.", **ARPO_14B)
    return splits / sum(HLE_QUESTIONS.values()) - average


# ---------------------------------------------------------------- everything together


TOGETHER = {"aepo-released": "aepo", "arpo-released": "arpo", "epo-released": "grpo+epo"}


def together(batch: Batch) -> dict[str, float]:
    """Released method -> distance of its gradient from its paper form's, all loss settings at once, in percent."""
    return {released: compared(batch, (paper, {}), (released, {})) for released, paper in TOGETHER.items()}


# ---------------------------------------------------------------- beyond the three papers


@measure("%", "distance of DAPO's gradient if four micro-batches are averaged by their own tokens (TRL: bnpo)")
def local_token_mean(batch):
    advantages_BT = advantages(batch, load("dapo"))
    whole = gradient(batch, "dapo", advantages_BT)
    local_BT = torch.zeros_like(whole.logp_BT)
    for rows in torch.arange(len(advantages_BT)).chunk(4):
        part = batch.with_tensors(mask_BT=batch.mask_BT & torch.isin(torch.arange(len(advantages_BT)), rows)[:, None])
        local_BT += gradient(part, "dapo", advantages_BT).logp_BT / 4
    return distance(batch, whole, Gradient(local_BT, torch.zeros_like(local_BT), whole.loss))


@measure("times", "norm of the 80/20 rule's gradient over its kept tokens, against all tokens as denominator")
def top_entropy_denominator(batch):
    forms = [
        gradient(batch, "dapo", token_weight="top_entropy", top_entropy_denominator=kind) for kind in ("kept", "all")
    ]
    return norm(batch, forms[0]) / norm(batch, forms[1])


def inert_methods() -> dict[str, dict]:
    """Methods of the tables with a part that acts only off the ratio 1 -> the overrides that take it out."""
    slots = {"ratio": "token", "surrogate": "ppo_min"}
    methods = [name for name in names() if name in style.ORDER]
    found = {name: [part.split()[0] for part in inert_at_one_update(load(name))] for name in methods}
    return {name: {slot: slots[slot] for slot in parts} for name, parts in found.items() if parts}


def inert_distances(batch: Batch) -> list[float]:
    """Distance of each such method's gradient from the method without the part."""
    return [compared(batch, (name, {}), (name, plain)) for name, plain in inert_methods().items()]


@measure("%", "largest distance that such a part makes at one update per rollout batch, where every ratio is 1")
def inert_at_ratio_one(batch):
    return max(inert_distances(batch.with_tensors(logps_BT=batch.tensors["old_logps_BT"])))


@measure("%", "smallest distance that such a part makes on the batch's own ratios")
def inert_off_ratio_one(batch):
    return min(inert_distances(batch))
