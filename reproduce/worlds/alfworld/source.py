"""Where ALFWorld games come from: generated here, published by ALFWorld, or committed in this repository.

A source lists tasks by split and gives each task's game in two forms: as the stepper's `Game`, and as the content of a
`.tw-pddl` file for the real engine.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

from reproduce.errors import UserError
from reproduce.worlds.alfworld import wheel
from reproduce.worlds.alfworld.games import SIZES, Size, generate
from reproduce.worlds.alfworld.problem import SourceGame
from reproduce.worlds.alfworld.stepper.compile import compile_rules, task_sentence
from reproduce.worlds.alfworld.stepper.files import read_games
from reproduce.worlds.alfworld.stepper.game import KINDS, Game, game_from_pddl
from reproduce.worlds.alfworld.stepper.rules import Rules, rules_from_json
from reproduce.worlds.text_environment import IID, OOD, SPLITS, TRAIN, Task

PUBLISHED = {TRAIN: "train", IID: "valid_seen", OOD: "valid_unseen"}
"""ALFWorld's own names of the splits, as folders of its data. EPO's IID and OOD are its seen and unseen validation."""
DOWNLOAD = "fetch the data with: alfworld-download"


class Source(Protocol):
    """Tasks by split, and the game of a task in both forms."""

    def tasks(self, split: str) -> tuple[Task, ...]: ...

    def game(self, task: Task) -> tuple[Rules, Game]: ...

    def content(self, task: Task) -> dict: ...


def check_split(split: str) -> None:
    """Raise UserError for an unknown split."""
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}; splits: {', '.join(SPLITS)}")


@lru_cache
def installed_rules() -> Rules:
    """Compile the rules of the installed `alfworld`."""
    return compile_rules(*wheel.rule_files())


class GeneratedGames:
    """Games of `alfworld.games.generate`. per_kind: split -> number of games of every task type."""

    def __init__(self, seed: int, size: str, per_kind: Mapping[str, int]):
        if size not in SIZES:
            raise UserError(f"there is no size {size!r}; sizes: {', '.join(SIZES)}")
        self.seed, self.size = seed, SIZES[size]
        self._tasks: dict[str, dict[Task, tuple[str, int]]] = {}
        for split, count in per_kind.items():
            check_split(split)
            self._tasks[split] = {
                Task(f"{size}-{seed}-{split}-{kind}-{index}", split, kind): (kind, index)
                for index in range(count)
                for kind in KINDS
            }

    def tasks(self, split: str) -> tuple[Task, ...]:
        """List all tasks of a split, the task types in turn."""
        check_split(split)
        return tuple(self._tasks.get(split, ()))

    def source_game(self, task: Task) -> SourceGame:
        """Return the generated game, with its room and the expert's plan."""
        return _generated(self.seed, self.size, task.split, *self._tasks[task.split][task])

    def game(self, task: Task) -> tuple[Rules, Game]:
        """Return rules and game for the stepper."""
        return installed_rules(), self.source_game(task).fast()

    def content(self, task: Task) -> dict:
        """Return the game file for the real engine."""
        return self.source_game(task).content()


@lru_cache(maxsize=256)
def _generated(seed: int, size: Size, split: str, kind: str, index: int) -> SourceGame:
    return generate(seed, size, split, kind, index)


class PublishedGames:
    """ALFWorld's own games, as `alfworld-download` leaves them: of each folder the solvable games of the six types.

    The choice is that of `AlfredTWEnv.collect_game_files` (alfworld 0.4.2). The order is by path, on every machine.

    root: the folder that holds `json_2.1.1`; None: $ALFWORLD_DATA, else ~/.cache/alfworld.
    """

    def __init__(self, root: Path | None = None):
        default = os.environ.get("ALFWORLD_DATA") or Path.home() / ".cache" / "alfworld"
        self.root = Path(root or default) / "json_2.1.1"

    @cached_property
    def _found(self) -> dict[str, dict[Task, Path]]:
        found: dict[str, dict[Task, Path]] = {}
        for split, folder in PUBLISHED.items():
            if not (self.root / folder).is_dir():
                raise UserError(f"ALFWorld's data has no folder {folder} below {self.root}: {DOWNLOAD}")
            found[split] = {}
            for path in sorted((self.root / folder).rglob("game.tw-pddl")):
                name = path.parent.relative_to(self.root).as_posix()
                kind = _json(path.parent / "traj_data.json").get("task_type")
                if kind in KINDS and "movable" not in name and "Sliced" not in name and _json(path).get("solvable"):
                    found[split][Task(name, split, kind)] = path
            if not found[split]:
                raise UserError(f"ALFWorld's data holds no solvable game in {folder} below {self.root}: {DOWNLOAD}")
        return found

    def tasks(self, split: str) -> tuple[Task, ...]:
        """List all tasks of a split, sorted by path.

        Raises:
            UserError: the data is missing.
        """
        check_split(split)
        return tuple(self._found[split])

    def sha256(self) -> str:
        """Hash the names and contents of all games, so that a run says which games it played."""
        digest = hashlib.sha256()
        for task, path in (item for split in SPLITS for item in self._found[split].items()):
            digest.update(f"{task.split} {task.id}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def game(self, task: Task) -> tuple[Rules, Game]:
        """Return rules and game for the stepper."""
        content = self.content(task)
        grammar, plan = content["grammar"], tuple(content.get("walkthrough") or ())
        game = game_from_pddl(task.id, task.kind, task.split, content["pddl_problem"], task_sentence(grammar), plan)
        return _compiled(content["pddl_domain"], grammar.replace(game.task, "")), game

    def content(self, task: Task) -> dict:
        """Return the game file for the real engine.

        Raises:
            UserError: a part is missing.
        """
        content = _json(self._found[task.split][task])
        missing = [key for key in ("pddl_domain", "grammar", "pddl_problem") if not content.get(key)]
        if missing:
            raise UserError(f"{task.id}/game.tw-pddl has no {missing[0]}: {DOWNLOAD} -f")
        return content


@lru_cache(maxsize=8)
def _compiled(domain: str, grammar: str) -> Rules:
    return compile_rules(domain, grammar)


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path.parent.name}/{path.name} cannot be read ({error}): {DOWNLOAD} -f") from None


class CommittedGames:
    """Games that a folder of this repository holds, with their rules: you need no package to play them."""

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / "rules.json"
        if not path.is_file():
            raise UserError(f"{folder.name}/rules.json is missing; restore the folder from the repository")
        self.rules = rules_from_json(json.loads(path.read_text()))

    @cached_property
    def _found(self) -> dict[str, dict[Task, Game]]:
        return {
            split: {Task(g.id, g.split, g.kind): g for g in read_games(self.folder / f"{split}.jsonl", self.rules)}
            for split in SPLITS
        }

    def tasks(self, split: str) -> tuple[Task, ...]:
        """List all tasks of a split, in the order of the file."""
        check_split(split)
        return tuple(self._found[split])

    def game(self, task: Task) -> tuple[Rules, Game]:
        """Return rules and game for the stepper."""
        return self.rules, self._found[task.split][task]

    def content(self, task: Task) -> dict:
        """Refuse: there are no files for the real engine. Raises UserError."""
        raise UserError(
            f"the committed game {task.id} has no files for the real engine; generate it again "
            "(GeneratedGames with the seed and size in its id)"
        )
