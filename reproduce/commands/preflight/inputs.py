"""Checks of what is read: models and data sets at their locked revisions, and the world's own files."""

from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO

from reproduce.commands.preflight.check import NotNeeded
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.tools.hub.at_hand import CACHED, file_at_hand, model_at_hand
from reproduce.worlds.benchmarks.files import data_file
from reproduce.worlds.registry import world_of


def models_of(job: JobConfig) -> dict[str, str]:
    """setting -> model that a run loads."""
    encoder = job.search and job.search.encoder
    found = {"model.name_or_path": job.model.name_or_path, "search.encoder": encoder}
    return {setting: name for setting, name in found.items() if name is not None}


def check_models(job: JobConfig) -> str:
    """Each model: its revision, and where it is."""
    found = []
    for name in models_of(job).values():
        revision, where = model_at_hand(name)
        found.append(f"{name} at {revision[:12]}: {where}")
    if not found:
        raise NotNeeded("the model is made from scratch")
    return "; ".join(found)


def data_sets(job: JobConfig) -> list[str]:
    """The data sets that a table's runs read, by name."""
    data, sft = job.task.data, job.warm_start.data
    tested = job.evaluation.split == "test"
    found = [] if sft is None else [sft.name]
    if data is not None:
        found += [data.train, *(job.task.families if tested else [data.validation])]
    return found


def check_data(job: JobConfig) -> str:
    """Every data set: in `task.data.folder`, cached, or to be had. UserError that names all that are not."""
    names = data_sets(job)
    if not names:
        raise NotNeeded("the world's questions are in the repository")
    folder = job.task.data and job.task.data.folder
    problems, places = [], {}
    for name in names:
        try:
            if folder is None:
                places[name] = file_at_hand(name)[1]
            else:
                places[name] = f"in {data_file(name, folder).parent}"
        except UserError as problem:
            problems.append(f"{name}: {problem}" if name not in str(problem) else str(problem))
    if problems:
        raise UserError("; ".join(problems))
    return "; ".join(f"{', '.join(_at(places, place))}: {place}" for place in dict.fromkeys(places.values()))


def _cached(name: str) -> bool:
    try:
        return file_at_hand(name)[1] == CACHED
    except UserError:  # the check of data says so
        return False


def _at(places: dict[str, str], place: str) -> Iterator[str]:
    return (name for name, found in places.items() if found == place)


def check_world(job: JobConfig) -> str:
    """The files of the world, read to their end as a table's start does it."""
    later = [] if job.task.data is None or job.task.data.folder else [n for n in data_sets(job) if not _cached(n)]
    if later:
        raise NotNeeded(f"read when they are here: {', '.join(later)}")
    world = world_of(job.task)
    world.check(job)
    with redirect_stdout(StringIO()) as said:
        world.freeze(job)
    return said.getvalue() or f"{job.task.world}: its files can be read"
