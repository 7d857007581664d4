"""A game made ready for the stepper. It is grounded only as far as the player goes: place by place, thing by thing."""

from collections.abc import Mapping
from itertools import product

from reproduce.worlds.alfworld.stepper.checks import check_game
from reproduce.worlds.alfworld.stepper.game import Game
from reproduce.worlds.alfworld.stepper.ground import Grounder, Operator
from reproduce.worlds.alfworld.stepper.join import Binding
from reproduce.worlds.alfworld.stepper.rules import Rules
from reproduce.worlds.alfworld.stepper.text import Writer

Row = tuple[str | None, str | None, tuple[str, ...]]


class LoadedGame:
    """A loaded game; all its episodes share it. Use `stepper.load_game`, which also replays the expert.

    start: facts that are true at the start, by number. tables: the same for texts.

    Raises:
        UserError: equality with the real engine is not proven for it; the message names the game and the reason.
    """

    def __init__(self, rules: Rules, game: Game):
        rules.check_proven()
        check_game(rules, game)
        self.rules, self.game = rules, game
        self.writer = Writer(rules.productions, game.names, game.task)
        self.tables = _tables(rules, game)
        self._grounder = Grounder(rules, game)
        self.goal = [[c for disjunct in part for c in self._grounder.conditions(disjunct)] for part in game.goal]
        self.start = frozenset(self._grounder.number(fact) for fact in sorted(game.facts) if fact[0] in rules.dynamic)
        self._pieces: dict[tuple[int | None, ...], list[Operator]] = {}
        self._sorted: dict[tuple[int, ...], tuple[Operator, ...]] = {}
        self._rows: dict[int, Row] = {}

    def reached(self, facts: set[int] | frozenset[int]) -> bool:
        """Whether the goal holds."""
        return all(any(true <= facts and false.isdisjoint(facts) for true, false in part) for part in self.goal)

    def key(self, number: int) -> int | None:
        """Return the key predicate of a fact; None for other facts."""
        name = self._grounder.facts[number][0]
        return self.rules.keys.index(name) if name in self.rules.keys else None

    def operators(self, keys: tuple[int, ...]) -> tuple[Operator, ...]:
        """List all operators that may apply while exactly these key facts (sorted numbers) hold, by command."""
        if keys not in self._sorted:
            facts = [[None, *(n for n in keys if self.key(n) == rank)] for rank in range(len(self.rules.keys))]
            found = [operator for piece in product(*facts) for operator in self._piece(piece)]
            self._sorted[keys] = tuple(sorted(found, key=lambda operator: operator.command))
        return self._sorted[keys]

    def _piece(self, keys: tuple[int | None, ...]) -> list[Operator]:
        if keys not in self._pieces:
            self._pieces[keys] = self._grounder.operators(keys, self._command)
        return self._pieces[keys]

    def _command(self, action: str, binding: Binding) -> str:
        return self.writer.write(self.rules.commands[action], binding, self.tables)

    def row(self, number: int) -> Row:
        """Return the tables of a fact that texts read while it is true and once it is deleted, and its arguments."""
        if number not in self._rows:
            name, *args = self._grounder.facts[number]
            read = self.rules.text_predicates
            names = (name if name in read else None, f"not_{name}" if f"not_{name}" in read else None)
            self._rows[number] = (*names, tuple(args))
        return self._rows[number]


def _tables(rules: Rules, game: Game) -> Mapping[str, frozenset[tuple[str, ...]]]:
    """Per predicate that texts read, the arguments of its facts at the start, of the declared types only."""
    tables: dict[str, set[tuple[str, ...]]] = {name: set() for name in rules.text_predicates}
    for predicate, *args in game.facts:
        if predicate in tables and tuple(game.objects[arg] for arg in args) == rules.predicates[predicate]:
            tables[predicate].add(tuple(args))
    return {name: frozenset(rows) for name, rows in tables.items()}
