"""Fix what a table's jobs read from outside the repository before anything runs: revisions and hashes of contents.

They become part of each job's config, and so of its hash: a run says which model, which question files and which corpus
it used, and refuses others. Paths and addresses are not part of it.
"""

import dataclasses
from pathlib import Path

from reproduce.config.search import SearchConfig
from reproduce.config.sections import ModelConfig
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.evaluation.judge import Judge
from reproduce.runs.files import file_sha256
from reproduce.tools.hub.fetch import folder_revision, is_folder
from reproduce.tools.hub.lock import locked
from reproduce.tools.hub.packaged import PACKAGED, packaged_folder
from reproduce.tools.hub.sources import HUB
from reproduce.tools.search.search import open_search
from reproduce.worlds.benchmarks.files import data_file
from reproduce.worlds.registry import world_of


def pinned(jobs: list[JobConfig]) -> list[JobConfig]:
    """Fill in `model.revision` and the SHA-256 of data files, games and the corpus.

    Jobs that read none of these stay as they are. Missing data files are fetched, the index of a local corpus is built,
    and keys of services are looked up.

    Args:
        jobs: the jobs of a table.

    Returns:
        The jobs.

    Raises:
        UserError: something is missing: a locked revision, access to the Hub, a gated set, a key, a recording.
    """
    first = jobs[0]
    scratch = first.model.name_or_path is None
    model = first.model if scratch else _model(first.model)
    task = world_of(first.task).freeze(first)
    if scratch:
        return jobs if task == first.task else [dataclasses.replace(job, task=task) for job in jobs]
    warm_start = first.warm_start
    if warm_start.data is not None:
        path = data_file(warm_start.data.name, task.data and task.data.folder)
        sft = dataclasses.replace(warm_start.data, sha256=file_sha256(path))
        warm_start = dataclasses.replace(warm_start, data=sft)
    search = first.search and _search(first.search)
    if first.judge is not None:
        Judge(first.judge).close()
    return [dataclasses.replace(job, model=model, task=task, warm_start=warm_start, search=search) for job in jobs]


def _revision(name_or_path: str) -> str:
    """Of a folder, by its contents; of a repository, as locked."""
    if is_folder(name_or_path):
        return folder_revision(Path(name_or_path))
    return locked(HUB, name_or_path)["revision"]


def _model(model: ModelConfig) -> ModelConfig:
    if model.name_or_path in PACKAGED:
        packaged_folder(model.name_or_path, model.revision)
        return dataclasses.replace(model, revision=PACKAGED[model.name_or_path].revision)
    revision = _revision(model.name_or_path)
    if not is_folder(model.name_or_path) and model.revision not in (None, revision):
        raise UserError(f"model.revision is {model.revision}, but {model.name_or_path} is locked at {revision}")
    return dataclasses.replace(model, revision=revision)


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
