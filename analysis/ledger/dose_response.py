"""Claims A2 to A5 from table 6: the comparison of each mechanism that decides (`analysis/preregistration_regimes.md`).

A claim whose two rows have no runs there is measured in table 4, as `preregistration.md` defines it. Gates that need a
gradient or a pilot are the audit's batch's; the others are those of the base's runs.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis import pairing, statistics, tree_shape
from analysis.dose_response import CELLS, DECIDES, LEAST_TURNS, NONE, by_run, gradient_distance
from analysis.fidelity.batch import Batch
from analysis.fidelity.losses import factors, kept_top_share
from analysis.fidelity.trees import budgets
from analysis.ledger.claims import Condition, Measured, Tested
from analysis.ledger.doses import GRADIENT, TRAJECTORIES, Dose
from analysis.ledger.intervals import Ratio
from analysis.load import Source

TABLE = "table6"
FALL = -20.0  # percent: the share of the largest root falls by a fifth or more
SPREAD, SHARE, GRADIENTS, TOP = 2.0, 30.0, 5.0, 80.0
"""Gates of `preregistration.md`: spread of m, largest root's share, change of the gradient, tokens among the fifth of
highest entropy; all but the first in percent."""


def has(tables: Mapping[str, Source], mechanism: str) -> bool:
    """Whether table 6 has runs of the mechanism's deciding row and of its base."""
    row = DECIDES[mechanism]
    return TABLE in tables and {row, CELLS[row].base} <= tables[TABLE].scores.keys()


def budget(source: Source, batch: Batch) -> Measured:
    """A2: spread of m on the audit's pilots at the row's beta. Dose: trajectories that m moves, in the row's runs."""
    row = DECIDES["budget"]
    sd, runs = budgets(batch, **_settings(source, row)).std(), by_run(source).loc[row]
    text = f"standard deviation of m {sd:.2f} at {CELLS[row].name} on the audit's pilots"
    detail = f"standard deviation of m {runs['m_sd'].mean():.2f} in the runs of {CELLS[row].name}"
    dose = Dose("dynamic budget", TRAJECTORIES, float(runs["m_moved"].mean()), detail)
    return _measured(source, "budget", sd >= SPREAD, text, dose)


def trees(source: Source, batch: Batch) -> Measured:
    """A3: the largest root's share in the base's runs, and how far the penalty lowers it. Dose: branches that the
    penalty takes from the largest root, of all trajectories; it moves no fewer."""
    row = DECIDES["trees"]
    mine, base = (_shape(source, name) for name in (row, CELLS[row].base))
    share = 100 * base["largest_root"].mean()
    text = f"{share:.0f} % of the branches of {CELLS[CELLS[row].base].name}, {len(base)} groups of table 6"
    held = [(shape["largest_root"] * shape["branches"]).mean() for shape in (base, mine)]
    moved = 100 * max(0.0, held[0] - held[1]) / (base["whole"] + base["branches"]).mean()
    detail = f"the largest root holds {held[0]:.1f} branches without it and {held[1]:.1f} with it"
    falls = Condition(Ratio(_log_ratio(mine, base)), FALL, "%")
    dose = Dose("branch penalty", TRAJECTORIES, float(moved), detail)
    return _measured(source, "trees", share >= SHARE, text, dose, {"largest root's share": falls})


def clip(source: Source, batch: Batch) -> Measured:
    """A4: distance of the gradient on the audit's batch; tokens among the fifth of highest entropy there, and among
    those outside the range in the base's runs."""
    row, base = DECIDES["clip"], CELLS[DECIDES["clip"]].base
    distance, top = gradient_distance(batch, _settings(source, row)), 100 * kept_top_share(batch)
    steps = source.steps
    outside = 100 * steps.loc[steps["method"] == base, "outside_top20_share"].mean()
    text = (
        f"gradient changed by {distance:.0f} % on the audit's batch, {top:.0f} % of the tokens among the fifth of "
        f"highest entropy; of those outside the range in the runs of {CELLS[base].name} {outside:.0f} %"
    )
    above = by_run(source)["above_bound"].groupby("method").mean()
    less = f", {above[NONE]:.2f} % in those of none" if NONE in above else ""
    detail = f"on the audit's batch, at 8 updates; above the bound lie {above[base]:.2f} % of the base's tokens{less}"
    dose = Dose("gradient-keeping clip", GRADIENT, distance, detail)
    return _measured(source, "clip", distance >= GRADIENTS and min(top, outside) >= TOP, text, dose)


def advantage(source: Source, batch: Batch) -> Measured:
    """A5: distance of the gradient on the audit's batch at the row's a."""
    row = DECIDES["advantage"]
    distance, factor = gradient_distance(batch, _settings(source, row)), factors(batch, CELLS[row].at)
    detail = f"on the audit's batch, factor {float(factor.min()):.2f} to {float(factor.max()):.2f}"
    dose = Dose("entropy-aware advantage", GRADIENT, distance, detail)
    text = f"gradient changed by {distance:.0f} % on the audit's batch at {CELLS[row].name}"
    return _measured(source, "advantage", distance >= GRADIENTS, text, dose)


def _measured(source: Source, mechanism: str, gate, text: str, dose: Dose, conditions=None) -> Measured:
    row = DECIDES[mechanism]
    tested = Tested(TABLE, CELLS[row].base, CELLS[row].name, _name(CELLS[row].base))
    effect = pairing.difference(source.scores[row], source.scores[tested.base]).in_points()
    counts = sorted({len(source.scores[name].seeds) for name in (row, tested.base)})
    runs = f"table 6: {' to '.join(map(str, counts))} seeds"
    label = f"{tested.row_name} − {tested.base_name}, table 6"
    return Measured(bool(gate), text, {label: effect}, runs, dose, tested, conditions or {})


def _name(row: str) -> str:
    return "no component" if row == NONE else CELLS[row].name


def _settings(source: Source, row: str) -> dict:
    return source.config["rows"][row]["algorithm"]


def _shape(source: Source, row: str) -> pd.DataFrame:
    """`tree_shape` of a row's groups of six or more tool calls, in the first and the last RL step of its runs."""
    frame = source.rollouts
    return tree_shape.tree_shape(tree_shape.ends(frame[frame["method"] == row]), LEAST_TURNS)


def _log_ratio(mine: pd.DataFrame, base: pd.DataFrame) -> statistics.Effect:
    """Of the largest root's share, `mine` to `base`, over seeds: paired where both have the same, else Welch's."""
    a, b = (np.log(shape.groupby("seed")["largest_root"].mean()) for shape in (mine, base))
    if a.index.equals(b.index):
        return statistics.over_seeds((a - b).to_numpy())
    return statistics.unpaired(a.to_numpy(), b.to_numpy())
