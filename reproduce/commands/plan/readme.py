"""The README's block of plans: what tables 1 to 3 cost at the papers' scale, and how well the same model tells what
profile mini took. Made from committed files alone, so that it has the same bytes everywhere."""

from dataclasses import replace
from pathlib import Path

from reproduce.commands.plan import report
from reproduce.commands.plan.assumptions import Assumptions
from reproduce.commands.plan.cost import STAGES, Plan, plan
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
    plans, said, refused = [], [], []
    for table in TABLES:
        try:
            jobs = TableConfig.load(table).jobs("paper")
            plans.append(plan(jobs, observed, Assumptions(job=jobs[0])))
        except UserError as error:
            refused.append(f"- Table {table} has no plan: {error}.")
    for made in plans:
        facts = report.settings(made) + report.conclusion(made, None), report.measured(made)
        titles = f"- Table {made.table}", f"- Methods of table {made.table}"
        said += [f"{title}: {'; '.join(lines)}." for title, lines in zip(titles, facts, strict=True) if lines]
    said += refused + [_cross_check(made, observed) for made in plans if made.table == "2"]
    parts = [_plans(plans), "\n".join(said), _assumed(plans)] if plans else ["\n".join(said)]
    return "\n\n".join([*parts, _check(observed)])


def _lines(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A Markdown table whose first `left` columns are text."""
    ruled = [header, ["---"] * left + ["---:"] * (len(header) - left), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ruled)


def _plans(plans: list[Plan]) -> str:
    header, rows = ["Table", *(report.HEADER[i].replace("Hours", "GPU-hours") for i in SHOWN)], []
    for made in plans:
        rows += [[made.table, *(report.cells(made, row)[i] for i in SHOWN)] for row in made.rows]
        rows.append([made.table, *(f"**{report.cells(made, made.total)[i]}**" for i in SHOWN)])
    return _lines(header, rows, left=2)


def _assumed(plans: list[Plan]) -> str:
    """Every assumption of the plans, folded away."""
    found = {name: a for made in plans for name, a in made.assume.used().items()}
    rows = [[f"`{name}`", str(a), a.meaning, a.source] for name, a in found.items()]
    table = _lines(["", "value", "what", "source"], rows, left=4).replace("|  |", "| |", 1)
    return f"<details><summary>Every assumption</summary>\n\n{table}\n\n</details>"


def _cross_check(made: Plan, observed: list[Observed]) -> str:
    """The only time at this scale that is known to us, from the README of ARPO's repository, against ours."""
    job = replace(made.job, method="arpo", training=replace(made.job.training, prompts_per_step=128, group_size=16))
    row = plan([job], observed, Assumptions({"searches_per_second": "0"}, job)).rows[-1]
    minutes = sum(row[f"seconds_{stage}"] for stage in ("sampling", "tools", "training")) / row["steps"] / 60
    return (
        f"- ARPO's authors report about 10 minutes an RL step for 14B, 128 x 16 trajectories, eight GPUs; for that, "
        f"and without a limit on searches, this gives {minutes:.0f}."
    )


def _check(observed: list[Observed]) -> str:
    """Each committed table of profile mini, predicted without its own runs and from the bench alone."""
    runs = [seen for seen in observed if seen.source == COMMITTED]
    rows, sums = [], []
    for table in sorted({f"table{n}" for n in TABLES} | {seen.job.experiment for seen in runs}):
        title = table.replace("table", "Table ")
        own = [seen for seen in runs if seen.job.experiment == table]
        others = [seen for seen in runs if seen.job.experiment != table]
        if not own:
            jobs = TableConfig.load(table.removeprefix("table")).jobs("mini")
            minutes = predicted(plan(jobs, others, Assumptions(job=jobs[0])))
            rows.append([title, str(len(jobs)), "no committed results", f"{minutes:.1f}", "–"])
            continue
        given = others, [seen for seen in observed if seen.source == BENCH]
        told = [predicted_minutes(own, known) if known else None for known in given]
        sums.append((len(own), sum(seen.total for seen in own) / 60, *told))
        rows.append(_line(title, *sums[-1]))
    if all(None not in line for line in sums):
        rows.append(_line("Sum", *(sum(column) for column in zip(*sums, strict=True))))
    told = "Predicted from the other tables", "From `make bench` alone"
    return _lines(["Profile mini", "Runs", "Took, core-minutes", *told], rows)


def _line(name: str, runs: int, took: float, *told: float | None) -> list[str]:
    cells = ["–" if value is None else f"{value:.1f} ({100 * (value / took - 1):+.0f} %)" for value in told]
    return [name, str(runs), f"{took:.1f}", *cells]


def predicted(made: Plan) -> float:
    """Minutes of a plan's trained rows."""
    return sum(row[f"seconds_{stage}"] for row in made.rows if row["steps"] for stage in STAGES) / 60


def predicted_minutes(runs: list[Observed], given: list[Observed]) -> float:
    """Core-minutes that the plan gives the jobs of `runs` when it knows `given` alone."""
    return predicted(plan([seen.job for seen in runs], given, Assumptions()))


def insert(readme: Path = ROOT / "README.md") -> bool:
    """Puts the block into the README; whether the file changed."""
    from analysis import readme as blocks

    return blocks.insert(readme, BLOCK, block(known()))
