"""Read a TextWorld grammar file (`alfred.twl2`): commands, feedback and the productions that expand them.

A text is a tuple of symbols, all of them plain tuples, so that they can be stored as JSON:

    ("text", "You open the ")          literal text
    ("rule", "look.feedback")          expanded by the first production whose condition holds
    ("value", expression)              a property of a bound variable, see `_value`
    ("list", symbol, query)            the symbol for every answer of the query: "a", "a, and b", "a, b, and c"

A query is a tuple of atoms (predicate, ((variable, type), ...)). We refuse with a UserError what TextWorld would read
differently, and what it reads and we do not.
"""

import ast
import json
import re
from dataclasses import dataclass
from textwrap import dedent

from reproduce.errors import UserError

Symbol = tuple
Query = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

_SPACE = re.compile(r"(?:\s|#[^\n]*)*")
_BLOCK = re.compile(r'(grammar|pddl)\s*::\s*"""(.*?)"""\s*;', re.DOTALL)
_FIELD = re.compile(r'(template|feedback)\s*::\s*"([^"]*)"\s*;')
_ACTION = re.compile(r"action\s+([\w/-]+)\s*\{")
_ATOM = re.compile(r"\s*(\w+)\(([^()]*)\)\s*")
_TOKEN = re.compile(
    r"\[\{(?P<list>[^\[\]{}\n]+)\}\]|\{(?P<value>[^\[\]{}\n]+)\}|#(?P<rule>[\w()/!<>\-\s,.]+)#"
    r'|(?P<text>[^;|"<>\[\]#{}]+)'
)
ATTRIBUTES = ("name", "id", "definite", "indefinite")


@dataclass(frozen=True)
class Production:
    """One way to expand a symbol, allowed if `condition` has an answer (an empty condition always holds)."""

    condition: Query
    symbols: tuple[Symbol, ...]


@dataclass(frozen=True)
class Phrases:
    """Per action its command and feedback, and all productions by name, still as the strings of the file."""

    commands: dict[str, str]
    feedback: dict[str, str]
    productions: dict[str, list[dict]]


def read_grammar(text: str) -> Phrases:
    """Split a grammar file into its parts. Later productions of a name replace earlier ones, as in TextWorld."""
    phrases = Phrases({}, {}, {})
    position, action = _SPACE.match(text, 0).end(), None
    while position < len(text):
        if match := _ACTION.match(text, position):
            action = match[1].lower()
        elif action and text[position] == "}":
            action, match = None, re.compile("}").match(text, position)
        elif action and (match := _FIELD.match(text, position)):
            (phrases.commands if match[1] == "template" else phrases.feedback)[action] = match[2]
        elif match := _BLOCK.match(text, position):
            if match[1] == "grammar":
                lines = dedent(match[2]).split("\n")
                kept = [line for line in lines if not (action and line.lstrip().startswith("#"))]
                phrases.productions.update(json.loads("\n".join(kept)))
        else:
            raise UserError(f"grammar: cannot read {text[position : position + 40]!r}; use alfworld 0.4.2's grammar")
        position = _SPACE.match(text, match.end()).end()
    return phrases


def read_symbols(text: str) -> tuple[Symbol, ...]:
    """Read the symbols of a right-hand side. TextWorld drops white space at the beginning of its lines."""
    symbols, position = [], 0
    text = text.replace("\\n", "\n")
    if "//" in text:
        raise UserError(f"grammar: {text!r} holds //, which TextWorld may drop; play this game with the real engine")
    while position < len(text):
        if position == 0 or text[position - 1] == "\n":
            position = re.compile(r"\s*").match(text, position).end()
        match = _TOKEN.match(text, position)
        if not match:
            raise UserError(f"grammar: cannot read {text[position : position + 40]!r} of {text!r}")
        kind = match.lastgroup
        content = match[kind]
        if kind in ("text", "rule"):
            symbols.append((kind, content))
        else:
            inner, _, given = content.partition("|")
            symbol = ("rule", inner.strip()[1:-1]) if inner.lstrip().startswith("#") else ("value", _value(inner))
            if bool(given) != (kind == "list"):
                raise UserError(f"grammar: {match[0]!r} needs a condition in a list, and only there")
            symbols.append(("list", symbol, read_query(given)) if given else symbol)
        position = match.end()
    return tuple(symbols)


def read_query(text: str) -> Query:
    """Read the atoms of `p(x:type, y:type) & q(...)`."""
    atoms, position = [], 0
    while True:
        match = _ATOM.match(text, position)
        if not match:
            raise UserError(f"grammar: cannot read the condition {text!r}")
        pairs = [tuple(part.strip() for part in arg.split(":")) for arg in match[2].split(",")]
        if any(len(pair) != 2 for pair in pairs):
            raise UserError(f"grammar: every variable of {text!r} needs a type, as in o:object")
        atoms.append((match[1], tuple(pairs)))
        if match.end() == len(text):
            return tuple(atoms)
        if text[match.end()] != "&":
            raise UserError(f"grammar: cannot read the condition {text!r}")
        position = match.end() + 1


def _value(text: str) -> tuple:
    """An expression as ("get", variable, attribute), ("const", text), ("+", left, right) or ("or", left, right)."""
    return _convert(ast.parse(text.strip(), mode="eval").body, text)


def _convert(node: ast.expr, text: str) -> tuple:
    if isinstance(node, ast.Name):
        return ("get", node.id, "name")
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in ATTRIBUTES:
        return ("get", node.value.id, node.attr)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return ("const", node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return ("+", _convert(node.left, text), _convert(node.right, text))
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and len(node.values) == 2:
        return ("or", *(_convert(value, text) for value in node.values))
    raise UserError(f"grammar: the expression {{{text}}} is not supported; play this game with the real engine")
