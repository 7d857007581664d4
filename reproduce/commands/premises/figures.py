"""Estimates of the premises from trajectories' entropies, forks and ratios: pure functions.

Every function returns rows of `premises.csv`: premise, quantity, at (a position, an update, or empty), value, low, high
(the ends of the 95 % interval), n (questions) and unit.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from reproduce.rollouts.records import consecutive_high

ENTROPY_TOKENS = 20
"""Of the released code of ARPO and AEPO."""
POSITIONS = 30
GROUP = 16
"""The papers' k, for which m is computed."""

Turns = list[list[float]]
"""A trajectory: the entropies of its sampled tokens, turn by turn."""


def row(premise: str, quantity: str, value: float, low: float, high: float, n: int, unit: str, at="") -> dict:
    """Make a row of the table."""
    names = ("premise", "quantity", "at", "value", "low", "high", "n", "unit")
    return dict(zip(names, (premise, quantity, at, value, low, high, n, unit), strict=True))


def mean_interval(values: Sequence[float]) -> tuple[float, float, float, int]:
    """Compute a mean over questions with its 95 % t interval; NaN are left out. Returns value, low, high, n."""
    kept = np.asarray([v for v in values if not math.isnan(v)], dtype=float)
    n = len(kept)
    if n == 0:
        return math.nan, math.nan, math.nan, 0
    mean = float(kept.mean())
    if n == 1:
        return mean, math.nan, math.nan, 1
    half = float(stats.t.ppf(0.975, n - 1) * kept.std(ddof=1) / math.sqrt(n))
    return mean, mean - half, mean + half, n


def jackknife(groups: Sequence, statistic: Callable[[list], float]) -> tuple[float, float, float, int]:
    """Compute a statistic of all groups with the jackknife's 95 % interval over them. Returns value, low, high, n."""
    groups, n = list(groups), len(groups)
    value = statistic(groups)
    left = np.asarray([statistic(groups[:i] + groups[i + 1 :]) for i in range(n)] if n > 2 else [])
    if not len(left) or not np.isfinite(left).all():
        return value, math.nan, math.nan, n
    half = float(stats.t.ppf(0.975, n - 1) * math.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum()))
    return value, value - half, value + half, n


def _mean(values) -> float:
    values = list(values)
    return float(np.mean(values)) if values else math.nan


def after_results(groups: list[list[Turns]]) -> list[dict]:
    """L1. groups: question -> its trajectories."""

    def parts(turns: Turns) -> tuple[list[float], list[float]]:
        after = [e for turn in turns[1:] for e in turn[:ENTROPY_TOKENS]]
        rest = turns[0] + [e for turn in turns[1:] for e in turn[ENTROPY_TOKENS:]]
        return after, rest

    def difference(group: list[Turns]) -> float:
        after, rest = zip(*map(parts, group), strict=True)
        return _mean(e for p in after for e in p) - _mean(e for p in rest for e in p)

    found = [row("L1", "after a result minus other tokens", *mean_interval([difference(g) for g in groups]), "nats")]
    for name, where in (("after a result", 0), ("other tokens", 1)):
        values = [_mean(e for turns in g for e in parts(turns)[where]) for g in groups]
        found.append(row("L1", name, *mean_interval(values), "nats"))
    for at in range(POSITIONS):
        values = [_mean(turn[at] for turns in g for turn in turns[1:] if len(turn) > at) for g in groups]
        found.append(row("L1", "position after a result", *mean_interval(values), "nats", at))
        values = [_mean(turns[0][at] for turns in g if len(turns[0]) > at) for g in groups]
        found.append(row("L1", "position in the first turn", *mean_interval(values), "nats", at))
    return found


def in_a_row(groups: list[list[Turns]]) -> list[dict]:
    """L2. groups: question -> its trajectories."""
    heights = [[[_mean(t[:ENTROPY_TOKENS]) for t in turns[1:] if t] for turns in g] for g in groups]

    def shares(some: list) -> tuple[float, float]:
        return consecutive_high([steps for group in some for steps in group])

    unit = "share"
    return [
        row("L2", "in a row minus shuffled", *jackknife(heights, lambda g: shares(g)[0] - shares(g)[1]), unit),
        row("L2", "in a row", *jackknife(heights, lambda g: shares(g)[0]), unit),
        row("L2", "shuffled", *jackknife(heights, lambda g: shares(g)[1]), unit),
        row("L2", "tool steps a trajectory", *mean_interval([_mean(map(len, g)) for g in heights]), "steps"),
    ]


def budgets(groups: list[list[tuple[float, float]]], initial: Callable[[int, float, float], int]) -> list[dict]:
    """L3. groups: question -> (H_root, H_tool) of its pilots. initial: `AEPORollout.initial`."""
    gaps = [[root - tool for root, tool in g] for g in groups]
    sizes = [[float(initial(GROUP, root, tool)) for root, tool in g] for g in groups]

    def spread(some: list) -> float:
        return float(np.std([v for g in some for v in g], ddof=1)) if sum(map(len, some)) > 1 else math.nan

    def between(some: list) -> float:
        """Variance component of questions over the total (one-way random effects, balanced)."""
        table = np.asarray(some)
        k = table.shape[1]
        if k < 2 or len(table) < 2:
            return math.nan
        within = table.var(axis=1, ddof=1).mean()
        component = max(0.0, table.mean(axis=1).var(ddof=1) - within / k)
        return float(component / (component + within)) if component + within else math.nan

    return [
        row("L3", "standard deviation of m", *jackknife(sizes, spread), f"of {GROUP}"),
        row("L3", "mean of m", *mean_interval([_mean(g) for g in sizes]), f"of {GROUP}"),
        row("L3", "smallest m", min(v for g in sizes for v in g), math.nan, math.nan, len(sizes), f"of {GROUP}"),
        row("L3", "largest m", max(v for g in sizes for v in g), math.nan, math.nan, len(sizes), f"of {GROUP}"),
        row("L3", "mean of H_root - H_tool", *mean_interval([_mean(g) for g in gaps]), "nats / ln V"),
        row("L3", "standard deviation of H_root - H_tool", *jackknife(gaps, spread), "nats / ln V"),
        row("L3", "share of variance between questions", *jackknife(gaps, between), "share"),
    ]


def largest_at_random(forks: int, roots: int) -> float:
    """Expect the largest root's share of `forks` forks that go to `roots` roots at random.

    Exact, by the number of ways in which no root has more than a given number of forks.
    """

    def at_most(most: int) -> float:
        ways = np.zeros(forks + 1)  # exponential generating function, truncated at `forks`
        ways[0] = 1.0
        one = np.asarray([1 / math.factorial(i) if i <= most else 0.0 for i in range(forks + 1)])
        for _ in range(roots):
            ways = np.convolve(ways, one)[: forks + 1]
        return float(ways[forks] * math.factorial(forks) / roots**forks)

    return sum(1.0 - at_most(most) for most in range(forks)) / forks


def forks(method: str, groups: list[list[int]], tested: int, passed: int) -> list[dict]:
    """L4. groups: question -> forks below each of its roots. tested, passed: branch tests."""
    branched = [g for g in groups if sum(g)]
    excess = [max(g) / sum(g) - largest_at_random(sum(g), len(g)) for g in branched]
    found = [
        row("L4", f"{method}: largest root's share minus at random", *mean_interval(excess), "share"),
        row("L4", f"{method}: largest root's share", *mean_interval([max(g) / sum(g) for g in branched]), "share"),
        row("L4", f"{method}: forks a root", *mean_interval([sum(g) / len(g) for g in groups]), "forks"),
        row("L4", f"{method}: roots a question", *mean_interval([float(len(g)) for g in groups]), "roots"),
    ]
    share = passed / tested if tested else math.nan
    found.append(row("L4", f"{method}: branch tests passed", share, math.nan, math.nan, tested, "share"))
    return found


def outside(rate: float, update: int, ratios: list, entropies: list, high: float) -> list[dict]:
    """L5. ratios, entropies: question -> values of all sampled tokens of its trajectories. high: end of the range."""

    def out(ratio):
        return (ratio < 0.8) | (ratio > high)

    name = f"rate {rate:g}, range to {high:g}"
    unit = "share"
    pairs = list(zip(ratios, entropies, strict=True))

    def share(some) -> float:
        return float(np.mean(np.concatenate([out(r) for r, _ in some])))

    def difference(some) -> float:
        ratio, entropy = (np.concatenate(part) for part in zip(*some, strict=True))
        outer = out(ratio)
        return float(entropy[outer].mean() - entropy[~outer].mean()) if outer.any() and not outer.all() else math.nan

    return [
        row("L5", f"{name}: share outside", *jackknife(pairs, share), unit, update),
        row("L5", f"{name}: entropy outside minus inside", *jackknife(pairs, difference), "nats", update),
    ]
