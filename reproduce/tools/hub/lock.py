"""Lock the revisions of models and data in `data/hub.lock.json`.

    python -m reproduce pin-hub [REPOSITORY ...] [--update]

asks the Hugging Face Hub (or GitHub) once for the commit that a repository's main branch is at, and records it with the
paths of its files. You can name any model of the Hub, as owner/name. A recorded commit stays until `--update`. A run
asks for exactly that commit and refuses a repository without one.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from reproduce.arguments import Parser, first_line
from reproduce.errors import UserError
from reproduce.network import check_network_environment
from reproduce.runs.files import write_json
from reproduce.runs.manifest import ROOT
from reproduce.tools.hub.sources import DATASET, ENCODERS, FILES, GITHUB, HUB, MODELS

LOCK = ROOT / "data" / "hub.lock.json"
GITHUB_API = "https://api.github.com"
FETCH_IT = "fetch it where it can and copy the cache (HF_HOME)"
RUN_IT = f"run the command where it can and copy {LOCK.relative_to(ROOT)}"
"""Advice for a machine without a network."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)


def read_lock(path: Path | None = None) -> dict[str, dict[str, dict]]:
    """Read the lock file.

    Returns:
        kind -> repository -> {"revision": commit[, "files": paths]}; {} if there is no file.

    Raises:
        UserError: the file is damaged; the message says how.
    """
    path = LOCK if path is None else path
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); restore it") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); restore it, or delete it and run `make pin-hub`") from None
    if not isinstance(lock, dict) or not all(isinstance(entries, dict) for entries in lock.values()):
        raise UserError(f"{path}: must hold kinds, repositories and their revisions; restore it, or delete it")
    for kind, repositories in lock.items():
        for repo, entry in repositories.items():
            if not isinstance(entry, dict) or not _COMMIT.fullmatch(str(entry.get("revision"))):
                raise UserError(
                    f"{path}: {kind} {repo}: 'revision' must be a commit of 40 hex digits; run `make pin-hub`"
                )
    return lock


def locked(kind: str, repo: str, path: Path | None = None) -> dict:
    """Look up the entry of a repository.

    Raises:
        UserError: it has none; the message names the command that records it.
    """
    entry = read_lock(path).get(kind, {}).get(repo)
    if entry is None:
        raise UserError(no_revision(kind, repo))
    return entry


def no_revision(kind: str, repo: str) -> str:
    """Say that a repository has no locked revision, and which command records it."""
    command = f"make pin-hub MODEL={repo}" if kind == HUB else "make pin-hub"
    return (
        f"{repo} has no locked revision: run `{command}` once where {_place(kind)} can be reached "
        f"(it writes {LOCK.relative_to(ROOT)})"
    )


def pin(kind: str, repo: str, *, endpoint: str | None = None) -> dict:
    """Ask for the commit of the main branch.

    Args:
        kind: HUB, DATASET or GITHUB.
        repo: owner/name.
        endpoint: another address to ask.

    Returns:
        {"revision": commit, "files": paths}.

    Raises:
        UserError: there is no answer.
    """
    if kind == GITHUB:
        return _pin_github(repo, endpoint or GITHUB_API)
    from huggingface_hub import HfApi

    with hub_errors(repo, kind, RUN_IT):
        api = HfApi(endpoint=endpoint)
        info = api.model_info(repo) if kind == HUB else api.dataset_info(repo)
    return {"revision": info.sha, "files": sorted(file.rfilename for file in info.siblings or ())}


def _pin_github(repo: str, api: str) -> dict:
    with hub_errors(repo, GITHUB, RUN_IT), httpx.Client(follow_redirects=True, timeout=60) as client:
        commit = client.get(f"{api}/repos/{repo}/commits/HEAD").raise_for_status().json()["sha"]
        tree = client.get(f"{api}/repos/{repo}/git/trees/{commit}?recursive=1").raise_for_status().json()["tree"]
    return {"revision": commit, "files": sorted(item["path"] for item in tree if item["type"] == "blob")}


@contextmanager
def hub_errors(repo: str, kind: str, advice: str = FETCH_IT) -> Iterator[None]:
    """Turn each error of the Hub, GitHub and the network into a UserError that says what to do.

    Args:
        repo: owner/name.
        kind: HUB, DATASET or GITHUB.
        advice: what to do where there is no network.

    Raises:
        UserError: one of these errors, or a network environment that would break the client (`reproduce.network`).
    """
    from huggingface_hub import constants, errors

    if not constants.HF_HUB_OFFLINE:
        check_network_environment()
    unreachable = _unreachable(repo, kind, advice)
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
            raise UserError(unreachable) from None
        raise UserError(f"{repo}: {' '.join(str(error).split())}; run `make pin-hub UPDATE=1`") from None
    except (errors.HfHubHTTPError, httpx.HTTPStatusError) as error:
        raise UserError(f"{repo}: {_place(kind)} answers {error.response.status_code}; try again later") from None
    except (errors.OfflineModeIsEnabled, httpx.TransportError):
        raise UserError(unreachable) from None
    except (ValueError, KeyError, TypeError, httpx.TooManyRedirects):  # a proxy's page in the place of the answer
        raise UserError(f"{repo}: {_place(kind)} answers something else than expected; try again later") from None


def _place(kind: str) -> str:
    return "github.com" if kind == GITHUB else "huggingface.co"


def _unreachable(repo: str, kind: str, advice: str) -> str:
    setting = "task.data.folder" if kind != HUB else "model.name_or_path"
    return f"{repo}: {_place(kind)} cannot be reached from here: {advice}, or name a folder with the files in {setting}"


def wanted() -> list[tuple[str, str]]:
    """List (kind, repository) of everything in `sources`, without gated data sets."""
    data = {(file.kind, file.repo) for file in FILES.values() if file.missing is None}
    return [*((HUB, repo) for repo in (*MODELS, *ENCODERS)), *sorted(data)]


def _named(name: str) -> tuple[str, str]:
    """Read (kind, repository) from the user's text: a known source, else a model of the Hub."""
    repo = name.strip().removeprefix("https://huggingface.co/").rstrip("/")
    if not _REPOSITORY.fullmatch(repo):
        raise UserError(f"{name!r} is no repository: name it as on the hub, owner/name, such as Qwen/Qwen3-8B")
    kinds = [kind for kind, known in wanted() if known == repo]
    return kinds[0] if kinds else HUB, repo


def main(argv: list[str] | None = None, path: Path | None = None, endpoints: dict[str, str] | None = None) -> int:
    """Lock what is missing.

    Args:
        argv: the command's words; None: those of the process.
        path: another lock file.
        endpoints: kind -> another address to ask.

    Returns:
        0, or 1 if a repository did not answer.
    """
    parser = Parser(prog="python -m reproduce pin-hub", description=first_line(__doc__))
    parser.add_argument(
        "repositories",
        nargs="*",
        metavar="REPOSITORY",
        help="any model, as owner/name, or a source that the project knows (default: all of these without a revision)",
    )
    parser.add_argument("--update", action="store_true", help="ask again for what has a revision already")
    options = parser.parse_args(argv)
    path = LOCK if path is None else path
    chosen = [_named(name) for name in options.repositories] or wanted()
    lock = read_lock(path)
    failed = 0
    for kind, repo in chosen:
        have = lock.get(kind, {}).get(repo)
        if have and not options.update:
            if options.repositories:
                print(f"{repo}: {have['revision']} already (--update asks again)")
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
