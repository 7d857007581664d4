"""The methods that control entropy beside their base DAPO: entropy and success over training, and which differ from it.

The family is the group `entropy` of table 2's config. End entropy is the mean over the last tenth of the RL steps. Its
intervals are 95 % t intervals over seeds; those of success on the test panel are over seeds × questions.
"""

from dataclasses import astuple
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from analysis import curves, families, forest, format, pairing, scatter, statistics, style, text_table
from analysis.load import Source
from analysis.statistics import Estimate
from analysis.table import ALPHA, put
from analysis.text_table import TextTable
from analysis.training_steps import band_of, edges, estimate, last, trained, unfiltered
from reproduce.config.rows import expanded
from reproduce.config.tables import TableConfig

BASE = "dapo"
GROUP = "entropy"
PER_ROW = 6
DIFFERS, NOTHING, WITHIN = "differs", "no difference found", "within ±{:g} points"


def members(source: Source) -> list[str]:
    """The family in the order of the table's config, its base first."""
    config = TableConfig.load(source.table)
    names = expanded(config.groups[GROUP], config.groups, config.source)
    return [BASE, *(name for name in names if name != BASE)]


def absent(source: Source) -> str:
    """One line that names the methods of the family without runs; "" where all have some."""
    there = trained(source)
    found = [style.name(m) for m in members(source) if m not in there]
    return f"Without runs here: {', '.join(found)}." if found else ""


def end_entropy(source: Source, method: str) -> Estimate:
    """Entropy over the last tenth of the RL steps, nats."""
    return estimate(edges(source, method)[1])


def figure_training(source: Source) -> style.Drawn:
    """Entropy above and success below, a pair of small panels per method with runs; grey: DAPO."""
    source = source.only(members(source)).comparable
    there = trained(source)
    methods = [m for m in members(source) if m in there]
    steps, kept_only = unfiltered(source)
    figure, above, below = _pairs(len(methods))
    bands = {
        (m, column): scale * band_of(steps[steps["method"] == m], column)
        for m in methods
        for column, scale in (("entropy", 1), ("success", 100))
    }
    for method, *pair in zip(methods, above, below, strict=False):
        for axes, column in zip(pair, ("entropy", "success"), strict=True):
            comparable = column == "entropy" or not {method, BASE} & kept_only
            if BASE in methods and method != BASE and comparable:
                curves.draw_band(axes, bands[BASE, column], style.REFERENCE, lw=curves.BASE)
            dashed = column == "success" and method in kept_only
            curves.draw_band(axes, bands[method, column], style.colour(method), ls="--" if dashed else "-")
        curves.heading(pair[0], style.name(method), style.colour(method))
    for places, label in ((above, "Entropy,\nnats"), (below, "Success,\n%")):
        curves.from_zero(places)
        for axes in places:
            axes.set_ylabel(label if axes.get_subplotspec().is_first_col() else "")
    for axes in below[-below[0].get_subplotspec().get_gridspec().ncols :]:
        axes.set_xlabel("RL step" if axes.get_subplotspec().is_last_row() else "")
        axes.tick_params(labelbottom=True)
    if not methods:
        curves.nothing(above[0])
    base = style.name(BASE) if set(methods) - {BASE} and BASE in methods else ""
    caption = (
        "Above: policy entropy per token at rollout (full softmax). Below: success of all sampled trajectories. Mean "
        f"over seeds, y from 0. {curves.BAND}"
    )
    if kept := [style.name(m) for m in methods if m in kept_only]:
        caption += (
            f" Dashed ({', '.join(kept)}): these runs logged the success of the groups that they kept alone, which is "
            "higher at the same skill; it is not compared."
        )
    keys = [*curves.keys(base)]
    if kept:
        keys.append(style.line_key("groups with a signal alone", style.REST[0], ls="--"))
    caption += source.begun_note
    style.finish(figure, "The entropy family: entropy and success during training", caption, keys)
    return style.Drawn(figure, _training_says(source, methods, steps, kept_only))


def _pairs(count: int):
    """(figure, upper panels, lower panels) of `count` pairs of panels, in rows of one length."""
    rows = max(1, -(-count // PER_ROW))
    columns = max(1, -(-count // rows))
    width = style.COLUMN if columns < 3 else style.PAGE
    height = (1.5 if rows > 1 else 2.2) * rows + 0.3
    figure, grid = style.subplots(2 * rows, columns, height=height, width=width, sharex=True, squeeze=False)
    for axes in grid.flat:
        axes.tick_params(labelbottom=False, labelleft=axes.get_subplotspec().is_first_col())
        axes.locator_params(axis="y", nbins=3)
    for axes in (*grid[0::2].flat[max(1, count) :], *grid[1::2].flat[max(1, count) :]):
        axes.set_visible(False)
    return figure, *(list(grid[i::2].flat[: max(1, count)]) for i in (0, 1))


def _training_says(source: Source, methods: list[str], steps: pd.DataFrame, kept_only: frozenset[str]) -> str:
    """Which methods end above or below the base in entropy and in success, over the last tenth of the RL steps."""
    others, base = [m for m in methods if m != BASE], style.name(BASE)
    if BASE not in methods or not others:
        return f"{_nothing(source)} {absent(source)}".strip()
    parts = []
    for column, left_out in (("entropy", frozenset()), ("success", kept_only)):
        compared = [] if BASE in left_out else [m for m in others if m not in left_out]
        ends = {m: last(steps[steps["method"] == m], column) for m in (BASE, *compared)}
        gaps = {m: statistics.gap(ends[m], ends[BASE]) for m in compared}
        sides = (
            ("above", [style.name(m) for m, e in gaps.items() if e.low > 0]),
            ("below", [style.name(m) for m, e in gaps.items() if e.high < 0]),
        )
        found = "; ".join(f"{side}: {', '.join(names) or 'none'}" for side, names in sides)
        parts.append(f"in {column} ({len(compared)} compared) {found}")
    ends = "over the last tenth of training, with the whole 95 % interval of each alone (Welch)"
    return f"Against {base}, {ends}: {'. '.join(parts).replace('. in', '. In')}. {absent(source)}".strip()


def _nothing(source: Source) -> str:
    """Why nothing is compared."""
    base = style.name(BASE)
    missing = (
        f"No method of the family has results beside {base}"
        if BASE in source.scores
        else f"There are no results of {base}"
    )
    return f"{missing} here, so nothing is compared."


def figure_success(source: Source) -> style.Drawn:
    """Success on the test panel against end entropy, a point per trained row of the table."""
    source = source.comparable
    there = trained(source)
    rows = {m: (end_entropy(source, m), _percent(source, m)) for m in source.scores if m in there}
    rows = {m: pair for m, pair in rows.items() if np.isfinite(pair[0].value)}
    lines = [forest.line_of(style.name(m), m, *pair, core=m in style.MAIN) for m, pair in rows.items()]
    labelled = {style.name(m) for m in rows if m in style.MAIN} | {style.name(m) for m in _extremes(rows).values()}
    panels = (
        forest.Panel("End entropy, nats", zero=None, least=0.0),
        forest.Panel("Success on the test panel (pass@1), %", zero=None, least=0.0),
    )
    caption = (
        "A point per method, mean over seeds. Across: entropy over the last tenth of training, 95 % t interval over "
        "seeds. Upwards: pass@1, 95 % interval over seeds × questions; all methods answer the same questions, so their "
        "differences are surer than these intervals. An interval that leaves the panel is cut. Grey: rows that are not "
        "core; of these the outermost are named."
    )
    caption += source.begun_note
    figure = scatter.figure(lines, panels, labelled, "Success against entropy at the end of training", caption)
    return style.Drawn(figure, _success_says(rows))


def _percent(source: Source, method: str) -> Estimate:
    return Estimate(*(100 * x for x in astuple(pairing.estimate(source.scores[method]))))


def _extremes(rows: dict[str, tuple[Estimate, Estimate]]) -> dict[str, str]:
    """Extreme -> its row: lowest and highest end entropy, lowest and highest success."""
    places = (("the lowest entropy", 0, min), ("the highest entropy", 0, max))
    places += (("the lowest success", 1, min), ("the highest success", 1, max))
    return {what: of(rows, key=lambda m, i=i: rows[m][i].value) for what, i, of in places} if rows else {}


def _success_says(rows: dict[str, tuple[Estimate, Estimate]]) -> str:
    """The outermost rows, and how the two quantities rank together."""
    if len(rows) < 3:
        return f"{len(rows)} methods have results, too few for a relation."
    found = _extremes(rows)
    ends = []
    for what, row in found.items():
        digits, unit = (3, "nats") if "entropy" in what else (1, "%")
        ends.append(f"{what} {style.name(row)} ({format.number(rows[row]['success' in what].value, digits)} {unit})")
    values = np.array([[e.value for e in pair] for pair in rows.values()])
    rank = float(stats.spearmanr(values[:, 0], values[:, 1]).statistic)
    return (
        f"Of {len(rows)} methods {', '.join(ends[:-1])} and {ends[-1]} stand outermost; Spearman's rank correlation of "
        f"end entropy and success is {format.number(rank, 2, sign=True)}, which describes these methods and tests "
        "nothing, for they are no random sample."
    )


@lru_cache(maxsize=1)
def against_base(source: Source) -> pd.DataFrame:
    """Every method of the family with results minus DAPO.

    Columns: method, difference with `_low` and `_high` (points of average pass@1), p, adjusted_p (false discovery rate
    over the family), p_within (two one-sided tests of the table's margin, adjusted alike), margin (points),
    sampled_tokens (of a training, mean over seeds, DAPO = 1), end_entropy with `_low` and `_high` (nats), n_seeds,
    n_base, verdict. No rows without results of DAPO or of another method of the family.
    """
    scores = source.only(members(source)).scores
    names = [m for m in members(source) if m in scores and m != BASE] if BASE in scores else []
    effects = {(m, BASE): pairing.difference(scores[m], scores[BASE]) for m in names}
    adjusted, margin = families.adjust(source, effects).p, families.confirmatory(source.table).margin
    tokens = source.steps.groupby(["method", "seed"])["sampled_tokens"].sum().groupby("method").mean()
    first = families.same_runs(source)
    within = {first.get(m, m): effects[m, BASE].p_within(margin / 100) for m in names if np.isfinite(adjusted[m])}
    within = dict(zip(within, statistics.discoveries(list(within.values())), strict=True))
    rows = []
    for method in names:
        effect, end = effects[method, BASE], end_entropy(source, method)
        row = {"method": method}
        put(row, "difference", effect.interval())
        row |= {"p": effect.p(), "adjusted_p": adjusted[method]}
        row |= {"p_within": within.get(first.get(method, method), np.nan), "margin": margin}
        row |= {"sampled_tokens": tokens.get(method, np.nan) / tokens.get(BASE, np.nan)}
        row |= {"end_entropy": end.value, "end_entropy_low": end.low, "end_entropy_high": end.high}
        row |= {"n_seeds": len(scores[method].seeds), "n_base": len(scores[BASE].seeds)}
        same = families.are_same_runs(source, method, BASE)
        rows.append(row | {"verdict": "the same runs" if same else _verdict(row)})
    return pd.DataFrame(rows)


def _verdict(row: dict) -> str:
    """In words; both where a difference is found and lies inside the margin."""
    if not np.isfinite(row["adjusted_p"]):
        return "one run, no test"
    found = [DIFFERS] if row["adjusted_p"] < ALPHA else []
    found += [WITHIN.format(row["margin"])] if row["p_within"] < ALPHA else []
    return ", ".join(found) or NOTHING


def tables(source: Source) -> list[TextTable]:
    """`against_base` as text cells; none where nothing of the family stands beside DAPO."""
    frame, base = against_base(source), style.name(BASE)
    if frame.empty:
        return []
    margin, rows, bold = frame["margin"].iloc[0], [], set()
    for i, row in enumerate(frame.to_dict("records")):
        difference, end = (
            Estimate(*(row[f"{column}{ending}"] for ending in ("", "_low", "_high")))
            for column in ("difference", "end_entropy")
        )
        cells = [format.estimate(difference, sign=True), *(format.p_value(row[c]) for c in ("adjusted_p", "p_within"))]
        cells += [f"{format.number(row['sampled_tokens'], 2)} ×", format.estimate(end, 3)]
        rows.append([style.name(row["method"]), *cells, f"{row['n_seeds']}, {row['n_base']}", row["verdict"]])
        if row["adjusted_p"] < ALPHA:
            bold.add((i, 1))
    header = ["Method", f"Minus {base}", "Adjusted p", f"p of {margin:g} points or more", f"Sampled tokens, {base} = 1"]
    header += ["End entropy, nats", f"Seeds, {base}'s", "Verdict"]
    notes = [
        f"Points of pass@1 on the test panel, 95 % interval over seeds × questions. {format.PAIRED}",
        f"Equal budget: the same RL steps with as many trained trajectories; tokens differ as shown. {base}'s end "
        f"entropy: {format.estimate(end_entropy(source, BASE), 3)}.",
        f"Exploratory: both p-values are adjusted for the false discovery rate over the {len(frame)} rows "
        f"(Benjamini-Hochberg). Differs: adjusted p below {ALPHA}. Within: two one-sided tests exclude {margin:g} "
        "points either way.",
        *filter(None, [absent(source)]),
    ]
    title = f"Which methods of the entropy family differ from {base}"
    return [TextTable(title, header, rows, frozenset(bold), notes, frozenset({0, len(header) - 1}))]


def files(source: Source) -> dict[str, str]:
    """Name -> text of entropy_family.md and .csv; none where there is no table."""
    shown = tables(source)
    if not shown:
        return {}
    frame = against_base(source)
    return {
        "entropy_family.md": "\n".join(map(text_table.markdown, shown)),
        "entropy_family.csv": frame.to_csv(index=False, float_format="%.4f"),
    }


def answer(source: Source) -> str:
    """How many methods of the family differ from DAPO, which lie within the margin."""
    frame, base = against_base(source), style.name(BASE)
    if frame.empty:
        return f"**Answer.** {_nothing(source)} {absent(source)}".strip()
    parts = []
    for word in (DIFFERS, WITHIN.format(frame["margin"].iloc[0])):
        named = [style.name(r.method) for r in frame.itertuples() if word in r.verdict.split(", ")]
        parts.append(f"{word}: {', '.join(named) or 'none'}")
    return f"**Answer.** Of {len(frame)} methods beside {base}, {'; '.join(parts)}. {absent(source)}".strip()
