"""Reward and entropy of a run at work, as one line of small bars."""

import json
import math
from pathlib import Path

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 16
SHOWN = {"reward": "reward_mean", "entropy": "entropy"}
"""What is shown -> its column of steps.parquet."""


def sparkline(values: list[float], width: int = WIDTH) -> str:
    """The values as bars between their lowest and their highest; more than `width` become means of equal parts."""
    values = [value for value in values if math.isfinite(value)]
    if len(values) > width:
        ends = [round(i * len(values) / width) for i in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in zip(ends, ends[1:], strict=False)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    room = (high - low) or 1.0
    return "".join(BARS[round((value - low) / room * (len(BARS) - 1))] for value in values)


class History:
    """Metrics of the complete steps of one run, from its `parts/`; every file is read once."""

    def __init__(self, path: Path):
        self.path = path
        self.steps: dict[str, dict[str, float]] = {}

    def read(self) -> dict[str, list[float]]:
        """Name of `SHOWN` -> its values, in the order of the steps."""
        for part in sorted((self.path / "parts").glob("*.steps.json")):
            if part.name not in self.steps:
                try:
                    metrics = json.loads(part.read_text())["metrics"]
                except (OSError, ValueError, KeyError, TypeError):
                    continue
                self.steps[part.name] = {name: _number(metrics.get(column)) for name, column in SHOWN.items()}
        return {name: [self.steps[part][name] for part in sorted(self.steps)] for name in SHOWN}

    def text(self) -> str:
        """`reward 0.41 ▁▃▅█  entropy 0.12 █▅▃▁`, the last value and all of them; empty before the second step."""
        found = {name: values for name, values in self.read().items() if len(values) > 1}
        return "  ".join(f"{name} {values[-1]:.2f} {sparkline(values)}" for name, values in found.items())


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
