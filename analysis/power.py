"""How large an effect a table can find, and how many seeds an effect takes: from the variances of its committed runs.

The variances are those of one paired difference between two rows: of runs, of questions, and of the rest (`Variances`),
from the analysis of variance of `statistics.mean_squares`, of a typical row among those without a collapsed run. Power
is that of the test which the table uses, two-sided: the noncentral t distribution with Satterthwaite's degrees of
freedom at the expected mean squares, averaged over quantiles of the estimated variance (scipy's nct fails at 2 degrees
of freedom).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from analysis import pairing, style, training_steps
from analysis.load import Scores, Source
from analysis.statistics import MeanSquares, mean_squares, satterthwaite

POWER, ALPHA = 0.8, 0.05
EFFECTS = (1, 2, 3)  # points
MOST_SEEDS = 1000
_MIDDLES = (np.arange(500) + 0.5) / 500  # of the quantiles of the estimated variance, over which power is averaged


@dataclass(frozen=True)
class Variances:
    """Of one paired difference, as fractions squared: between runs, between questions, and of what is left of one run
    and question; the panel's questions and strata; over how many rows they were taken."""

    runs: float
    questions: float
    rest: float
    n_questions: int
    n_strata: int
    rows: int

    def design(self, a: int, b: int) -> tuple[float, float]:
        """(variance, degrees of freedom) of the difference between rows of `a` and of `b` seeds.

        The same number: paired. Otherwise either row has half of the variance of a paired difference.
        """
        q, df = self.n_questions, self.n_questions - self.n_strata
        if a == b:
            terms = [((q * self.runs + self.rest) / (a * q), a - 1)]
            terms += [((a * self.questions + self.rest) / (a * q), df), (-self.rest / (a * q), (a - 1) * df)]
            return satterthwaite(terms)
        terms = [((q * self.runs + self.rest) / 2 / (n * q), n - 1) for n in (a, b)]
        terms += [((self.questions + self.rest / 2 * (1 / a + 1 / b)) / q, df)]
        terms += [(-self.rest / 2 / (n * q), (n - 1) * df) for n in (a, b)]
        return satterthwaite(terms)

    def power(self, effect: float, a: int, b: int | None = None, alpha: float = ALPHA) -> float:
        """Chance that a difference of `effect` (a fraction) is found by rows of `a` and `b` (None: `a`) seeds."""
        variance, df = self.design(a, a if b is None else b)
        shift = effect / np.sqrt(variance)
        bounds = stats.t.ppf(1 - alpha / 2, df) * np.sqrt(stats.chi2.ppf(_MIDDLES, df) / df)
        return float((stats.norm.sf(bounds - shift) + stats.norm.cdf(-bounds - shift)).mean())

    def smallest(self, a: int, b: int | None = None, alpha: float = ALPHA, power: float = POWER) -> float:
        """The minimum detectable effect, a fraction: what is found with a chance of `power`."""
        high = float(np.sqrt(self.design(a, a if b is None else b)[0]))
        while self.power(high, a, b, alpha) < power:
            high *= 1.5
        return float(optimize.brentq(lambda effect: self.power(effect, a, b, alpha) - power, 0, high))

    def seeds(self, effect: float, alpha: float = ALPHA, power: float = POWER) -> int | None:
        """The fewest seeds of either row that find `effect` with a chance of `power`; None above `MOST_SEEDS`."""
        low, high = 1, 2
        while self.power(effect, high, alpha=alpha) < power:
            low, high = high, 2 * high
            if low > MOST_SEEDS:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(effect, middle, alpha=alpha) >= power else (middle, high)
        return high


def _typical(found: list[MeanSquares]) -> Variances:
    """Rows differ much in how far their runs spread, so runs: the median over rows of MS_seeds, each divided by the
    median of chi-square over its degrees of freedom. Questions and rest: means over rows, by degrees of freedom."""
    df = np.array([one.df for one in found])
    seeds, questions, rest = np.array([(one.seeds, one.questions, one.rest) for one in found]).T
    n_seeds, n_questions = np.array([one.n_seeds for one in found]), found[0].n_questions
    left = float(np.average(rest, weights=df[:, 2]))
    middle = float(np.median(seeds / (stats.chi2.median(df[:, 0]) / df[:, 0])))
    between = float(np.average((questions - rest) / n_seeds, weights=df[:, 0]))
    runs = max(0.0, (middle - left) / n_questions)
    return Variances(runs, max(0.0, between), left, n_questions, found[0].n_strata, len(found))


def opponents(source: Source, baseline: str) -> dict[str, str]:
    """Row -> the row it stands against: the baseline, and in a grid of settings the baseline's same cell."""
    rows = source.config.get("rows") or {}
    if baseline in source.scores:
        return {row: baseline for row in source.scores if row not in (baseline, style.WARM_START)}
    cells = {str(row["training"]): name for name, row in rows.items() if row.get("method") == baseline}
    return {
        name: cells[str(row["training"])]
        for name, row in rows.items()
        if row.get("method") != baseline and str(row["training"]) in cells
    }


def variances(source: Source, baseline: str = style.BASELINE) -> Variances | None:
    """`Variances` of a table's committed or own runs; None without two rows of two seeds that have not collapsed."""
    down = {row for row, (count, _) in training_steps.collapsed(source).items() if count}
    found = []
    for row, against in opponents(source, baseline).items():
        if row in down or against in down or not {row, against} <= source.scores.keys():
            continue
        a, b = source.scores[row], source.scores[against]
        seeds = [seed for seed in a.seeds if seed in b.seeds]
        if len(seeds) > 1:
            found.append(mean_squares(_at(a, seeds) - _at(b, seeds), a.strata_Q))
    found = [one for one in found if np.isfinite(one.rest) and one.rest > 0]
    return _typical(found) if found else None


def _at(scores: Scores, seeds: Iterable[int]) -> np.ndarray:
    return pairing.scores_at(scores)[[scores.seeds.index(seed) for seed in seeds]]


def shown_parts(found: Variances) -> str:
    """`runs 1.69, questions 3.3, rest 22.2 points`: the standard deviations of a paired difference."""
    runs, questions, rest = (100 * float(np.sqrt(part)) for part in (found.runs, found.questions, found.rest))
    return f"runs {runs:.2f}, questions {questions:.1f}, rest {rest:.1f} points"


def notes(source: Source, baseline: str = style.BASELINE) -> list[str]:
    """The smallest effects that the table can find, and the seeds for 1, 2 and 3 points; none where unknown."""
    found = variances(source, baseline)
    if found is None:
        return []
    counts = {len(source.scores[row].seeds) for row in source.scores if row != style.WARM_START}
    most = len(source.scores[baseline].seeds) if baseline in source.scores else max(counts)
    designs = [(most, most), *((n, most) for n in sorted(counts - {most}, reverse=True))]
    shown = [f"{100 * found.smallest(a, b):.1f} with {a} and {b} seeds" for a, b in designs if min(a, b) > 1]
    if not shown:
        return []
    seeds = ", ".join(str(found.seeds(effect / 100) or f"over {MOST_SEEDS}") for effect in EFFECTS)
    return [
        f"Power: points of difference that one test finds with {100 * POWER:.0f} % chance (two-sided, {ALPHA}, before "
        f"any adjustment): {', '.join(shown)}. {', '.join(map(str, EFFECTS))} points take {seeds} seeds a row. "
        f"Standard deviations of a paired difference: {shown_parts(found)} ({found.rows} rows without a collapsed run)."
    ]
