"""Pinned revisions of models and data: `data/hub.lock.json`, and the command that fills it.

    python -m reproduce pin-hub [REPOSITORY ...] [--update]

asks the Hugging Face hub (or GitHub) once for the commit that a repository's main branch is at, and writes it down with
the paths of its files. Any model of the hub can be named, as owner/name. What is written down stays until `--update`; a
run asks for exactly that commit and refuses a repository without one.
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
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)


def read_lock(path: Path | None = None) -> dict[str, dict[str, dict]]:
    """kind -> repository -> {"revision": commit[, "files": paths]}. UserError naming what is wrong with the file."""
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
    """The entry of a repository. UserError naming the command if it has none."""
    entry = read_lock(path).get(kind, {}).get(repo)
    if entry is None:
        raise UserError(no_revision(kind, repo))
    return entry


def no_revision(kind: str, repo: str) -> str:
    """Message about a repository without a locked revision: the command that writes it down."""
    command = f"make pin-hub MODEL={repo}" if kind == HUB else "make pin-hub"
    return (
        f"{repo} has no locked revision: run `{command}` once where {_place(kind)} can be reached "
        f"(it writes {LOCK.relative_to(ROOT)})"
    )


def pin(kind: str, repo: str, *, endpoint: str | None = None) -> dict:
    """Asks for the commit of the main branch: {"revision", "files"}. UserError if there is no answer."""
    if kind == GITHUB:
        return _pin_github(repo, endpoint or GITHUB_API)
    from huggingface_hub import HfApi

    with hub_errors(repo, kind, _unreachable_lock(repo, kind)):
        api = HfApi(endpoint=endpoint)
        info = api.model_info(repo) if kind == HUB else api.dataset_info(repo)
    return {"revision": info.sha, "files": sorted(file.rfilename for file in info.siblings or ())}


def _pin_github(repo: str, api: str) -> dict:
    unreachable = _unreachable_lock(repo, GITHUB)
    with hub_errors(repo, GITHUB, unreachable), httpx.Client(follow_redirects=True, timeout=60) as client:
        commit = client.get(f"{api}/repos/{repo}/commits/HEAD").raise_for_status().json()["sha"]
        tree = client.get(f"{api}/repos/{repo}/git/trees/{commit}?recursive=1").raise_for_status().json()["tree"]
    return {"revision": commit, "files": sorted(item["path"] for item in tree if item["type"] == "blob")}


@contextmanager
def hub_errors(repo: str, kind: str, unreachable: str | None = None) -> Iterator[None]:
    """Turns what the hub, GitHub and the network raise into one UserError each, which says what to do.

    unreachable: what to say where there is no network; default: how to bring the files here. UserError at the start for
    a network environment that would break the client (`reproduce.network`).
    """
    from huggingface_hub import constants, errors

    if not constants.HF_HUB_OFFLINE:
        check_network_environment()
    unreachable = unreachable or _unreachable(repo, kind)
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
    except errors.HfHubHTTPError as error:
        raise UserError(f"{repo}: {_place(kind)} answers {error.response.status_code}; try again later") from None
    except httpx.HTTPStatusError as error:
        raise UserError(f"{repo}: {_place(kind)} answers {error.response.status_code}; try again later") from None
    except (errors.OfflineModeIsEnabled, httpx.TransportError):
        raise UserError(unreachable) from None
    except (ValueError, KeyError, TypeError, httpx.TooManyRedirects):  # a proxy's page in the place of the answer
        raise UserError(f"{repo}: {_place(kind)} answers something else than expected; try again later") from None


def _place(kind: str) -> str:
    return "github.com" if kind == GITHUB else "huggingface.co"


def _unreachable(repo: str, kind: str) -> str:
    instead = "task.data.folder" if kind != HUB else "model.name_or_path"
    return (
        f"{repo}: {_place(kind)} cannot be reached from here: fetch it where it can and copy the cache (HF_HOME), "
        f"or name a folder with the files in {instead}"
    )


def _unreachable_lock(repo: str, kind: str) -> str:
    instead = "task.data.folder" if kind != HUB else "model.name_or_path"
    return (
        f"{repo}: {_place(kind)} cannot be reached from here: run the command where it can and copy "
        f"{LOCK.relative_to(ROOT)}, or name a folder with the files in {instead}"
    )


def wanted() -> list[tuple[str, str]]:
    """(kind, repository) of everything in `sources`, gated data sets left out."""
    data = {(file.kind, file.repo) for file in FILES.values() if file.missing is None}
    return [*((HUB, repo) for repo in (*MODELS, *ENCODERS)), *sorted(data)]


def _named(name: str) -> tuple[str, str]:
    """(kind, repository) of what the user typed: a known source, else a model of the hub. UserError for neither."""
    repo = name.strip().removeprefix("https://huggingface.co/").rstrip("/")
    if not _REPOSITORY.fullmatch(repo):
        raise UserError(f"{name!r} is no repository: name it as on the hub, owner/name, such as Qwen/Qwen3-8B")
    kinds = [kind for kind, known in wanted() if known == repo]
    return kinds[0] if kinds else HUB, repo


def main(argv: list[str] | None = None, path: Path | None = None, endpoints: dict[str, str] | None = None) -> int:
    """Pins what is missing. endpoints: kind -> address to ask in place of the usual one. 1 if one did not answer."""
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
