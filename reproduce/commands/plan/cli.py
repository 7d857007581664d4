"""The command `python -m reproduce plan`."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from reproduce.arguments import DEFAULT_PROFILE, Parser, add_settings, count, folder, names, new_file, seeds
from reproduce.errors import UserError
from reproduce.runs.manifest import ROOT


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = Parser(
        prog="python -m reproduce plan",
        description="What a table costs before it starts: hours, tokens, tool calls, search cost and disk, per row and "
        "in total, with every assumption and its source. Starts nothing.",
    )
    made.add_argument("--table", default="2", help="number of the table (default: %(default)s)")
    made.add_argument("--profile", default=DEFAULT_PROFILE, help="default: %(default)s")
    made.add_argument("--methods", type=names, help="methods, variants or groups (default: the table's)")
    made.add_argument("--seeds", type=seeds, help="e.g. 0,1,2 or 0-7 (default: the table's)")
    made.add_argument("--jobs", type=count, help="runs at a time on a CPU (default: one per core)")
    made.add_argument(
        "--assume", type=names, action="append", default=[], metavar="NAME=VALUE",
        help="another value of an assumption, several with commas: gpu=A100,gpus=16,search_price=0",
    )  # fmt: skip
    made.add_argument(
        "--runs-root", type=folder, default=Path("runs"), help="runs to learn from (default: %(default)s)"
    )
    made.add_argument(
        "--bench", type=Path, help="output of `make bench` (default: the runs root's bench.csv, else figures/bench.csv)"
    )
    add_settings(made, "KEY=VALUE", "other settings than the table's: training.steps=48 task.max_tool_calls=6")
    made.add_argument("--csv", type=new_file, help="write the rows to this file, too")
    made.add_argument(
        "--readme", action="store_true",
        help="write the plans of tables 1 to 3 into the README instead, from committed files alone",
    )  # fmt: skip
    return made


def main(words: list[str]) -> int:
    """Prints a plan. UserError on bad words, an unknown table, profile, method or assumption."""
    options = parser().parse_args(words)
    from reproduce.commands.plan import readme, report
    from reproduce.commands.plan.assumptions import Assumptions
    from reproduce.commands.plan.estimate import plan
    from reproduce.commands.plan.measured import bench, committed, own
    from reproduce.grid.resolve import named

    if options.readme:
        changed = readme.insert()
        print("README.md has the plans" if changed else "README.md had the plans already")
        return 0
    changes = dict(_pair(word) for words in options.assume for word in words)
    jobs = named(options.table, options.profile, options.methods, options.seeds, options.set)
    assume = Assumptions(changes, jobs[0])
    benches = [options.bench] if options.bench else [options.runs_root / "bench.csv", ROOT / "figures" / "bench.csv"]
    benched = next(filter(None, map(bench, benches)), [])
    observed = own(options.runs_root) + committed(ROOT / "data" / "results") + benched
    made = plan(jobs, observed, assume)
    report.show(
        made, Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 150), options.jobs
    )
    if options.csv:
        report.write_csv(made, options.csv)
        print(f"written: {options.csv}")
    return 0


def _pair(word: str) -> tuple[str, str]:
    name, sign, value = word.partition("=")
    if not sign:
        raise UserError(f"plan --assume {word}: write NAME=VALUE")
    return name, value
