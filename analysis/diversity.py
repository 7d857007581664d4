"""Diversity of what the trained policies do, measured on the evaluation trajectories.

Distance inside a question and distinct action sequences grow with what a policy tries; the cluster count need not.
Clusters: TF-IDF of the trajectory text -> TruncatedSVD -> PCA to two dimensions -> DBSCAN, fitted once on all methods
together (shared coordinates) and clustered run by run, one trajectory per question. The papers draw such a plot without
parameters, so ours are stated here and under the table. With several samples of a question the count would measure the
opposite of diversity: a policy that always answers alike piles its samples up into one cluster per question.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from analysis import forest, format, pairing, statistics, style
from analysis.curves import BASE, draw_band, from_zero, heading, keys, label, panels
from analysis.load import Source
from analysis.statistics import UNDEFINED, Estimate
from analysis.text_table import TextTable
from analysis.training_steps import estimate

SVD_DIMENSIONS = 50
EPS = 0.15  # DBSCAN radius, in pooled standard deviations of the two PCA axes
MIN_SAMPLES = 5  # scikit-learn's default


@dataclass(frozen=True)
class Clusters:
    """`points`: a row per clustered trajectory: method, seed, x, y (pooled standard deviations), cluster (-1: noise).
    `counts`: a row per run: method, seed, clusters."""

    points: pd.DataFrame
    counts: pd.DataFrame


def shown(source: Source) -> Source:
    """The rows that these figures show: the warm start, AEPO and its baselines."""
    return source.only(style.shown(source.methods)).comparable


def _texts(source: Source) -> pd.DataFrame:
    """The first sample of every question of every run, for the questions whose text was kept."""
    rows = source.evals
    rows = rows[rows["text"].notna()].sort_values(["method", "seed", "question_id", "sample"], kind="stable")
    return rows.drop_duplicates(["method", "seed", "question_id"]).reset_index(drop=True)


def _tfidf(texts: pd.Series):
    """Rows of unit length over white-space tokens, 1 + log(term frequency)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True).fit_transform(texts.astype(str))


def clusters(source: Source) -> Clusters:
    """Cluster the evaluation trajectories. Empty frames if no texts were kept."""
    from sklearn.cluster import DBSCAN
    from sklearn.decomposition import PCA, TruncatedSVD

    rows = _texts(source)
    if len(rows) < 3:
        return Clusters(
            pd.DataFrame(columns=["method", "seed", "x", "y", "cluster"]),
            pd.DataFrame(columns=["method", "seed", "clusters"]),
        )
    tfidf = _tfidf(rows["text"])
    dimensions = min(SVD_DIMENSIONS, min(tfidf.shape) - 1)
    if dimensions > 2:
        tfidf = TruncatedSVD(dimensions, random_state=0).fit_transform(tfidf)
    else:
        tfidf = tfidf.toarray()
    plane = PCA(min(2, tfidf.shape[1]), random_state=0).fit_transform(tfidf)
    plane = np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))
    spread = plane.std(axis=0)
    plane = np.round(plane / np.where(spread > 0, spread, 1.0), 4)
    points = rows[["method", "seed"]].assign(x=plane[:, 0], y=plane[:, 1], cluster=-1)
    for _, index in points.groupby(["method", "seed"]).groups.items():
        points.loc[index, "cluster"] = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES).fit_predict(
            points.loc[index, ["x", "y"]].to_numpy()
        )
    counts = points[points["cluster"] >= 0].groupby(["method", "seed"])["cluster"].nunique()
    runs = pd.MultiIndex.from_frame(points[["method", "seed"]].drop_duplicates())
    counts = counts.reindex(runs, fill_value=0).rename("clusters").reset_index()
    return Clusters(points, counts)


def cluster_count(found: Clusters, method: str) -> Estimate:
    """Mean number of clusters of a run, with its interval over seeds."""
    return estimate(found.counts.loc[found.counts["method"] == method, "clusters"].to_numpy(dtype=float))


@lru_cache(maxsize=64)
def distinct_actions(source: Source, method: str) -> Estimate:
    """Distinct action sequences among the samples of a question, mean over questions and seeds, with its interval."""
    scores = source.scores[method]
    rows = source.evals[source.evals["method"] == method]
    distinct = rows.groupby(["seed", "question_id"])["actions"].nunique(dropna=False).unstack("question_id")
    counts_SQ = distinct.loc[list(scores.seeds), list(scores.questions)].to_numpy(dtype=float)
    return statistics.crossed(counts_SQ, scores.strata_Q).interval()


def distances(source: Source) -> dict[str, Estimate]:
    """Method -> mean cosine distance between two samples of the same question, in [0, 1], with its interval.

    TF-IDF vectors fitted on all trajectories of all methods, over the questions whose texts were all kept; undefined if
    there are none or one sample a question.
    """
    any_scores = next(iter(source.scores.values()))
    samples = any_scores.correct_SQN.shape[2]
    kept = source.evals.groupby("question_id")["text"].apply(lambda texts: texts.notna().all())
    keep_Q = kept.loc[list(any_scores.questions)].to_numpy(dtype=bool)
    if samples < 2 or not keep_Q.any():
        return dict.fromkeys(source.scores, UNDEFINED)
    rows = source.evals[source.evals["question_id"].map(kept)]
    vectors = _tfidf(rows["text"])
    squares = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel().reshape(-1, samples).sum(axis=1)
    groups = np.repeat(np.arange(len(rows) // samples), samples)
    sums = csr_matrix((np.ones(len(rows)), (groups, np.arange(len(rows))))) @ vectors
    cosine = (np.asarray(sums.multiply(sums).sum(axis=1)).ravel() - squares) / (samples * (samples - 1))
    heads = rows.iloc[::samples].assign(distance=1 - cosine)
    questions = np.array(any_scores.questions)[keep_Q]
    found = {}
    for method, scores in source.scores.items():
        wide = heads[heads["method"] == method].pivot(index="seed", columns="question_id", values="distance")
        distance_SQ = np.clip(wide.loc[list(scores.seeds), list(questions)].to_numpy(), 0.0, 1.0)
        found[method] = statistics.crossed(distance_SQ, scores.strata_Q[keep_Q]).interval().within(0, 1)
    return found


@lru_cache(maxsize=64)
def pass_at_k_curve(source: Source, method: str) -> pd.DataFrame:
    """pass@k in percent for k = 1..N with its interval. Index k; columns value, low, high."""
    scores = source.scores[method]
    rows = {}
    for k in range(1, scores.correct_SQN.shape[2] + 1):
        e = pairing.estimate(scores, k)
        rows[k] = (100 * e.value, 100 * e.low, 100 * e.high)
    return pd.DataFrame(rows, index=["value", "low", "high"]).T.rename_axis("k")


def diversity_table(source: Source, found: Clusters, distance: dict[str, Estimate]) -> TextTable:
    """Distance inside a question, distinct action sequences, cluster count and pass@k per method."""
    samples = next(iter(source.scores.values())).correct_SQN.shape[2]
    ends = tuple(dict.fromkeys((1, samples)))
    rows = []
    for method, scores in source.scores.items():
        curve = pass_at_k_curve(source, method)
        measures = [format.estimate(distance[method], 3), format.estimate(distinct_actions(source, method), 2)]
        passes = [format.estimate(Estimate(*curve.loc[k])) for k in ends]
        count = format.estimate(cluster_count(found, method))
        rows.append([style.name(method), *measures, count, *passes, str(len(scores.seeds))])
    measures = ["Distance inside a question", f"Distinct action sequences of {samples}", "Clusters a run"]
    header = ["Method", *measures, *(f"pass@{k}, %" for k in ends), "Seeds"]
    per_run = int(found.points.groupby(["method", "seed"]).size().min()) if len(found.points) else 0
    return TextTable("Diversity of the evaluation trajectories", header, rows, notes=notes(per_run))


def notes(per_run: int) -> list[str]:
    """Definition of each measure, with every parameter of the clustering."""
    return [
        "Distance: mean cosine distance of the TF-IDF vectors of two samples of the same question. Distinct action "
        "sequences: among the samples of a question. Both: mean over questions, interval over seeds × questions.",
        f"Clusters: {per_run} trajectories a run (one per question), TF-IDF of white-space tokens (sublinear), "
        f"TruncatedSVD to {SVD_DIMENSIONS}, PCA to 2, axes scaled by their pooled standard deviation, DBSCAN eps "
        f"{EPS}, min_samples {MIN_SAMPLES}; noise is not a cluster; interval over seeds. The count depends on these "
        "parameters and need not grow with diversity: read it beside the other two.",
    ]


def figure_measures(source: Source, distance: dict[str, Estimate]) -> style.Drawn:
    """Distance inside a question and distinct action sequences of every method, with 95 % intervals."""
    methods, samples = list(source.scores), next(iter(source.scores.values())).correct_SQN.shape[2]
    actions = {m: distinct_actions(source, m) for m in methods}
    lines = [forest.line_of(style.name(m), m, distance[m], actions[m]) for m in methods]
    panels = [
        forest.Panel("Cosine distance, 0 to 1", "Distance inside a question", None, least=0.0, digits=3, sign=False),
        forest.Panel(f"Of {samples} samples", "Distinct action sequences", None, least=0.0, digits=2, sign=False),
    ]
    caption = (
        "Evaluation trajectories of the last checkpoint; mean over questions and seeds, 95 % interval over seeds × "
        "questions (one seed: over questions). Distance: of the TF-IDF vectors of two samples of the same question."
    )
    caption += source.begun_note
    figure = forest.figure(lines, panels, "Diversity inside a question", caption)
    base = actions.get(style.BASELINE, UNDEFINED)
    apart = [m for m in methods if m != style.WARM_START and (actions[m].low > base.high or actions[m].high < base.low)]
    text = ", ".join(map(style.name, apart)) or "none"
    return style.Drawn(
        figure,
        f"Trained methods whose interval of distinct action sequences does not overlap that of "
        f"{style.name(style.BASELINE)}: {text}.",
    )


def figure_pass_at_k(source: Source) -> style.Drawn:
    """pass@k for k = 1..N, a panel per method, mean over seeds × questions with 95 % bands; grey: GRPO."""
    methods, base = list(source.scores), style.BASELINE
    found = {m: pass_at_k_curve(source, m) for m in methods}
    figure, places = panels(len(methods), per_row=5, height=1.05)
    for axes, method in zip(places, methods, strict=True):
        if base in methods and method != base:
            draw_band(axes, found[base], style.REFERENCE, lw=BASE)
        draw_band(axes, found[method], style.colour(method), marker=style.marker(method), ms=2.5)
        heading(axes, style.name(method), style.colour(method))
        axes.set_xticks([k for k in found[method].index if k == 1 or k % 5 == 0] or found[method].index)
    from_zero(places)
    label(places, "k samples", "pass@k, %")
    last = int(max(curve.index.max() for curve in found.values()))
    caption = (
        f"Share of questions with a right answer among k samples (unbiased estimator), y from 0. Shaded: 95 % interval "
        f"over seeds × questions. All k come from the same {last} samples: only k = 1 and k = {last} are tested in the "
        "table."
    )
    caption += source.begun_note
    style.finish(figure, "pass@k of the last checkpoint", caption, keys(style.name(base) if base in methods else ""))
    best = {k: max((m for m in methods), key=lambda m: found[m].loc[k, "value"]) for k in (1, last)}
    shown = [
        f"{style.name(best[k])} at k = {k} ({found[best[k]].loc[k, 'value']:.1f} %)" for k in dict.fromkeys((1, last))
    ]
    return style.Drawn(figure, f"The highest mean is that of {' and '.join(shown)}; the bands say how sure that is.")


def answer(source: Source, distance: dict[str, Estimate]) -> str:
    """Whether training leaves less variety than the warm start has."""
    warm, trained = distance.get(style.WARM_START, UNDEFINED), [m for m in source.scores if m != style.WARM_START]
    less = [m for m in trained if distance[m].high < warm.low]
    if not np.isfinite(warm.value):
        return "**Answer.** The warm start has no trajectories here to compare with."
    return (
        f"**Answer.** {len(less)} of {len(trained)} trained methods vary less inside a question than the warm start "
        f"(distance {warm.value:.3f}), with intervals that do not overlap."
    )
