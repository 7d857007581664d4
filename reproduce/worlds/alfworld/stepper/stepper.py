"""The stepper: play a loaded game on plain Python state, with the texts and commands of the real engine."""

from reproduce.errors import UserError
from reproduce.worlds.alfworld.stepper.game import Game
from reproduce.worlds.alfworld.stepper.ground import Operator
from reproduce.worlds.alfworld.stepper.load import LoadedGame
from reproduce.worlds.alfworld.stepper.rules import START, Rules

NOTHING = "Nothing happens."
"""TextWorld's answer to a command that is not admissible (textworld/envs/pddl/pddl.py, 1.7.0)."""


class Stepper:
    """The state of one episode of a loaded game. won: whether the goal holds now."""

    def __init__(self, loaded: LoadedGame):
        self.loaded = loaded
        self.facts = set(loaded.start)
        self.keys = {number for number in loaded.start if loaded.key(number) is not None}
        dynamic = loaded.rules.dynamic
        self.tables = {
            name: set(rows) if name.removeprefix("not_") in dynamic else rows for name, rows in loaded.tables.items()
        }
        self.won = loaded.reached(self.facts)
        self._commands: dict[str, Operator] | None = None

    def intro(self) -> str:
        """Return the first observation, which ends with the task sentence."""
        return self.loaded.writer.write((("rule", START),), {}, self.tables)

    def admissible(self) -> tuple[str, ...]:
        """List all commands that do something now, sorted."""
        return tuple(self._possible())

    def step(self, command: str) -> str:
        """Play a command and return its feedback; a command that is not admissible changes nothing."""
        operator = self._possible().get(command.strip())
        if operator is None:
            return NOTHING
        if operator.add or operator.delete:
            self._apply(operator)
        symbols = self.loaded.rules.feedback[operator.action.name]
        return self.loaded.writer.write(symbols, operator.binding, self.tables)

    def _possible(self) -> dict[str, Operator]:
        if self._commands is None:
            facts = self.facts
            self._commands = {
                op.command: op
                for op in self.loaded.operators(tuple(sorted(self.keys)))
                if op.positive <= facts and op.negative.isdisjoint(facts)
            }
        return self._commands

    def _apply(self, operator: Operator) -> None:
        loaded, tables = self.loaded, self.tables
        for numbers, now_true in ((operator.delete, False), (operator.add, True)):
            for number in numbers:
                true, deleted, args = loaded.row(number)
                (self.facts.add if now_true else self.facts.discard)(number)
                if true:
                    (tables[true].add if now_true else tables[true].discard)(args)
                if deleted:
                    (tables[deleted].discard if now_true else tables[deleted].add)(args)
                if loaded.key(number) is not None:
                    (self.keys.add if now_true else self.keys.discard)(number)
        self.won = loaded.reached(self.facts)
        self._commands = None


def load_game(rules: Rules, game: Game) -> LoadedGame:
    """Make a game ready to play.

    The expert's plan has to win it: the real engine plays an unsolvable game without any command, which we do not
    reproduce.

    Raises:
        UserError: equality with the real engine is not proven for it; the message says why.
    """
    loaded = LoadedGame(rules, game)
    episode = Stepper(loaded)
    if episode.won:
        raise UserError(f"game {game.id}: the goal holds before the first action; play it with the real engine")
    for command in game.plan:
        episode.step(command)
    if not episode.won:
        raise UserError(f"game {game.id}: the expert's plan does not win it; play it with the real engine")
    return loaded
