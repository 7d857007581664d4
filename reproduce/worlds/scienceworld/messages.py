"""ScienceWorld in few words, for a model that is trained from nothing (no claim about quality: it shows the path).

EPO's message (`worlds/messages.py`) has four to six thousand characters. Ours holds the task, the last actions, the
first words of what is seen now, and the objects in sight:

    your task is to find the animal with the longest life span ... <last> teleport to outside <now> you teleport to
    outside <can> baby elephant butterfly air ...

The answer is an action between its tags, without reasoning. Environment, tasks, rules and rewards are unchanged. Words
that `data/worlds/scienceworld_words.txt` does not hold are unknown to the model. That file is written by

    python -m reproduce.worlds.scienceworld.messages

which plays the expert's paths of `PLAYED` training tasks of each of `KINDS`, those with the shortest such paths.
"""

import re
import sys
from collections.abc import Sequence

from reproduce.arguments import Parser
from reproduce.errors import UserError
from reproduce.worlds.actions import ACTION_CLOSE, ACTION_OPEN, SCIENCEWORLD_FALLBACK, ParsedAction, parse_action
from reproduce.worlds.messages import TEMPLATE_HELP, WINDOW, Turn
from reproduce.worlds.minihouse.messages import CAN, LAST, NOW, TAGS
from reproduce.worlds.miniweb.task import WORLDS
from reproduce.worlds.play import play, replay
from reproduce.worlds.scienceworld.environment import ScienceWorld
from reproduce.worlds.scienceworld.scripted import ROOMS
from reproduce.worlds.text_environment import TRAIN, Step

KINDS = ("find-non-living-thing", "lifespan-longest-lived", "lifespan-shortest-lived")
PLAYED = 24
WORDS = WORLDS / "scienceworld_words.txt"
SEEN = 40
"""Words of an observation that a message shows: descriptions of rooms are long, and the objects are listed anyway."""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.lower())


def vocabulary() -> tuple[str, ...]:
    """Every word that a message or an answer can hold, once each. UserError if the file is missing."""
    try:
        known = WORDS.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise UserError(f"data/worlds/{WORDS.name} is missing; restore it from the repository") from None
    verbs = [word for template in TEMPLATE_HELP for word in template.split() if word != "OBJ"]
    rooms = [word for room in ROOMS for word in room.split()]
    return tuple(dict.fromkeys([*TAGS, LAST, NOW, CAN, *verbs, *rooms, *known]))


class ScienceWorldShortForm:
    """Messages and answers; see the module. window: how many past actions a message shows."""

    def __init__(self, window: int = WINDOW):
        self.window = window

    def prompt(self, step: Step, past: Sequence[Turn], steps: int | None = None) -> str:
        """The message of a turn. past: the turns before, oldest first; steps are not told."""
        last = [word for turn in past[max(len(past) - self.window, 0) :] for word in words_of(turn.action)]
        objects = [word for name in step.info["objects"] for word in words_of(name)]
        parts = [words_of(step.info["goal"]), [LAST], last, [NOW], words_of(step.text)[:SEEN], [CAN], objects]
        return " ".join(word for part in parts for word in part)

    def response(self, command: str) -> str:
        """The answer that plays `command`."""
        return f"{ACTION_OPEN} {command} {ACTION_CLOSE}"

    def action(self, response: str, step: Step) -> ParsedAction:
        """Action in an answer. Reasoning is not asked for."""
        parsed = parse_action(response, SCIENCEWORLD_FALLBACK)
        return ParsedAction(parsed.text, "" if parsed.fault == "no reasoning" else parsed.fault)


def played_words(environment: ScienceWorld, progress=lambda task: None) -> set[str]:
    """Words of goals, observations, objects and actions on the expert's paths of training tasks, evenly chosen."""
    found: set[str] = set()
    tasks = {kind: [task for task in environment.tasks(TRAIN) if task.kind == kind] for kind in environment.kinds()}
    for task in [task for of in tasks.values() for task in of[:: max(1, len(of) // PLAYED)]]:
        path = environment.gold_path(task)
        episode = play(environment, task, replay(path), len(path))
        for step in episode.steps:
            texts = (step.text, step.info["goal"], *step.info["objects"], *episode.actions)
            found.update(word for text in texts for word in words_of(text))
        progress(task)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Writes the words. Exit codes: 0, 2 bad input."""
    parser = Parser(
        prog="python -m reproduce.worlds.scienceworld.messages",
        description="write the words of ScienceWorld's shortest tasks (needs requirements-envs.txt)",
    )
    try:
        parser.parse_args(arguments)
        with ScienceWorld(kinds=KINDS) as environment:
            words = played_words(environment, lambda task: print(task.id, end="\r", flush=True))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    WORDS.write_text("\n".join(sorted(words)) + "\n", encoding="utf-8")
    print(f"{len(words)} words in data/worlds/{WORDS.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
