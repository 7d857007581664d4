"""Runs that fall: the cascade failure of EPO (arXiv 2509.22576) in logged runs."""

import numpy as np

from analysis.load import Source
from analysis.training_steps import drawdown

WINDOW = 5  # RL steps of a moving mean


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
        found, runs = found + bool(rises and drawdown(success[peak:]) >= 0.3), runs + 1
    return found, runs


def moving_mean(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Means over `window` values in a row; of all values where there are fewer."""
    window = min(window, len(values))
    return np.convolve(values, np.full(window, 1 / window), mode="valid")


def fluctuations(source: Source, method: str) -> np.ndarray:
    """Per seed, the variance of entropy within `WINDOW` steps in a row, mean over the run, nats squared."""
    runs = source.steps[source.steps["method"] == method].sort_values("step").groupby("seed")["entropy"]
    return runs.apply(lambda values: values.rolling(WINDOW).var().mean()).sort_index().to_numpy()
