"""The command `python -m reproduce plan`: a plan as terminal text, as CSV and in the README's block, which is made from
committed files alone and has the same bytes everywhere."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.format import human
from analysis.readme import insert
from analysis.text_table import MISSING, TextTable, pipes, text
from reproduce.arguments import DEFAULT_PROFILE, Parser, add_settings, count, names, new_file, seeds
from reproduce.commands.plan.assumptions import Assumptions
from reproduce.commands.plan.cost import STAGES, Plan, committed, plan, seconds_one_stale
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.grid.resolve import named
from reproduce.runs.files import write_bytes
from reproduce.runs.manifest import WARM_START, usable_cores
from reproduce.training.memory import lines as memory_lines

README, BLOCK, TABLES = Path(__file__).with_name("README.md"), "plans", ("1", "2", "3")


def hours(value: float) -> str:
    """Hours in three digits; – for none."""
    if value <= 0:
        return MISSING
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


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
IN_README = [title for title in COLUMNS if title.lower() not in STAGES]


def main(words: list[str]) -> int:
    """Prints a plan.

    Raises:
        UserError: bad words, an unknown table, profile, method or assumption.
    """
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
        changed = insert(README, BLOCK, block(committed()))
        print("the README has the plans" if changed else "the README had the plans already")
        return 0
    for word in options.assume:
        if "=" not in word:
            raise UserError(f"plan --assume {word}: write NAME=VALUE")
    jobs = named(options.table, options.profile, options.methods, options.seeds, options.set)
    made = plan(jobs, committed(), Assumptions(jobs[0], dict(word.split("=", 1) for word in options.assume)))
    print(text(shown(made, memory_lines(jobs), options.jobs)), end="")
    if options.csv:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        rows = pd.DataFrame(made.rows).to_csv(index=False, float_format="%.6g", lineterminator="\n")
        write_bytes(options.csv, rows.encode())
        print(f"written: {options.csv}")
    return 0


def shown(made: Plan, memory: list[str], at_once: int | None) -> TextTable:
    """The plan with all it rests on. at_once: runs at a time on a CPU; None: one per core."""
    unit = "CPU core-hours" if made.speed.device == "CPU" else f"{made.speed.device} hours"
    title = f"Plan of table {made.rows[0]['table']}, profile {made.job.profile} (hours: {unit})"
    assumed = [f"{name} = {a}: {a.meaning} ({a.source})" for name, a in made.assume.used().items()]
    notes = [*conclusion(made, at_once), *settings(made), *memory, *measured(made), *assumed]
    return TextTable(title, list(COLUMNS), [cells(row) for row in (*made.rows, made.total)], notes=notes)


def cells(row: dict, columns=tuple(COLUMNS)) -> list[str]:
    """The cells of a row, or of `Plan.total`, under these titles of `COLUMNS`."""
    return [COLUMNS[title](row) for title in columns]


def settings(made: Plan) -> list[str]:
    """The runs, from the resolved config, and how long the trajectories are."""
    job, shape, model = made.job, made.shape, made.model
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


def measured(made: Plan) -> list[str]:
    """Speeds that were fitted, and what methods add, each with its source."""
    lines = []
    if made.speed.fitted is not None:
        sampling, batch, training, update = made.speed.fitted
        lines.append(
            f"{made.speed.source}: {1e9 * sampling:.3f} s per G operations of sampling and {batch:.2f} s a batch, "
            f"{1e9 * training:.3f} s per G operations of training and {update:.3f} s an optimiser step, "
            f"{made.speed.run:.1f} s a run beside its stages"
        )
    for name, (sampled, _, calls, source) in made.factors.items():
        if (sampled, calls) != (1.0, 1.0):
            lines.append(f"{name}: {sampled:.2f} x the sampled tokens, {calls:.2f} x the calls ({source})")
    return lines


def conclusion(made: Plan, at_once: int | None = None) -> list[str]:
    """Wall time, what limits it, and costs that the numbers leave out."""
    job, speed, notes = made.job, made.speed, []
    of_row = {row["row"]: _seconds(row) for row in made.rows}
    total, engine = sum(of_row.values()), job.engine.name if job.engine is not None else ""
    if speed.device == "CPU":
        at_once, first = at_once or usable_cores(), of_row.get(WARM_START, 0.0)
        said = f"about {hours((first + (total - first) / at_once) / 3600)} h of wall time, {at_once} runs at a time"
        if speed.fitted is None:
            notes.append("this model was not measured on a CPU: hours are from the assumed speed of one core")
    else:
        said = f"about {hours(total / 3600)} h of wall time, one run at a time on {speed.devices} {speed.device}"
        steps = [of_row[row["row"]] / row["runs"] / 60 / row["steps"] for row in made.rows if row["steps"]]
        said += f"; {min(steps):.1f} to {max(steps):.1f} minutes an RL step" if steps else ""
        if job.search is not None or job.training.stale_steps:
            waiting = sum(row["seconds_tools"] for row in made.rows) / total
            said += f"; {waiting:.0%} of the time waits for tools: {_stale(made, engine)}"
        if not engine.startswith("vllm"):
            notes.append("sampling is taken to be as fast as vLLM's; the engine of this config is slower")
    if job.judge is not None:
        notes.append("not counted: the judge's model, and pages that are fetched")
    return [said, *notes]


def _stale(made: Plan, engine: str) -> str:
    """The hours of wall time of steps that are sampled while the one before trains."""
    seconds = 0.0
    for row in made.rows:
        stages = (row[f"seconds_{stage}"] / row["runs"] for stage in STAGES)
        seconds += row["runs"] * seconds_one_stale(*stages, row["steps"], apart=engine == "vllm_server")
    said = f"{hours(seconds / 3600)} h "
    if made.job.training.stale_steps:
        return said + "as configured, each step sampled while the one before trains (training.stale_steps)"
    said += "if steps were sampled while the one before trains, one step stale (training.stale_steps: 1)"
    return said + (", which takes a vLLM server on other cards" if engine == "vllm" else "")


def _seconds(row: dict, stages=STAGES) -> float:
    return sum(row[f"seconds_{stage}"] for stage in stages)


def block(runs: pd.DataFrame) -> str:
    """The README's block: tables 1 to 3 at the papers' scale, and the profile mini against what it took."""
    plans, rows, said, assumed = [], [], [], {}
    for table in TABLES:
        jobs = TableConfig.load(table).jobs("paper")
        made = plan(jobs, runs, Assumptions(jobs[0]))
        plans.append(made)
        rows += [[table, *cells(row, IN_README)] for row in made.rows]
        rows.append([table, *(f"**{cell}**" for cell in cells(made.total, IN_README))])
        said.append(f"- Table {table}: {'; '.join(settings(made) + conclusion(made))}.")
        said += [f"- Methods of table {table}: {'; '.join(methods)}." for methods in [measured(made)] if methods]
        assumed |= {name: [f"`{name}`", str(a), a.meaning, a.source] for name, a in made.assume.used().items()}
    said.append(_cross_check(plans[1].job, runs))
    header = ["Table", *(title.replace("Hours", "GPU-hours") for title in IN_README)]
    folded = _lines(["assumption", "value", "what", "source"], list(assumed.values()), left=4)
    folded = f"<details><summary>Every assumption</summary>\n\n{folded}\n\n</details>"
    return "\n\n".join([_lines(header, rows, left=2), "\n".join(said), folded, _check(runs)])


def _lines(header: list[str], rows: list[list[str]], left: int) -> str:
    """A Markdown table whose first `left` columns are text."""
    return "\n".join(pipes([header, ["---"] * left + ["---:"] * (len(header) - left), *rows]))


def _cross_check(job, runs: pd.DataFrame) -> str:
    """The only time at this scale that is known to us, from the README of ARPO's repository, against ours."""
    job = replace(job, method="arpo", training=replace(job.training, prompts_per_step=128, group_size=16))
    row = plan([job], runs, Assumptions(job, {"searches_per_second": "0"})).rows[-1]
    minutes = _seconds(row, STAGES[:3]) / row["steps"] / 60
    return (
        f"- ARPO's authors report about 10 minutes an RL step for 14B, 128 x 16 trajectories, eight GPUs; for that, "
        f"and without a limit on searches, this gives {minutes:.0f}."
    )


def _check(runs: pd.DataFrame) -> str:
    """Each committed table of profile mini, predicted from the other tables."""
    found = {}
    for table in sorted({f"table{n}" for n in TABLES} | set(runs["table"])):
        own, others = runs[runs["table"] == table], runs[runs["table"] != table]
        jobs = list(own["job"]) or TableConfig.load(table.removeprefix("table")).jobs("mini")
        took = own["total"].sum() / 60
        found[table.replace("table", "Table ")] = len(jobs), took, predicted_minutes(jobs, others)
    found["Sum"] = tuple(np.sum([numbers for numbers in found.values() if numbers[1]], axis=0))
    rows = []
    for name, (number, took, told) in found.items():
        against = f" ({100 * (told / took - 1):+.0f} %)" if took else ""
        rows.append([name, f"{number:.0f}", f"{took:.1f}" if took else "no committed results", f"{told:.1f}{against}"])
    return _lines(["Profile mini", "Runs", "Took, core-minutes", "Predicted from the other tables"], rows, left=1)


def predicted_minutes(jobs: list, given: pd.DataFrame) -> float:
    """Core-minutes that the plan gives to jobs when it knows the runs `given` alone; without the warm start."""
    return sum(_seconds(row) for row in plan(jobs, given, Assumptions(jobs[0])).rows if row["steps"]) / 60
