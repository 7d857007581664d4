"""Data of the installed `alfworld` package: rules, rooms, what fits where, goals and their sentences.

The room files give the real places of the receptacles that can be opened or were measured, and the classes of
everything else in a room.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from types import ModuleType

import numpy as np

from reproduce.errors import UserError

VERSIONS = {"alfworld": "0.4.2", "textworld": "1.7.0"}
INSTALL = "pip install -r requirements-envs.txt"


@dataclass(frozen=True)
class Room:
    """One room of the AI2-THOR set.

    classes: of the things in it. measured: receptacle id -> (x, z, rotation, horizon) of the place from which it is
    used, in metres and degrees. points_N2: free places (x, z) in metres, (N, 2).
    """

    number: int
    classes: frozenset[str]
    measured: dict[str, tuple[float, float, int, int]]
    points_N2: np.ndarray


def check_versions() -> None:
    """Raise UserError unless the pinned versions of the extra are installed."""
    for name, version in VERSIONS.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise UserError(f"the package {name} is not installed: {INSTALL}") from None
        if found != version:
            raise UserError(f"the package {name} is at version {found}, {version} is needed: {INSTALL}")


@cache
def constants() -> ModuleType:
    """Load ALFWorld's tables of rooms, classes and what fits where (`alfworld.gen.constants`)."""
    check_versions()
    from alfworld.gen import constants as module

    return module


@cache
def goals() -> dict[str, dict]:
    """Load each task type's goal in PDDL ("pddl") and its sentences ("templates"), with gaps for the classes."""
    check_versions()
    from alfworld.gen.goal_library import gdict

    return gdict


@cache
def rule_files() -> tuple[str, str]:
    """Read the texts of the PDDL domain and of the grammar."""
    check_versions()
    data = resources.files("alfworld") / "data"
    return (data / "alfred.pddl").read_text(), (data / "alfred.twl2").read_text()


@cache
def room(number: int) -> Room:
    """Read room `number` (1-30 kitchens, 201-230 living rooms, 301-330 bedrooms, 401-430 bathrooms)."""
    check_versions()
    folder = resources.files("alfworld.gen") / "layouts"
    classes = json.loads((folder / f"FloorPlan{number}-objects.json").read_text())
    measured = json.loads((folder / f"FloorPlan{number}-openable.json").read_text())
    with resources.as_file(folder / f"FloorPlan{number}-layout.npy") as path:
        points_N2 = np.load(path)
    return Room(number, frozenset(classes), {id: tuple(place) for id, place in measured.items()}, points_N2)
