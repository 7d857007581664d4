"""Lets tests import the modules of `support/` by name, and starts the long files first.

Two workers take whole files. With the long ones last, one worker would wait for the other.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(folder) for folder in sorted(Path(__file__).parent.iterdir()) if folder.is_dir()]

LONGEST = (
    "test_reproduce",
    "test_grid",
    "test_trajectories",
    "test_workers",
    "test_trainer",
    "test_tables",
    "test_analysis",
    "test_vllm_training",
    "test_sandbox",
    "test_sandbox_files",
    "test_warm_start",
    "test_plan",
    "test_graders",
    "test_web_hostile",
    "test_miniweb",
    "test_settings",
    "test_real_input",
)


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(autouse=True)
def _same_environment():
    """Each test leaves the environment as it found it: a run tells accelerate its precision by a variable."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before) - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if name != "PYTEST_CURRENT_TEST"})
