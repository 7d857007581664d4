"""`make tune`: the settings that all rows of a table share, tried on the validation panel and never on the test panel.

Every combination of the values asked for is a grid of its own, in `runs/<profile>/tune<table>.<combination>/`, with the
same budget for every method, resumed like a table's. What came of it is the record (`tune_record`): every trial that
these directories hold, of this command and of earlier ones, failed ones too.
"""

import dataclasses
from pathlib import Path

from reproduce import arguments
from reproduce.commands import tune_record
from reproduce.config import command_line
from reproduce.config.rows import combinations
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid import runner
from reproduce.grid.freeze_inputs import pinned
from reproduce.grid.resolve import named
from reproduce.grid.runnable import check_runnable
from reproduce.paths import shown
from reproduce.runs import directory, files
from reproduce.runs.manifest import WARM_START, config_hash
from reproduce.runs.reader import find_runs
from reproduce.training.installed import check_installed

FIXED = {
    "algorithm": "belongs to a method: it is not a setting that all rows share",
    "evaluation.split": "is validation in every trial",
    "evaluation.checks": "are left out of trials: they look at test tasks",
}
ONE_PANEL = ("evaluation.questions", "evaluation.samples")


def choices(words: list[str]) -> dict[str, list[str]]:
    """`["training.epochs=1,2", …]` -> key -> its values as text.

    UserError for anything else, for a key or a value given twice, for two keys that end alike, and for a setting that
    is the same in every trial.
    """
    found: dict[str, list[str]] = {}
    for key, text in command_line.parsed(words).items():
        word, values = f"{key}={text}", text.split(",")
        if not all(values):
            raise UserError(f"--set {word} is no setting to try: write section.key=value,value (training.epochs=1,2)")
        if len(set(values)) < len(values):
            raise UserError(f"--set {word} names a value twice")
        if any(_last(key) == _last(other) for other in found):
            raise UserError(f"--set {word} ends as another setting does: try one of them at a time")
        for name, reason in FIXED.items():
            if f"{key}.".startswith(f"{name}."):
                raise UserError(f"{key} cannot be tried: {name} {reason}")
        if command_line.changes_nothing(key):
            raise UserError(f"{key} changes no result: there is nothing to try")
        if key in ONE_PANEL and len(values) > 1:
            raise UserError(f"{key} takes one value here: trials are compared on one panel")
        found[key] = values
    return found


def label(combination: dict[str, str]) -> str:
    """The combination as one word, such as "learning_rate-5e-4_epochs-2"; "as-it-is" for none."""
    return command_line.label({_last(key): value for key, value in combination.items()}) or "as-it-is"


def trial(jobs: list[JobConfig], combination: dict[str, str]) -> list[JobConfig]:
    """The jobs under these settings, evaluated on the validation panel, without small test evaluations in between.

    UserError as of `command_line.changed`.
    """
    name = f"tune{jobs[0].experiment.removeprefix('table')}.{label(combination)}"
    made = command_line.changed(jobs, combination)
    panels = [dataclasses.replace(job.evaluation, split="validation", checks=None) for job in made]
    return [dataclasses.replace(j, experiment=name, evaluation=p) for j, p in zip(made, panels, strict=True)]


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def plan(jobs: list[JobConfig], tried: list[dict[str, str]], root: Path) -> list[list[JobConfig]]:
    """The jobs of every combination, checked before any runs.

    UserError for two combinations that are the same settings, now or in a directory of an earlier command, and for a
    directory that holds a run of another config.
    """
    trials = [trial(jobs, combination) for combination in tried]
    for batch in trials:
        check_runnable(batch)
    planned = [pinned(batch) for batch in trials]
    names: dict[str, str] = {}
    for batch in planned:
        for job in batch:
            name, other = job.experiment, names.setdefault(config_hash(job), job.experiment)
            if other != name:
                raise UserError(f"{other} and {name} are the same settings: leave one out")
        for job in (*(job.warm_start_job() for job in batch), *batch):
            directory.check(job.directory(root), job)
    for base in tune_record.directories(root, jobs[0].profile, jobs[0].experiment.removeprefix("table")):
        for path in find_runs(root, jobs[0].profile, base.name):
            made = path.parent.name != WARM_START and (path / "manifest.json").is_file()
            name = names.get(files.read_json(path / "manifest.json").get("config_hash")) if made else None
            if name not in (None, base.name):
                raise UserError(f"{name} are the settings that {shown(base)} holds: leave them out, or move it away")
    return planned


def main(words: list[str] | None = None) -> int:
    """Runs the trials that are missing, then writes and prints the record; the exit code, 1 if a run failed."""
    parser = arguments.Parser(
        prog="python -m reproduce tune",
        description="Try shared settings of a table on its validation panel, never the test panel; every method with "
        "the same budget. Does only what is missing; the record holds earlier trials of the table too.",
    )
    add = parser.add_argument
    add("table", help="number of the table")
    tried = "settings and their values, all combinations: training.learning_rate=2.5e-4,5e-4 training.epochs=1,2"
    arguments.add_settings(parser, "KEY=V,V", f"{tried} (default: the table's settings as they are)")
    add("--methods", type=arguments.names, default=["grpo"], help="methods or groups, with commas (default: grpo)")
    add("--seeds", type=arguments.seeds, default=[0], help="e.g. 0,1,2 or 0-7 (default: 0)")
    add("--profile", default=arguments.DEFAULT_PROFILE, help="default: %(default)s")
    add("--jobs", type=arguments.count, help="runs at a time (default: one per core)")
    add("--runs-root", type=arguments.folder, default=Path("runs"), help="default: %(default)s")
    add("--csv", type=arguments.new_file, help="the record (default: <runs>/<profile>/tune<table>.csv)")
    options = parser.parse_args(words)
    tried = combinations(choices(options.set))
    jobs = named(options.table, options.profile, options.methods, options.seeds)
    root = options.runs_root.resolve()
    planned = plan(jobs, tried, root)
    for batch in planned:
        check_installed(batch)
    runner.name_sandbox(jobs[0])
    failures = []
    for number, batch in enumerate(planned, 1):
        print(f"settings {number} of {len(planned)}: {label(tried[number - 1])}", flush=True)
        failures += runner.run(batch, root, options.jobs)
    record = options.csv or root / options.profile / f"tune{options.table}.csv"
    found = tune_record.trials(root, options.profile, options.table)
    tune_record.write(record, found)
    print(tune_record.text(found))
    print(shown(record.resolve()))
    for failure in failures:
        print(failure)
    if failures:
        print(f"{len(failures)} failed; the finished runs are kept. Run the same command again to continue.")
    return 1 if failures else 0
