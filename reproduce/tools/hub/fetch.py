"""Fetch files and models at their locked revisions, or read them from a folder of your own."""

import hashlib
from fnmatch import fnmatch
from pathlib import Path

import httpx

from reproduce.errors import UserError
from reproduce.runs.files import file_sha256, write_bytes
from reproduce.tools.hub.lock import hub_errors, locked, no_revision
from reproduce.tools.hub.packaged import PACKAGED, packaged_folder
from reproduce.tools.hub.sources import DATASET, FILES, GITHUB, HUB, DataFile

RAW = "https://raw.githubusercontent.com"
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""Files that we fetch of a model's repository: weights in one format, tokenizer, configs."""


def fetched_file(name: str, *, lock: Path | None = None, endpoint: str | None = None) -> Path:
    """Fetch the file of an SFT, RL or evaluation set at its locked revision.

    Args:
        name: a key of `sources.FILES`.
        lock: another lock file.
        endpoint: another address for the Hub, or for GitHub's files.

    Returns:
        The file, in the cache.

    Raises:
        UserError: the set is unknown, gated or not locked, or cannot be fetched.
    """
    source, entry, path = place_of(name, lock)
    if source.kind == GITHUB:
        return _from_github(source.repo, entry["revision"], path, endpoint or RAW)
    from huggingface_hub import hf_hub_download

    with hub_errors(source.repo, DATASET):
        return Path(
            hf_hub_download(
                source.repo, path, repo_type="dataset", revision=entry["revision"], endpoint=endpoint, tqdm_class=None
            )
        )


def place_of(name: str, lock: Path | None = None) -> tuple[DataFile, dict, str]:
    """(source, its entry in the lock, path in its repository) of a data set. UserError if it is not known, not to be
    fetched, or not locked."""
    if name not in FILES:
        raise UserError(f"there is no data set {name!r}; known: {', '.join(FILES)}")
    source = FILES[name]
    if source.missing is not None:
        raise UserError(source.missing)
    entry = locked(source.kind, source.repo, lock)
    return source, entry, _path_of(name, source, entry)


def _path_of(name: str, source: DataFile, entry: dict) -> str:
    """The one path of the repository that a pattern of the source matches; earlier patterns win."""
    for pattern in source.paths:
        matches = [path for path in entry.get("files", ()) if fnmatch(path, pattern)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UserError(f"{name}: {source.repo} holds several files of that kind: {', '.join(matches[:5])}")
    raise UserError(
        f"{name}: {source.repo} at {entry['revision'][:12]} holds no {' or '.join(source.paths)}; "
        "run `make pin-hub UPDATE=1`, or put the file into task.data.folder"
    )


def _from_github(repo: str, revision: str, path: str, raw: str) -> Path:
    """Fetch a file and keep it beside the Hub's cache. A commit never changes, so a kept file is not fetched again."""
    target = github_cache(repo, revision, path)
    if not target.is_file():
        with hub_errors(repo, GITHUB), httpx.Client(follow_redirects=True, timeout=60) as client:
            data = client.get(f"{raw}/{repo}/{revision}/{path}").raise_for_status().content
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, data)
    return target


def github_cache(repo: str, revision: str, path: str) -> Path:
    """Where a file of GitHub is kept, beside the hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "reproduce" / repo.replace("/", "--") / revision / path


def model_folder(name_or_path: str, revision: str | None, *, endpoint: str | None = None) -> Path:
    """Find the folder with a model's weights, config and tokenizer: your own, a package's, or the Hub's at `revision`.

    Args:
        name_or_path: a folder, a name of `packaged.PACKAGED`, or owner/name.
        revision: the Hub's commit, or `folder_revision` of the folder.
        endpoint: another address for the Hub.

    Raises:
        UserError: there is no revision, the folder's files are not those of `revision`, or the Hub refuses.
    """
    if name_or_path in PACKAGED:
        return packaged_folder(name_or_path, revision)
    if is_folder(name_or_path):
        found = folder_revision(Path(name_or_path))
        if revision is not None and found != revision:
            raise UserError(f"model.name_or_path: the files in {name_or_path} have changed since the runs were set up")
        return Path(name_or_path)
    if revision is None:
        raise UserError(f"model.revision: {no_revision(HUB, name_or_path)}")
    from huggingface_hub import snapshot_download

    with hub_errors(name_or_path, HUB):
        return Path(
            snapshot_download(name_or_path, revision=revision, allow_patterns=list(MODEL_FILES), endpoint=endpoint)
        )


def is_folder(name_or_path: str) -> bool:
    """Whether the name is a folder of this machine.

    Raises:
        UserError: it can be neither a folder nor a repository.
    """
    if Path(name_or_path).is_dir():
        return True
    if name_or_path.count("/") != 1 or name_or_path.startswith((".", "/", "~")):
        raise UserError(f"model.name_or_path: there is no folder {name_or_path}")
    return False


def folder_revision(folder: Path) -> str:
    """Hash the names and contents of a model folder's files. The hash takes the place of a commit.

    Raises:
        UserError: the folder holds no .safetensors file.
    """
    digest = hashlib.sha256()
    files = sorted(
        path for path in folder.iterdir() if path.is_file() and any(fnmatch(path.name, p) for p in MODEL_FILES)
    )
    if not any(path.suffix == ".safetensors" for path in files):
        raise UserError(f"model.name_or_path: {folder} holds no .safetensors file: save_pretrained writes them")
    for path in files:
        digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return f"folder-{digest.hexdigest()[:32]}"
