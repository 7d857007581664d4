"""The rules of ALFWorld compiled once from its domain and grammar: what the stepper runs on, and can be stored as JSON.

`compile_rules` refuses every construct whose meaning in the real engine is not reproduced here. On top of that a game
is loaded only if the digest of its rules is in `PROVEN`: those were compared with the real engine step by step
(`python -m reproduce.tasks.envs.check_alfworld`).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from reproduce.errors import UserError
from reproduce.tasks.envs.alfworld_fast.grammar import Phrases, Production, Symbol, read_grammar, read_query
from reproduce.tasks.envs.alfworld_fast.grammar import read_symbols as read
from reproduce.tasks.envs.alfworld_fast.pddl import Action, Disjunct, Literal, read_domain

START, TASK = "intro", "task"
LIST_PARTS = ("list_empty", "list_separator", "list_last_separator")
PROVEN = {
    "b13aed82b0bc0f7719bac48ef9d1c17ca49806e711b8164537590ae4e8729ec5": "alfworld 0.4.2 (games since 0.4.0)",
}


@dataclass(frozen=True)
class Rules:
    """Argument types of the predicates, actions, the symbols of their command and feedback, and the productions that
    expand them (without the task sentence, which is the game's)."""

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
        return frozenset(predicate for predicate, _ in _atoms(self))

    @cached_property
    def read_predicates(self) -> frozenset[str]:
        """Predicates that preconditions or texts read."""
        texts = {name.removeprefix("not_") for name in self.text_predicates}
        return frozenset(texts | {x.predicate for a in self.actions for d in a.precondition for x in d.literals})

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The two predicates that most preconditions need; the first says where the player is. Operators are grounded
        and kept by the facts of these that they need."""
        count = Counter(
            literal.predicate
            for action in self.actions for d in action.precondition for literal in d.literals
            if literal.positive and literal.predicate in self.dynamic
        )  # fmt: skip
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
        """Nested lists and dictionaries that `rules_from_json` reads back."""
        return {
            "predicates": self.predicates,
            "actions": [
                [a.name, a.parameters, [[d.extra, _plain(d.literals)] for d in a.precondition],
                 _plain(a.effects), _plain(a.conditional)]
                for a in self.actions
            ],
            "commands": self.commands,
            "feedback": self.feedback,
            "productions": {name: [[p.condition, p.symbols] for p in ps] for name, ps in self.productions.items()},
        }  # fmt: skip

    def check_proven(self) -> None:
        """UserError unless these rules were proven equal to the real engine."""
        if self.digest not in PROVEN:
            raise UserError(
                f"the fast ALFWorld stepper is not proven for these rules (digest {self.digest[:12]}, proven: "
                f"{', '.join(PROVEN.values())}); play this game with the real engine"
            )


def compile_rules(domain: str, grammar: str) -> Rules:
    """Rules of a PDDL domain and a TextWorld grammar. UserError for what the stepper cannot reproduce."""
    predicates, actions = read_domain(domain)
    phrases = read_grammar(grammar)
    missing = [name for name in actions if name not in phrases.commands or name not in phrases.feedback]
    if missing:
        raise UserError(f"grammar: action {missing[0]} has no template or no feedback; domain and grammar must match")
    commands = {name: read(phrases.commands[name]) for name in actions}
    feedback = {name: read(phrases.feedback[name]) for name in actions}
    productions = _reachable(phrases, [*commands.values(), *feedback.values()])
    rules = Rules(predicates, tuple(actions.values()), commands, feedback, productions)
    _check_types(rules)
    _check_conditional(rules)
    _check_deleted(rules)
    _check_place(rules)
    if any(symbol[0] == "rule" for symbols in commands.values() for symbol in symbols):
        raise UserError("grammar: a command template expands a symbol; not supported")
    if {p for symbols in commands.values() for p, _ in _list_atoms(symbols)} & rules.dynamic:
        raise UserError("grammar: a command template asks for a fact that changes; not supported")
    unknown = {atom.removeprefix("not_") for atom, _ in _atoms(rules)} - predicates.keys()
    if unknown:
        raise UserError(f"grammar: predicate {sorted(unknown)[0]} is not in the domain; domain and grammar must match")
    return rules


def task_sentence(grammar: str) -> str:
    """The task sentence that a game's grammar carries ("Your task is to: ..."). UserError if it is not plain text."""
    found = read_grammar(grammar).productions.get(TASK, [])
    symbols = read(found[0]["rhs"]) if len(found) == 1 and not found[0].get("condition") else ()
    if len(symbols) != 1 or symbols[0][0] != "text":
        raise UserError("grammar: the task sentence is not one plain text; play this game with the real engine")
    return symbols[0][1]


def rules_from_json(value: dict) -> Rules:
    """Reads what `Rules.to_json` wrote."""
    value = _tuples(value)
    actions = tuple(
        Action(name, parameters, tuple(Disjunct(extra, _literals(found)) for extra, found in precondition),
               _literals(effects), _literals(conditional))
        for name, parameters, precondition, effects, conditional in value["actions"]
    )  # fmt: skip
    productions = {name: tuple(Production(*pair) for pair in pairs) for name, pairs in value["productions"].items()}
    return Rules(value["predicates"], actions, value["commands"], value["feedback"], productions)


def _reachable(phrases: Phrases, texts: list[tuple[Symbol, ...]]) -> dict[str, tuple[Production, ...]]:
    found: dict[str, tuple[Production, ...]] = {}
    waiting = [START, *LIST_PARTS, *(name for symbols in texts for name in _names(symbols))]
    while waiting:
        name = waiting.pop()
        if name in found or name == TASK:
            continue
        if name not in phrases.productions:
            raise UserError(f"grammar: the symbol #{name}# has no production; the file is damaged")
        found[name] = tuple(
            Production(read_query(rule["condition"]) if rule.get("condition") else (), read(rule["rhs"]))
            for rule in phrases.productions[name]
        )
        if found[name][-1].condition:
            raise UserError(f"grammar: the last production of #{name}# needs to hold always")
        waiting += [inner for production in found[name] for inner in _names(production.symbols)]
    return {name: found[name] for name in sorted(found)}


def variables(expression: tuple) -> Iterator[str]:
    """The variables of a value's expression."""
    if expression[0] == "get":
        yield expression[1]
    elif expression[0] != "const":
        yield from variables(expression[1])
        yield from variables(expression[2])


def _names(symbols: tuple[Symbol, ...]) -> Iterator[str]:
    for symbol in symbols:
        if symbol[0] == "rule":
            yield symbol[1]
        elif symbol[0] == "list":
            yield from _names((symbol[1],))


def _atoms(rules: Rules) -> Iterator[tuple[str, tuple]]:
    """All atoms (predicate, typed variables) that the texts ask for."""
    for production in (p for ps in rules.productions.values() for p in ps):
        yield from production.condition
        yield from _list_atoms(production.symbols)
    for symbols in [*rules.commands.values(), *rules.feedback.values()]:
        yield from _list_atoms(symbols)


def _list_atoms(symbols: tuple[Symbol, ...]) -> Iterator[tuple[str, tuple]]:
    for symbol in symbols:
        if symbol[0] == "list":
            yield from symbol[2]


def _check_types(rules: Rules) -> None:
    """A variable's name must mean one type everywhere: the texts' variables are those of the action by name."""
    types: dict[str, str] = {}
    pairs = [(name[1:], kind) for action in rules.actions for name, kind in action.parameters]
    for name, kind in [*pairs, *(pair for _, arguments in _atoms(rules) for pair in arguments)]:
        if types.setdefault(name, kind) != kind:
            raise UserError(f"grammar: the variable {name} has types {types[name]} and {kind}; not supported")
    for action in rules.actions:
        clash = {v for d in action.precondition for v, _ in d.extra} & {v for v, _ in action.parameters}
        if clash:
            raise UserError(f"PDDL domain: {action.name} quantifies its own parameter {sorted(clash)[0]}")


def _check_conditional(rules: Rules) -> None:
    """Conditional effects are left out, so nothing may read their predicates (goals are checked with the game)."""
    read_somewhere = {atom.removeprefix("not_") for atom, _ in _atoms(rules)}
    for action in rules.actions:
        read_somewhere |= {literal.predicate for d in action.precondition for literal in d.literals}
    clash = {e.predicate for action in rules.actions for e in action.conditional} & read_somewhere
    if clash:
        raise UserError(f"PDDL domain: a conditional effect on {sorted(clash)[0]} matters; not supported")


def _check_deleted(rules: Rules) -> None:
    """`not_p` in a text means "an action deleted p", which the real engine notes only where p can be true at all."""
    for name in {atom[4:] for atom, _ in _atoms(rules) if atom.startswith("not_")}:
        for action in rules.actions:
            for effect in action.effects:
                needed = Literal(name, effect.args)
                if effect.predicate == name and not effect.positive:
                    if not all(needed in d.literals for d in action.precondition):
                        raise UserError(f"PDDL domain: {action.name} deletes {name} without needing it; not supported")


def _check_place(rules: Rules) -> None:
    """Whoever sets a place leaves one, so that there is always exactly one (a game starts with one)."""
    for action in rules.actions:
        arrives = [e for e in action.effects if e.predicate == rules.place and e.positive]
        leaves = [e for e in action.effects if e.predicate == rules.place and not e.positive]
        needed = [Literal(e.predicate, e.args) for e in leaves]
        if len(arrives) != len(leaves) or len(arrives) > 1 or any(
            literal not in d.literals for literal in needed for d in action.precondition
        ):  # fmt: skip
            raise UserError(f"PDDL domain: {action.name} does not keep exactly one {rules.place}; not supported")


def _plain(literals: tuple[Literal, ...]) -> list:
    return [[literal.predicate, list(literal.args), literal.positive] for literal in literals]


def _literals(values: tuple) -> tuple[Literal, ...]:
    return tuple(Literal(*value) for value in values)


def _tuples(value):
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value
