"""Write commands and feedback: expand the grammar's symbols over the facts of a state, in the real engine's order."""

from collections.abc import Iterator, Mapping

from reproduce.worlds.alfworld.stepper.grammar import Production, Query, Symbol
from reproduce.worlds.alfworld.stepper.rules import TASK

Tables = Mapping[str, set[tuple[str, ...]] | frozenset[tuple[str, ...]]]
Binding = dict[str, str]


class Writer:
    """The texts of one game. A binding maps the variables of an action or list to object ids."""

    def __init__(self, productions: Mapping[str, tuple[Production, ...]], names: Mapping[str, str], task: str):
        self.productions = {**productions, TASK: (Production((), (("text", task),)),)}
        self.names = names

    def write(self, symbols: tuple[Symbol, ...], binding: Binding, tables: Tables) -> str:
        """Write the text of `symbols`. tables: argument tuples of the facts that hold, by predicate."""
        parts: list[str] = []
        for symbol in symbols:
            kind = symbol[0]
            if kind == "text":
                parts.append(symbol[1])
            elif kind == "value":
                parts.append(self._value(symbol[1], binding))
            elif kind == "rule":
                parts.append(self._expand(symbol[1], binding, tables))
            else:
                parts.append(self._list(symbol[1], symbol[2], binding, tables))
        return "".join(parts)

    def _expand(self, name: str, binding: Binding, tables: Tables) -> str:
        for production in self.productions[name]:
            if not production.condition or next(answers(production.condition, binding, tables), None) is not None:
                return self.write(production.symbols, binding, tables)
        raise AssertionError(f"no production of {name} holds")  # compile_rules makes sure that the last one does

    def _list(self, symbol: Symbol, query: Query, binding: Binding, tables: Tables) -> str:
        items = [self.write((symbol,), found, tables) for found in answers(query, binding, tables)]
        if not items:
            return self._expand("list_empty", binding, tables)
        if len(items) == 1:
            return items[0]
        separator = self._expand("list_separator", binding, tables)
        return separator.join(items[:-1]) + self._expand("list_last_separator", binding, tables) + items[-1]

    def _value(self, expression: tuple, binding: Binding) -> str:
        kind = expression[0]
        if kind == "get":
            id, attribute = binding[expression[1]], expression[2]
            if attribute == "name":
                return self.names[id]
            return {"id": id, "definite": "the", "indefinite": "a"}[attribute]
        if kind == "const":
            return expression[1]
        left = self._value(expression[1], binding)
        if kind == "+":
            return left + self._value(expression[2], binding)
        return left or self._value(expression[2], binding)


def answers(query: Query, binding: Binding, tables: Tables, depth: int = 0) -> Iterator[Binding]:
    """Yield all bindings that extend `binding` and satisfy the query, atom by atom, the facts of each atom sorted.

    Two variables never mean the same object (TextWorld's rule).
    """
    if depth == len(query):
        yield binding
        return
    predicate, arguments = query[depth]
    facts = tables.get(predicate, ())
    known = [binding.get(name) for name, _ in arguments]
    if None not in known:
        if tuple(known) in facts:
            yield from answers(query, binding, tables, depth + 1)
        return
    fixed = [(place, value) for place, value in enumerate(known) if value is not None]
    for fact in sorted(fact for fact in facts if all(fact[place] == value for place, value in fixed)):
        extended = dict(binding)
        for (name, _), value in zip(arguments, fact, strict=True):
            current = extended.get(name)
            if current is None and value not in extended.values():
                extended[name] = value
            elif current != value:
                break
        else:
            yield from answers(query, extended, tables, depth + 1)
