"""Paths as a user would type them."""

import os
from pathlib import Path


def shown(path: Path) -> str:
    """Return the path relative to the current directory if it lies below it."""
    path = Path(path)
    cwd = Path(os.getcwd())
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
