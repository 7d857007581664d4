"""The compiled rules of ALFWorld, on which the stepper runs. They can be stored as JSON and played without the package.

A game loads only if the digest of its rules is in `PROVEN`: those were compared with the real engine step by step
(`python -m reproduce.commands.check_alfworld`).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from reproduce.errors import UserError
from reproduce.worlds.alfworld.stepper.grammar import Production, Symbol
from reproduce.worlds.alfworld.stepper.pddl import Action, Disjunct, Literal

START, TASK = "intro", "task"
PROVEN = {"b13aed82b0bc0f7719bac48ef9d1c17ca49806e711b8164537590ae4e8729ec5": "alfworld 0.4.2 (games since 0.4.0)"}


@dataclass(frozen=True)
class Rules:
    """Argument types of the predicates, actions, the symbols of their command and feedback, and the productions that
    expand them (without the task sentence, which belongs to the game).
    """

    predicates: dict[str, tuple[str, ...]]
    actions: tuple[Action, ...]
    commands: dict[str, tuple[Symbol, ...]]
    feedback: dict[str, tuple[Symbol, ...]]
    productions: dict[str, tuple[Production, ...]]

    @cached_property
    def dynamic(self) -> frozenset[str]:
        """Predicates that some action changes."""
        return frozenset(e.predicate for action in self.actions for e in action.effects + action.conditional)

    @cached_property
    def text_predicates(self) -> frozenset[str]:
        """Predicates that conditions and lists of the texts ask for, `not_` included."""
        return frozenset(predicate for predicate, _ in text_atoms(self))

    @cached_property
    def read_predicates(self) -> frozenset[str]:
        """Predicates that preconditions or texts read."""
        texts = {name.removeprefix("not_") for name in self.text_predicates}
        return frozenset(texts | {x.predicate for a in self.actions for d in a.precondition for x in d.literals})

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The two predicates that most preconditions need; the first says where the player is.

        Operators are grounded and kept by the facts of these predicates that they need.
        """
        count = Counter(
            literal.predicate
            for action in self.actions
            for d in action.precondition
            for literal in d.literals
            if literal.positive and literal.predicate in self.dynamic
        )
        return tuple(sorted(count, key=lambda name: (-count[name], name))[:2])

    @property
    def place(self) -> str:
        """The predicate that says where the player is; exactly one of its facts holds at any time."""
        return self.keys[0]

    def text_variables(self, action: Action) -> frozenset[str]:
        """Parameters that an action's feedback depends on, with their "?"; all if the text may bind other variables."""
        waiting, seen, found = [self.feedback[action.name]], set(), set()
        while waiting:
            for symbol in waiting.pop():
                if symbol[0] == "value":
                    found |= set(variables(symbol[1]))
                elif symbol[0] == "list":
                    found |= {name for _, pairs in symbol[2] for name, _ in pairs}
                elif symbol[0] == "rule" and symbol[1] not in seen:
                    seen.add(symbol[1])
                    for production in self.productions[symbol[1]]:
                        found |= {name for _, pairs in production.condition for name, _ in pairs}
                        waiting.append(production.symbols)
        parameters = frozenset(name for name, _ in action.parameters)
        needed = frozenset(f"?{name}" for name in found)
        return needed if needed <= parameters else parameters

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rules' canonical JSON, hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict:
        """Return nested lists and dictionaries that `rules_from_json` reads back."""
        return {
            "predicates": self.predicates,
            "actions": [
                [
                    a.name,
                    a.parameters,
                    [[d.extra, _plain(d.literals)] for d in a.precondition],
                    _plain(a.effects),
                    _plain(a.conditional),
                ]
                for a in self.actions
            ],
            "commands": self.commands,
            "feedback": self.feedback,
            "productions": {name: [[p.condition, p.symbols] for p in ps] for name, ps in self.productions.items()},
        }

    def check_proven(self) -> None:
        """Raise UserError unless these rules were proven equal to the real engine."""
        if self.digest not in PROVEN:
            raise UserError(
                f"the fast ALFWorld stepper is not proven for these rules (digest {self.digest[:12]}, proven: "
                f"{', '.join(PROVEN.values())}); play this game with the real engine"
            )


def rules_from_json(value: dict) -> Rules:
    """Read rules that `Rules.to_json` wrote."""
    value = _tuples(value)
    actions = tuple(
        Action(
            name,
            parameters,
            tuple(Disjunct(extra, _literals(found)) for extra, found in precondition),
            _literals(effects),
            _literals(conditional),
        )
        for name, parameters, precondition, effects, conditional in value["actions"]
    )
    productions = {name: tuple(Production(*pair) for pair in pairs) for name, pairs in value["productions"].items()}
    return Rules(value["predicates"], actions, value["commands"], value["feedback"], productions)


def variables(expression: tuple) -> Iterator[str]:
    """Yield the variables of a value's expression."""
    if expression[0] == "get":
        yield expression[1]
    elif expression[0] != "const":
        yield from variables(expression[1])
        yield from variables(expression[2])


def text_atoms(rules: Rules) -> Iterator[tuple[str, tuple]]:
    """Yield all atoms (predicate, typed variables) that the texts ask for."""
    for production in (p for ps in rules.productions.values() for p in ps):
        yield from production.condition
        yield from list_atoms(production.symbols)
    for symbols in [*rules.commands.values(), *rules.feedback.values()]:
        yield from list_atoms(symbols)


def list_atoms(symbols: tuple[Symbol, ...]) -> Iterator[tuple[str, tuple]]:
    """Yield the atoms of the lists among some symbols."""
    for symbol in symbols:
        if symbol[0] == "list":
            yield from symbol[2]


def _plain(literals: tuple[Literal, ...]) -> list:
    return [[literal.predicate, list(literal.args), literal.positive] for literal in literals]


def _literals(values: tuple) -> tuple[Literal, ...]:
    return tuple(Literal(*value) for value in values)


def _tuples(value):
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value
