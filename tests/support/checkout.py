"""A checkout of its own, and `make` and git in it as a fresh shell would call them."""

import os
import shutil
import subprocess
from pathlib import Path

from places import ROOT

OUTER = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR", "GNUMAKEFLAGS")


def make(*words: str, folder: Path = ROOT, code: int = 0, **environment: str) -> str:
    """What `make` prints; an outer Make's switches and variables do not reach it. code: how it is to end.

    With another code than 0, errors are part of what it prints.
    """
    clean = {name: value for name, value in os.environ.items() if name not in OUTER}
    errors = subprocess.STDOUT if code else subprocess.PIPE
    done = subprocess.run(
        ["make", *words], cwd=folder, env={**clean, **environment}, stdout=subprocess.PIPE, stderr=errors, text=True
    )
    assert done.returncode == code, f"make {words}: {done.stdout[-3000:]}{(done.stderr or '')[-3000:]}"
    return done.stdout


def git(folder: Path, *words: str) -> str:
    """What git prints."""
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, env=os.environ | quiet)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fresh(folder: Path) -> Path:
    """Every tracked file as it is now, committed, in a new repository."""
    for name in filter(None, git(ROOT, "ls-files", "-z").split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-q", "-m", "as it is")
    return folder
