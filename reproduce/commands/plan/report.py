"""A plan for the terminal, as Markdown and as CSV: the same rows, and every number that they rest on."""

import csv
import io
import os
import textwrap
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reproduce.commands.plan.assumptions import Assumption
from reproduce.commands.plan.estimate import Plan, PlanRow
from reproduce.commands.plan.speed import Measured
from reproduce.runs.manifest import WARM_START, usable_cores

WIDTH = 100
"""Characters of a line below the plan's table."""
WORTH_SAYING = 0.3
"""Share of the time from which on waiting for tools is said to be what limits a run."""

HEADER = ("Row", "Runs", "Sampled tokens", "Trained tokens", "Tool calls", "Sampling", "Tools", "Training", "Other",
          "Hours", "Search cost", "Disk")  # fmt: skip


def cells(plan: Plan, row: PlanRow) -> list[str]:
    """The cells of a row under `HEADER`; stages and hours are hours of all GPUs (cores) together."""
    s, scale = row.seconds, row.runs * plan.speed.devices / 3600
    work = row.work
    return [
        row.name.replace(WARM_START, "warm start"), str(row.runs), amount(row.runs * (work.sampled)),
        amount(row.runs * work.trained), amount(row.runs * work.calls),
        *(hours(scale * stage) for stage in (s.sampling, s.tools, s.training, s.other, s.total)),
        dollars(row.dollars, plan.hosted), size(row.disk),
    ]  # fmt: skip


def total(plan: Plan) -> list[str]:
    """The last line: sums over rows, evaluation in hours, searches and disk only."""
    rows, devices = plan.rows, plan.speed.devices
    stages = [[getattr(r.seconds, n) * r.runs for r in rows] for n in ("sampling", "tools", "training", "other")]
    return [
        "total", str(sum(r.runs for r in rows)),
        *(amount(sum(r.runs * getattr(r.work, n) for r in rows)) for n in ("sampled", "trained", "calls")),
        *(hours(sum(stage) * devices / 3600) for stage in stages), hours(plan.device_hours),
        dollars(sum(r.dollars for r in rows), plan.hosted), size(plan.disk),
    ]  # fmt: skip


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


def facts(plan: Plan) -> list[str]:
    """Speeds, what methods add, and assumptions, each with its source."""
    lines = [*measured(plan)]
    for a in plan.assume.listed():
        lines.append(f"{a.name} = {assumed(a)}: {a.meaning} ({a.source})")
    return lines


def assumed(a: Assumption) -> str:
    """An assumption's value with its unit."""
    return f"{a.value if isinstance(a.value, str) else format(a.value, 'g')} {a.unit}".strip()


def measured(plan: Plan) -> list[str]:
    """Speeds, and what methods add, each with its source."""
    by_source: dict[str, list[str]] = {}
    for what, value, source in plan.speed.lines():
        by_source.setdefault(source, []).append(f"{what} {value}")
    lines = [f"{source}: {', '.join(values)}" for source, values in by_source.items()]
    for row in plan.rows:
        e = row.effort
        if (e.sampled, e.calls) != (1.0, 1.0) and row.name != WARM_START:
            lines.append(f"{row.name}: {e.sampled:.2f} x the sampled tokens, {e.calls:.2f} x the calls ({e.source})")
    return lines


def conclusion(plan: Plan, jobs: int | None) -> list[str]:
    """Wall time, and what a GPU must hold."""
    hours_of_rows = sum(row.hours for row in plan.rows)
    if plan.speed.device == "CPU":
        at_once = jobs or usable_cores()
        first = sum(row.hours for row in plan.rows if row.name == WARM_START)
        wall = f"about {hours(first + (hours_of_rows - first) / at_once)} h of wall time, {at_once} runs at a time"
        return [wall, *plan.notes]
    minutes = [row.seconds.total / 60 / row.work.steps for row in plan.rows if row.work.steps]
    per_step = f"{min(minutes):.1f} to {max(minutes):.1f} minutes an RL step" if minutes else ""
    waiting = sum(row.runs * row.seconds.tools for row in plan.rows) / 3600 / hours_of_rows
    if waiting > WORTH_SAYING:
        per_step += f"; {waiting:.0%} of the time waits for searches at the rate of search.requests_per_second"
    return [
        f"about {hours(hours_of_rows)} h of wall time, one run at a time on {plan.speed.devices} {plan.speed.device}; "
        f"{per_step}",
        *plan.notes,
    ]


def show(plan: Plan, console: Console, jobs: int | None = None) -> None:
    """Prints the plan."""
    unit = "CPU core-hours" if plan.speed.device == "CPU" else f"{plan.speed.device} hours"
    table = Table(title=f"Plan of table {plan.table}, profile {plan.profile} (hours: {unit})", title_justify="left")
    for number, name in enumerate(HEADER):
        table.add_column(name, justify="right" if number else "left", no_wrap=not number)
    for row in plan.rows:
        table.add_row(*cells(plan, row))
    table.add_section()
    table.add_row(*total(plan), style="bold")
    console.print(table)
    for title, lines in (("", conclusion(plan, jobs)), ("settings", settings(plan)), ("rests on", facts(plan))):
        if title:
            console.print(f"{title}:")
        for line in lines:
            shown = textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
            console.print("\n".join(shown), markup=False)


def write_csv(plan: Plan, path: Path) -> None:
    """One line per row, plain numbers (seconds and bytes of all its runs), and the sources; replaces the file."""
    text = io.StringIO()
    names = (
        "table", "profile", "row", "runs", "steps", "trajectories", "sampled_tokens", "trained_tokens", "tool_calls",
        "seconds_sampling", "seconds_tools", "seconds_training", "seconds_other", "devices", "device",
        "device_hours", "searches", "dollars", "disk_bytes", "shape", "effort", "speed",
    )  # fmt: skip
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    speed = plan.speed.source if isinstance(plan.speed, Measured) else f"data sheet of {plan.speed.device}"
    for row in plan.rows:
        w, s, n = row.work, row.seconds, row.runs
        values = (
            plan.table, plan.profile, row.name, n, w.steps, *(n * v for v in (w.trajectories, w.sampled, w.trained)),
            n * w.calls, *(n * v for v in (s.sampling, s.tools, s.training, s.other)), plan.speed.devices,
            plan.speed.device, row.hours * plan.speed.devices, row.searches, row.dollars, row.disk,
            plan.shape.source, row.effort.source, speed,
        )  # fmt: skip
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text.getvalue())
    os.replace(temporary, path)


def amount(value: float) -> str:
    """A count in three digits: 952, 13.4 k, 1.2 M, 3.4 G; – for none."""
    if not value:
        return "–"
    for limit, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.0f}"


def hours(value: float) -> str:
    """Hours in three digits; – for none."""
    if value <= 0:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def dollars(value: float, hosted: bool) -> str:
    """A price; – where no search is paid for."""
    return f"${value:,.0f}" if hosted else "–"


def size(value: float) -> str:
    """Bytes in three digits."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value / 1e3:.0f} kB"
