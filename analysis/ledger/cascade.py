"""Runs that fall: the cascade failure of EPO (arXiv 2509.22576) in logged runs."""

import numpy as np
import pandas as pd

from analysis.load import Source
from analysis.training_steps import drawdown

WINDOW = 5  # RL steps of a moving mean
FALL = 0.3  # share of an earlier success that is lost


def cascades(source: Source, methods) -> tuple[int, int]:
    """(runs that show the cascade failure, all runs) of these methods.

    Entropy, as means over `WINDOW` steps, rises by 10 % over its start in the first half of the run, and success later
    has a `drawdown` of 30 %.
    """
    found, runs = 0, 0
    for (_, _), run in source.steps[source.steps["method"].isin(methods)].groupby(["method", "seed"]):
        run = run.sort_values("step")
        entropy, success = moving_mean(run["entropy"].to_numpy()), run["success_mean"].to_numpy()
        half = max(1, len(entropy) // 2)
        peak = int(entropy[:half].argmax())
        rises = entropy[peak] >= 1.1 * entropy[0]
        found, runs = found + bool(rises and drawdown(success[peak:]) >= FALL), runs + 1
    return found, runs


def kinds(steps: pd.DataFrame) -> pd.DataFrame:
    """How each run fell, if it did: runs lose success in ways that EPO does not speak of, too.

    Args:
        steps: a row per method, seed and step, as `Source.steps`.

    Returns:
        Index method, seed; all but `kind` in percent. rise: highest entropy of the first half over its start, as means
        over `WINDOW` steps. fall: `drawdown` of the whole run. drift: largest change of entropy from its start, later.
        badly_formed: trajectories that are not well formed when success is lowest after its best, less those when it
        is best. kind: "cascade" (a rise of 10 %, then a fall of 30 %, as `cascades`); "format" (a fall of 30 %, with 20
        points more that are badly formed); "other fall"; "none". A run that is both is a cascade.
    """
    found = {}
    for key, run in steps.groupby(["method", "seed"]):
        run = run.sort_values("step")
        entropy, success, formed = (
            moving_mean(run[name].to_numpy()) for name in ("entropy", "success_mean", "format_ok_mean")
        )
        half = max(1, len(entropy) // 2)
        peak = int(entropy[:half].argmax())
        fall = drawdown(run["success_mean"].to_numpy()[peak:])
        whole = drawdown(run["success_mean"].to_numpy())
        best = int(success.argmax())
        lowest = best + int(success[best:].argmin())
        rise, spoilt = entropy[peak] / entropy[0] - 1, formed[best] - formed[lowest]
        later = entropy[peak:] / entropy[0] - 1
        kind = "cascade" if rise >= 0.1 and fall >= FALL else "none" if whole < FALL else "other fall"
        if kind == "other fall" and spoilt >= 0.2:
            kind = "format"
        found[key] = (100 * rise, 100 * whole, 100 * later[np.abs(later).argmax()], 100 * spoilt, kind)
    columns = ["rise", "fall", "drift", "badly_formed", "kind"]
    frame = pd.DataFrame.from_dict(found, orient="index", columns=columns)
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["method", "seed"])
    return frame


def moving_mean(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Means over `window` values in a row; of all values where there are fewer."""
    window = min(window, len(values))
    return np.convolve(values, np.full(window, 1 / window), mode="valid")


def fluctuations(source: Source, method: str) -> np.ndarray:
    """Per seed, the variance of entropy within `WINDOW` steps in a row, mean over the run, nats squared."""
    runs = source.steps[source.steps["method"] == method].sort_values("step").groupby("seed")["entropy"]
    return runs.apply(lambda values: values.rolling(WINDOW).var().mean()).sort_index().to_numpy()
