"""Numbers from steps.parquet, a row per RL step: means and edges of a run, bands over seeds, runs that collapsed."""

import itertools
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis import statistics, style
from analysis.load import Source
from analysis.statistics import Estimate
from reproduce.runs.schema import SAMPLED_SUCCESS

EDGE = 0.1  # the first and the last tenth of the RL steps are called start and end
COLLAPSED, OVER = 0.5, 3
"""Ours: a run has collapsed if its success, mean over three steps in a row, ever fell below half of an earlier such
mean. On the committed runs no drawdown lies between 45 and 91 %."""
RULE = f"training success, mean over {OVER} steps in a row, below half of an earlier such mean"


def per_seed(source: Source, method: str, column: str) -> np.ndarray:
    """The mean over RL steps of `column`, one number per seed, seeds in order; NaN where it is never defined."""
    rows = source.steps[source.steps["method"] == method]
    return rows.groupby("seed")[column].mean().sort_index().to_numpy(dtype=float)


def estimate(values_S: np.ndarray) -> Estimate:
    """Mean over seeds with its t interval over seeds; none for one seed."""
    return statistics.over_seeds(values_S).interval()


def trained(source: Source) -> list[str]:
    """Rows with RL steps, in the order of the tables."""
    return style.order(source.steps["method"])


def edges(source: Source, method: str, column: str = "entropy") -> tuple[np.ndarray, np.ndarray]:
    """Per seed, the mean of `column` over the first and over the last tenth of the RL steps (at least one step)."""
    found = []
    for _, run in source.steps[source.steps["method"] == method].groupby("seed"):
        values = run.sort_values("step")[column].dropna().to_numpy(dtype=float)
        n = max(1, round(EDGE * len(values)))
        found.append((values[:n].mean(), values[-n:].mean()) if len(values) else (np.nan, np.nan))
    return tuple(np.array(found, dtype=float).reshape(-1, 2).T)


def last(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Per seed of one method's rows, the mean of `column` over the last tenth of the RL steps (at least one step)."""
    runs = rows.sort_values("step").groupby("seed")[column]
    return np.array([run.iloc[-max(1, round(EDGE * len(run))) :].mean() for _, run in runs], dtype=float)


@lru_cache(maxsize=4)
def unfiltered(source: Source) -> tuple[pd.DataFrame, frozenset[str]]:
    """(the RL steps with a column `success`, the rows whose `success` is of the groups alone that they kept).

    A method that replaces groups without a signal trains on the others, whose success is higher at the same skill.
    `success` is that of all sampled trajectories, `success_sampled_mean`, which such runs log; earlier ones did not.
    """
    steps, sampled = source.steps, SAMPLED_SUCCESS
    success = (
        steps["success_mean"].where(steps[sampled].isna(), steps[sampled])
        if sampled in steps
        else steps["success_mean"]
    )
    unknown = steps[sampled].isna() if sampled in steps else True
    known = {row: _setting(source, row, "prompts_per_step") or np.inf for row in steps["method"].unique()}
    prompts = steps["method"].map(known).astype(float)
    return steps.assign(success=success), frozenset(steps.loc[(steps["groups_sampled"] > prompts) & unknown, "method"])


@lru_cache(maxsize=64)
def band(source: Source, method: str, column: str) -> pd.DataFrame:
    """Mean over seeds of `column` at every RL step, with its interval over seeds. Index step; value, low, high."""
    return band_of(source.steps[source.steps["method"] == method], column)


def band_of(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """`band` of one method's rows."""
    wide = rows.pivot(index="step", columns="seed", values=column).sort_index()
    estimates = {step: estimate(values.to_numpy()) for step, values in wide.iterrows()}
    return pd.DataFrame({s: (e.value, e.low, e.high) for s, e in estimates.items()}, index=["value", "low", "high"]).T


def drawdown(success: np.ndarray) -> float:
    """The largest share of an earlier peak that a run's success lost, both as means over `OVER` steps in a row."""
    width = min(OVER, len(success))
    means = np.convolve(success, np.full(width, 1 / width), "valid")
    peak = np.maximum.accumulate(means)
    return float(np.max(1 - np.divide(means, peak, out=np.ones_like(means), where=peak > 0)))


def fallen(source: Source, method: str) -> np.ndarray:
    """The seeds of `method` whose run has collapsed, in order, whether or not it came back."""
    runs = source.steps[source.steps["method"] == method].sort_values("step").groupby("seed")["success_mean"]
    return np.array(sorted(seed for seed, run in runs if drawdown(run.to_numpy(dtype=float)) > COLLAPSED), dtype=int)


def collapsed(source: Source) -> dict[str, tuple[int, int]]:
    """Row -> (its collapsed runs, all its runs), for every trained row."""
    runs = source.steps.groupby("method")["seed"].nunique()
    return {method: (len(fallen(source, method)), int(runs[method])) for method in trained(source)}


def collapse_notes(source: Source, name=style.name, baseline: str = style.BASELINE) -> list[str]:
    """Which rows have collapsed runs, how sure that is, and what none among few runs excludes. name: of rows."""
    found = collapsed(source)
    if not found:
        return []
    shown = []
    for row, (down, runs) in found.items():
        if down:
            rate = statistics.rate(down, runs)
            text = f"{name(row)} ({down} of {runs} runs, 95 % [{100 * rate.low:.0f}, {100 * rate.high:.0f}] %"
            if baseline in found and row != baseline:
                p = statistics.same_rate(down, runs, *found[baseline])
                text += f"; Fisher p against {name(baseline)} {p:.2f}"
            shown.append(f"{text})")
    notes = [f"Collapsed ({RULE}): {', '.join(shown) or 'none'}."]
    if shown:
        notes[0] += " Runs of such a row are not normally distributed, and its intervals only a rough guide."
    if calm := sorted({runs for down, runs in found.values() if not down}, reverse=True):
        bounds = ", ".join(f"0 of {n} runs a rate above {100 * statistics.highest_rate(0, n):.0f} %" for n in calm)
        notes.append(f"What no collapse excludes (one-sided 95 %, Clopper-Pearson): {bounds}.")
    return notes


def identical(source: Source) -> list[tuple[str, str]]:
    """Pairs of rows whose runs are the same: equal rewards, entropies and gradient norms in every step of every seed
    that both have."""
    columns = ["reward_mean", "entropy", "grad_norm"]
    places = source.steps.groupby(["method", "seed"]).indices  # in the order of the steps, as `Source.steps` has them
    values = source.steps[columns].to_numpy(dtype=float)
    logged = {key: values[rows].tobytes() for key, rows in places.items()}
    pairs = []
    for a, b in itertools.combinations(style.order({method for method, _ in logged}), 2):
        both = [seed for method, seed in logged if method == a and (b, seed) in logged]
        if both and all(logged[a, seed] == logged[b, seed] for seed in both):
            pairs.append((a, b))
    return pairs


def identical_note(source: Source, name=style.name) -> list[str]:
    """One sentence that names the rows that are the same runs; none if there are none."""
    found = ", ".join(f"{name(a)} and {name(b)}" for a, b in identical(source))
    return [f"The same runs, step by step (what sets the two apart changed nothing here): {found}."] if found else []


def without_signal(source: Source) -> dict[str, tuple[int, int, int]]:
    """Row -> (runs whose groups never differ, those of them without any gradient, all its runs), for rows with such.

    The groups of a run never differ if in every step all rewards of each group were equal. Groups of one trajectory
    cannot differ, so there such a run counts only if its gradient was 0 in every step.
    """
    found = {}
    for method in trained(source):
        steps = source.steps[source.steps["method"] == method]
        same = (steps["groups_sampled"] > 0) & (steps["groups_degenerate"] == steps["groups_sampled"])
        equal = same.groupby(steps["seed"]).all()
        still = equal & (steps["grad_norm"] == 0).groupby(steps["seed"]).all()
        counted = still if _setting(source, method, "group_size") == 1 else equal
        if counted.any():
            found[method] = (int(counted.sum()), int(still.sum()), len(equal))
    return found


def _setting(source: Source, method: str, key: str) -> int | None:
    """A setting of a row's training."""
    row = (source.config.get("rows") or {}).get(method) or {}
    return (row.get("training") or {}).get(key) or (source.config.get("training") or {}).get(key)


def without_signal_note(source: Source, name=style.name) -> list[str]:
    """One sentence that names the rows with runs whose groups never differ; none if there are none."""
    shown = []
    for method, (equal, still, runs) in without_signal(source).items():
        gradient = "gradient 0" if still == equal else f"gradient 0 in {still}" if still else "gradient not 0"
        shown.append(f"{name(method)} ({equal} of {runs} runs, {gradient})")
    rule = "in every step all rewards of each group were equal"
    return [f"Nothing to learn from ({rule}): {', '.join(shown)}."] if shown else []
