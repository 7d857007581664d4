"""Resolve a table's name to its jobs, and check everything that can be checked before anything runs."""

import dataclasses
from collections.abc import Sequence

from reproduce.config import command_line
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.grid.runnable import check_runnable
from reproduce.training.trackers import tracker_names


def resolve(
    table: str,
    profile: str,
    methods: list[str] | None = None,
    seeds: list[int] | None = None,
    here: bool = True,
    changes: Sequence[str] = (),
) -> list[JobConfig]:
    """Make the jobs of a table and check names, settings, overrides, variants, device and panels.

    Args:
        table: such as 2.
        profile: such as mini.
        methods: methods, variants or groups; None: the table's.
        seeds: None: the table's.
        here: they run on this machine, which must have the device.
        changes: `section.key=value`, as on the command line (`reproduce.config.command_line`).

    Raises:
        UserError: a check fails.
    """
    jobs = named(table, profile, methods, seeds, changes)
    check_runnable(jobs, here)
    return jobs


def named(
    table: str,
    profile: str,
    methods: list[str] | None = None,
    seeds: list[int] | None = None,
    changes: Sequence[str] = (),
) -> list[JobConfig]:
    """As `resolve`, without the checks of what the jobs need to run."""
    config = TableConfig.load(table)
    jobs = config.jobs(profile, methods, seeds)
    from reproduce import algorithms

    groups = f"; groups: {', '.join(config.groups)}" if config.groups else ""
    for method in [*(job.method for job in jobs), *config.method_names(profile)]:
        if method not in algorithms.names():
            raise UserError(f"there is no method '{method}'; methods: {', '.join(algorithms.names())}{groups}")
    _check_variants(config, profile)
    return command_line.applied(jobs, command_line.parsed(changes))


def reporting(jobs: list[JobConfig], report_to: str | None) -> list[JobConfig]:
    """Set `training.report_to` of the jobs as the user says; None: as the config says.

    Raises:
        UserError: a tracker is unknown or not installed.
    """
    report_to = jobs[0].training.report_to if report_to is None else report_to
    names = ",".join(tracker_names(report_to)) or None
    return [dataclasses.replace(job, training=dataclasses.replace(job.training, report_to=names)) for job in jobs]


def _check_variants(config: TableConfig, profile: str) -> None:
    """Refuse a variant that is named as a method, or whose settings are those of a method or another variant.

    A grid needs no such check: its cells differ by construction, and the one at 1x, 1x is the method itself.
    """
    from reproduce import algorithms

    if not config.variants:
        return
    seen: dict[tuple, str] = {}
    plain = sorted({variant.method for variant in config.variants.values()})
    for job in config.jobs(profile, [*plain, *config.variants], [0]):
        if job.variant in algorithms.names():
            raise UserError(f"{config.source}: the variant '{job.variant}' has the name of a method; rename it")
        own = algorithms.load(job.method, **job.algorithm).settings
        key = repr((sorted(own.items()), job.training))
        if key in seen:
            problem = (
                f"has the settings of '{seen[key]}': it changes nothing"
                if seen[key] in plain
                else (f"equals the variant '{seen[key]}'")
            )
            raise UserError(f"{config.source}: the variant '{job.name}' {problem}; remove it or change a setting")
        seen[key] = job.name
