"""Pinned revisions of models and data: `data/hub.lock.json`, and the command that fills it.

    python -m reproduce pin-hub [REPOSITORY ...] [--update]

asks the Hugging Face hub (or GitHub) once for the commit that a repository's main branch is at, and writes it down with
the paths of its files. What is written down stays until `--update`; a run asks for exactly that commit and refuses a
repository without one.
"""

import argparse
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from reproduce.errors import UserError
from reproduce.runs.files import write_json
from reproduce.runs.manifest import ROOT
from reproduce.tasks.datasets.sources import DATASET, ENCODERS, FILES, GITHUB, HUB, MODELS

LOCK = ROOT / "data" / "hub.lock.json"
GITHUB_API = "https://api.github.com"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def read_lock(path: Path | None = None) -> dict[str, dict[str, dict]]:
    """kind -> repository -> {"revision": commit[, "files": paths]}. UserError naming what is wrong with the file."""
    path = LOCK if path is None else path
    try:
        lock = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); restore it, or delete it and run `make pin-hub`") from None
    for kind, repositories in lock.items():
        for repo, entry in repositories.items():
            if not _COMMIT.fullmatch(str(entry.get("revision"))):
                raise UserError(
                    f"{path}: {kind} {repo}: 'revision' must be a commit of 40 hex digits; run `make pin-hub`"
                )
    return lock


def locked(kind: str, repo: str, path: Path | None = None) -> dict:
    """The entry of a repository. UserError naming the command if it has none."""
    entry = read_lock(path).get(kind, {}).get(repo)
    if entry is None:
        raise UserError(
            f"{repo} has no locked revision: run `make pin-hub` once where {_place(kind)} can be reached "
            f"(it writes {LOCK.relative_to(ROOT)})"
        )
    return entry


def pin(kind: str, repo: str, *, endpoint: str | None = None) -> dict:
    """Asks for the commit of the main branch: {"revision", "files"}. UserError if there is no answer."""
    if kind == GITHUB:
        return _pin_github(repo, endpoint or GITHUB_API)
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint)
    with hub_errors(repo, kind):
        info = api.model_info(repo) if kind == HUB else api.dataset_info(repo)
    return {"revision": info.sha, "files": sorted(file.rfilename for file in info.siblings or ())}


def _pin_github(repo: str, api: str) -> dict:
    with hub_errors(repo, GITHUB), httpx.Client(follow_redirects=True, timeout=60) as client:
        commit = client.get(f"{api}/repos/{repo}/commits/HEAD").raise_for_status().json()["sha"]
        tree = client.get(f"{api}/repos/{repo}/git/trees/{commit}?recursive=1").raise_for_status().json()["tree"]
    return {"revision": commit, "files": sorted(item["path"] for item in tree if item["type"] == "blob")}


@contextmanager
def hub_errors(repo: str, kind: str) -> Iterator[None]:
    """Turns what the hub, GitHub and the network raise into one UserError each, which says what to do."""
    from huggingface_hub import errors

    where = f"huggingface.co/{'datasets/' if kind == DATASET else ''}{repo}"
    try:
        yield
    except errors.GatedRepoError:
        raise UserError(
            f"{repo} is gated: accept its terms at {where}, and log in with `hf auth login` or set HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(f"there is no {where}, or it is private: check the name, or log in (`hf auth login`)") from None
    except (errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise UserError(_unreachable(repo, kind)) from None
        raise UserError(f"{repo}: {' '.join(str(error).split())}; run `make pin-hub UPDATE=1`") from None
    except errors.HfHubHTTPError as error:
        raise UserError(f"{repo}: {_place(kind)} answers {error.response.status_code}; try again later") from None
    except httpx.HTTPStatusError as error:
        raise UserError(f"{repo}: {_place(kind)} answers {error.response.status_code}; try again later") from None
    except (errors.OfflineModeIsEnabled, httpx.TransportError):
        raise UserError(_unreachable(repo, kind)) from None


def _place(kind: str) -> str:
    return "github.com" if kind == GITHUB else "huggingface.co"


def _unreachable(repo: str, kind: str) -> str:
    instead = "task.data.folder" if kind != HUB else "model.name_or_path"
    return (
        f"{repo}: {_place(kind)} cannot be reached from here: fetch it where it can and copy the cache (HF_HOME), "
        f"or name a folder with the files in {instead}"
    )


def wanted() -> list[tuple[str, str]]:
    """(kind, repository) of everything in `sources`, gated data sets left out."""
    data = {(file.kind, file.repo) for file in FILES.values() if file.missing is None}
    return [*((HUB, repo) for repo in (*MODELS, *ENCODERS)), *sorted(data)]


def main(argv: list[str] | None = None, path: Path | None = None, endpoints: dict[str, str] | None = None) -> int:
    """Pins what is missing. endpoints: kind -> address to ask in place of the usual one. 1 if one did not answer."""
    parser = argparse.ArgumentParser(prog="python -m reproduce pin-hub", description=__doc__.splitlines()[0])
    parser.add_argument("repositories", nargs="*", help="e.g. Qwen/Qwen3-14B (default: everything without a revision)")
    parser.add_argument("--update", action="store_true", help="ask again for what has a revision already")
    options = parser.parse_args(argv)
    path, known = LOCK if path is None else path, wanted()
    lock = read_lock(path)
    unknown = set(options.repositories) - {repo for _, repo in known}
    if unknown:
        raise UserError(f"no source is called {min(unknown)}; known: {', '.join(repo for _, repo in known)}")
    failed = 0
    for kind, repo in known:
        have = lock.get(kind, {}).get(repo)
        if (options.repositories and repo not in options.repositories) or (have and not options.update):
            continue
        try:
            entry = pin(kind, repo, endpoint=(endpoints or {}).get(kind))
        except UserError as error:
            failed += 1
            print(error)
            continue
        lock.setdefault(kind, {})[repo] = entry
        write_json(path, lock)
        print(f"{repo}: {entry['revision']}")
    return 1 if failed else 0
