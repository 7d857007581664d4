"""Where the tests find the repository, their own data, real question files, and each other's modules."""

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"
REAL_DATA = Path(os.environ.get("REPRODUCE_REAL_DATA") or ROOT.parent / "shared" / "data")
"""Real question files and search results; tests that need them are skipped where they are not."""

FOLDERS = [str(folder) for folder in sorted(TESTS.iterdir()) if folder.is_dir() and folder != DATA]
"""What a test, or a child process of one, adds to its import path."""
PYTHONPATH = os.pathsep.join([str(ROOT), *FOLDERS])


needs_questions = pytest.mark.skipif(
    not (REAL_DATA / "eval").is_dir(),
    reason="real question files not found; set REPRODUCE_REAL_DATA to the folder that holds eval/*.jsonl",
)


needs_rl = pytest.mark.skipif(
    not (REAL_DATA / "train_10k.parquet").is_file(),
    reason="real RL sets not found; set REPRODUCE_REAL_DATA to the folder that holds train_10k.parquet",
)


needs_cache = pytest.mark.skipif(
    not (REAL_DATA / "search_cache.json").is_file(),
    reason="real search results not found; set REPRODUCE_REAL_DATA to the folder that holds search_cache.json",
)
