"""The worth of ScienceWorld's success rules: scripted policies that do no task, next to the built-in expert.

Reads `data/scienceworld/`, which `python -m reproduce.commands.check_scienceworld` writes. The panel is a simple
random sample of each split's (task type, variation) pairs, so intervals are over tasks: Wilson's for shares of episodes
(it holds for shares of 0 and 1 too), t for mean scores and for differences between policies, which play the same tasks.
Numbers are percent; the final score counts as `max(score, 0)`, as the rule does.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from analysis import forest, format, statistics, style, text_table
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


@dataclass(frozen=True, eq=False)
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


@lru_cache(maxsize=1)
def rates(measured: Measured) -> pd.DataFrame:
    """A row per policy and split (and both together): episodes; percent under each rule; `unearned`: released but not
    strict, in percent of all episodes; mean turns, mean raw score (-100 to 100). `_low`, `_high`: 95 % interval.

    Every strict success is a released one, so `unearned` is the paired difference released - strict, and a share.
    """
    rows = []
    for policy, split in product(POLICIES, SPLITS):
        own = measured.of(policy, split)
        row: dict = {"policy": policy, "split": split, "episodes": len(own)}
        shares = {"released": own["released"], "strict": own["strict"], "unearned": own["released"] & ~own["strict"]}
        for column, flags in shares.items():
            put(row, column, share(flags))
        put(row, "score", _over_tasks(own["score"], own).within(0, 1))
        rows.append({**row, "turns": own["turns"].mean(), "raw_score": own["raw"].mean()})
    return pd.DataFrame(rows)


@lru_cache(maxsize=1)
def against_gold(measured: Measured) -> pd.DataFrame:
    """A row per idle policy and split: points by which it lies above the gold path cut off at the turn limit, under
    each rule, on the same tasks (paired)."""
    rows = []
    for policy, split in product(IDLE, SPLITS):
        own, gold = measured.of(policy, split), measured.of(GOLD, split)
        row: dict = {"policy": policy, "split": split, "episodes": len(own)}
        for rule in RULES:
            difference = own[rule].to_numpy(dtype=float) - gold[rule].to_numpy(dtype=float)
            put(row, rule, _over_tasks(difference, own))
        rows.append(row)
    return pd.DataFrame(rows)


@lru_cache(maxsize=1)
def gold_lengths(measured: Measured) -> pd.DataFrame:
    """Three rows, tasks whose gold path fits into the turns, does not, and all: their number; percent under each rule
    when cut off at the turn limit; strict when followed to its end; the tour's released and score; quartiles and
    maximum of the path's actions."""
    whole, cut, tour = (measured.of(policy).set_index("task") for policy in (GOLD_WHOLE, GOLD, TOUR))
    found = cut[list(RULES)].assign(
        strict_to_end=whole["strict"], tour_released=tour["released"], tour_score=tour["score"]
    )
    fits = whole["gold_length"] <= measured.turns
    rows = []
    for name, keep in (("fits", fits), ("longer", ~fits), ("all", fits | True)):
        lengths = whole.loc[keep, "gold_length"]
        row: dict = {"gold_path": name, "tasks": int(keep.sum())}
        put(row, "share", share(keep))
        row |= (100 * found[keep].astype(float).mean()).to_dict()
        row |= {f"length_{q}": lengths.quantile(q / 100) for q in (25, 50, 75)}
        rows.append({**row, "length_max": lengths.max()})
    return pd.DataFrame(rows)


@lru_cache(maxsize=1)
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
    columns = {"released": "Released", "strict": "Strict", "unearned": "Released, not strict", "score": RULES["score"]}
    rows = [
        [*_names(r), *(format.cell(r, column) for column in columns), f"{r['turns']:.1f}"]
        for _, r in rates(measured).iterrows()
    ]
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
    header = ["Policy", "Split", *columns.values(), "Turns"]
    return TextTable("Success under each rule", header, rows, notes=notes, words=frozenset({0, 1}))


def against_gold_table(measured: Measured) -> TextTable:
    """`against_gold` as text."""
    rows = [[*_names(r), *(format.cell(r, c, sign=True) for c in RULES)] for _, r in against_gold(measured).iterrows()]
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
    columns = {
        "released": f"Released, {turns} turns",
        "strict": f"Strict, {turns} turns",
        "score": f"Score, {turns} turns",
        "strict_to_end": "Strict, to its end",
        "tour_released": "Tour: released",
        "tour_score": "Tour: score",
    }
    rows = []
    for _, r in gold_lengths(measured).iterrows():
        share_of = format.cell(r, "share") if r["gold_path"] != "all" else "100.0"
        if r["tasks"]:
            shown = ["{length_50:.0f} ({length_25:.0f} to {length_75:.0f}), {length_max:.0f}".format(**r)]
            shown += [f"{r[column]:.1f}" for column in columns]
        else:
            shown = [text_table.MISSING] * (1 + len(columns))
        rows.append([names[r["gold_path"]], str(r["tasks"]), share_of, *shown])
    header = ["Gold path", "Tasks", "Share, %", "Actions: median (quartiles), longest", *columns.values()]
    notes = [
        "The built-in expert's path, both splits together; percent. The paths never teleport, so they are not the "
        f"shortest. Cut off after {turns} turns, an episode has not ended by itself and is no released success, "
        "whatever its score. A path may complete its task before its last action."
    ]
    return TextTable("Gold paths", header, rows, notes=notes)


def kinds_table(measured: Measured) -> TextTable:
    """`kinds` as text."""
    cells = {
        "Tasks": "{tasks}",
        "Wait: released": "{wait_released:.0f}",
        "Wait: score": "{wait_score:.1f}",
        "Tour: released": "{tour_released:.0f}",
        "Tour: score": "{tour_score:.1f}",
        "Tour: largest score": "{tour_score_max:.0f}",
        "Gold path: actions": "{gold_median:.0f} ({gold_min} to {gold_max})",
        f"Gold path: strict, {measured.turns} turns": "{gold_strict:.0f}",
    }
    rows = []
    for _, r in kinds(measured).iterrows():
        row = [r["kind"], *(cell.format(**r) for cell in cells.values())]
        if r["gold_min"] == r["gold_max"]:
            row[-2] = f"{r['gold_median']:.0f}"
        rows.append(row)
    notes = [
        "Percent, both splits together, by the tour's mean final score. Types weigh as many tasks as they have "
        "variations; rows of few tasks say little, types without a task in the panel are not shown. "
        "Gold path: median (shortest to longest)."
    ]
    return TextTable("Task types of the panel", ["Task type", *cells], rows, notes=notes)


def _names(row: pd.Series) -> list[str]:
    return [row["policy"], row["split"] if row["split"] == BOTH else row["split"].upper()]


def files(measured: Measured) -> dict[str, str]:
    """Name -> text of success_rules.md with all tables, success_rules.csv, _against_gold.csv, _gold.csv, _kinds.csv."""
    tables = (rates_table, against_gold_table, gold_table, kinds_table)
    frames = {"": rates, "_against_gold": against_gold, "_gold": gold_lengths, "_kinds": kinds}
    found = {"success_rules.md": "\n".join(text_table.markdown(table(measured)) for table in tables)}
    for name, frame in frames.items():
        found[f"success_rules{name}.csv"] = frame(measured).to_csv(index=False, float_format="%.4f")
    return found


def figure_rules(measured: Measured) -> style.Drawn:
    """A panel per rule, a line per policy: share or mean with its 95 % interval, IID and OOD."""
    found, lines = rates(measured).set_index(["policy", "split"]), []
    for policy, split in product(POLICIES, (IID, OOD)):
        row = found.loc[policy, split]
        estimates = tuple(Estimate(*(row[f"{rule}{end}"] for end in ("", "_low", "_high"))) for rule in RULES)
        lines.append(forest.Line(f"{policy}, {split.upper()}", estimates, COLOURS[split], MARKERS[split]))
    panels = [
        forest.Panel("% of the full score" if rule == "score" else "% of episodes", title, None, least=0.0, sign=False)
        for rule, title in RULES.items()
    ]
    s = measured.about["settings"]
    caption = (
        f"Scripted policies on {s['episodes']} tasks of each split of ScienceWorld, every policy on the same; "
        f"nothing is "
        "trained. 95 % interval over tasks: Wilson's for shares, t for the score; none where all scores are equal."
    )
    figure = forest.figure(lines, panels, "What a success rule is worth", caption)
    return style.Drawn(figure, answer(measured).removeprefix("**Answer.** "))


def answer(measured: Measured) -> str:
    """How the idle policies stand against the expert under both rules."""
    found, said = against_gold(measured).set_index(["policy", "split"]), []
    for policy in IDLE:
        row = found.loc[policy, BOTH]
        said.append(
            f"'{policy}' stands {format.number(row['released'], sign=True)} points from the expert under the released "
            f"rule and {format.number(row['strict'], sign=True)} under the strict one"
        )
    return f"**Answer.** Policies that do no task: {'; '.join(said)} (both splits, {measured.turns} turns)."


def figure_kinds(measured: Measured) -> style.Drawn:
    """A line per task type, a dot per task: final score of the tour; actions of the gold path and the turn limit."""
    found = kinds(measured)
    order = found["kind"].tolist()
    figure, (left, right) = style.subplots(1, 2, height=0.155 * len(order) + 0.6, sharey=True)
    shift = {IID: -0.16, OOD: 0.16}
    for split in (IID, OOD):
        tour, gold = measured.of(TOUR, split), measured.of(GOLD, split)
        look = {"s": 9, "color": COLOURS[split], "marker": MARKERS[split], "alpha": 0.6, "lw": 0}
        places = [order.index(kind) + shift[split] for kind in tour["kind"]]
        left.scatter(100 * tour["score"], places, **look)
        right.scatter(gold["gold_length"], places, **look)
    left.set(xlabel="%", xlim=(-2, 102), title="Final score of touring the rooms")
    left.set_yticks(range(len(order)), [f"{r.kind} ({r.tasks})" for r in found.itertuples()])
    left.set_ylim(len(order) - 0.4, -0.6)
    right.axvline(measured.turns, color=style.REST[0], lw=1.0, ls="--")
    right.set(xlabel="Actions", xlim=(0, None), title="Length of the expert's path")
    keys = [style.line_key(s.upper(), COLOURS[s], marker=MARKERS[s], ls="none", ms=4) for s in (IID, OOD)]
    keys.append(style.line_key(f"{measured.turns} turns", style.REST[0], lw=1.0, ls="--"))
    caption = (
        "One dot per task, so no interval; in brackets the tasks of the type, both splits. Types with few tasks say "
        "little."
    )
    style.finish(figure, "Which task types reward looking around", caption, keys)
    some = found[found["tour_score"] > 0]
    return style.Drawn(
        figure,
        f"Touring the rooms earns a score in {len(some)} of {len(found)} task types; in "
        f"{(found['tour_released'] > 0).sum()} "
        "of them some episodes count as a success under the released rule.",
    )
