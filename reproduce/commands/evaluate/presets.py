"""The checkpoints that can be named by a preset (`presets.yaml`)."""

from pathlib import Path

from reproduce.config.strict import build, section
from reproduce.errors import UserError
from reproduce.yaml_files import read_yaml

PRESETS = Path(__file__).with_name("presets.yaml")
PROMPTED = ("TIR prompting", "ReAct")
"""Rows of ARPO's tables 1 and 2 in which a model that was not trained calls tools in a loop, as here."""


@section
class Preset:
    """repo: of the Hub. base: what it was trained from, with `method`. sets: question sets. called: its names in
    data/papers."""

    repo: str
    base: str
    method: str
    sets: list[str]
    called: list[str]


def presets() -> dict[str, Preset]:
    """Name -> preset."""
    return {name: build(Preset, value, f"{PRESETS.name}, {name}") for name, value in read_yaml(PRESETS).items()}


def preset(name: str) -> Preset:
    """Find a preset. Raises UserError, listing them, if there is none of that name."""
    known = presets()
    if name not in known:
        raise UserError(f"there is no preset '{name}'; presets: {', '.join(known)}")
    return known[name]


def base_of(model: str) -> str:
    """The model of the Hub whose shape a model has: that of its preset, or itself."""
    return next((found.base for found in presets().values() if found.repo == model), model)


def names_of(model: str) -> tuple[list[str], tuple[str, ...]]:
    """(names, methods): which rows of data/papers are of a model of the Hub, or of a folder of the same name."""
    for found in presets().values():
        if found.repo == model:
            return found.called, (found.method,)
    return [model.rstrip("/").rpartition("/")[2]], PROMPTED
