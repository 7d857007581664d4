"""Compile ALFWorld's PDDL domain and TextWorld grammar into `Rules`, once.

We refuse every construct whose meaning in the real engine the stepper does not reproduce.
"""

from collections.abc import Iterator

from reproduce.errors import UserError
from reproduce.worlds.alfworld.stepper.grammar import Phrases, Production, Symbol, read_grammar, read_query
from reproduce.worlds.alfworld.stepper.grammar import read_symbols as read
from reproduce.worlds.alfworld.stepper.pddl import Literal, read_domain
from reproduce.worlds.alfworld.stepper.rules import START, TASK, Rules, list_atoms, text_atoms

LIST_PARTS = ("list_empty", "list_separator", "list_last_separator")


def compile_rules(domain: str, grammar: str) -> Rules:
    """Compile a PDDL domain and a TextWorld grammar.

    Raises:
        UserError: the stepper cannot reproduce a construct.
    """
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
    if {p for symbols in commands.values() for p, _ in list_atoms(symbols)} & rules.dynamic:
        raise UserError("grammar: a command template asks for a fact that changes; not supported")
    unknown = {atom.removeprefix("not_") for atom, _ in text_atoms(rules)} - predicates.keys()
    if unknown:
        raise UserError(f"grammar: predicate {sorted(unknown)[0]} is not in the domain; domain and grammar must match")
    return rules


def task_sentence(grammar: str) -> str:
    """Return the task sentence in a game's grammar ("Your task is to: ...").

    Raises:
        UserError: it is not plain text.
    """
    found = read_grammar(grammar).productions.get(TASK, [])
    symbols = read(found[0]["rhs"]) if len(found) == 1 and not found[0].get("condition") else ()
    if len(symbols) != 1 or symbols[0][0] != "text":
        raise UserError("grammar: the task sentence is not one plain text; play this game with the real engine")
    return symbols[0][1]


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


def _names(symbols: tuple[Symbol, ...]) -> Iterator[str]:
    for symbol in symbols:
        if symbol[0] == "rule":
            yield symbol[1]
        elif symbol[0] == "list":
            yield from _names((symbol[1],))


def _check_types(rules: Rules) -> None:
    """A variable's name must mean one type everywhere: the texts' variables are those of the action by name."""
    types: dict[str, str] = {}
    pairs = [(name[1:], kind) for action in rules.actions for name, kind in action.parameters]
    for name, kind in [*pairs, *(pair for _, arguments in text_atoms(rules) for pair in arguments)]:
        if types.setdefault(name, kind) != kind:
            raise UserError(f"grammar: the variable {name} has types {types[name]} and {kind}; not supported")
    for action in rules.actions:
        clash = {v for d in action.precondition for v, _ in d.extra} & {v for v, _ in action.parameters}
        if clash:
            raise UserError(f"PDDL domain: {action.name} quantifies its own parameter {sorted(clash)[0]}")


def _check_conditional(rules: Rules) -> None:
    """Conditional effects are left out, so nothing may read their predicates (goals are checked with the game)."""
    read_somewhere = {atom.removeprefix("not_") for atom, _ in text_atoms(rules)}
    for action in rules.actions:
        read_somewhere |= {literal.predicate for d in action.precondition for literal in d.literals}
    clash = {e.predicate for action in rules.actions for e in action.conditional} & read_somewhere
    if clash:
        raise UserError(f"PDDL domain: a conditional effect on {sorted(clash)[0]} matters; not supported")


def _check_deleted(rules: Rules) -> None:
    """`not_p` in a text means "an action deleted p", which the real engine notes only if p can be true at all."""
    for name in {atom[4:] for atom, _ in text_atoms(rules) if atom.startswith("not_")}:
        for action in rules.actions:
            for effect in action.effects:
                needed = Literal(name, effect.args)
                if effect.predicate == name and not effect.positive:
                    if not all(needed in d.literals for d in action.precondition):
                        raise UserError(f"PDDL domain: {action.name} deletes {name} without needing it; not supported")


def _check_place(rules: Rules) -> None:
    """An action that sets a place leaves one, so that there is always exactly one (a game starts with one)."""
    for action in rules.actions:
        arrives = [e for e in action.effects if e.predicate == rules.place and e.positive]
        leaves = [e for e in action.effects if e.predicate == rules.place and not e.positive]
        needed = [Literal(e.predicate, e.args) for e in leaves]
        if (
            len(arrives) != len(leaves)
            or len(arrives) > 1
            or any(literal not in d.literals for literal in needed for d in action.precondition)
        ):
            raise UserError(f"PDDL domain: {action.name} does not keep exactly one {rules.place}; not supported")
