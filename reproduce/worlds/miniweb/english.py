"""MiniWeb in English, for models that come with a vocabulary: the same web, questions, tools and splits in sentences.

Everything here is a function from the words of the world to an English text, or from a call in English to one in words.
A page, a list of hits or a question therefore says the same in both renderings, and a search finds the same pages: the
index holds the words (`tests/worlds/test_miniweb_english.py`).

    tokal painter employer vekos museum birthplace zurin town year 54 count 22
    Tokal is a painter. The employer is the museum Vekos and the birthplace is the town Zurin. Tokal was born in the
    year 54 and won 22 prizes.
"""

import re

from reproduce.worlds.miniweb.demonstrations import Demonstration
from reproduce.worlds.miniweb.generator import ATTRIBUTES, KINDS, RELATIONS, STALE
from reproduce.worlds.miniweb.questions import MiniQuestion

CLASSES = {name: cls for kind, (cls, synonym) in KINDS.items() for name in (kind, synonym)}
"""Kind or synonym -> its class."""
YEAR, COUNT = ATTRIBUTES
HAPPENED = {"person": "was born", "place": "was founded", "work": "appeared", "organisation": "opened"}
ASKED_YEAR = {
    "person": "In which year was {} born?",
    "place": "In which year was {} founded?",
    "work": "In which year did {} appear?",
    "organisation": "In which year did {} open?",
}
HAS = {
    "person": "won {} prizes",
    "place": "has {} streets",
    "work": "has {} chapters",
    "organisation": "has {} members",
}
ASKED_COUNT = {
    "person": "How many prizes did {} win?",
    "place": "How many streets does {} have?",
    "work": "How many chapters does {} have?",
    "organisation": "How many members does {} have?",
}
NOUNS = {  # of year and count
    "person": ("birth year", "number of prizes"),
    "place": ("founding year", "number of streets"),
    "work": ("year of appearance", "number of chapters"),
    "organisation": ("opening year", "number of members"),
}
ASKED_BOTH = {
    "sum": "What is the sum of the {} and the {} of {}?",
    "max": "Which number is larger, the {} or the {} of {}? Give the number.",
}
THOUGHTS = {
    "retry": "The search timed out. I try again.",
    "other": "That was not the right page. I search again.",
    "open": "I open the page.",
    "wrong": "That is the wrong page. I open another one.",
    "compute": "I compute it with Python.",
    "done": "That is the answer.",
}
_OPERATORS = re.compile(r"\( | \)| ,|(?<=print|..max) (?=\()")
_PIECE = re.compile(r"<think> (.*) </think> <(\w+)> (.*) </\w+>", re.DOTALL)


def thing(words: list[str]) -> str:
    """Write a label: `tokal painter` becomes `the painter Tokal`."""
    name, kind = words
    return f"the {kind} {name.capitalize()}"


def page(body: str) -> str:
    """Write the body of a page. Raises KeyError or ValueError if it is none."""
    name, kind, *words = body.split()
    stale = words[:1] == [STALE]
    words = words[stale:]
    cls, found = CLASSES[kind], {}
    for relation in RELATIONS[cls]:
        at = words.index(relation)
        found[relation] = thing(words[at + 1 : at + 3])
    first, second = found.items()
    year, count = (words[words.index(attribute) + 1] for attribute in ATTRIBUTES)
    name, article = name.capitalize(), "an" if kind[0] in "aeio" else "a"
    return (
        f"{name} is {article} {kind}. {'This page is archived. ' if stale else ''}The {first[0]} is {first[1]} and the "
        f"{second[0]} is {second[1]}. {name} {HAPPENED[cls]} in the year {year} and {HAS[cls].format(count)}."
    )


def hits(listing: str) -> str:
    """Write a list of hits: `1 tokal painter 2 tokal` becomes `1. Tokal, painter; 2. Tokal`."""
    shown: list[str] = []
    for word in listing.split():
        if word.isdigit():
            shown.append(f"{word}.")
        else:
            shown[-1] += f", {word}" if " " in shown[-1] else f" {word.capitalize()}"
    return "; ".join(shown)


def result(asked: MiniQuestion, tool: str, content: str, found: str) -> str:
    """Write the result of a call. A program's output stays as it is.

    Args:
        asked: the question of the trajectory.
        tool: "search" or "python".
        content: of the call, in words.
        found: the result, in words.
    """
    if tool == "python":
        return found
    if found == "timeout":
        return "The search timed out."
    deep = asked.family == "mini-deepsearch"
    if deep and re.fullmatch(r"page \S+", content):
        return "There is no such page." if found == "none" else page(found)
    if found == "none":
        return "The search found nothing."
    if deep:
        return hits(found)
    return " ".join(f"{rank}. {page(body)}" for rank, body in enumerate(found.split(" , "), start=1))


def question(asked: MiniQuestion) -> str:
    """Write a question as a person would ask it."""
    if asked.family == "mini-math":
        expression = asked.expression
        if expression.startswith("max"):
            return f"What is the larger value, {expression[6:-2].replace(' , ', ' or ')}?"
        return f"What is {expression}?"
    name, kind, *_ = asked.text.split()
    of, cls = thing([name, kind]), CLASSES[kind]
    for relation in asked.relations:
        of, cls = f"the {relation} of {of}", RELATIONS[cls][relation]
    if asked.operation != "read":
        return ASKED_BOTH[asked.operation].format(*NOUNS[cls], of)
    return (ASKED_YEAR if asked.attributes == (YEAR,) else ASKED_COUNT)[cls].format(of)


def query(content: str) -> str:
    """Read a query or the call for a page: case and punctuation mean nothing, `Open page 2.` is `page 2`."""
    words = re.findall(r"\w+", content.lower())
    return " ".join(words[1:] if words[:2] == ["open", "page"] else words)


def thought(words: str) -> str:
    """Write a thought of the demonstrator."""
    if words in THOUGHTS:
        return THOUGHTS[words]
    first, *rest = words.split()
    if first == "value":
        return f"The result is {rest[0]}."
    if first in ATTRIBUTES:
        facts = dict(zip(words.split()[::2], words.split()[1::2], strict=True))
        names = {YEAR: "year", COUNT: "number"}
        return f"{' and '.join(f'The {names[a]} is {v}' for a, v in facts.items())}.".replace("and The", "and the")
    if len(rest) == 2:
        return f"The {first} is {thing(rest)}. I look for it."
    return f"I look for {thing([first, *rest])}."


def program(words: str) -> str:
    """Write a program without the blanks between its words: `print ( 3 + 4 )` becomes `print(3 + 4)`."""
    return _OPERATORS.sub(lambda match: match[0].strip(), words)


def search(words: str) -> str:
    """Write a query: `tokal painter` becomes `Tokal painter`, and `page 2` stays."""
    return words if words.startswith("page ") else words[:1].upper() + words[1:]


def demonstration(shown: Demonstration) -> Demonstration:
    """Write a demonstration in English."""
    pieces, tag, words = [], "", ""
    for text, sampled in shown.pieces:
        if not sampled:
            found = text.removeprefix("<result> ").removesuffix(" </result>")
            text = f"<result> {result(shown.question, tag, words, found)} </result>"
        else:
            said, tag, words = _PIECE.fullmatch(text).groups()
            if tag == "answer":
                content = f"\\boxed{{{shown.answer}}}"
            else:
                content = program(words) if tag == "python" else search(words)
            text = f"<think> {thought(said)} </think> <{tag}> {content} </{tag}>"
        pieces.append((text, sampled))
    return Demonstration(shown.question, tuple(pieces), shown.answer, shown.calls)


SYSTEM_PROMPT = "Think in <think> </think> before each step. {} End with <answer> \\boxed{{42}} </answer>."
SEARCH = "Search: <search> Tokal painter </search>."
OPEN = " Open the second hit: <search> page 2 </search>."
PYTHON = "Compute: <python> print(6 * 7) </python>."
TOOLS = {"mini-math": PYTHON, "mini-knowledge": SEARCH, "mini-deepsearch": f"{SEARCH}{OPEN} {PYTHON}"}


def system_prompt(asked: MiniQuestion) -> str:
    """Write the system message: the tools of the question's family and the form of an answer."""
    return SYSTEM_PROMPT.format(TOOLS[asked.family])
