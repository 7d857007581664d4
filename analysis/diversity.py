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

from analysis import format, pairing, statistics, style
from analysis.curves import errorbar, label, method_axis, panels
from analysis.load import Source
from analysis.statistics import UNDEFINED, Estimate
from analysis.text_table import TextTable
from analysis.training_steps import estimate

SVD_DIMENSIONS = 50
EPS = 0.15  # DBSCAN radius, in pooled standard deviations of the two PCA axes
MIN_SAMPLES = 5  # scikit-learn's default
SHOWN = 300  # points drawn per panel


@dataclass(frozen=True)
class Clusters:
    """`points`: a row per clustered trajectory: method, seed, x, y (pooled standard deviations), cluster (-1: noise).
    `counts`: a row per run: method, seed, clusters."""

    points: pd.DataFrame
    counts: pd.DataFrame


def shown(source: Source) -> Source:
    """The rows that these figures show: the warm start, AEPO and its baselines."""
    return source.only(style.shown(source.methods))


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


def figure_clusters(source: Source, found: Clusters | None = None):
    """The trajectories of each method's first seed in the shared plane; one colour per cluster, grey = noise."""
    found = found or clusters(source)
    methods = style.order(found.points["method"]) or [style.WARM_START]
    figure, places = panels(len(methods), width=2.4, height=2.7)
    for axes, method in zip(places, methods, strict=True):
        points = found.points[found.points["method"] == method]
        points = points[points["seed"] == points["seed"].min()].head(SHOWN)
        noise, kept = points[points["cluster"] < 0], points[points["cluster"] >= 0]
        axes.scatter(noise["x"], noise["y"], s=5, color="#bbbbbb", lw=0)
        axes.scatter(kept["x"], kept["y"], s=7, lw=0, c=kept["cluster"] % 20, cmap="tab20", vmin=0, vmax=19)
        axes.set_title(f"{style.name(method)}\n{format.estimate(cluster_count(found, method))} clusters", fontsize=9)
    label(places, "PCA 1 (standard deviations)", "PCA 2 (standard deviations)")
    return figure


def figure_measures(source: Source, found: Clusters, distance: dict[str, Estimate]):
    """Distance inside a question, distinct action sequences, cluster count: mean and 95 % interval; dots = runs."""
    methods = list(source.scores)
    figure, parts = style.subplots(1, 3, figsize=(11.4, 3.2))
    for i, method in enumerate(methods):
        estimates = (distance[method], distinct_actions(source, method), cluster_count(found, method))
        for axes, e in zip(parts, estimates, strict=True):
            errorbar(axes, [i], [e], style.look(method, methods))
        runs = found.counts.loc[found.counts["method"] == method, "clusters"]
        parts[2].scatter(np.full(len(runs), i + 0.2), runs, s=8, color=style.colour(method, methods), alpha=0.5, lw=0)
    samples = next(iter(source.scores.values())).correct_SQN.shape[2]
    parts[0].set_ylabel("Distance between two samples\nof a question (cosine, 0 to 1)")
    parts[1].set_ylabel(f"Distinct action sequences\nper question (of {samples} samples)")
    parts[2].set_ylabel("Trajectory clusters per run (count)")
    for axes in parts:
        method_axis(axes, methods)
    return figure


def figure_pass_at_k(source: Source):
    """pass@k for k = 1..N, mean over seeds × questions with 95 % bands."""
    figure, axes = style.subplots(figsize=(4.6, 3.4))
    methods = list(source.scores)
    for method in methods:
        curve = pass_at_k_curve(source, method)
        colour = style.colour(method, methods)
        look = style.look(method, methods) | {"ms": 4, "ls": "-"}
        axes.errorbar(curve.index, curve["value"], label=style.name(method), **look)
        axes.fill_between(curve.index, curve["low"], curve["high"], color=colour, alpha=0.12, lw=0)
    axes.set(xlabel="k (samples of a question)", ylabel="pass@k (% of questions)", xticks=curve.index)
    axes.legend()
    return figure
