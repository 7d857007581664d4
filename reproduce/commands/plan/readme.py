"""The README's block of plans: what tables 1 to 3 cost at the papers' scale, and how well the same model tells what
profile mini took. Made from committed files alone, so that it has the same bytes everywhere."""

from dataclasses import replace
from pathlib import Path

from reproduce.commands.plan import report
from reproduce.commands.plan.assumptions import Assumptions
from reproduce.commands.plan.estimate import Plan, plan
from reproduce.commands.plan.measured import BENCH, COMMITTED, Observed, bench, committed
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.runs.manifest import ROOT

BLOCK = "plans"
TABLES = ("1", "2", "3")
SHOWN = (0, 1, 2, 3, 4, 9, 10, 11)  # of report.HEADER


def known(root: Path = ROOT) -> list[Observed]:
    """Tokens and seconds that the repository itself records."""
    return committed(root / "data" / "results") + bench(root / "figures" / "bench.csv")


def block(observed: list[Observed]) -> str:
    """The block as Markdown."""
    plans, refused = [], []
    for table in TABLES:
        try:
            jobs = TableConfig.load(table).jobs("paper")
            plans.append(plan(jobs, observed, Assumptions(job=jobs[0])))
        except UserError as error:
            refused.append(f"Table {table} has no plan: {error}.")
    parts = [_table(plans)] if plans else []
    lines = [*_notes(plans), *refused, *(_cross_check(made, observed) for made in plans if made.table == "2")]
    parts += ["\n".join(f"- {line}" for line in lines)]
    parts += [_assumed(plans)] * bool(plans)
    parts += [_check(observed)]
    return "\n\n".join(parts)


def _table(plans: list[Plan]) -> str:
    header = ["Table", *(report.HEADER[i] for i in SHOWN)]
    header[header.index("Hours")] = "GPU-hours"
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)]]
    for made in plans:
        for row in made.rows:
            lines.append([made.table, *(report.cells(made, row)[i] for i in SHOWN)])
        bold = [f"**{report.total(made)[i]}**" for i in SHOWN]
        lines.append([made.table, *bold])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _notes(plans: list[Plan]) -> list[str]:
    lines = []
    for made in plans:
        lines.append(f"Table {made.table}: {'; '.join((*report.settings(made), *report.conclusion(made, None)))}.")
        if report.measured(made):
            lines.append(f"Methods of table {made.table}: {'; '.join(report.measured(made))}.")
    return lines


def _assumed(plans: list[Plan]) -> str:
    """Every assumption of the plans, folded away."""
    found = {a.name: a for made in plans for a in made.assume.listed()}
    lines = [f"| `{a.name}` | {report.assumed(a)} | {a.meaning} | {a.source} |" for a in found.values()]
    head = [
        "<details><summary>Every assumption</summary>",
        "",
        "| | value | what | source |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *lines, "", "</details>"])


def _cross_check(made: Plan, observed: list[Observed]) -> str:
    """The only time at this scale that is known to us, from the README of ARPO's repository, against ours."""
    reported = replace(made.job.training, prompts_per_step=128, group_size=16)
    job = replace(made.job, method="arpo", training=reported)
    seconds = plan([job], observed, Assumptions({"searches_per_second": "0"}, job)).rows[-1].seconds
    minutes = (seconds.sampling + seconds.tools + seconds.training) / reported.steps / 60
    return (
        f"ARPO's authors report about 10 minutes an RL step for 14B, 128 x 16 trajectories, eight GPUs; for that, and "
        f"without a limit on searches, this gives {minutes:.0f}."
    )


def _check(observed: list[Observed]) -> str:
    """Each committed table of profile mini, predicted without its own runs and from the bench alone."""
    lines = ["| Profile mini | Runs | Took, core-minutes | Predicted from the other tables | From `make bench` alone |",
             "| --- | ---: | ---: | ---: | ---: |"]  # fmt: skip
    sums: list[tuple] = []
    tables = sorted({f"table{n}" for n in TABLES} | {s.job.experiment for s in observed if s.source == COMMITTED})
    for table in tables:
        of_table = [seen for seen in observed if seen.job.experiment == table and seen.source == COMMITTED]
        if not of_table:
            lines.append(_not_run(table, observed))
            continue
        took = sum(seen.total for seen in of_table) / 60
        others = [seen for seen in observed if seen.job.experiment != table and seen.source == COMMITTED]
        known_by = (others, [seen for seen in observed if seen.source == BENCH])
        told = [predicted_minutes(of_table, given) for given in known_by]
        sums.append((len(of_table), took, *told))
        lines.append(_line(table.replace("table", "Table "), *sums[-1]))
    if all(None not in line for line in sums):
        lines.append(_line("Sum", *(sum(column) for column in zip(*sums, strict=True))))
    return "\n".join(lines)


def _line(name: str, runs: int, took: float, *told: float | None) -> str:
    cells = ["–" if value is None else f"{value:.1f} ({100 * (value / took - 1):+.0f} %)" for value in told]
    return f"| {name} | {runs} | {took:.1f} | {' | '.join(cells)} |"


def _not_run(table: str, observed: list[Observed]) -> str:
    """The line of a table without committed results."""
    jobs = TableConfig.load(table.removeprefix("table")).jobs("mini")
    rows = plan(jobs, [seen for seen in observed if seen.source == COMMITTED], Assumptions(job=jobs[0])).rows
    minutes = sum(row.hours for row in rows if row.work.steps) * 60
    return f"| {table.replace('table', 'Table ')} | {len(jobs)} | no committed results | {minutes:.1f} | – |"


def predicted_minutes(runs: list[Observed], given: list[Observed]) -> float | None:
    """Core-minutes that the plan gives the jobs of `runs` when it knows `given` alone; None if that is nothing."""
    if not given:
        return None
    made = plan([seen.job for seen in runs], given, Assumptions())
    seconds = sum(row.runs * row.seconds.total for row in made.rows if row.work.steps)
    return seconds / 60


def insert(readme: Path = ROOT / "README.md") -> bool:
    """Puts the block into the README; whether the file changed."""
    from analysis import readme as blocks

    return blocks.insert(readme, BLOCK, block(known()))
