"""The worth of ScienceWorld's success rules: scripted policies that do no task, next to the built-in expert.

Reads `data/scienceworld/`, which `python -m reproduce.commands.check_scienceworld` writes. The panel is a simple
random sample of each split's (task type, variation) pairs, so intervals are over tasks: Wilson's for shares of episodes
(it holds for shares of 0 and 1 too), t for mean scores and for differences between policies, which play the same tasks.
Numbers are percent; the final score counts as `max(score, 0)`, as the rule does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import binomtest

from analysis import format, statistics, style, text_table
from analysis.statistics import CONFIDENCE, Estimate
from analysis.table import put
from analysis.text_table import TextTable
from reproduce.errors import UserError
from reproduce.worlds.scienceworld.scripted import GOLD, GOLD_WHOLE, POLICIES, ROOMS, TOUR, WAIT
from reproduce.worlds.scienceworld.scripted_record import ABOUT, ROWS, read_record
from reproduce.worlds.text_environment import IID, OOD

BOTH = "both"
SPLITS = (IID, OOD, BOTH)
RULES = {"released": "Released", "strict": "Strict", "score": "Mean final score"}
IDLE = (WAIT, TOUR)
"""The policies that do no task."""

COLOURS = {IID: "#0072B2", OOD: "#D55E00"}  # Okabe & Ito 2008
MARKERS = {IID: "o", OOD: "D"}


@dataclass(frozen=True)
class Measured:
    """episodes: the columns of `scripted_record.SCHEMA`, score clipped to 0 to 1 and `raw` as it stood; every policy
    has played every task once. about: settings and sessions."""

    episodes: pd.DataFrame
    about: dict

    @property
    def turns(self) -> int:
        return self.about["settings"]["turns"]

    def of(self, policy: str, split: str = BOTH) -> pd.DataFrame:
        """The episodes of a policy, in the order of the panel."""
        found = self.episodes[self.episodes["policy"] == policy]
        return found if split == BOTH else found[found["split"] == split]


def load(folder: Path) -> Measured:
    """The record in `folder`. UserError if it is missing, broken, or not every policy has played the same panel."""
    rows, about = read_record(folder)
    path, size = Path(folder) / ROWS, about["settings"].get("episodes")
    frame = pd.DataFrame(rows)
    if frame.empty:
        raise UserError(f"{path} holds no episodes; move it away and make it again")
    panels = {}
    for policy in POLICIES:
        own = frame[frame["policy"] == policy]
        panels[policy] = own["task"].tolist()
        if panels[policy] != panels[POLICIES[0]] or own["task"].duplicated().any():
            raise UserError(f"{path}: '{policy}' has not played the panel of '{POLICIES[0]}' once; make it again")
    counts = frame[frame["policy"] == POLICIES[0]]["split"].value_counts().to_dict()
    if counts != {IID: size, OOD: size} or len(frame) != 2 * size * len(POLICIES):
        raise UserError(f"{path} does not hold the {size} tasks of each split that {ABOUT} says; make it again")
    if (frame["strict"] & ~frame["released"]).any():
        raise UserError(f"{path}: an episode is a success under strict but not under released; make it again")
    return Measured(frame.assign(raw=frame["score"], score=frame["score"].clip(lower=0) / 100), about)


def share(flags: pd.Series) -> Estimate:
    """Share of True, a fraction, with Wilson's interval (Wilson 1927)."""
    ends = binomtest(int(flags.sum()), len(flags)).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(float(flags.mean()), float(ends.low), float(ends.high))


def _over_tasks(values: np.ndarray, episodes: pd.DataFrame) -> Estimate:
    """Mean over the tasks of `episodes`, a random sample inside their split; no interval where all values are equal."""
    return statistics.crossed(np.asarray(values, dtype=float)[None], episodes["split"].to_numpy()).interval()


def rates(measured: Measured) -> pd.DataFrame:
    """A row per policy and split (and both together): episodes; percent under each rule; `unearned`: released but not
    strict, in percent of all episodes; mean turns, mean raw score (-100 to 100). `_low`, `_high`: 95 % interval.

    Every strict success is a released one, so `unearned` is the paired difference released - strict, and a share.
    """
    rows = []
    for policy in POLICIES:
        for split in SPLITS:
            own = measured.of(policy, split)
            row: dict = {"policy": policy, "split": split, "episodes": len(own)}
            put(row, "released", share(own["released"]))
            put(row, "strict", share(own["strict"]))
            put(row, "unearned", share(own["released"] & ~own["strict"]))
            put(row, "score", _over_tasks(own["score"], own).within(0, 1))
            rows.append({**row, "turns": own["turns"].mean(), "raw_score": own["raw"].mean()})
    return pd.DataFrame(rows)


def against_gold(measured: Measured) -> pd.DataFrame:
    """A row per idle policy and split: points by which it lies above the gold path cut off at the turn limit, under
    each rule, on the same tasks (paired)."""
    rows = []
    for policy in IDLE:
        for split in SPLITS:
            own, gold = measured.of(policy, split), measured.of(GOLD, split)
            row: dict = {"policy": policy, "split": split, "episodes": len(own)}
            for rule in RULES:
                difference = own[rule].to_numpy(dtype=float) - gold[rule].to_numpy(dtype=float)
                put(row, rule, _over_tasks(difference, own))
            rows.append(row)
    return pd.DataFrame(rows)


def gold_lengths(measured: Measured) -> pd.DataFrame:
    """Three rows, tasks whose gold path fits into the turns, does not, and all: their number; percent under each rule
    when cut off at the turn limit; strict when followed to its end; the tour's released and score; quartiles and
    maximum of the path's actions."""
    whole, cut, tour = (measured.of(policy).set_index("task") for policy in (GOLD_WHOLE, GOLD, TOUR))
    fits = whole["gold_length"] <= measured.turns
    rows = []
    for name, keep in (("fits", fits), ("longer", ~fits), ("all", fits | True)):
        lengths = whole.loc[keep, "gold_length"]
        row: dict = {"gold_path": name, "tasks": int(keep.sum())}
        put(row, "share", share(keep))
        columns = {
            "released": cut["released"],
            "strict": cut["strict"],
            "score": cut["score"],
            "strict_to_end": whole["strict"],
            "tour_released": tour["released"],
            "tour_score": tour["score"],
        }
        row |= {column: 100 * values[keep].mean() for column, values in columns.items()}
        row |= {f"length_{q}": lengths.quantile(q / 100) for q in (25, 50, 75)}
        rows.append({**row, "length_max": lengths.max()})
    return pd.DataFrame(rows)


def kinds(measured: Measured) -> pd.DataFrame:
    """A row per task type in the panel, by the tour's mean score: tasks; for either idle policy percent released, mean
    and largest final score; the shortest, median and longest gold path, and its strict success within the turns."""
    rows = []
    for kind, of_kind in measured.episodes.groupby("kind"):
        by = dict(iter(of_kind.groupby("policy")))
        lengths = by[GOLD]["gold_length"]
        row = {"kind": kind, "tasks": len(lengths)}
        for name, policy in (("wait", WAIT), ("tour", TOUR)):
            scores = 100 * by[policy]["score"]
            row |= {f"{name}_released": 100 * by[policy]["released"].mean(), f"{name}_score": scores.mean()}
            row |= {f"{name}_score_max": scores.max()}
        row |= {"gold_min": lengths.min(), "gold_median": lengths.median(), "gold_max": lengths.max()}
        rows.append({**row, "gold_strict": 100 * by[GOLD]["strict"].mean()})
    return pd.DataFrame(rows).sort_values(["tour_score", "kind"], ascending=[False, True], ignore_index=True)


def sentence(measured: Measured) -> str:
    """How the episodes came to be."""
    s = measured.about["settings"]
    return (
        f"{s['episodes']} tasks of each split (IID: development variations, OOD: test variations), drawn uniformly "
        f"over (task type, variation) pairs with seed {s['seed']}; ScienceWorld {s['scienceworld']}, simplification "
        f"{s['simplification']}, {s['turns']} turns, the simulator's own limit {s['move_limit']} moves, of which one "
        f"wait takes 11. Every policy plays the same {2 * s['episodes']} tasks once; the simulator cannot be seeded."
    )


def rates_table(measured: Measured) -> TextTable:
    """`rates` as text."""
    rows = [
        [
            r["policy"],
            _split(r["split"]),
            *(format.cell(r, c) for c in ("released", "strict", "unearned", "score")),
            f"{r['turns']:.1f}",
        ]
        for _, r in rates(measured).iterrows()
    ]
    header = ["Policy", "Split", "Released", "Strict", "Released, not strict", "Mean final score", "Turns"]
    notes = [
        sentence(measured),
        "Percent. released: the episode ended by itself with a score above 0 (what EPO's released code counts); "
        "strict: score 100 and completed; mean final score: a negative score counts as 0. [a, b]: 95 % "
        "interval over tasks, Wilson's for the first three, t for the score. Every strict success is a released one, "
        "so the fifth column is the paired difference of the two rules. Where all scores are equal, their spread is "
        "unknown and there is no interval.",
        f"{TOUR}: teleports through the {len(ROOMS)} rooms, one a turn. {GOLD_WHOLE}: neither turns nor moves are "
        "limited, so its length is not comparable with the others.",
    ]
    return TextTable("Success under each rule", header, rows, notes=notes, words=frozenset({0, 1}))


def against_gold_table(measured: Measured) -> TextTable:
    """`against_gold` as text."""
    rows = [
        [r["policy"], _split(r["split"]), *(format.cell(r, c, sign=True) for c in RULES)]
        for _, r in against_gold(measured).iterrows()
    ]
    note = (
        f"Points by which a policy that does no task lies above ({GOLD}) under each rule, on the same tasks; 95 % "
        "paired t interval over tasks."
    )
    header = ["Policy", "Split", *RULES.values()]
    return TextTable("Doing nothing against the expert", header, rows, notes=[note], words=frozenset({0, 1}))


def gold_table(measured: Measured) -> TextTable:
    """`gold_lengths` as text."""
    turns = measured.turns
    names = {"fits": f"at most {turns} actions", "longer": "longer", "all": "all tasks"}
    rows = []
    for _, r in gold_lengths(measured).iterrows():
        share_of = format.cell(r, "share") if r["gold_path"] != "all" else "100.0"
        middle = [f"{r[f'length_{q}']:.0f}" for q in (25, 50, 75)]
        columns = ("released", "strict", "score", "strict_to_end", "tour_released", "tour_score")
        numbers = [text_table.MISSING if not r["tasks"] else f"{r[c]:.1f}" for c in columns]
        lengths = (
            f"{middle[1]} ({middle[0]} to {middle[2]}), {r['length_max']:.0f}" if r["tasks"] else text_table.MISSING
        )
        rows.append([names[r["gold_path"]], str(r["tasks"]), share_of, lengths, *numbers])
    header = [
        "Gold path",
        "Tasks",
        "Share, %",
        "Actions: median (quartiles), longest",
        f"Released, {turns} turns",
        f"Strict, {turns} turns",
        f"Score, {turns} turns",
        "Strict, to its end",
        "Tour: released",
        "Tour: score",
    ]
    notes = [
        "The built-in expert's path, both splits together; percent. The paths never teleport, so they are not the "
        f"shortest. Cut off after {turns} turns, an episode has not ended by itself and is no released success, "
        "whatever its score. A path may complete its task before its last action."
    ]
    return TextTable("Gold paths", header, rows, notes=notes)


def kinds_table(measured: Measured) -> TextTable:
    """`kinds` as text."""
    rows = []
    for r in kinds(measured).itertuples():
        spread = (
            f"{r.gold_median:.0f}"
            if r.gold_min == r.gold_max
            else f"{r.gold_median:.0f} ({r.gold_min} to {r.gold_max})"
        )
        idle = [f"{r.wait_released:.0f}", f"{r.wait_score:.1f}", f"{r.tour_released:.0f}", f"{r.tour_score:.1f}"]
        rows.append([r.kind, str(r.tasks), *idle, f"{r.tour_score_max:.0f}", spread, f"{r.gold_strict:.0f}"])
    header = [
        "Task type",
        "Tasks",
        "Wait: released",
        "Wait: score",
        "Tour: released",
        "Tour: score",
        "Tour: largest score",
        "Gold path: actions",
        f"Gold path: strict, {measured.turns} turns",
    ]
    notes = [
        "Percent, both splits together, by the tour's mean final score. Types weigh as many tasks as they have "
        "variations; rows of few tasks say little, types without a task in the panel are not shown. "
        "Gold path: median (shortest to longest)."
    ]
    return TextTable("Task types of the panel", header, rows, notes=notes)


def files(measured: Measured) -> dict[str, str]:
    """Name -> text of success_rules.md with all tables, success_rules.csv, _against_gold.csv, _gold.csv, _kinds.csv."""
    tables = (rates_table, against_gold_table, gold_table, kinds_table)
    frames = {"": rates, "_against_gold": against_gold, "_gold": gold_lengths, "_kinds": kinds}
    found = {"success_rules.md": "\n".join(text_table.markdown(table(measured)) for table in tables)}
    for name, frame in frames.items():
        found[f"success_rules{name}.csv"] = frame(measured).to_csv(index=False, float_format="%.4f")
    return found


def figure_rules(measured: Measured):
    """A panel per rule, a line per policy: share or mean with its 95 % interval, IID and OOD."""
    figure, panels = style.subplots(1, 3, figsize=(9.2, 2.6), sharey=True)
    found = rates(measured).set_index(["policy", "split"])
    for axes, (rule, title) in zip(panels, RULES.items(), strict=True):
        for split, shift in ((IID, -0.14), (OOD, 0.14)):
            rows = found.xs(split, level="split").loc[list(POLICIES)]
            errors = np.abs(np.array([rows[rule] - rows[f"{rule}_low"], rows[f"{rule}_high"] - rows[rule]]))
            places = np.arange(len(POLICIES)) + shift
            look = {"color": COLOURS[split], "marker": MARKERS[split], "ms": 5, "capsize": 3, "ls": "none"}
            axes.errorbar(rows[rule], places, xerr=errors, label=split.upper(), **look)
        axes.set(title=title, xlabel="% of episodes" if rule != "score" else "% of the full score", xlim=(-3, 103))
    panels[0].set_yticks(range(len(POLICIES)), POLICIES)
    panels[0].set_ylim(len(POLICIES) - 0.5, -0.5)
    panels[1].legend(loc="upper right")
    return figure


def figure_kinds(measured: Measured):
    """A line per task type, a dot per task: final score of the tour; actions of the gold path and the turn limit."""
    order = kinds(measured)["kind"].tolist()
    figure, (left, right) = style.subplots(1, 2, figsize=(9.2, 0.2 * len(order) + 1.0), sharey=True)
    shift = {IID: -0.16, OOD: 0.16}
    for split in (IID, OOD):
        tour, gold = measured.of(TOUR, split), measured.of(GOLD, split)
        look = {"s": 14, "color": COLOURS[split], "marker": MARKERS[split], "alpha": 0.6, "lw": 0}
        places = [order.index(kind) + shift[split] for kind in tour["kind"]]
        left.scatter(100 * tour["score"], places, label=split.upper(), **look)
        right.scatter(gold["gold_length"], places, **look)
    left.set(xlabel="final score of touring the rooms, %", xlim=(-2, 102))
    left.set_yticks(range(len(order)), order, fontsize=7.5)
    left.set_ylim(len(order) - 0.4, -0.6)
    left.legend(loc="lower right")
    right.axvline(measured.turns, color="#7f7f7f", lw=1.0, ls="--", label=f"{measured.turns} turns")
    right.set(xlabel="actions of the gold path", xlim=(0, None))
    right.legend(loc="lower right")
    return figure


def _split(split: str) -> str:
    return split if split == BOTH else split.upper()


def figures(measured: Measured) -> Iterator[tuple[str, Figure]]:
    """(file name without ending, figure)."""
    yield "success_rules", figure_rules(measured)
    yield "success_rules_kinds", figure_kinds(measured)
