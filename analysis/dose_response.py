"""The rows of table 6 by mechanism and dose, and how much each changed what it acts on, from its logged runs.

What runs do not log is the gradient without a part. That distance is the audit's: `none` with the part against `none`
without it, on the committed batch (`analysis.fidelity`), for rows whose number of updates is the batch's.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis import load, statistics, tree_shape
from analysis.load import Source

NONE = "none"
OFF = dict.fromkeys(("dynamic_budget", "branch_penalty", "gradient_keeping_clip", "entropy_advantage"), False)
"""Settings of `none`."""
LEAST_TURNS = 6
"""Mean tool calls of the groups whose trees count (analysis/preregistration.md, A3)."""


@dataclass(frozen=True)
class Cell:
    """A row of table 6. base: the row that it is compared with. at: its dose as it is set: beta, share of whole
    trajectories, updates per rollout batch or a. series: the line of its panel. name: in print."""

    mechanism: str
    base: str
    at: float
    series: str
    name: str


SHARES = {0.5: "1/2", 0.25: "1/4", 0.125: "1/8"}
PENALTIES = (0.05, 0.2)


def _whole(share: float) -> str:
    """The row of trees without a penalty at that share of whole trajectories."""
    return NONE if share == 0.5 else f"whole-{share}"


CELLS: dict[str, Cell] = {
    **{f"beta-{b:g}": Cell("budget", NONE, b, "dynamic budget", f"β = {b:g}") for b in (0.5, 2, 5, 10, 20)},
    **{
        _whole(share): Cell("trees", NONE, share, "no penalty, against 1/2", f"{SHARES[share]} whole")
        for share in (0.25, 0.125)
    },
    **{
        f"whole-{share}-penalty-{p}": Cell(
            "trees", _whole(share), share, f"penalty {p}", f"{SHARES[share]} whole, penalty {p}"
        )
        for share in SHARES
        for p in PENALTIES
    },
    "keep-8": Cell("clip", NONE, 8, "clip keeps the gradient", "Gradient kept, 8 updates"),
    **{
        f"{name}-{n}": Cell("clip", base, n, series, f"{shown}{n} updates")
        for n in (16, 32)
        for name, base, series, shown in (
            ("updates", NONE, "more updates, against 8", ""),
            ("keep", f"updates-{n}", "clip keeps the gradient", "Gradient kept, "),
        )
    },
    **{f"advantage-{a:g}": Cell("advantage", NONE, a, "entropy-aware advantage", f"a = {a:g}") for a in (0.2, 0.5, 1)},
}
"""Row -> what it is, in the order of the table."""

DECIDES = {"budget": "beta-20", "trees": "whole-0.125-penalty-0.2", "clip": "keep-32", "advantage": "advantage-0.5"}
"""Mechanism -> the row whose comparison decides (analysis/preregistration_regimes.md)."""

MEASURES = {
    "m_sd": ("Spread of m", 2),
    "m_moved": ("Moved by m, %", 1),
    "largest_root": ("Largest root, %", 0),
    "forks_of_forks": ("Forks of forks, %", 0),
    "above_bound": ("Above the bound, %", 2),
    "largest_factor": ("Largest factor", 1),
    "audit_gradient": ("Gradient on the audit's batch, %", 0),
}
"""Column of the measured dose -> its header and decimals; defined in analysis/README.md."""


@lru_cache(maxsize=4)
def by_run(source: Source) -> pd.DataFrame:
    """The doses of every run: index method, seed; the columns of `MEASURES` but the audit's, NaN where undefined.

    Trees and budgets are those of the first and last RL step, which published results hold, so that own and published
    runs give the same numbers; shares of tokens are means over all RL steps.
    """
    steps, rollouts = source.steps, tree_shape.ends(source.rollouts)
    runs = steps.groupby(tree_shape.RUN)
    found = pd.DataFrame(index=runs.size().index)
    budget = tree_shape.budgets(rollouts, steps).groupby(tree_shape.RUN)
    found["m_sd"] = budget["m"].std(ddof=0)
    found["m_moved"] = budget.apply(lambda g: 100 * ((g["m"] - g["k"] / 2).abs() / g["k"]).mean(), include_groups=False)
    for method, own in rollouts.groupby("method"):
        shape = tree_shape.tree_shape(own, LEAST_TURNS).groupby("seed")[["largest_root", "from_branches"]].mean()
        for seed, row in shape.iterrows():
            found.loc[(method, seed), ["largest_root", "forks_of_forks"]] = 100 * row.to_numpy()
    found["above_bound"] = 100 * runs["clip_fraction_high"].mean()
    found["largest_factor"] = runs["advantage_factor_max"].mean()
    return found.reindex(columns=[name for name in MEASURES if name != "audit_gradient"])


@lru_cache(maxsize=4)
def measured(source: Source) -> pd.DataFrame:
    """The measured dose of every row: index method; the columns of `MEASURES`, each with `_low` and `_high` (95 % t
    interval over seeds). The audit's column has no interval: it is of one batch."""
    rows, audit = {}, audited(source)
    for method, runs in by_run(source).groupby("method"):
        row = {}
        for column in runs:
            ends = statistics.over_seeds(runs[column].to_numpy()).interval()
            row |= {column: ends.value, f"{column}_low": ends.low, f"{column}_high": ends.high}
        value = audit.get(method, np.nan)
        rows[method] = row | {"audit_gradient": value, "audit_gradient_low": np.nan, "audit_gradient_high": np.nan}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def gradient_distance(batch, settings: dict) -> float:
    """Distance in percent of `none`'s gradient with these settings to the one without them, on the audit's batch."""
    from analysis.fidelity.batch import compared  # here: it loads torch

    return compared(batch, ("aepo", OFF | settings), ("aepo", OFF))


def audited(source: Source) -> dict[str, float]:
    """Row -> `gradient_distance` of the row's part of the update, of rows whose number of updates is the batch's."""
    from analysis.fidelity.batch import load_batch  # here: it loads torch

    found, batch = {}, load_batch(load.ROOT / "data" / "fidelity")
    for row, settings in (source.config.get("rows") or {}).items():
        own = settings.get("algorithm") or {}
        training = (source.config.get("training") or {}) | (settings.get("training") or {})
        updates = training.get("epochs", 0) * training.get("minibatches", 0)
        acts = own.get("gradient_keeping_clip") or own.get("entropy_advantage")
        if row in CELLS and acts and updates == batch.about["updates_per_step"]:
            found[row] = gradient_distance(batch, own)
    return found
