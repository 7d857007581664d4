"""Measure each claim's gate and effects from the published tables and the audit's batch."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis import pairing, statistics, style
from analysis.fidelity.batch import Batch
from analysis.fidelity.epo import indicator_gradient
from analysis.fidelity.losses import kept_top_share
from analysis.fidelity.trees import budgets
from analysis.ledger import dose_response, doses
from analysis.ledger.cascade import cascades, fluctuations
from analysis.ledger.claims import Measured
from analysis.ledger.intervals import Exact, Ratio, Share, ShareDifference
from analysis.load import Source
from analysis.statistics import Effect
from analysis.table3 import BASES, SPLITS, best_of_checks
from analysis.training_steps import fallen
from analysis.tree_shape import tree_shape

SEVEN = ("grpo", "reinforce++", "dapo", "gppo", "cispo", "gigpo", "arpo")
"""AEPO's seven baselines."""


def measure(claim: str, tables: dict[str, Source], batch: Batch) -> Measured:
    """Measure a claim. tables: name -> source, table 6 included if it has results."""
    mechanism, by_dose = BY_DOSE.get(claim, (None, None))
    if mechanism and dose_response.has(tables, mechanism):
        return by_dose(tables[dose_response.TABLE], batch)
    return MEASURES[claim](tables, batch)


def _differences(source: Source, method: str, others, k: int = 1) -> dict[str, Effect]:
    """Label -> difference in points of `method` to each of `others`, in one table."""
    scores, name = source.scores, source.experiment.replace("table", "table ")
    return {
        f"{style.name(method)} − {style.name(other)}, {name}": pairing.difference(
            scores[method], scores[other], k
        ).in_points()
        for other in others
    }


def _seeds(source: Source, *methods: str) -> str:
    counts = sorted({len(source.scores[method].seeds) for method in methods})
    return f"{source.experiment.replace('table', 'table ')}: {' to '.join(map(str, counts))} seeds"


def _a1(tables, batch) -> Measured:
    effects, shares, met = {}, [], []
    for name in ("table1", "table2"):
        correct_Q = tables[name].scores[style.BASELINE].correct_SQN.mean((0, 2))
        share = 100 * np.mean((correct_Q >= 0.1) & (correct_Q <= 0.9))
        shares.append(f"{share:.0f} % in {name.replace('table', 'table ')}")
        if share >= 40:
            met.append(_seeds(tables[name], "aepo", *SEVEN))
            effects |= _differences(tables[name], "aepo", SEVEN)
    return Measured(bool(met), ", ".join(shares), effects, "; ".join(met))


def _alone(component: str):
    """Table 4: the component alone minus none. Points."""

    def found(tables) -> tuple[dict[str, Effect], str]:
        scores = tables["table4"].scores
        effect = pairing.difference(scores[component], scores["none"]).in_points()
        return {"alone − none, table 4": effect}, _seeds(tables["table4"], component, "none")

    return found


def _a2(tables, batch) -> Measured:
    sd = budgets(batch).std()
    return Measured(sd >= 2, f"standard deviation of m {sd:.2f}", *_alone("dynamic-budget")(tables))


def _a3(tables, batch) -> Measured:
    shape = tree_shape(_rollouts(tables["table2"], "arpo"), least_turns=6)
    share = 100 * shape["largest_root"].mean()
    text = f"{share:.0f} % of ARPO's branches, {len(shape)} groups of table 2"
    return Measured(share >= 30, text, *_alone("branch-penalty")(tables))


def _a4(tables, batch) -> Measured:
    dose, detail = doses.gradient_keeping_clip(batch)
    top = kept_top_share(batch)
    return Measured(
        dose >= 5 and top >= 0.8,
        f"gradient changed by {dose:.0f} % at the last update of a step of AEPO, {100 * top:.0f} % of the tokens among "
        "the fifth of highest entropy",
        *_alone("gradient-keeping-clip")(tables),
    )


def _a5(tables, batch) -> Measured:
    dose, detail = doses.entropy_advantage(batch)
    return Measured(dose >= 5, f"gradient changed by {dose:.0f} %; {detail}", *_alone("entropy-advantage")(tables))


def _a6(tables, batch) -> Measured:
    down, runs = {}, {}
    for method in ("aepo", "arpo"):
        sources = [tables[name] for name in ("table1", "table2")]
        down[method] = sum(len(fallen(source, method)) for source in sources)
        runs[method] = sum(len(source.scores[method].seeds) for source in sources)
    share = 100 * down["arpo"] / runs["arpo"]
    effect = ShareDifference(*(Share(down[method], runs[method]) for method in ("aepo", "arpo")))
    text = f"{down['arpo']} of {runs['arpo']} runs of ARPO ({share:.0f} %)"
    return Measured(share >= 20, text, {"AEPO − ARPO": effect}, f"{runs['aepo']} and {runs['arpo']} runs")


def _a7(tables, batch) -> Measured:
    effects = {}
    for name in ("table1", "table2"):
        effects |= _differences(tables[name], "aepo", ("grpo", "arpo"), 5)
    return Measured(None, "", effects, "; ".join(_seeds(tables[name], "aepo") for name in ("table1", "table2")))


def _a8(tables, batch) -> Measured:
    return Measured(None, "", {})


def _e1(tables, batch) -> Measured:
    count, runs = cascades(tables["table3"], ("ppo", "grpo"))
    return Measured(None, "", {"PPO and GRPO": Share(count, runs)}, f"{count} of {runs} runs")


def _e2(tables, batch) -> Measured:
    count, runs = cascades(tables["table3"], ("ppo", "grpo"))
    effects = {}
    for method in ("ppo+epo", "grpo+epo"):
        effects |= _differences(tables["table3"], method, [BASES[method]])
    return Measured(count >= 0.3 * runs, f"{count} of {runs} base runs", effects, _seeds(tables["table3"], *BASES))


def _e3(tables, batch) -> Measured:
    base, mine = (fluctuations(tables["table3"], method) for method in ("epo-base", "ppo+epo"))
    effect = Ratio(statistics.unpaired(np.log(mine), np.log(base)))
    text = f"variance {base.mean():.1e} nats²"
    return Measured(
        base.mean() >= 1e-2, text, {"EPO on PPO / EPO (base)": effect}, f"{len(mine)} and {len(base)} seeds"
    )


def _e4(tables, batch) -> Measured:
    dose, _ = doses.phase_weight(batch)
    effects = _differences(tables["table3"], "ppo+epo", ["epo-no-dw"])
    runs = _seeds(tables["table3"], "ppo+epo", "epo-no-dw")
    return Measured(dose >= 10, f"gradient changed by {dose:.3f} %", effects, runs)


def _e5(tables, batch) -> Measured:
    found = float(indicator_gradient(batch))
    return Measured(None, "", {"released, with − without": Exact(found)}, "one batch, exact")


def _e6(tables, batch) -> Measured:
    source, effects = tables["table3"], {}
    for method in ("ppo", "grpo"):
        scores = source.scores[method]
        for split in SPLITS:
            last_S = scores.correct_SQN[:, scores.splits_Q == split].mean((1, 2))
            effects[f"{style.name(method)}, {split.upper()}"] = statistics.over_seeds(
                best_of_checks(source, method, split) - last_S
            ).in_points()
    return Measured(None, "", effects, _seeds(source, "ppo", "grpo"))


MEASURES: dict[str, Callable[[dict[str, Source], Batch], Measured]] = {
    "A1": _a1,
    "A2": _a2,
    "A3": _a3,
    "A4": _a4,
    "A5": _a5,
    "A6": _a6,
    "A7": _a7,
    "A8": _a8,
    "E1": _e1,
    "E2": _e2,
    "E3": _e3,
    "E4": _e4,
    "E5": _e5,
    "E6": _e6,
}


BY_DOSE: dict[str, tuple[str, Callable[[Source, Batch], Measured]]] = {
    "A2": ("budget", dose_response.budget),
    "A3": ("trees", dose_response.trees),
    "A4": ("clip", dose_response.clip),
    "A5": ("advantage", dose_response.advantage),
}
"""Claim -> the mechanism of table 6 that decides it once it has results, and how it is measured there."""


def _rollouts(source: Source, method: str) -> pd.DataFrame:
    frame = source.rollouts
    return frame[frame["method"] == method]
