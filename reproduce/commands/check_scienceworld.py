"""Scores of policies that do no task under ScienceWorld's three success rules, next to the built-in expert's.

    python -m reproduce.commands.check_scienceworld [--episodes 50] [--seed 0] [--workers 2] [--out FOLDER]

Needs the extra packages of requirements-envs.txt. With --out every finished episode is kept at once; the same command
plays those that are missing, and writes success_rules.parquet and success_rules.json when none is.
"""

import argparse
import os
import sys
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from scipy.stats import binomtest

from reproduce.arguments import Parser
from reproduce.errors import UserError
from reproduce.worlds.scienceworld.environment import TURNS, ScienceWorld
from reproduce.worlds.scienceworld.pool import SimulatorPool
from reproduce.worlds.scienceworld.scripted import GOLD_WHOLE, POLICIES, measure, panel
from reproduce.worlds.scienceworld.scripted_record import ROWS, Record, open_record, settings
from reproduce.worlds.text_environment import IID, OOD, Task


def main(words: list[str] | None = None) -> int:
    """Plays the episodes and prints two tables. Exit codes: 0, 2 bad input, 130 interrupted."""
    parser = Parser(prog="python -m reproduce.commands.check_scienceworld", description=__doc__)
    parser.add_argument("--episodes", type=int, default=50, help="tasks of each split (IID, OOD), default 50")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of tasks; the simulator has none")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8), help="tasks at a time")
    parser.add_argument("--out", type=Path, help="folder that keeps the episodes, such as data/scienceworld")
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
    try:
        options = parser.parse_args(words)
        for name in ("episodes", "workers"):
            if getattr(options, name) < 1:
                raise UserError(f"--{name} is {getattr(options, name)}; set it to 1 or more")
        report(rows(options, console), console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = f"finished episodes are in {options.out}, the same command plays the rest" if options.out else ""
        print(f"\ninterrupted; {kept or 'nothing is kept (--out FOLDER keeps finished episodes)'}", file=sys.stderr)
        return 130
    return 0


def rows(options: argparse.Namespace, console: Console) -> list[dict]:
    """The rows of `scripted.measure`: played, or out of --out where they are there already."""
    if options.out is None:
        with SimulatorPool(options.workers) as pool:
            return played(pool, options, console)[1]
    with open_record(options.out, settings(options.episodes, options.seed)) as record:
        if record.complete:
            text = f"{options.out / ROWS} holds all {len(record.rows)} episodes; none is left to play"
            console.print(text, soft_wrap=True)
        else:
            with SimulatorPool(options.workers) as pool:
                record.start()
                tasks, _ = played(pool, options, console, record)
            record.finish([task.id for task in tasks])
        return record.rows


def played(
    pool: SimulatorPool, options: argparse.Namespace, console: Console, record: Record | None = None
) -> tuple[list[Task], list[dict]]:
    """The panels of both evaluation splits, and the rows of the episodes that `record` did not hold before."""
    pool.warm_up(options.workers)
    with ScienceWorld(pool) as environment:
        tasks = [
            task for split in (IID, OOD) for task in panel(environment.tasks(split), options.episodes, options.seed)
        ]
    finished = record.finished if record else set()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        episodes = bar.add_task("episodes", total=len(tasks) * len(POLICIES), completed=len(finished))

        def keep(row: dict) -> None:
            if record:
                record.add(row)
            bar.advance(episodes)

        return tasks, measure(pool, tasks, workers=options.workers, keep=keep, finished=finished)


def report(played: list[dict], console: Console) -> None:
    """Prints success under each rule by policy and split, then the lengths of the expert's paths."""
    table = Table(title=f"Success under each rule, in %, {TURNS} turns unless said otherwise (Wilson 95 % interval)")
    for column in ("policy", "split", "episodes", "turns", "released", "strict", "mean final score", "raw score"):
        table.add_column(column, justify="left" if column in ("policy", "split") else "right")
    for policy in POLICIES:
        for split in (IID, OOD):
            of = [row for row in played if (row["policy"], row["split"]) == (policy, split)]
            released, strict = (rate([row[rule] for row in of]) for rule in ("released", "strict"))
            scores, turns = [row["score"] for row in of], mean(row["turns"] for row in of)
            clipped = mean(max(score, 0) for score in scores)
            table.add_row(
                policy, split, str(len(of)), f"{turns:.1f}", released, strict, f"{clipped:.1f}", f"{mean(scores):.1f}"
            )
    console.print(table)
    for split in (IID, OOD):
        lengths = [row["gold_length"] for row in played if (row["policy"], row["split"]) == (GOLD_WHOLE, split)]
        fits = rate([float(length <= TURNS) for length in lengths])
        console.print(f"{split}: gold paths of at most {TURNS} actions: {fits} %, longest {max(lengths)} actions")


def rate(values: list[float]) -> str:
    """Share of ones in per cent, with its 95 % interval (Wilson's, which holds for shares of 0 and 1 too)."""
    interval = binomtest(round(sum(values)), len(values)).proportion_ci(0.95, method="wilson")
    return f"{100 * mean(values):.0f} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


if __name__ == "__main__":
    sys.exit(main())
