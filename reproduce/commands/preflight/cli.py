"""Check everything that a table's runs need before anything is loaded: one line a check.

    python -m reproduce preflight --table 2 --profile paper [--launcher accelerate --launch-config fsdp] [--card 80]

Exit codes: 0 nothing fails, 1 something does (its line says what to do), 2 bad input.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from reproduce.arguments import DEFAULT_PROFILE, Parser, add_settings, first_line, folder, names, seeds
from reproduce.commands.preflight import inputs, machine
from reproduce.commands.preflight.check import FAIL, Check, NotNeeded, checked
from reproduce.commands.preflight.clock import addresses, check_clock
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid.launchers import LAUNCHERS
from reproduce.grid.machine import Start, started, visible_cards
from reproduce.grid.resolve import named
from reproduce.grid.runnable import check_runnable
from reproduce.grid.services import services_of
from reproduce.training.memory import GB, place

SERVICES = ("search", "search.summary", "judge")


def parser() -> Parser:
    """The command's options."""
    made = Parser(prog="python -m reproduce preflight", description=first_line(__doc__))
    add = made.add_argument
    add("--table", default="2", help="number of the table (default: %(default)s)")
    add("--profile", default=DEFAULT_PROFILE, help="default: %(default)s")
    add("--task", help="another world of the same table, such as scienceworld for table 3")
    add("--methods", type=names, help="methods, variants or groups (default: the table's)")
    add("--seeds", type=seeds, help="e.g. 0,1,2 or 0-7 (default: the table's)")
    add("--runs-root", type=folder, default=Path("runs"), help="where runs are to lie (default: %(default)s)")
    add("--launcher", choices=LAUNCHERS, help="where runs start (default: as the profile's machine asks)")
    add("--launch-config", help="as for `table`")
    add("--card", type=float, help="GB of a card, where none is visible here")
    add_settings(made, "KEY=VALUE", "other settings than the table's, as for `table`")
    return made


def main(words: list[str]) -> int:
    """Prints a line for every check. Returns 1 if one fails. UserError on bad words or settings."""
    options = parser().parse_args(words)
    if options.card is not None and not options.card > 0:
        raise UserError(f"--card {options.card:g}: give the memory of a card in GB, such as 80")
    profile = f"{options.profile}-{options.task}" if options.task else options.profile
    jobs = named(options.table, profile, options.methods, options.seeds, options.set)
    failed = 0
    with _quiet():
        for check in checks(jobs, options.runs_root, options.launcher, options.launch_config, options.card):
            print(check, flush=True)
            failed += check.state == FAIL
    print(f"{failed} of the checks failed; nothing was started" if failed else "nothing fails")
    return int(failed > 0)


@contextmanager
def _quiet() -> Iterator[None]:
    """While open, warnings of what is asked are not logged: a failure is a line of the list."""
    logger = logging.getLogger("reproduce")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def checks(
    jobs: list[JobConfig], root: Path, launcher: str | None, config: str | None, card: float | None = None
) -> Iterator[Check]:
    """The checks of a table's jobs, one after the other. root: of the runs; launcher, config, card: as the options."""
    job = jobs[0]
    yield checked("settings", lambda: _settings(jobs))
    yield checked("versions", lambda: machine.check_versions(jobs))
    yield checked("sandbox", lambda: machine.check_sandbox(job))
    yield checked("models", lambda: inputs.check_models(job))
    yield checked("data", lambda: inputs.check_data(job))
    yield checked("files", lambda: inputs.check_world(job))
    asked = services_of(job)
    for name in SERVICES:
        yield checked(name, asked.get(name, partial(_not_asked, name)))
    start = partial(started, jobs, launcher, config, visible_cards() if launcher != "slurm" else [])
    yield checked("launcher", lambda: machine.check_launcher(job, start(), root))
    yield checked("cards", _on(machine.check_cards, job, launcher, start, root))
    yield checked("memory", lambda: machine.check_memory(jobs, *_place(jobs, launcher, config, start, root), card))
    yield checked("disk", lambda: machine.check_disk(jobs, root))
    yield checked("clock", lambda: check_clock(addresses(job)))


def _settings(jobs: list[JobConfig]) -> str:
    check_runnable(jobs, here=False)
    rows = dict.fromkeys(job.name for job in jobs)
    return f"{', '.join(rows)}; {len(jobs)} runs"


def _not_asked(name: str) -> str:
    raise NotNeeded(f"these runs send nothing for `{name}`")


def _place(
    jobs: list[JobConfig], launcher: str | None, config: str | None, start: Callable[[], Start], root: Path
) -> tuple[int, bool, float | None]:
    """(processes, divided, GB of a card): those of the profile's machine where the user names no launcher."""
    if launcher == "slurm":
        raise NotNeeded("the nodes of a cluster are not this machine: python -m reproduce.training.memory")
    if launcher is None and config is None and jobs[0].machine is not None:
        card, processes, divided = place(jobs)
        return processes, divided, card / GB
    return *machine.launched(start(), root, jobs[0].training.device), None


def _on(
    check: Callable, job: JobConfig, launcher: str | None, start: Callable[[], Start], root: Path
) -> Callable[[], str]:
    if launcher == "slurm":
        return lambda: check(job, 0, here=False)
    return lambda: check(job, machine.launched(start(), root, job.training.device)[0])
