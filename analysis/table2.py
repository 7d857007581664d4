"""Table 2: deep-search methods on the mini world, at equal budget, with intervals.

`build` computes every number as a data frame; `text_table`, `time_table` and `reported_table` turn them into printable
cells; `write` puts the files into a folder. What differs between two runs of the same seeds (minutes, dates) is kept in
its own file, so that table2.{md,tex,csv,pdf} has the same bytes whenever the same seeds ran on the same code.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import render, statistics, style
from analysis.data import Scores, Source
from analysis.render import MISSING, TextTable
from analysis.reported import REPORTED_BY
from analysis.statistics import UNDEFINED, Estimate
from reproduce.seeding import stream

K = 5
COSTS = {
    "sampled_tokens": "Sampled tokens",
    "trained_tokens": "Trained tokens",
    "tool_calls": "Tool calls",
    "trajectories": "Trajectories",
}
DEEP_SEARCH = ("GAIA", "HLE", "WebWalkerQA", "xbench-DeepSearch")
REPORTED_METHODS = ("GRPO", "REINFORCE++", "DAPO", "GPPO", "CISPO", "GiGPO", "ARPO", "AEPO")
NOT_COMPARABLE = (
    "Reported numbers come from models of billions of parameters on GAIA, HLE, WebWalkerQA and xbench-DeepSearch. They "
    "are not comparable with the mini world: no cell of this block may be read against a cell of the measured table."
)


@dataclass(frozen=True)
class Table:
    """`frame`: index method, columns as in the glossary of analysis/README.md (scores in percent, differences in
    points, `<column>_low`, `<column>_high`, `<column>_bold`); `provenance`: the lines under the table."""

    frame: pd.DataFrame
    provenance: list[str]
    source: Source

    @property
    def levels(self) -> list[str]:
        return [c for c in self.frame.columns if c.startswith("level_") and c.count("_") == 1]


def draws_for(n_seeds: int, levels_Q: np.ndarray) -> statistics.Draws:
    """The bootstrap draws of every table and figure: root seed 0, stream "bootstrap", strata = difficulty levels."""
    return _draws(n_seeds, tuple(np.asarray(levels_Q).tolist()))


@lru_cache(maxsize=8)
def _draws(n_seeds: int, levels: tuple) -> statistics.Draws:
    return statistics.draw(stream(0, "bootstrap"), n_seeds, np.array(levels))


def aligned(a: Scores, b: Scores) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """The seeds that both have and their `correct` arrays on those, S x Q x N.

    A single evaluation (the warm start, shared by all seeds) is repeated for every seed of the other. No common seed:
    empty arrays.
    """
    if len(a.seeds) == 1 != len(b.seeds):
        return b.seeds, np.broadcast_to(a.correct_SQN, b.correct_SQN.shape), b.correct_SQN
    if len(b.seeds) == 1 != len(a.seeds):
        return a.seeds, a.correct_SQN, np.broadcast_to(b.correct_SQN, a.correct_SQN.shape)
    if len(a.seeds) == len(b.seeds) == 1:
        return a.seeds, a.correct_SQN, b.correct_SQN
    common = tuple(s for s in a.seeds if s in b.seeds)
    return common, a.correct_SQN[[a.seeds.index(s) for s in common]], b.correct_SQN[[b.seeds.index(s) for s in common]]


def paired(
    a: Scores, b: Scores, k: int = 1, keep_Q: np.ndarray | None = None, measure=statistics.paired_difference
) -> Estimate:
    """`measure` (default: paired difference a - b) of pass@k over the common seeds and the questions `keep_Q`."""
    seeds, correct_a, correct_b = aligned(a, b)
    if not seeds:
        return UNDEFINED
    keep_Q = np.ones(len(a.questions), dtype=bool) if keep_Q is None else keep_Q
    scores_a, scores_b = (statistics.pass_at_k_scores(c, k)[:, keep_Q] for c in (correct_a, correct_b))
    return measure(scores_a, scores_b, draws_for(len(seeds), a.levels_Q).within(keep_Q))


def _columns(levels: list) -> dict[str, tuple[int, object]]:
    """Score column -> (k, level or None for all levels)."""
    return {f"level_{level}": (1, level) for level in levels} | {"pass_1": (1, None), f"pass_{K}": (K, None)}


def _estimate(scores: Scores, k: int, keep_Q: np.ndarray, measure=statistics.mean) -> Estimate:
    draws = draws_for(len(scores.seeds), scores.levels_Q).within(keep_Q)
    return measure(statistics.pass_at_k_scores(scores.correct_SQN, k)[:, keep_Q], draws)


def _put(row: dict, column: str, estimate: Estimate) -> None:
    row[column], row[f"{column}_low"], row[f"{column}_high"] = (
        100 * x for x in (estimate.value, estimate.low, estimate.high)
    )


def build(source: Source, methods=style.TABLE2_METHODS) -> Table:
    """Every number of the table; `methods` that have no runs become empty rows, others that have some are added."""
    scores = source.scores
    rows = []
    for method in style.order([*methods, *scores]):
        row = {"method": method, "n_seeds": 0}
        if method in scores:
            row |= _score_cells(scores, method)
        row |= _cost_cells(source, method)
        rows.append(row)
    frame = pd.DataFrame(rows).set_index("method")
    for column in COSTS:
        if column not in frame:
            frame[column] = np.nan
    return Table(frame, provenance(source), source)


def _score_cells(scores: dict[str, Scores], method: str) -> dict:
    mine = scores[method]
    row = {"n_seeds": len(mine.seeds)}
    for column, (k, level) in _columns(sorted(set(mine.levels_Q.tolist()))).items():
        keep_Q = np.ones(len(mine.questions), dtype=bool) if level is None else mine.levels_Q == level
        _put(row, column, _estimate(mine, k, keep_Q))
        others = [paired(mine, other, k, keep_Q) for m, other in scores.items() if m != method]
        row[f"{column}_bold"] = method != style.WARM_START and bool(others) and all(o.low > 0 for o in others)
    _put(row, "iqm_1", _estimate(mine, 1, np.ones(len(mine.questions), dtype=bool), statistics.iqm_over_seeds))
    if style.BASELINE in scores and method != style.BASELINE:
        baseline = scores[style.BASELINE]
        _put(row, "difference_1", paired(mine, baseline))
        _put(row, f"difference_{K}", paired(mine, baseline, K))
        if method != style.WARM_START:
            _put(row, "improvement_1", paired(mine, baseline, measure=statistics.probability_of_improvement))
    return row


def _cost_cells(source: Source, method: str) -> dict:
    steps = source.steps[source.steps["method"] == method]
    columns = [c for c in COSTS if c in steps.columns]
    totals = steps.groupby("seed")[columns].sum()
    row = {}
    for column in columns if len(totals) else ():
        estimate = statistics.over_seeds(totals[column].to_numpy(), stream(0, "bootstrap"))
        row[column], row[f"{column}_low"], row[f"{column}_high"] = estimate.value, estimate.low, estimate.high
    return row


def _short(text: object, length: int = 12) -> str:
    return str(text)[:length] if text else "unknown"


def _counts(manifests: list[dict], describe) -> str:
    found = sorted({describe(m) for m in manifests})
    return ", ".join(found) if found else "unknown"


def describe_machine(manifest: dict) -> str:
    """`Intel Xeon, 2 cores, 8 GB, no GPU` from a manifest."""
    machine = manifest.get("machine") or {}
    memory = f"{float(machine['memory_gb']):.0f} GB" if machine.get("memory_gb") else "memory unknown"
    processor = f"{machine.get('cpu') or 'CPU unknown'}, {machine.get('cores', '?')} cores"
    return f"{processor}, {memory}, {machine.get('gpu') or 'no GPU'}"


def _seeds(seeds) -> str:
    return ",".join(map(str, seeds))


def provenance(source: Source) -> list[str]:
    """What stands under the table: panel, seeds, commit, config hashes, machine. Nothing that a rerun changes."""
    trained = {m: s for m, s in source.scores.items() if m != style.WARM_START}
    by_seeds: dict[tuple, list[str]] = {}
    for method, scores in trained.items():
        by_seeds.setdefault(scores.seeds, []).append(style.name(method))
    seeds = "; ".join(f"{', '.join(names)}: {_seeds(seeds)}" for seeds, names in by_seeds.items()) or "none"
    first = {m: source.manifest(m)[:1] for m in source.scores}
    hashes = ", ".join(f"{style.name(m)} {_short(ms[0].get('config_hash'))}" for m, ms in first.items() if ms)
    any_scores = next(iter(source.scores.values()))
    _, n_questions, n_samples = any_scores.correct_SQN.shape
    levels, counts = np.unique(any_scores.levels_Q, return_counts=True)
    panel = ", ".join(f"level {level}: {count}" for level, count in zip(levels, counts, strict=True))
    commit = _counts(
        source.manifests,
        lambda m: _short(m.get("code_commit")) + (" with local changes" if m.get("code_dirty") else ""),
    )
    origin = "published results" if source.origin == "results" else "your own runs"
    return [
        f"Measured here, profile {source.profile}: {origin}.",
        f"Panel: {n_questions} questions ({panel}) × {n_samples} samples a question; last checkpoint, never the best.",
        f"Seeds: {seeds}.",
        f"Commit: {commit}. Config hash of the first seed: {hashes or 'unknown'} (every run: table2_runs.csv).",
        f"Machine: {_counts(source.manifests, describe_machine)}.",
    ]


def notes(table: Table) -> list[str]:
    """How to read the table."""
    absent = [style.name(m) for m in table.frame.index if table.frame.loc[m, "n_seeds"] == 0]
    return [
        "Scores in percent. Average is over all questions. [a, b]: 95 % stratified bootstrap interval over seeds × "
        f"questions ({statistics.N_DRAWS} draws); one seed: over questions only. pass@k: unbiased estimator.",
        f"Against {style.name(style.BASELINE)}: paired difference of average pass@1 in points, same seeds and "
        "questions. Bold: the paired interval against every other row excludes 0.",
        "Costs: mean over seeds of the whole training (evaluation not counted).",
        *([f"No runs of: {', '.join(absent)}."] if absent else []),
        *table.provenance,
    ]


def human(number: float) -> str:
    """1234567 -> `1.23 M`; NaN -> `–`."""
    if not np.isfinite(number):
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g} {unit}" if number < 999.5 * size else f"{number / size:.0f} {unit}"
    return f"{number:.0f}"


def _signed(number: float) -> str:
    return f"{number:+.1f}".replace("-", "−")


def cell(row: pd.Series, column: str, signed: bool = False, bounds: bool = True) -> str:
    """`41.2 [38.0, 44.5]`, or `–` where there is no number."""
    if column not in row or not np.isfinite(row[column]):
        return MISSING
    show = _signed if signed else "{:.1f}".format
    if not bounds or not np.isfinite(row[f"{column}_low"]):
        return show(row[column])
    return f"{show(row[column])} [{show(row[f'{column}_low'])}, {show(row[f'{column}_high'])}]"


def text_table(table: Table, title: str | None = None) -> TextTable:
    """The table as text cells; scores, paired difference, costs, number of seeds."""
    scored = [(c, f"Level {c.removeprefix('level_')}", False) for c in table.levels]
    scored += [("pass_1", "Average pass@1", True), (f"pass_{K}", f"Average pass@{K}", True)]
    header = ["Method", *(h for _, h, _ in scored), f"Against {style.name(style.BASELINE)}", *COSTS.values(), "Seeds"]
    rows, bold = [], set()
    for i, (method, row) in enumerate(table.frame.iterrows()):
        cells = [style.name(method)]
        for column, _, bounds in scored:
            if row.get(f"{column}_bold") is True or row.get(f"{column}_bold") == 1:
                bold.add((i, len(cells)))
            cells.append(cell(row, column, bounds=bounds))
        cells.append(cell(row, "difference_1", signed=True))
        cells += [human(row[c]) for c in COSTS]
        cells.append(str(int(row["n_seeds"])) if row["n_seeds"] else MISSING)
        rows.append(cells)
    name = title or f"Table 2. mini-deepsearch, profile {table.source.profile}"
    return TextTable(name, header, rows, frozenset(bold), notes(table))


def terminal_tables(table: Table) -> list[TextTable]:
    """The table in three narrow blocks for a terminal: scores, costs, time; the notes under the last one."""
    whole = text_table(table)
    first_cost = whole.header.index(next(iter(COSTS.values())))

    def block(title: str, columns: list[int], lines: list[str]) -> TextTable:
        bold = {(i, columns.index(j)) for i, j in whole.bold if j in columns}
        return TextTable(
            title,
            [whole.header[j] for j in columns],
            [[r[j] for j in columns] for r in whole.rows],
            frozenset(bold),
            lines,
        )

    scores, costs = list(range(first_cost)), [0, *range(first_cost, len(whole.header))]
    stars = ["*a* is bold in the files."] if whole.bold else []
    return [block(whole.title, scores, stars), block("Costs of a run", costs, whole.notes), time_table(table.source)]


def pairs(source: Source, k: int = 1) -> pd.DataFrame:
    """Paired difference of average pass@k in points, with interval, for every pair of methods (row minus column)."""
    rows = []
    for a in source.scores:
        for b in source.scores:
            if a != b:
                row = {"method": a, "against": b}
                _put(row, "difference", paired(source.scores[a], source.scores[b], k))
                rows.append(row)
    columns = ["method", "against", "difference", "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=columns).assign(
        excludes_0=lambda f: (f["difference_low"] > 0) | (f["difference_high"] < 0)
    )


def runs(source: Source) -> pd.DataFrame:
    """A row per run: the points behind the intervals and where each came from.

    Columns: method, seed, code_commit, code_dirty, config_hash, pass_1, pass_5 (percent), and the cost columns.
    """
    rows = []
    totals = source.steps.groupby(["method", "seed"])[[c for c in COSTS if c in source.steps]].sum()
    for method, scores in source.scores.items():
        by_seed = {int(m["seed"]): m for m in source.manifest(method)}
        for seed, correct_QN in zip(scores.seeds, scores.correct_SQN, strict=True):
            manifest = by_seed.get(seed, {})
            row = {"method": method, "seed": seed} | {
                c: manifest.get(c) for c in ("code_commit", "code_dirty", "config_hash")
            }
            row |= {f"pass_{k}": 100 * statistics.pass_at_k_scores(correct_QN[None], k).mean() for k in (1, K)}
            rows.append(row | (totals.loc[(method, seed)].to_dict() if (method, seed) in totals.index else {}))
    return pd.DataFrame(rows)


def robust_table(table: Table) -> TextTable:
    """Interquartile mean of pass@1 over seeds, pass@5 difference and probability of improvement over the baseline."""
    baseline = style.name(style.BASELINE)
    header = ["Method", "IQM pass@1, %", f"pass@{K} against {baseline}, points", f"P(run beats a run of {baseline}), %"]
    rows = [
        [style.name(m), cell(r, "iqm_1"), cell(r, f"difference_{K}", signed=True), cell(r, "improvement_1")]
        for m, r in table.frame.iterrows()
    ]
    return TextTable("Over runs", header, rows)


def time_table(source: Source) -> TextTable:
    """Minutes a run and dates, from the manifests: what changes from run to run, kept apart from the table."""
    rows = []
    for method in style.order([m.get("method") for m in source.manifests if m.get("method")]):
        manifests = source.manifest(method)
        cost = pd.DataFrame([m.get("cost") or {} for m in manifests])
        row = [style.name(method)]
        for column in ("seconds_total", "seconds_rollout", "seconds_train", "seconds_eval"):
            values = pd.to_numeric(cost[column]).dropna() / 60 if column in cost else pd.Series(dtype=float)
            row.append(f"{values.mean():.1f}" if len(values) else MISSING)
        memory = pd.to_numeric(cost["peak_memory_mb"]).dropna() if "peak_memory_mb" in cost else pd.Series(dtype=float)
        days = sorted(str(m["finished_at"])[:10] for m in manifests if m.get("finished_at"))
        finished = MISSING if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
        rows.append([*row, f"{memory.max():.0f}" if len(memory) else MISSING, str(len(manifests)), finished])
    header = ["Method", "Minutes a run", "Rollout", "Training", "Evaluation", "Peak memory, MB", "Runs", "Finished"]
    return TextTable(
        "Table 2, time",
        header,
        rows,
        notes=[f"Mean over runs, minutes of wall time. {_counts(source.manifests, describe_machine)}."],
    )


def reported_cells(papers: pd.DataFrame) -> pd.DataFrame:
    """The deep-search rows of data/papers (`reported.load_reported`), a row per source, model, method and metric.

    Columns: reported_by, confidence, source, table, model, method, metric, then GAIA, HLE, WebWalkerQA and
    xbench-DeepSearch (percent, as printed; NaN where the source has none). Only whole-set averages of RL methods in
    tables on deep search (WebWalkerQA alone is a knowledge column of other tables); the rest stays in data/papers.
    """
    keys = ["reported_by", "confidence", "source", "table", "model", "method", "metric"]
    frame = papers.assign(dataset=papers["dataset"].str.replace(r" (Avg\.|Overall)$", "", regex=True))
    frame = frame[frame["dataset"].isin(DEEP_SEARCH) & frame["method"].isin(REPORTED_METHODS)]
    deep = frame.groupby(["source", "table"])["dataset"].transform(lambda sets: (sets != "WebWalkerQA").any())
    frame = frame[deep.astype(bool)]
    wide = frame.pivot_table(index=keys, columns="dataset", values="number", aggfunc="first", sort=False)
    wide = wide.reindex(columns=list(DEEP_SEARCH)).reset_index().rename_axis(columns=None)
    ranks = {"_by": wide["reported_by"].map(REPORTED_BY.index), "_method": wide["method"].map(REPORTED_METHODS.index)}
    wide = wide.assign(**ranks).sort_values(["_by", "source", "model", "metric", "_method", "table"], kind="stable")
    return wide.drop(columns=list(ranks)).reset_index(drop=True)


def reported_table(papers: pd.DataFrame) -> TextTable:
    """The reported numbers as their own block, each row with who reported it."""
    cells = reported_cells(papers)
    header = ["Model", "Method", "Metric", *DEEP_SEARCH, "Reported by", "Confidence", "Source"]
    rows = []
    for _, row in cells.iterrows():
        numbers = [MISSING if pd.isna(row[d]) else f"{row[d]:.1f}" for d in DEEP_SEARCH]
        source = row["source"] if row["table"] in row["source"] else f"{row['source']}; {row['table']}"
        rows.append(
            [row["model"], row["method"], row["metric"], *numbers, row["reported_by"], row["confidence"], source]
        )
    lines = [
        NOT_COMPARABLE,
        "Percent, as printed. Addresses, level splits, ablations and other tables: data/papers/.",
    ]
    words = frozenset({0, 1, 2, 7, 8, 9})
    return TextTable("Reported numbers (not measured here)", header, rows, notes=lines, words=words)


def write(table: Table, papers: pd.DataFrame | None, folder: Path) -> list[Path]:
    """Write table2.{md,tex,csv,pdf}, table2_time.{md,csv} and table2_{runs,pairs,reported}.csv; return the paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    main = text_table(table)
    blocks = [main] + ([reported_table(papers)] if papers is not None and len(papers) else [])
    times = time_table(table.source)
    files = {
        "table2.md": "\n".join(render.markdown(b) for b in blocks),
        "table2.tex": "\n".join(render.latex(b) for b in blocks),
        "table2.csv": table.frame.to_csv(float_format="%.4f"),
        "table2_runs.csv": runs(table.source).to_csv(index=False, float_format="%.4f"),
        "table2_pairs.csv": pairs(table.source).to_csv(index=False, float_format="%.4f"),
        "table2_time.md": render.markdown(times),
        "table2_time.csv": pd.DataFrame(times.rows, columns=times.header).to_csv(index=False),
    }
    if len(blocks) > 1:
        files["table2_reported.csv"] = reported_cells(papers).to_csv(index=False)
    paths = []
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
        paths.append(folder / name)
    return [*paths, render.pdf(blocks, folder / "table2.pdf")]
