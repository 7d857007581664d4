"""`make -n` as a fresh shell would call it, also when the tests themselves run under Make."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTER = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR", "GNUMAKEFLAGS")


def make(*words: str, folder: Path = ROOT, **environment: str) -> str:
    """What `make` prints; an outer Make's switches and variables do not reach it."""
    clean = {name: value for name, value in os.environ.items() if name not in OUTER}
    found = subprocess.run(
        ["make", *words], cwd=folder, env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    return found.stdout
