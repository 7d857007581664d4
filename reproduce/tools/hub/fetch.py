"""Files and models at their locked revisions, or from a folder of the user's own."""

import hashlib
from fnmatch import fnmatch
from pathlib import Path

import httpx

from reproduce.errors import UserError
from reproduce.runs.files import write_bytes
from reproduce.tools.hub.lock import hub_errors, locked, no_revision
from reproduce.tools.hub.sources import DATASET, FILES, GITHUB, HUB, DataFile

RAW = "https://raw.githubusercontent.com"
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""Files fetched of a model's repository: weights in one format, tokenizer, configs."""


def fetched_file(name: str, *, lock: Path | None = None, endpoint: str | None = None) -> Path:
    """The file of an SFT, RL or evaluation set at its locked revision.

    endpoint: address of the hub or of GitHub's files in place of the usual one. UserError if it is gated, not locked,
    or cannot be fetched.
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
    """The one path of the repository that the source's patterns match, the first pattern first."""
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
    """The file, kept beside the hub's cache. A commit does not change, so what is there is not asked for again."""
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
    """A folder with a model's weights, config and tokenizer: the one that is named, or the hub's at `revision`.

    UserError without a revision, for a folder whose files are not those of `revision`, and if the hub refuses.
    """
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
    """Whether it names a folder of this machine. UserError for something that can be neither folder nor repository."""
    if Path(name_or_path).is_dir():
        return True
    if name_or_path.count("/") != 1 or name_or_path.startswith((".", "/", "~")):
        raise UserError(f"model.name_or_path: there is no folder {name_or_path}")
    return False


def folder_revision(folder: Path) -> str:
    """A hash of the names and contents of a model folder's files, in the place of a commit."""
    digest = hashlib.sha256()
    files = sorted(
        path for path in folder.iterdir() if path.is_file() and any(fnmatch(path.name, p) for p in MODEL_FILES)
    )
    if not any(path.suffix == ".safetensors" for path in files):
        raise UserError(f"model.name_or_path: {folder} holds no .safetensors file: save_pretrained writes them")
    for path in files:
        digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return f"folder-{digest.hexdigest()[:32]}"


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
