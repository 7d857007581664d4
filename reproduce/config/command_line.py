"""Settings from the command line, `--set section.key=value`: one way to read them for `table`, `tune` and `plan`.

A key is that of the config (`tables.JobConfig`), or `algorithm.<method>.<setting>`. The type of the setting
decides how its value is read: `null` for none where that is allowed, commas between the items of a list.
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
    """`["training.steps=48 task.max_tool_calls=6"]` -> key -> value as text; blanks and words both divide settings.

    UserError for anything else, and for a key that is given twice.
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
    """The jobs under these settings.

    UserError, naming the key, for one that there is not, for a value that does not fit, for an algorithm that no row
    runs, and for a setting that is a row's own or in which the rows differ.
    """
    for key in settings:
        _check_shared(jobs, key)
    made = []
    for job in jobs:
        data = job.to_dict()
        for key, text in settings.items():
            _put(data, job, key, text)
        made.append(JobConfig.from_dict(data, f"--set, {job.experiment}, profile {job.profile}"))
    return made


def applied(jobs: list[JobConfig], settings: Mapping[str, str]) -> list[JobConfig]:
    """A table's jobs under these settings, as the experiment `<table>.<label>`, so that their runs have a folder of
    their own. Without settings the jobs as they are. UserError as of `changed`."""
    made = changed(jobs, settings) if settings else jobs
    name = label({key: _shown(made, key) for key in sorted(settings) if not changes_nothing(key)})
    return [dataclasses.replace(job, experiment=f"{job.experiment}.{name}") for job in made] if name else made


def changes_nothing(key: str) -> bool:
    """Whether a setting changes no result, and so no name."""
    return not _is_algorithm(key) and any(InHash.NEVER in setting.metadata for setting in _path(key))


def label(settings: Mapping[str, str]) -> str:
    """The settings as one name of a folder, such as "task.max_tool_calls-6_training.steps-48"; "" for none.

    What a name cannot hold, and what is too long, is replaced by a hash, so that two settings never share a name.
    """
    words = [f"{key}-{settings[key]}" for key in settings]
    text = "_".join(words)
    name = re.sub(r"[^\w.+-]", "-", text, flags=re.ASCII)
    if name == text and len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(" ".join(words).encode()).hexdigest()[:10]
    return f"{name[:LONGEST]}+{digest}"


def _path(key: str) -> list[FieldInfo]:
    """The settings that a key passes, its own last. UserError for a key that there is not, that names a section, or
    that is filled in."""
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
    if settings_of(kind):
        raise UserError(f"{key} is a section: name one of its settings, such as {key}.{next(iter(settings_of(kind)))}")
    if kind is dict:
        raise UserError(f"{key} is not set by hand")
    return found


def _put(data: dict, job: JobConfig, key: str, text: str) -> None:
    """Sets a key of the job's config, a mapping."""
    if _is_algorithm(key):
        _, method, name = _algorithm_key(key)
        if method == job.method:
            data[ALGORITHM] = {**data[ALGORITHM], name: _scalar(text)}
        return
    annotation = _path(key)[-1].annotation
    *before, last = key.split(".")
    for name in before:
        if data[name] is None:
            data[name] = {}
        data = data[name]
    data[last] = _value(text, annotation)


def _value(text: str, annotation):
    kind = bare(annotation)
    if text == "null" and NoneType in typing.get_args(annotation):
        return None
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


def _is_algorithm(key: str) -> bool:
    return key.partition(".")[0] == ALGORITHM


def _algorithm_key(key: str) -> tuple[str, str, str]:
    names = key.split(".")
    if len(names) != 3:
        raise UserError(f"{key} is not a setting; write algorithm.<method>.<setting>=value")
    return names[0], names[1], names[2]


def _check_shared(jobs: Sequence[JobConfig], key: str) -> None:
    """UserError for a setting that is a row's own, that the world has not, or in which the rows differ already."""
    if _is_algorithm(key):
        _, method, name = _algorithm_key(key)
        values = {job.name: repr(job.algorithm.get(name)) for job in jobs if job.method == method}
        if not values:
            methods = dict.fromkeys(job.method for job in jobs)
            raise UserError(f"{key}: no row runs {method}; methods: {', '.join(methods)}{nearest(method, methods)}")
    else:
        _path(key)
        values = {job.name: repr(_at(job.to_dict(), key)) for job in jobs}
    rows = list(values)
    other = next((row for row in rows if values[row] != values[rows[0]]), None)
    if other is not None:
        raise UserError(
            f"{key} is {values[rows[0]]} in the row {rows[0]} and {values[other]} in {other}: it is not shared"
        )
    section, name = (*key.split("."), "")[:2]
    for job in jobs:
        if section == "training" and name in job.training_changes:
            raise UserError(f"{key} is what the row {job.name} of {job.experiment} sets itself: it is not shared")
        if section in ("search", "judge") and job.task.world != WEB:
            raise UserError(f"{key} is not a setting of {job.experiment} in profile {job.profile}: its world has none")


def _at(data: dict, key: str):
    for name in key.split("."):
        data = data.get(name) if isinstance(data, dict) else None
    return data


def _shown(jobs: list[JobConfig], key: str) -> str:
    """The setting's value as the jobs have it, so that 5e-4 and 0.0005 are one name."""
    if _is_algorithm(key):
        _, method, name = _algorithm_key(key)
        value = next(job.algorithm[name] for job in jobs if job.method == method)
    else:
        value = _at(jobs[0].to_dict(), key)
    words = {value: word for word, value in WORDS.items()}
    if isinstance(value, list):
        return ",".join(map(str, value))
    return words[value] if value is None or isinstance(value, bool) else str(value)
