"""Read settings from the command line, `--set section.key=value`, for `table`, `tune` and `plan`.

A key is one of the config (`tables.JobConfig`), or `algorithm.<method>.<setting>`. The setting's type decides how its
value is read: `null` is None where that is allowed, commas separate the items of a list.
"""

import dataclasses
import hashlib
import re
import typing
from collections.abc import Mapping, Sequence
from types import NoneType

from pydantic.fields import FieldInfo

from reproduce.config.sections import WEB
from reproduce.config.strict import InHash, bare, nearest
from reproduce.config.strict import settings as settings_of
from reproduce.config.tables import SECTIONS, JobConfig
from reproduce.errors import UserError

KEY = re.compile(r"\w+(\.[\w+-]+)*")
ALGORITHM = "algorithm"
WORDS = {"true": True, "false": False, "null": None}
LONGEST = 120
"""Characters of a label; file systems allow 255 for the name of a folder."""


def parsed(words: Sequence[str]) -> dict[str, str]:
    """Split words into settings: `["training.steps=48 task.max_tool_calls=6"]` -> key -> value as text.

    Blanks and words both separate settings.

    Raises:
        UserError: a word is no setting, or a key is given twice.
    """
    found: dict[str, str] = {}
    for word in " ".join(words).split():
        key, sign, text = word.partition("=")
        if not sign or not text or not KEY.fullmatch(key):
            raise UserError(f"--set {word} is no setting: write section.key=value, such as training.steps=48")
        if key in found:
            raise UserError(f"--set {word} names a setting twice: give {key} once")
        found[key] = text
    return found


def changed(jobs: Sequence[JobConfig], settings: Mapping[str, str]) -> list[JobConfig]:
    """Apply settings to the jobs of a table.

    Args:
        jobs: the table's jobs.
        settings: key -> value as text, as `parsed` gives them.

    Returns:
        The changed jobs.

    Raises:
        UserError: a key does not exist, a value does not fit, no row runs the algorithm, or a setting belongs to one
            row or differs between rows. The message names the key.
    """
    for key in settings:
        _check_shared(jobs, key)
    made = []
    for job in jobs:
        data = job.to_dict()
        for key, text in settings.items():
            if place := _place(job, key):
                _put(data, place, _value(key, text))
        made.append(JobConfig.from_dict(data, f"--set, {job.experiment}, profile {job.profile}"))
    return made


def applied(jobs: list[JobConfig], settings: Mapping[str, str]) -> list[JobConfig]:
    """Apply settings to a table's jobs, and rename the experiment to `<table>.<label>` so that their runs get their own
    folder.

    Without settings the jobs stay as they are. Raises UserError as `changed` does.
    """
    made = changed(jobs, settings) if settings else jobs
    name = label({key: _shown(made, key) for key in sorted(settings) if not changes_nothing(key)})
    return [dataclasses.replace(job, experiment=f"{job.experiment}.{name}") for job in made] if name else made


def changes_nothing(key: str) -> bool:
    """Whether a setting changes no result, and so no name."""
    return not key.startswith(f"{ALGORITHM}.") and any(InHash.NEVER in setting.metadata for setting in _path(key))


def label(settings: Mapping[str, str]) -> str:
    """Write settings as one name of a folder, such as "task.max_tool_calls-6_training.steps-48"; "" for none.

    Characters that a name cannot hold, and what is too long, are replaced by a hash, so that two settings never share a
    name.
    """
    words = [f"{key}-{settings[key]}" for key in settings]
    text = "_".join(words)
    name = re.sub(r"[^\w.+-]", "-", text, flags=re.ASCII)
    if name == text and len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(" ".join(words).encode()).hexdigest()[:10]
    return f"{name[:LONGEST]}+{digest}"


def _path(key: str) -> list[FieldInfo]:
    """List the settings that a key passes, its own last.

    Raises:
        UserError: the key does not exist, names a section that cannot be null, or is filled in by us.
    """
    names = key.split(".")
    if names[0] not in SECTIONS:
        raise UserError(f"{key} is not a setting that all rows share{nearest(names[0], SECTIONS)}")
    kind, found = JobConfig, []
    for number, name in enumerate(names):
        known = settings_of(kind)
        if name not in known:
            hint = nearest(name, known) or f": {'.'.join(names[:number])} has none of its own"
            raise UserError(f"{key} is not a setting{hint}")
        found.append(known[name])
        kind = bare(known[name].annotation)
    if NoneType not in typing.get_args(found[-1].annotation):
        _check_no_section(key, kind)
    if kind is dict:
        raise UserError(f"{key} is not set by hand")
    return found


def _check_no_section(key: str, kind) -> None:
    if known := settings_of(kind):
        raise UserError(f"{key} is a section: name one of its settings, such as {key}.{next(iter(known))}")


def _place(job: JobConfig, key: str) -> list[str]:
    """The keys of the job's config that lead to a setting; [] for a setting of another algorithm."""
    names = key.split(".")
    if names[0] != ALGORITHM:
        return names
    if len(names) != 3:
        raise UserError(f"{key} is not a setting; write {ALGORITHM}.<method>.<setting>=value")
    return [ALGORITHM, names[2]] if names[1] == job.method else []


def _at(job: JobConfig, place: Sequence[str]):
    value = job.to_dict()
    for name in place:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _put(data: dict, place: Sequence[str], value) -> None:
    *before, last = place
    for name in before:
        if data[name] is None:
            data[name] = {}
        data = data[name]
    data[last] = value


def _value(key: str, text: str):
    annotation = None if key.startswith(f"{ALGORITHM}.") else _path(key)[-1].annotation
    kind = bare(annotation)
    if text == "null" and NoneType in typing.get_args(annotation):
        return None
    _check_no_section(key, kind)
    if typing.get_origin(kind) is list:
        return text.split(",")
    return text if kind is str or typing.get_origin(kind) is typing.Literal else _scalar(text)


def _scalar(text: str) -> int | float | bool | str | None:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return WORDS.get(text, text)


def _check_shared(jobs: Sequence[JobConfig], key: str) -> None:
    """Refuse a setting that belongs to one row, that no row or not the world has, or in which the rows differ."""
    places = [_place(job, key) for job in jobs]
    section, name = (*key.split("."), "")[:2]
    if section != ALGORITHM:
        _path(key)
    elif not any(places):
        methods = dict.fromkeys(job.method for job in jobs)
        raise UserError(f"{key}: no row runs {name}; methods: {', '.join(methods)}{nearest(name, methods)}")
    values = {job.name: repr(_at(job, place)) for job, place in zip(jobs, places, strict=True) if place}
    (row, first), *others = values.items()
    for other, value in others:
        if value != first:
            raise UserError(f"{key} is {first} in the row {row} and {value} in {other}: it is not shared")
    for job in jobs:
        if section == "training" and name in job.training_changes:
            raise UserError(f"{key} is what the row {job.name} of {job.experiment} sets itself: it is not shared")
        if section in ("search", "judge") and job.task.world != WEB:
            raise UserError(f"{key} is not a setting of {job.experiment} in profile {job.profile}: its world has none")


def _shown(jobs: list[JobConfig], key: str) -> str:
    """The setting's value as the jobs have it, so that 5e-4 and 0.0005 give one name."""
    value = next(_at(job, place) for job in jobs if (place := _place(job, key)))
    if isinstance(value, list):
        return ",".join(map(str, value))
    word = next((word for word, known in WORDS.items() if known is value), None)
    return word or str(value)
