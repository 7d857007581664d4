"""MiniHouse in few words, for a model that is trained from nothing: what a turn's message says, and what an action is.

EPO's message (`tasks/envs/prompts.py`; arXiv 2509.22576, App. D) has hundreds of words. Ours holds, in this order, the
goal, the last actions, what is seen now, and every admissible action but `help`:

    put a hot bread in fridge <last> go fridge open fridge <now> fridge open bread mug <can> close fridge examine fridge
    go cabinet cabinet 2 drawer microwave inventory look take bread mug

What differs from EPO's: no role, no instructions, no step number; past turns are shown by their actions alone; of
observations only names, numbers and states are left; actions are grouped by verb; a number 1 is left out, and so is
what the place decides (`take bread 1 from fridge 1` is `take bread`). The answer is `<action> take bread </action>`,
without reasoning. Every short action stands for one admissible command; games, rules and rewards are unchanged.
"""

import re
from collections.abc import Iterable, Sequence

from reproduce.tasks.envs.actions import ACTION_CLOSE, ACTION_OPEN, ALFWORLD_FALLBACK, ParsedAction, parse_action
from reproduce.tasks.envs.interface import SPLITS, Step
from reproduce.tasks.envs.prompts import WINDOW

LAST, NOW, CAN = "<last>", "<now>", "<can>"
TAGS = (ACTION_OPEN, ACTION_CLOSE)
VERBS = (
    "go", "take", "move", "open", "close", "use", "examine", "inventory", "look", "help", "heat", "clean", "cool",
    "slice",
)  # fmt: skip
GOAL_WORDS = (
    "put", "a", "hot", "some", "in", "on", "and", "it", "the", "with", "find", "two", "them", "at", "under",
)  # fmt: skip
STATES = (
    "closed", "open", "nothing", "happens", "carrying", "facing", "clean", "hot", "cool", "cold", "normal", "sliced",
)  # fmt: skip
NUMBERS = tuple(str(n) for n in range(2, 10))
_OBJECT_ONLY = ("take", "move", "heat", "clean", "cool")
_REPEATED = re.compile(r"You (?:arrive at|open) [^.]*\. (?=\S)")
"""Sentences whose place the next one names again."""


def class_names(source) -> tuple[str, ...]:
    """The classes of things and furniture in all games of a source (`envs.alfworld_source.Source`), sorted."""
    games = (source.game(task)[1] for split in SPLITS for task in source.tasks(split))
    names = (game.names[id] for game in games for id, kind in game.objects.items() if kind in ("object", "receptacle"))
    return tuple(sorted({name.split()[0] for name in names}))


def vocabulary(names: Iterable[str]) -> tuple[str, ...]:
    """Every word that a message or an answer can hold, once each; names: `class_names`."""
    return tuple(dict.fromkeys([*TAGS, LAST, NOW, CAN, *VERBS, *GOAL_WORDS, *STATES, *NUMBERS, *names]))


def short(command: str) -> str:
    """An admissible command in few words; those of one state stay different from each other."""
    words = command.split()
    if words[:2] == ["go", "to"]:
        words = ["go", *words[2:]]
    elif words and words[0] in _OBJECT_ONLY:
        words = words[:3]
    return " ".join(_without_one(words))


def _without_one(words: Sequence[str]) -> list[str]:
    return [word for word in words if word != "1"]


class MiniHouseForm:
    """Messages and answers of MiniHouse; see the module. window: how many past actions a message shows."""

    def __init__(self, names: Iterable[str], window: int = WINDOW):
        self.window = window
        self._kept = {*names, *NUMBERS, *STATES}

    def prompt(self, step: Step, actions: Sequence[str]) -> str:
        """The message of a turn. actions: commands played so far in the episode, oldest first."""
        goal = step.info["goal"].removeprefix("Your task is to: ").rstrip(".")
        last = [short(action) for action in actions[max(len(actions) - self.window, 0) :]]
        parts = [goal, LAST, *last, NOW, self._seen(step.text), CAN, self._possible(step.admissible)]
        return " ".join(part for part in parts if part)

    def response(self, command: str) -> str:
        """The answer that plays `command`."""
        return f"{ACTION_OPEN} {short(command)} {ACTION_CLOSE}"

    def action(self, response: str, step: Step) -> ParsedAction:
        """The command of an answer to `step`'s message: an admissible one, or the answer's own words.

        The format is right if the action's tags are there and no foreign script; reasoning is not asked for.
        """
        parsed = parse_action(response, ALFWORLD_FALLBACK, lower=True)
        commands = {short(command): command for command in step.admissible}
        fault = "" if parsed.fault == "no reasoning" else parsed.fault
        return ParsedAction(commands.get(parsed.text, parsed.text), fault)

    def _seen(self, text: str) -> str:
        """The first observation lists what the actions list, and the goal: nothing is left of it."""
        if "Your task is to" in text:
            return ""
        words = re.sub(r"[^\w\s]", " ", _REPEATED.sub("", text)).lower().split()
        return " ".join(word for word in words if word in self._kept)

    @staticmethod
    def _possible(admissible: Sequence[str]) -> str:
        by_verb: dict[str, list[str]] = {}
        for command in admissible:
            if command != "help":
                verb, *rest = short(command).split()
                by_verb.setdefault(verb, []).extend(rest)
        return " ".join(" ".join([verb, *rest]) for verb, rest in by_verb.items())
