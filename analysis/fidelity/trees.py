"""Effects of the released rollouts of ARPO and AEPO: the budget of whole trajectories, and who branches."""

import math

import numpy as np
import pandas as pd

from analysis.fidelity.batch import Batch
from analysis.fidelity.measures import measure
from reproduce.algorithms import load

# ---------------------------------------------------------------- the budget


def pilots(batch: Batch, all_segments: bool = False) -> list[tuple[float, float]]:
    """(H_root, H_tool) of every whole trajectory of the batch, as if it were the pilot of its question.

    all_segments: H_tool averages the first segment too, as released.
    """
    found = []
    for row, own in batch.segments.groupby("row"):
        if batch.rows["parent"][row] < 0:
            h = own["h"].to_numpy()
            later = h if all_segments else h[1:]
            found.append((h[0], float(later.mean()) if len(later) else h[0]))
    return found


def gaps(batch: Batch) -> list[float]:
    """H_root - H_tool of these pilots."""
    return [root - tool for root, tool in pilots(batch)]


def budgets(batch: Batch, name: str = "aepo", **overrides) -> np.ndarray:
    """m of a rollout policy at these pilots."""
    policy = load(name, **overrides).rollout
    found = pilots(batch, getattr(policy, "pilot_mean_all_segments", False))
    return np.array([policy.initial(batch.k, root, tool) for root, tool in found])


@measure("trajectories", "largest distance of the paper's m from the launchers' fixed m = k/2")
def budget_moves(batch):
    return np.abs(budgets(batch) - batch.k // 2).max()


@measure("%", "pilots whose m is exactly k/2")
def budget_unmoved(batch):
    return 100 * np.mean(budgets(batch) == batch.k // 2)


@measure("%", "pilots for which floor and 1 over all segments gives another m than rounding over the tool steps")
def budget_rounding(batch):
    return 100 * np.mean(budgets(batch, "aepo-released", dynamic_budget=True) != budgets(batch))


@measure("%", "sampled tokens that the pilots cost, at one whole trajectory per question")
def pilot_cost(batch):
    own = batch.rows["own_tokens"]
    pilots = own[batch.rows["parent"] < 0].groupby(batch.rows["group"]).mean().sum()
    return 100 * pilots / (pilots + own.sum())


# ---------------------------------------------------------------- branching


def probabilities(batch: Batch, changes, name: str, in_a_row: int = 0, **overrides) -> np.ndarray:
    """P(branch) of a rollout policy at these entropy changes."""
    policy = load(name, **overrides).rollout
    return np.array([policy.branch_probability(change, in_a_row) for change in changes])


def change(tests: pd.DataFrame, now: str = "h", baseline: str = "first") -> np.ndarray:
    """dH of every branch test."""
    return (tests[now] - tests[baseline]).to_numpy()


def other_side(one: np.ndarray, other: np.ndarray) -> float:
    """Share in percent of tests whose P > 1/2 differs; at alpha = tau = 1/2 that is dH > 0."""
    return 100 * np.mean((one > 0) != (other > 0))


@measure("%", "how much smaller h gets if only the ten likeliest tokens and the sampled one are summed, mean")
def truncated_entropy(batch):
    known = batch.segments[batch.segments["h"] > 0]
    return 100 * (1 - known["h_top10"] / known["h"]).mean()


@measure("%", "chance that a draw decides a branch test other than the threshold, mean")
def draw_against_threshold(batch):
    p = probabilities(batch, change(batch.branch_tests), "arpo")
    return 100 * np.where(p > 0.5, 1 - p, p).mean()


@measure("points", "mean by which P differs at five branches in a row")
def penalty_form(batch):
    changes = change(batch.branch_tests)
    paper, released = (probabilities(batch, changes, name, 5) for name in ("aepo", "aepo-released"))
    return 100 * np.abs(paper - released).mean()


@measure("branches", "mean l at the tests of the released rollout, counted by question")
def in_a_row_by_question(batch):
    return batch.tests[batch.tests["penalty_per_prompt"]]["in_a_row"].mean()


@measure("branches", "mean l at the tests of the released rollout, counted by path")
def in_a_row_by_path(batch):
    return batch.tests[~batch.tests["penalty_per_prompt"]]["in_a_row"].mean()


@measure("%", "branch tests that the threshold decides otherwise on the segment before the call")
def late_tests(batch):
    tests = batch.branch_tests
    return other_side(change(tests), change(tests, now="before"))


@measure("%", "branch tests whose late dH is exactly 0 in a worker's first batch, those at the first call")
def late_zero(batch):
    return 100 * np.mean(change(batch.branch_tests, now="before") == 0)


@measure("%", "branch tests whose late dH is exactly 0 in a later batch, against the kept baselines")
def late_zero_later(batch):
    return 100 * np.mean(change(batch.branch_tests, now="before", baseline="stale") == 0)


@measure("%", "branch tests that the threshold decides otherwise against the first batch's baseline")
def stale_tests(batch):
    tests = batch.branch_tests
    return other_side(change(tests), change(tests, baseline="stale"))


@measure("points", "mean by which P differs against the first batch's baseline")
def stale_probability(batch):
    tests = batch.branch_tests
    own, stale = (probabilities(batch, change(tests, baseline=b), "arpo") for b in ("first", "stale"))
    return 100 * np.abs(own - stale).mean()


@measure("points", "mean by which entropies move P away from alpha, divided by ln V")
def normalised_by_log(batch):
    return 100 * np.abs(probabilities(batch, change(batch.branch_tests), "arpo") - 0.5).mean()


@measure("points", "mean by which they do, divided by V as printed")
def normalised_by_size(batch):
    size = batch.about["vocabulary"]
    return 100 * np.abs(probabilities(batch, change(batch.branch_tests) * math.log(size) / size, "arpo") - 0.5).mean()


@measure("trajectories", "trajectories of the batch that ended at the call limit, a token each")
def ended_at_limit(batch):
    return (batch.rows["ended"] == "calls").sum()
