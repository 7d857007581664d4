"""The command `python -m reproduce plan`."""

import sys
from pathlib import Path

from rich.console import Console

from reproduce.arguments import DEFAULT_PROFILE, Parser, add_settings, count, folder, names, new_file, seeds
from reproduce.errors import UserError
from reproduce.runs.manifest import ROOT


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        prog="python -m reproduce plan",
        description="What a table costs before it starts: hours, tokens, tool calls, search cost and disk, per row and "
        "in total, with every assumption and its source. Starts nothing.",
    )
    add = made.add_argument
    add("--table", default="2", help="number of the table (default: %(default)s)")
    add("--profile", default=DEFAULT_PROFILE, help="default: %(default)s")
    add("--methods", type=names, help="methods, variants or groups (default: the table's)")
    add("--seeds", type=seeds, help="e.g. 0,1,2 or 0-7 (default: the table's)")
    add("--jobs", type=count, help="runs at a time on a CPU (default: one per core)")
    assume = "another value of an assumption, several with commas: gpu=A100,gpus=16,search_price=0"
    add("--assume", type=names, action="extend", default=[], metavar="NAME=VALUE", help=assume)
    add("--runs-root", type=folder, default=Path("runs"), help="runs to learn from (default: %(default)s)")
    add("--bench", type=Path, help="output of `make bench` (default: the runs root's, else figures/bench.csv)")
    add_settings(made, "KEY=VALUE", "other settings than the table's: training.steps=48 task.max_tool_calls=6")
    add("--csv", type=new_file, help="write the rows to this file, too")
    add("--readme", action="store_true", help="write the README's plans instead, from committed files alone")
    return made


def main(words: list[str]) -> int:
    """Prints a plan. UserError on bad words, an unknown table, profile, method or assumption."""
    options = parser().parse_args(words)
    from reproduce.commands.plan import readme, report
    from reproduce.commands.plan.assumptions import Assumptions
    from reproduce.commands.plan.cost import plan
    from reproduce.commands.plan.measured import bench, committed, own
    from reproduce.grid.resolve import named
    from reproduce.training.memory import lines as memory_lines

    if options.readme:
        print("README.md has the plans" if readme.insert() else "README.md had the plans already")
        return 0
    jobs = named(options.table, options.profile, options.methods, options.seeds, options.set)
    assume = Assumptions(dict(map(_pair, options.assume)), jobs[0])
    benches = [options.bench] if options.bench else [options.runs_root / "bench.csv", ROOT / "figures" / "bench.csv"]
    benched = next(filter(None, map(bench, benches)), [])
    made = plan(jobs, own(options.runs_root) + committed(ROOT / "data" / "results") + benched, assume)
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 150)
    report.show(made, console, options.jobs)
    for line in memory_lines(jobs):
        console.print(line, markup=False)
    if options.csv:
        report.write_csv(made, options.csv)
        print(f"written: {options.csv}")
    return 0


def _pair(word: str) -> tuple[str, str]:
    name, sign, value = word.partition("=")
    if not sign:
        raise UserError(f"plan --assume {word}: write NAME=VALUE")
    return name, value
