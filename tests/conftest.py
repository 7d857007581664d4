"""Lets tests import their shared helper modules by name, and starts the long files first.

Two workers take whole files. With the long ones last, one worker would wait for the other.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

LONGEST = (
    "test_reproduce", "test_grid", "test_trajectories", "test_workers", "test_trainer", "test_tables", "test_analysis",
    "test_vllm_training", "test_sandbox", "test_sandbox_files", "test_warm_start", "test_plan", "test_graders",
    "test_web_hostile", "test_miniweb", "test_settings", "test_real_input",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
