"""How runs fall: EPO's cascade, a loss of format, or another way."""

import numpy as np
import pandas as pd

from analysis.ledger.cascade import kinds

STEPS = np.arange(1, 61)


def run(method, entropy, success, formed=0.95):
    """A run whose curves go through (step, value) points."""
    curves = {
        name: np.interp(STEPS, *zip(*points, strict=True)) if isinstance(points, list) else np.full(len(STEPS), points)
        for name, points in (("entropy", entropy), ("success_mean", success), ("format_ok_mean", formed))
    }
    return pd.DataFrame({"method": method, "seed": 0, "step": STEPS, **curves})


def test_each_way_of_falling_has_its_name():
    frame = pd.concat(
        [
            run("cascade", [(1, 0.6), (20, 0.75), (60, 0.8)], [(1, 0.1), (30, 0.4), (60, 0.2)]),
            run("format", [(1, 0.6), (60, 0.62)], [(1, 0.1), (30, 0.4), (60, 0.1)], [(30, 0.95), (60, 0.1)]),
            run("other", [(1, 0.6), (60, 0.4)], [(1, 0.1), (30, 0.4), (60, 0.1)]),
            run("steady", [(1, 0.6), (20, 0.8), (60, 0.3)], [(1, 0.1), (60, 0.4)]),
            run("late", [(1, 0.6), (40, 0.6), (60, 0.9)], [(1, 0.1), (30, 0.4), (60, 0.1)]),
        ]
    )
    found = kinds(frame)
    assert found["kind"].droplevel("seed").to_dict() == {
        "cascade": "cascade",
        "format": "format",
        "other": "other fall",
        "steady": "none",
        "late": "other fall",
    }
    assert found.loc[("late", 0), "drift"] > 40 and abs(found.loc[("late", 0), "rise"]) < 1
    assert found.loc[("format", 0), "badly_formed"] > 60 > found.loc[("cascade", 0), "badly_formed"]
