"""Where the tests find the repository, their own data, real question files, and each other's modules."""

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"
REAL_DATA = Path(os.environ.get("REPRODUCE_REAL_DATA") or ROOT.parent / "shared" / "data")
"""Real question files and search results; tests that need them are skipped where they are not."""

FOLDERS = [str(folder) for folder in sorted(TESTS.iterdir()) if folder.is_dir() and folder != DATA]
"""What a test, or a child process of one, adds to its import path."""
PYTHONPATH = os.pathsep.join([str(ROOT), *FOLDERS])
