"""Fix what a table's jobs read from outside the repository before anything runs: revisions and hashes of contents.

They become part of each job's config, and so of its hash: a run says which model, which question files and which corpus
it used, and refuses others. Paths and addresses are not part of it.
"""

import dataclasses
from pathlib import Path

from reproduce.config.search import SearchConfig
from reproduce.config.sections import ALFWORLD, DataConfig, ModelConfig
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.evaluation.judge import Judge
from reproduce.tools.hub.fetch import file_sha256, folder_revision, is_folder
from reproduce.tools.hub.lock import locked
from reproduce.tools.hub.sources import HUB
from reproduce.tools.search.search import open_search
from reproduce.worlds.alfworld.source import PublishedGames
from reproduce.worlds.benchmarks.datasets.rl import load_rl
from reproduce.worlds.benchmarks.files import data_file
from reproduce.worlds.benchmarks.overlap import Training
from reproduce.worlds.benchmarks.questions import load


def pinned(jobs: list[JobConfig]) -> list[JobConfig]:
    """The jobs of a table with `model.revision`, the SHA-256 of data files, games and of the corpus filled in.

    Jobs that read none of these are returned as they are. Data files are fetched where they are missing, the index of a
    local corpus is built, and keys of services are looked for. UserError, one line, for the first thing that is not
    there: a locked revision, access to the hub, a gated set, a key, a recording.
    """
    jobs = _with_games(jobs)
    first = jobs[0]
    if first.model.name_or_path is None:
        return jobs
    model = _model(first.model)
    data = first.task.data and _data(first.task.data, first.task.families, first.evaluation.split)
    warm_start = first.warm_start
    if warm_start.data is not None:
        path = data_file(warm_start.data.name, data and data.folder)
        sft = dataclasses.replace(warm_start.data, sha256=file_sha256(path))
        warm_start = dataclasses.replace(warm_start, data=sft)
    search = first.search and _search(first.search)
    if first.judge is not None:
        Judge(first.judge).close()
    task = dataclasses.replace(first.task, data=data)
    return [dataclasses.replace(job, model=model, task=task, warm_start=warm_start, search=search) for job in jobs]


def _with_games(jobs: list[JobConfig]) -> list[JobConfig]:
    """With the hash of ALFWorld's published games, where these are played. UserError if they are not there."""
    task = jobs[0].task
    if task.world != ALFWORLD or task.episodes is None or task.episodes.games not in (None, "published"):
        return jobs
    episodes = dataclasses.replace(task.episodes, games_sha256=PublishedGames().sha256())
    return [dataclasses.replace(job, task=dataclasses.replace(task, episodes=episodes)) for job in jobs]


def _revision(name_or_path: str) -> str:
    """Of a folder, by its contents; of a repository, as locked."""
    if is_folder(name_or_path):
        return folder_revision(Path(name_or_path))
    return locked(HUB, name_or_path)["revision"]


def _model(model: ModelConfig) -> ModelConfig:
    revision = _revision(model.name_or_path)
    if not is_folder(model.name_or_path) and model.revision not in (None, revision):
        raise UserError(f"model.revision is {model.revision}, but {model.name_or_path} is locked at {revision}")
    return dataclasses.replace(model, revision=revision)


def _data(data: DataConfig, families: list[str], split: str) -> DataConfig:
    """With the hash of every file. All are read once, so that a malformed or cut one is found now; what training and
    test questions share is printed."""
    names = [data.train, *(families if split == "test" else [data.validation])]
    paths = {name: data_file(name, data.folder) for name in names}
    training = Training(load_rl(data.train, "", check_rows=data.check_rows, path=paths[data.train]).questions)
    for name in families if split == "test" else ():
        found = training.overlap(load(name, "", check_rows=data.check_rows, path=paths[name]))
        if found.touched:
            shared = f"{found.touched} of {found.tests} questions of {name}"
            print(f"{shared} are, exactly or nearly, in the training set {data.train} (python -m reproduce overlap)")
    return dataclasses.replace(data, sha256={name: file_sha256(path) for name, path in paths.items()})


def _search(search: SearchConfig) -> SearchConfig:
    if search.encoder is not None:
        search = dataclasses.replace(search, encoder_revision=_revision(search.encoder))
    opened = open_search(search)
    try:
        if search.service != "local":
            return search
        return dataclasses.replace(search, corpus_sha256=opened.index.sha256)
    finally:
        opened.close()
