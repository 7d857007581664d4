"""The command `python -m reproduce plan`: a plan for the terminal, as CSV and in the README's block, which is made from
committed files alone and has the same bytes everywhere."""

import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis.format import human
from analysis.readme import insert
from analysis.text_table import MISSING, pipes
from reproduce.arguments import DEFAULT_PROFILE, Parser, add_settings, count, names, new_file, seeds
from reproduce.commands.plan.assumptions import Assumptions
from reproduce.commands.plan.cost import STAGES, Plan, committed, plan
from reproduce.commands.plan.overlap import seconds_one_stale
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.grid.resolve import named
from reproduce.runs.files import write_bytes
from reproduce.runs.manifest import WARM_START, usable_cores
from reproduce.training.memory import lines as memory_lines

README, BLOCK, TABLES = Path(__file__).with_name("README.md"), "plans", ("1", "2", "3")
WIDTH = 100
"""Characters of a line below the plan's table."""
COLUMNS = {
    "Row": lambda row: row["row"].replace(WARM_START, "warm start"),
    "Runs": lambda row: f"{row['runs']:.0f}",
    "Sampled tokens": lambda row: human(row["sampled_tokens"] or np.nan),
    "Trained tokens": lambda row: human(row["trained_tokens"] or np.nan),
    "Tool calls": lambda row: human(row["tool_calls"] or np.nan),
    **{s.capitalize(): lambda row, s=s: hours(row[f"seconds_{s}"] * row["devices"] / 3600) for s in STAGES},
    "Hours": lambda row: hours(row["device_hours"]),
    "Search cost": lambda row: f"${row['dollars']:,.0f}" if row["searches"] else MISSING,
    "Disk": lambda row: f"{human(row['disk_bytes'])}B",
}
"""Title -> cell of a row of `Plan.rows`; stages and hours are hours of all cards (cores)."""
LEFT_OUT = tuple(map(str.capitalize, STAGES))
"""Columns that the README's block leaves out."""


def main(words: list[str]) -> int:
    """Prints a plan. UserError on bad words, an unknown table, profile, method or assumption."""
    parser = Parser(
        prog="python -m reproduce plan",
        description="What a table costs before it starts: hours, tokens, tool calls, search cost and disk, per row and "
        "in total, with every assumption and its source. Starts nothing.",
    )
    add = parser.add_argument
    add("--table", default="2", help="number of the table (default: %(default)s)")
    add("--profile", default=DEFAULT_PROFILE, help="default: %(default)s")
    add("--methods", type=names, help="methods, variants or groups (default: the table's)")
    add("--seeds", type=seeds, help="e.g. 0,1,2 or 0-7 (default: the table's)")
    add("--jobs", type=count, help="runs at a time on a CPU (default: one per core)")
    assume = "another value of an assumption, several with commas: gpu=A100,gpus=16,search_price=0"
    add("--assume", type=names, action="extend", default=[], metavar="NAME=VALUE", help=assume)
    add_settings(parser, "KEY=VALUE", "other settings than the table's: training.steps=48 task.max_tool_calls=6")
    add("--csv", type=new_file, help="write the rows to this file, too")
    add("--readme", action="store_true", help="write the README's plans instead, from committed files alone")
    options = parser.parse_args(words)
    if options.readme:
        print("the README has the plans" if write_readme() else "the README had the plans already")
        return 0
    for word in options.assume:
        if "=" not in word:
            raise UserError(f"plan --assume {word}: write NAME=VALUE")
    jobs = named(options.table, options.profile, options.methods, options.seeds, options.set)
    changes = {name: value for name, _, value in (word.partition("=") for word in options.assume)}
    made = plan(jobs, committed(), Assumptions(jobs[0], changes))
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 150)
    show(made, console, options.jobs)
    for line in memory_lines(jobs):
        console.print(line, markup=False)
    if options.csv:
        write_csv(made, options.csv)
        print(f"written: {options.csv}")
    return 0


def show(plan: Plan, console: Console, jobs: int | None = None) -> None:
    """Prints the plan; jobs: runs at a time on a CPU."""
    unit = "CPU core-hours" if plan.speed.device == "CPU" else f"{plan.speed.device} hours"
    title = f"Plan of table {plan.rows[0]['table']}, profile {plan.job.profile} (hours: {unit})"
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if number else "left", no_wrap=not number)
    for row in plan.rows:
        table.add_row(*cells(row))
    table.add_section()
    table.add_row(*cells(plan.total), style="bold")
    console.print(table)
    assumed = [f"{name} = {a}: {a.meaning} ({a.source})" for name, a in plan.assume.used().items()]
    said = ("", conclusion(plan, jobs)), ("settings", settings(plan)), ("rests on", [*measured(plan), *assumed])
    for title, lines in said:
        if title:
            console.print(f"{title}:")
        for line in lines:
            shown = textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
            console.print("\n".join(shown), markup=False)


def cells(row: dict, without: tuple[str, ...] = ()) -> list[str]:
    """The cells of a row, or of `Plan.total`, under `COLUMNS`."""
    return [cell(row) for title, cell in COLUMNS.items() if title not in without]


def write_csv(plan: Plan, path: Path) -> None:
    """One line per row, plain numbers (seconds and bytes of all its runs), and the sources; replaces the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = pd.DataFrame(plan.rows).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_bytes(path, text.encode())


def settings(plan: Plan) -> list[str]:
    """The runs, from the resolved config, and how long the trajectories are."""
    job, shape, model = plan.job, plan.shape, plan.model
    t, e = job.training, job.evaluation
    changed = job.experiment.partition(".")[2]
    lora = f", LoRA of rank {t.lora.rank}" if t.lora else ""
    return [
        *([f"under settings of the command line: {changed}"] if changed else []),
        f"{model.name}, {human(model.parameters)} weights{lora}, {t.device}, {t.dtype}",
        f"{t.steps} RL steps of {t.prompts_per_step} x {t.group_size} trajectories, {t.epochs} x {t.minibatches} "
        f"updates each; at most {job.task.max_tool_calls} tool calls and {job.task.max_completion_tokens} tokens",
        f"evaluation: {e.questions} questions x {e.samples} of {', '.join(job.task.families)}",
        f"a trajectory: {shape.prompt:.0f} prompt, {shape.answer:.0f} sampled, {shape.result:.0f} tool-result tokens, "
        f"{shape.calls:.1f} calls, {shape.rows:.1f} training rows ({shape.source})",
    ]


def measured(plan: Plan) -> list[str]:
    """Speeds, and what methods add, each with its source."""
    speed, lines = plan.speed, []
    if speed.measured:
        lines.append(
            f"{speed.source}: {1e9 * speed.sampling:.3f} s per G operations of sampling and {speed.batch:.2f} s a batch"
            f", {1e9 * speed.training:.3f} s per G operations of training and {speed.update:.3f} s an optimiser step, "
            f"{speed.run:.1f} s a run beside its stages"
        )
    for name, (sampled, _, calls, source) in plan.factors.items():
        if (sampled, calls) != (1.0, 1.0):
            lines.append(f"{name}: {sampled:.2f} x the sampled tokens, {calls:.2f} x the calls ({source})")
    return lines


def conclusion(plan: Plan, jobs: int | None = None) -> list[str]:
    """Wall time, what limits it, and costs that the numbers leave out."""
    of_row = {row["row"]: sum(row[f"seconds_{stage}"] for stage in STAGES) for row in plan.rows}
    total, speed, notes, engine = sum(of_row.values()), plan.speed, [], plan.job.engine
    apart = engine is not None and engine.name == "vllm_server"
    if speed.device == "CPU":
        at_once, first = jobs or usable_cores(), of_row.get(WARM_START, 0.0)
        said = f"about {hours((first + (total - first) / at_once) / 3600)} h of wall time, {at_once} runs at a time"
        if not speed.measured:
            notes.append("this model was not measured on a CPU: hours are from the assumed speed of one core")
    else:
        said = f"about {hours(total / 3600)} h of wall time, one run at a time on {speed.devices} {speed.device}"
        steps = [of_row[row["row"]] / row["runs"] / 60 / row["steps"] for row in plan.rows if row["steps"]]
        said += f"; {min(steps):.1f} to {max(steps):.1f} minutes an RL step" if steps else ""
        waiting = sum(row["seconds_tools"] for row in plan.rows) / total
        if plan.job.search is not None or plan.job.training.stale_steps:
            beside = hours(sum(one_stale(row, apart) for row in plan.rows) / 3600)
            said += f"; {waiting:.0%} of the time waits for tools: {beside} h "
            if plan.job.training.stale_steps:
                said += "as configured, each step sampled while the one before trains (training.stale_steps)"
            elif engine is not None and engine.name == "vllm":
                said += "if steps were sampled while the one before trains, one step stale (training.stale_steps: 1), "
                said += "which takes a vLLM server on other cards"
            else:
                said += "if steps were sampled while the one before trains, one step stale (training.stale_steps: 1)"
        if engine is None or not engine.name.startswith("vllm"):
            notes.append("sampling is taken to be as fast as vLLM's; the engine of this config is slower")
    if plan.job.judge is not None:
        notes.append("not counted: the judge's model, and pages that are fetched")
    return [said, *notes]


def one_stale(row: dict, apart: bool) -> float:
    """Seconds of a row whose steps are sampled while the one before trains (`plan.overlap`)."""
    stages = [row[f"seconds_{stage}"] / row["runs"] for stage in STAGES]
    return row["runs"] * seconds_one_stale(*stages, row["steps"], apart)


def hours(value: float) -> str:
    """Hours in three digits; – for none."""
    if value <= 0:
        return MISSING
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def block(runs: pd.DataFrame) -> str:
    """The README's block: what tables 1 to 3 cost at the papers' scale, and how well the same model tells what profile
    mini took."""
    plans = []
    for table in TABLES:
        jobs = TableConfig.load(table).jobs("paper")
        plans.append(plan(jobs, runs, Assumptions(jobs[0])))
    header = ["Table", *(title.replace("Hours", "GPU-hours") for title in COLUMNS if title not in LEFT_OUT)]
    rows, said = [], []
    for table, made in zip(TABLES, plans, strict=True):
        rows += [[table, *cells(row, LEFT_OUT)] for row in made.rows]
        rows.append([table, *(f"**{cell}**" for cell in cells(made.total, LEFT_OUT))])
        said.append(f"- Table {table}: {'; '.join(settings(made) + conclusion(made))}.")
        said += [f"- Methods of table {table}: {'; '.join(methods)}." for methods in [measured(made)] if methods]
    said.append(_cross_check(plans[1], runs))
    found = {name: a for made in plans for name, a in made.assume.used().items()}
    assumed = [[f"`{name}`", str(a), a.meaning, a.source] for name, a in found.items()]
    assumed = _lines(["assumption", "value", "what", "source"], assumed, left=4)
    folded = f"<details><summary>Every assumption</summary>\n\n{assumed}\n\n</details>"
    return "\n\n".join([_lines(header, rows, left=2), "\n".join(said), folded, _check(runs)])


def _lines(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A Markdown table whose first `left` columns are text."""
    return "\n".join(pipes([header, ["---"] * left + ["---:"] * (len(header) - left), *rows]))


def _cross_check(made: Plan, runs: pd.DataFrame) -> str:
    """The only time at this scale that is known to us, from the README of ARPO's repository, against ours."""
    job = replace(made.job, method="arpo", training=replace(made.job.training, prompts_per_step=128, group_size=16))
    row = plan([job], runs, Assumptions(job, {"searches_per_second": "0"})).rows[-1]
    minutes = sum(row[f"seconds_{stage}"] for stage in ("sampling", "tools", "training")) / row["steps"] / 60
    return (
        f"- ARPO's authors report about 10 minutes an RL step for 14B, 128 x 16 trajectories, eight GPUs; for that, "
        f"and without a limit on searches, this gives {minutes:.0f}."
    )


def _check(runs: pd.DataFrame) -> str:
    """Each committed table of profile mini, predicted from the other tables."""
    rows, sums = [], np.zeros(3)
    for table in sorted({f"table{n}" for n in TABLES} | set(runs["table"])):
        own, others = runs[runs["table"] == table], runs[runs["table"] != table]
        jobs = list(own["job"]) or TableConfig.load(table.removeprefix("table")).jobs("mini")
        found = np.array([len(jobs), own["total"].sum() / 60, predicted_minutes(jobs, others)])
        sums += found if len(own) else 0
        rows.append(_line(table.replace("table", "Table "), *found))
    header = ["Profile mini", "Runs", "Took, core-minutes", "Predicted from the other tables"]
    return _lines(header, [*rows, _line("Sum", *sums)])


def _line(name: str, runs: float, took: float, told: float) -> list[str]:
    if not took:
        return [name, f"{runs:.0f}", "no committed results", f"{told:.1f}"]
    return [name, f"{runs:.0f}", f"{took:.1f}", f"{told:.1f} ({100 * (told / took - 1):+.0f} %)"]


def predicted_minutes(jobs: list, given: pd.DataFrame) -> float:
    """Core-minutes that the plan gives to jobs when it knows the runs `given` alone; without the warm start."""
    rows = plan(jobs, given, Assumptions(jobs[0])).rows
    return sum(row[f"seconds_{stage}"] for row in rows if row["steps"] for stage in STAGES) / 60


def write_readme(readme: Path = README) -> bool:
    """Puts the block into the README; whether the file changed."""
    return insert(readme, BLOCK, block(committed()))
