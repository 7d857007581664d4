"""MiniHouse: small ALFWorld-style games, committed with their rules, so that you need no package but ours.

Rules, texts and task types are ALFWorld's; a room is cut down to a few receptacles and things (`alfworld/games.py`).
Train and IID games are in ALFWorld's training rooms, OOD games in its test rooms. `python -m
reproduce.worlds.minihouse.environment` writes the committed files again (needs the extra); a test compares them.
"""

import json
from pathlib import Path

from reproduce.worlds.alfworld.source import CommittedGames, GeneratedGames, installed_rules
from reproduce.worlds.alfworld.stepper.environment import FastAlfworld, LoadedGames
from reproduce.worlds.alfworld.stepper.files import shortened, write_games
from reproduce.worlds.miniweb.task import WORLDS
from reproduce.worlds.text_environment import IID, OOD, SPLITS, TRAIN

SEED = 0
SIZE = "mini"
PER_KIND = {TRAIN: 180, IID: 20, OOD: 20}
TURNS = 20
"""Turns of an episode, about twice what the player of a gold path needs.

EPO's settings, on far larger rooms, have 30 and 50 (arXiv 2509.22576, released code).
"""
FOLDER = WORLDS / "minihouse"


def open_minihouse(count: int = 1, folder: Path = FOLDER) -> list[FastAlfworld]:
    """Open `count` environments for `count` episodes at a time, over one set of loaded games."""
    source = CommittedGames(folder)
    games = LoadedGames(source, kept=sum(PER_KIND.values()) * 6)
    return [FastAlfworld(source, games) for _ in range(count)]


def write_minihouse(folder: Path = FOLDER) -> list[Path]:
    """Write rules and games; returns their paths. Raises UserError without the extra."""
    folder.mkdir(parents=True, exist_ok=True)
    rules, source = installed_rules(), GeneratedGames(SEED, SIZE, PER_KIND)
    paths = [folder / "rules.json", *(folder / f"{split}.jsonl" for split in SPLITS)]
    paths[0].write_text(json.dumps(rules.to_json(), separators=(",", ":")) + "\n")
    for split, path in zip(SPLITS, paths[1:], strict=True):
        write_games(path, [shortened(source.game(task)[1], rules) for task in source.tasks(split)])
    return paths


if __name__ == "__main__":
    for path in write_minihouse():
        print(path.relative_to(WORLDS.parents[1]))
