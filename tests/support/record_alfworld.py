"""Records what the real ALFWorld engine says, for tests that need no extra.

PYTHONPATH=. python tests/support/record_alfworld.py

Writes tests/data/alfworld/games.jsonl (games of our generator, in our own format) and traces.jsonl (a line per game:
first observation and commands, then per step the command, the text, whether it is won, and a digest of the commands).
Needs requirements-envs.txt.
"""

import hashlib
import json
import random

from places import DATA

from reproduce.commands.check_alfworld import choose_command
from reproduce.worlds.alfworld.real import RealEngine
from reproduce.worlds.alfworld.source import GeneratedGames, installed_rules
from reproduce.worlds.alfworld.stepper.files import shortened, write_games
from reproduce.worlds.text_environment import SPLITS

FOLDER = DATA / "alfworld"
SEED, STEPS = 11, 60


def digest(commands: tuple[str, ...]) -> str:
    """Eight hexadecimal characters that stand for a list of commands."""
    return hashlib.sha256("\n".join(commands).encode()).hexdigest()[:8]


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    engine, rules = RealEngine(), installed_rules()
    games, lines = [], []
    for size in ("full", "mini"):
        source = GeneratedGames(SEED, size, dict.fromkeys(SPLITS, 1))
        for rank in range(6):
            task = source.tasks(SPLITS[rank % 3])[rank]
            rng, game = random.Random(task.id), source.game(task)[1]
            seen, plan, steps = engine.start(source.content(task)), list(game.plan), []
            first = {"game": task.id, "text": seen.text, "admissible": seen.admissible}
            for _ in range(STEPS):
                command, _ = choose_command(rng, plan, seen)
                seen = engine.step(command)
                steps.append([command, seen.text, int(seen.won), digest(seen.admissible)])
            games.append(shortened(game, rules))
            lines.append(json.dumps(first | {"steps": steps}))
    write_games(FOLDER / "games.jsonl", games)
    (FOLDER / "traces.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
