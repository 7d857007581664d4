"""A plan for the terminal, as Markdown and as CSV: the same rows, and every number that they rest on."""

import csv
import io
import textwrap
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reproduce.commands.plan.cost import STAGES, Plan
from reproduce.runs.files import write_bytes
from reproduce.runs.manifest import WARM_START, usable_cores

WIDTH = 100
"""Characters of a line below the plan's table."""
WORTH_SAYING = 0.3
"""Share of the time from which on waiting for tools is said to be what limits a run."""
TOKENS = {"Sampled tokens": "sampled_tokens", "Trained tokens": "trained_tokens", "Tool calls": "tool_calls"}
HEADER = ("Row", "Runs", *TOKENS, *map(str.capitalize, STAGES), "Hours", "Search cost", "Disk")


def cells(plan: Plan, row: dict) -> list[str]:
    """The cells of a row, or of `plan.total`, under `HEADER`; stages and hours are hours of all cards (cores)."""
    stages = [row[f"seconds_{stage}"] * row["devices"] / 3600 for stage in STAGES]
    counts = [amount(row[name]) for name in TOKENS.values()]
    dollars = f"${row['dollars']:,.0f}" if plan.hosted else "–"
    name = row["row"].replace(WARM_START, "warm start")
    return [name, str(row["runs"]), *counts, *map(hours, [*stages, sum(stages)]), dollars, size(row["disk_bytes"])]


def settings(plan: Plan) -> list[str]:
    """The runs, from the resolved config, and how long the trajectories are."""
    job, shape, model = plan.job, plan.shape, plan.model
    t, e = job.training, job.evaluation
    changed = job.experiment.partition(".")[2]
    lora = f", LoRA of rank {t.lora.rank}" if t.lora else ""
    return [
        *([f"under settings of the command line: {changed}"] if changed else []),
        f"{model.name}, {amount(model.parameters)} weights{lora}, {t.device}, {t.dtype}",
        f"{t.steps} RL steps of {t.prompts_per_step} x {t.group_size} trajectories, {t.epochs} x {t.minibatches} "
        f"updates each; at most {job.task.max_tool_calls} tool calls and {job.task.max_completion_tokens} tokens",
        f"evaluation: {e.questions} questions x {e.samples} of {', '.join(job.task.families)}",
        f"a trajectory: {shape.prompt:.0f} prompt, {shape.answer:.0f} sampled, {shape.result:.0f} tool-result tokens, "
        f"{shape.calls:.1f} calls, {shape.rows:.1f} training rows ({shape.source})",
    ]


def measured(plan: Plan) -> list[str]:
    """Speeds, and what methods add, each with its source."""
    lines = plan.speed.lines()
    for name, (sampled, _, calls, source) in plan.factors.items():
        if (sampled, calls) != (1.0, 1.0):
            lines.append(f"{name}: {sampled:.2f} x the sampled tokens, {calls:.2f} x the calls ({source})")
    return lines


def conclusion(plan: Plan, jobs: int | None) -> list[str]:
    """Wall time, and what a GPU must hold."""
    of_row = {row["row"]: sum(row[f"seconds_{stage}"] for stage in STAGES) for row in plan.rows}
    total, speed = sum(of_row.values()), plan.speed
    if speed.device == "CPU":
        at_once, first = jobs or usable_cores(), of_row.get(WARM_START, 0.0)
        wall = hours((first + (total - first) / at_once) / 3600)
        return [f"about {wall} h of wall time, {at_once} runs at a time", *plan.notes]
    steps = [of_row[row["row"]] / row["runs"] / 60 / row["steps"] for row in plan.rows if row["steps"]]
    said = f"{min(steps):.1f} to {max(steps):.1f} minutes an RL step" if steps else ""
    waiting = sum(row["seconds_tools"] for row in plan.rows) / total
    if waiting > WORTH_SAYING:
        said += f"; {waiting:.0%} of the time waits for searches at the rate of search.requests_per_second"
    wall = f"about {hours(total / 3600)} h of wall time, one run at a time on {speed.devices} {speed.device}"
    return [f"{wall}; {said}", *plan.notes]


def show(plan: Plan, console: Console, jobs: int | None = None) -> None:
    """Prints the plan."""
    unit = "CPU core-hours" if plan.speed.device == "CPU" else f"{plan.speed.device} hours"
    table = Table(title=f"Plan of table {plan.table}, profile {plan.job.profile} (hours: {unit})", title_justify="left")
    for number, name in enumerate(HEADER):
        table.add_column(name, justify="right" if number else "left", no_wrap=not number)
    for row in plan.rows:
        table.add_row(*cells(plan, row))
    table.add_section()
    table.add_row(*cells(plan, plan.total), style="bold")
    console.print(table)
    assumed = [f"{name} = {a}: {a.meaning} ({a.source})" for name, a in plan.assume.used().items()]
    said = ("", conclusion(plan, jobs)), ("settings", settings(plan)), ("rests on", [*measured(plan), *assumed])
    for title, lines in said:
        if title:
            console.print(f"{title}:")
        for line in lines:
            shown = textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
            console.print("\n".join(shown), markup=False)


def write_csv(plan: Plan, path: Path) -> None:
    """One line per row, plain numbers (seconds and bytes of all its runs), and the sources; replaces the file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(plan.rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in plan.rows:
        writer.writerow({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in row.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.getvalue().encode())


def amount(value: float) -> str:
    """A count in three digits: 952, 13.4 k, 1.2 M, 3.4 G; – for none."""
    for limit, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.0f}" if value else "–"


def hours(value: float) -> str:
    """Hours in three digits; – for none."""
    if value <= 0:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def size(value: float) -> str:
    """Bytes in three digits."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value / 1e3:.0f} kB"
