"""Writes the committed world and its panels (`make worlds`); a test holds the committed files to what this writes."""

from pathlib import Path

from reproduce.worlds.miniweb.generator import generate_world, save_world
from reproduce.worlds.miniweb.questions import FAMILIES, make_questions, panel_path, save_panel
from reproduce.worlds.miniweb.task import WORLDS

WORLD_SEED = 0
PANEL_SEED = 0
PANEL_SIZE = 240


def write_worlds(directory: Path = WORLDS) -> list[Path]:
    """Write `miniweb.jsonl` and the validation and test panels of every family; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    world = generate_world(WORLD_SEED)
    paths = [directory / "miniweb.jsonl"]
    save_world(world, paths[0])
    for family in FAMILIES:
        for split in ("validation", "test"):
            paths.append(panel_path(directory, family, split))
            save_panel(make_questions(world, family, split, PANEL_SIZE, PANEL_SEED), paths[-1])
    return paths


if __name__ == "__main__":
    for path in write_worlds():
        print(path.relative_to(WORLDS.parents[1]))
