"""The shape of logged trees: which trajectories began at the prompt, whose branches the others are."""

import numpy as np
import pandas as pd

RUN = ["method", "seed"]


def tree_shape(rollouts: pd.DataFrame, least_turns: int = 0) -> pd.DataFrame:
    """A row per group with forks: seed, step, group, whole (trajectories from the prompt), branches, largest_root
    (share of the branches under the root that has most), from_branches (share whose parent is a branch itself).

    rollouts: rows of rollouts.parquet of one method. least_turns: only groups whose trajectories have that many tool
    calls on average.
    """
    found = []
    for (seed, step, group), rows in rollouts.groupby(["seed", "step", "group"]):
        parents = dict(zip(rows["row"], rows["parent"], strict=True))
        forks = [row for row, parent in parents.items() if parent >= 0]
        if forks and rows["tool_calls"].mean() >= least_turns:
            roots = pd.Series([root_of(row, parents) for row in forks]).value_counts()
            nested = np.mean([parents.get(parents[row], -1) >= 0 for row in forks])
            whole = len(parents) - len(forks)
            found.append((seed, step, group, whole, len(forks), roots.iloc[0] / len(forks), nested))
    columns = ["seed", "step", "group", "whole", "branches", "largest_root", "from_branches"]
    return pd.DataFrame(found, columns=columns)


def root_of(row: int, parents: dict[int, int]) -> int:
    """The trajectory from the prompt that `row` descends from. parents: row -> parent, negative for none."""
    while parents.get(row, -1) >= 0:
        row = parents[row]
    return row


def ends(rollouts: pd.DataFrame) -> pd.DataFrame:
    """The rows of every run's first and last RL step, which are all that `make publish` keeps."""
    steps = rollouts.groupby(RUN)["step"]
    return rollouts[(rollouts["step"] == steps.transform("min")) | (rollouts["step"] == steps.transform("max"))]


def budgets(rollouts: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """The budget of every logged group: method, seed, step, group, k, m (whole trajectories at the start).

    Trajectories are logged in the order of their creation, and what fills a group up comes last, so m is the number of
    rows before the first branch. A group without a branch does not tell its m: it gets what the step's mean leaves for
    such groups, so that the mean over a step's groups is the logged one and their spread is at most the true one.

    rollouts, steps: as of a `Source`; no group of them was replaced by dynamic sampling.
    """
    frame = rollouts.sort_values([*RUN, "step", "group", "row"])
    groups = frame.groupby([*RUN, "step", "group"])
    first = frame["row"].where(frame["parent"] >= 0).groupby([frame[c] for c in (*RUN, "step", "group")]).min()
    found = pd.DataFrame({"k": groups.size(), "m": first}).reset_index()
    mean = steps.set_index([*RUN, "step"])["tree_initial_mean"]
    for key, own in found.groupby([*RUN, "step"]):
        unknown = own.index[own["m"].isna()]
        if len(unknown):
            left = (mean.get(key, np.nan) * len(own) - own["m"].sum()) / len(unknown)
            found.loc[unknown, "m"] = left
    return found
