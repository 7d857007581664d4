"""MiniHouse's messages in few words, for a model that is trained from scratch.

EPO's message (`worlds/messages.py`; arXiv 2509.22576, App. D) has hundreds of words. Ours holds, in this order, the
goal, the last actions, what is seen now, and every admissible action but `help`:

    put a hot bread in fridge <last> go fridge open fridge <now> fridge open bread mug2 <can> close fridge examine
    fridge go cabinet cabinet2 drawer <here> microwave inventory look take bread mug2

Differences from EPO's message: no role, no instructions, no step number; past turns are shown by their actions alone;
of observations only names and states are left; a name and its number are one word, and a number 1 is left out; actions
are grouped by verb, without the words that the place decides (`take bread 1 from fridge 1` is `take bread`); in the
list of places to go to, `<here>` marks the player's place, which ALFWorld tells by the action `examine`. The answer is
`<action> take bread </action>`, without reasoning. Every short action means one admissible command; games, rules and
rewards are unchanged.
"""

import re
from collections.abc import Iterable, Sequence

from reproduce.worlds.actions import ACTION_CLOSE, ACTION_OPEN, ACTION_TAGS, ParsedAction, parse_action
from reproduce.worlds.alfworld.messages import FALLBACK, GOAL
from reproduce.worlds.messages import CAN, LAST, NOW, WINDOW, Turn
from reproduce.worlds.text_environment import SPLITS, Step

HERE = "<here>"
VERBS = tuple("go take move open close use examine inventory look help heat clean cool slice".split())
GOAL_WORDS = tuple("put a hot some in on and it the with find two them at under".split())
STATES = tuple("closed open nothing happens carrying facing clean hot cool cold normal sliced".split())
_OBJECT_ONLY = ("take", "move", "heat", "clean", "cool")
_NUMBERED = re.compile(r"\b([a-z]+) (\d+)\b")
_REPEATED = re.compile(r"You (?:arrive at|open) [^.]*\. (?=\S)")
"""Sentences whose place the next one names again."""


def names_of(source) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (things, places): the names of objects and receptacles in all games of a source
    (`alfworld.source.Source`).

    They are sorted, each as one word, and without its number too, as goals have it.
    """
    games = [source.game(task)[1] for split in SPLITS for task in source.tasks(split)]
    return _names(games, "object"), _names(games, "receptacle")


def _names(games: Sequence, kind: str) -> tuple[str, ...]:
    names = {one_word(game.names[id]) for game in games for id, found in game.objects.items() if found == kind}
    return tuple(sorted(names | {name.rstrip("0123456789") for name in names}))


def vocabulary(things: Iterable[str], places: Iterable[str]) -> tuple[str, ...]:
    """List every word that a message or an answer can hold, once each. things, places: as of `names_of`."""
    return tuple(dict.fromkeys([*ACTION_TAGS, LAST, NOW, CAN, HERE, *VERBS, *GOAL_WORDS, *STATES, *things, *places]))


def short(command: str) -> str:
    """Shorten an admissible command; the commands of one state stay different from each other."""
    words = command.split()
    if words[:2] == ["go", "to"]:
        words = ["go", *words[2:]]
    elif words and words[0] in _OBJECT_ONLY:
        words = words[:3]
    return one_word(" ".join(words))


def one_word(text: str) -> str:
    """Join names and their numbers to one word each: "bread 2" is `bread2`, "bread 1" is `bread`."""
    return _NUMBERED.sub(lambda found: found[1] + (found[2] if found[2] != "1" else ""), text)


class MiniHouseForm:
    """Messages and answers of MiniHouse; see the module.

    things, places: names of the games' objects and receptacles (`names_of`). window: past actions that a message shows.
    """

    def __init__(self, things: Iterable[str], places: Iterable[str], window: int = WINDOW):
        self.window, self._places = window, frozenset(places)
        self._kept = {*things, *self._places, *STATES}

    def prompt(self, step: Step, past: Sequence[Turn], steps: int | None = None) -> str:
        """Write the message of a turn. past: the turns before, oldest first. The message does not show `steps`."""
        goal = step.info["goal"].removeprefix(GOAL).rstrip(".")
        last = [short(turn.action) for turn in past[max(len(past) - self.window, 0) :]]
        parts = [goal, LAST, *last, NOW, self._seen(step.text), CAN, self._possible(step.admissible)]
        return " ".join(part for part in parts if part)

    def response(self, command: str) -> str:
        """Write the answer that plays `command`."""
        return f"{ACTION_OPEN} {short(command)} {ACTION_CLOSE}"

    def action(self, response: str, step: Step) -> ParsedAction:
        """Parse the command of an answer to `step`'s message: an admissible one, or the answer's own words.

        The format is right if the action's tags are there and no foreign script; reasoning is not required.
        """
        parsed = parse_action(response, FALLBACK, lower=True)
        commands = {short(command): command for command in step.admissible}
        fault = "" if parsed.fault == "no reasoning" else parsed.fault
        return ParsedAction(commands.get(parsed.text, parsed.text), fault)

    def _seen(self, text: str) -> str:
        """Nothing for the first observation: it lists what the actions list, and the goal."""
        if "Your task is to" in text:
            return ""
        words = one_word(re.sub(r"[^\w\s]", " ", _REPEATED.sub("", text)).lower()).split()
        return " ".join(word for word in words if word in self._kept)

    def _possible(self, admissible: Sequence[str]) -> str:
        """The admissible actions by verb. In the list of places to go to, `<here>` is the player's place."""
        by_verb: dict[str, list[str]] = {}
        for command in admissible:
            if command != "help":
                verb, *rest = short(command).split()
                by_verb.setdefault(verb, []).extend(rest)
        here = [name for name in by_verb.get("examine", []) if name in self._places]
        if here and "go" in by_verb:
            by_verb["go"] = [name if name != here[0] else HERE for name in sorted([*by_verb["go"], here[0]])]
        return " ".join(" ".join([verb, *rest]) for verb, rest in by_verb.items())
