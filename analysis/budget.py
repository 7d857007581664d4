"""Notes on what rows share and on what they do not: one warm start, and how many tokens they sampled."""

import numpy as np

from analysis import style
from analysis.load import Source

MORE = 1.1  # a row that samples a tenth more than the baseline is named


def warm_start_note(source: Source) -> list[str]:
    """At which warm starts the runs begin."""
    config = source.config.get("warm_start") or {}
    seed, each = config.get("seed"), config.get("seeds_each")
    if seed is None:
        return []
    if each:
        count = len({start for row in source.scores.values() for start in row.starts})
        return [
            f"The runs of {each} seeds each start from one of {count} warm starts. All intervals and p-values hold for "
            "these; rows that do not have the same ones are compared on those that both have."
        ]
    return [
        f"Every run starts from one warm start (seed {seed}). All intervals and p-values hold for this one; how much "
        "another would change is not known from these runs."
    ]


def step_at_budget(source: Source, method: str, tokens: float) -> float:
    """Mean over seeds of the last RL step at which a run of `method` had sampled at most `tokens`."""
    rows = source.steps[source.steps["method"] == method].sort_values("step")
    spent = rows.groupby("seed")["sampled_tokens"].cumsum()
    return float((spent <= tokens).groupby(rows["seed"]).sum().mean())


def sampling_note(source: Source, baseline: str = style.BASELINE, name=style.name) -> list[str]:
    """Rows that sampled more than the baseline, and where they stood at its budget; none if there are none."""
    totals = source.steps.groupby(["method", "seed"])["sampled_tokens"].sum().groupby("method").mean()
    if baseline not in totals or not totals[baseline]:
        return []
    steps = int(source.steps["step"].max())
    shown, matched = [], at_budget(source)
    for method in style.order(totals.index):
        if method in matched:
            continue
        ratio = totals[method] / totals[baseline]
        if np.isfinite(ratio) and ratio > MORE:
            at = step_at_budget(source, method, totals[baseline])
            shown.append(f"{name(method)} {100 * (ratio - 1):.0f} % (step {at:.0f})")
    notes = []
    if shown:
        notes.append(
            f"Sampled more tokens than {name(baseline)}, and the step of {steps} at which {name(baseline)}'s number "
            f"was spent: {', '.join(shown)}. Policies of that step were not evaluated, so "
            f"{'other rows do not stand' if matched else 'there is no row'} at equal sampling."
        )
    if matched:
        ends = [f"{name(m)} (step {low}{f' to {high}' if high > low else ''})" for m, (low, high) in matched.items()]
        notes.append(
            "Training ended once as many trajectories were sampled as a method that drops no group samples in all "
            f"steps, those of dropped groups included: {', '.join(ends)}."
        )
    return notes


def at_budget(source: Source) -> dict[str, tuple[int, int]]:
    """Rows whose training ends at a number of sampled trajectories -> the earliest and the latest last step."""
    rows = source.config.get("rows") or {}
    last = source.steps.groupby(["method", "seed"])["step"].max()
    found = [m for m in style.order(source.steps["method"]) if _ends_early(source, rows.get(m) or {})]
    return {m: (int(last[m].min()), int(last[m].max())) for m in found}


def _ends_early(source: Source, row: dict) -> bool:
    training = (source.config.get("training") or {}) | (row.get("training") or {})
    return bool(training.get("trajectory_budget"))
