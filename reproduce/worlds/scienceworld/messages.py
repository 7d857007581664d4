"""ScienceWorld's messages: EPO's message for a Hub model, few words for a model that is trained from scratch.

Unlike the released prompt (arXiv 2509.22576), the action templates are those that the simulator accepts under its
simplifications (the released list writes `go to LOC` and knows no teleport).

EPO's message has four to six thousand characters. The short one shows that the path works and claims no quality. It
holds the task, the last actions, the first words of the current observation, and the objects in sight:

    your task is to find the animal with the longest life span ... <last> teleport to outside <now> you teleport to
    outside <can> baby elephant butterfly air ...

The answer is an action between its tags, without reasoning. Environment, tasks, rules and rewards are unchanged. The
model does not know words that are missing from `data/worlds/scienceworld_words.txt`. That file is written by

    python -m reproduce.worlds.scienceworld.messages

which plays the expert's paths of `PLAYED` training tasks of each of `KINDS`, the kinds with the shortest such paths.
"""

import re
import sys
from collections.abc import Sequence

from reproduce.arguments import Parser
from reproduce.errors import UserError
from reproduce.worlds.actions import ACTION_CLOSE, ACTION_OPEN, ACTION_TAGS, ParsedAction, parse_action, response_of
from reproduce.worlds.messages import CAN, LAST, NOW, WINDOW, Turn, turn_prompt
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

ROLE = "You are a scientist in ScienceWorld, a text world of ten rooms in which you carry out experiments."
TEMPLATE_HELP = {
    "activate OBJ": "switch a device on",
    "close OBJ": "close a door or a container",
    "connect OBJ to OBJ": "join two electrical parts",
    "deactivate OBJ": "switch a device off",
    "disconnect OBJ": "take an electrical part off the others",
    "dunk OBJ in OBJ": "dip a container into a liquid",
    "eat OBJ": "eat something",
    "flush OBJ": "flush a toilet",
    "focus on OBJ": "point out the object that the task asks for; the wrong one fails the task",
    "go OBJ": "walk to a neighbouring room",
    "inventory": "list what you carry",
    "look around": "describe the room",
    "look at OBJ": "describe an object",
    "look in OBJ": "list what a container holds",
    "mix OBJ": "mix what a container holds",
    "move OBJ to OBJ": "put an object into a container or room",
    "open OBJ": "open a door or a container",
    "pick up OBJ": "take an object along",
    "pour OBJ in OBJ": "pour a liquid into a container",
    "put down OBJ": "drop an object that you carry",
    "read OBJ": "read a text",
    "reset task": "begin the task's steps again",
    "task": "repeat the task",
    "teleport OBJ": "be at once in any of the ten rooms, as in teleport to kitchen",
    "use OBJ on OBJ": "use a tool or device on something",
    "wait": "let ten steps pass",
    "wait1": "let one step pass",
}
"""One line on each action template of ScienceWorld, electrical ones included."""


def words_of(text: str) -> list[str]:
    """Split a text into words in lower case, without punctuation."""
    return re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.lower())


def vocabulary() -> tuple[str, ...]:
    """List every word that a message or an answer can hold, once each.

    Raises:
        UserError: the file is missing.
    """
    try:
        known = WORDS.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise UserError(f"data/worlds/{WORDS.name} is missing; restore it from the repository") from None
    verbs = [word for template in TEMPLATE_HELP for word in template.split() if word != "OBJ"]
    rooms = [word for room in ROOMS for word in room.split()]
    return tuple(dict.fromkeys([*ACTION_TAGS, LAST, NOW, CAN, *verbs, *rooms, *known]))


def scienceworld_prompt(
    goal: str,
    observation: str,
    templates: Sequence[str],
    objects: Sequence[str],
    history: Sequence[Turn] = (),
    *,
    steps: int | None = None,
    window: int = WINDOW,
) -> str:
    """Write the message of a turn: templates with a short help each, the objects in sight, and all older actions."""
    lines = [f"- {template}: {TEMPLATE_HELP.get(template, 'another action')}" for template in templates]
    available = (
        "Actions (OBJ stands for an object):\n" + "\n".join(lines) + f"\nObjects in sight: {', '.join(objects)}\n"
        "Example: <action>look at door</action>"
    )
    return turn_prompt(ROLE, goal, observation, available, history, steps=steps, window=window, older_actions=True)


class ScienceWorldForm:
    """Messages with action templates, the objects in sight and all older actions; nothing is put in lower case.

    window: past turns that a message shows whole (released code: 2).
    """

    def __init__(self, window: int = WINDOW):
        self.window = window

    def prompt(self, step: Step, past: Sequence[Turn], steps: int | None = None) -> str:
        """Write the message of a turn, as in `episode_task.Form`. The environment must list objects."""
        info = step.info
        return scienceworld_prompt(
            info["goal"], step.text, info["templates"], info["objects"], past, steps=steps, window=self.window
        )

    def response(self, command: str) -> str:
        """Write the shortest answer that plays `command`."""
        return response_of(command)

    def action(self, response: str, step: Step) -> ParsedAction:
        """Parse the action in an answer; invalid without reasoning or without the action's tags."""
        return parse_action(response)


class ScienceWorldShortForm:
    """Short messages and answers; see the module. window: past actions that a message shows."""

    def __init__(self, window: int = WINDOW):
        self.window = window

    def prompt(self, step: Step, past: Sequence[Turn], steps: int | None = None) -> str:
        """Write the message of a turn. past: the turns before, oldest first. The message does not show `steps`."""
        last = [word for turn in past[max(len(past) - self.window, 0) :] for word in words_of(turn.action)]
        objects = [word for name in step.info["objects"] for word in words_of(name)]
        parts = [words_of(step.info["goal"]), [LAST], last, [NOW], words_of(step.text)[:SEEN], [CAN], objects]
        return " ".join(word for part in parts for word in part)

    def response(self, command: str) -> str:
        """Write the answer that plays `command`."""
        return f"{ACTION_OPEN} {command} {ACTION_CLOSE}"

    def action(self, response: str, step: Step) -> ParsedAction:
        """Parse the action in an answer. Reasoning is not required."""
        parsed = parse_action(response)
        return ParsedAction(parsed.text, "" if parsed.fault == "no reasoning" else parsed.fault)


def played_words(environment: ScienceWorld, progress=lambda task: None) -> set[str]:
    """Collect the words of goals, observations, objects and actions on the expert's paths of training tasks, evenly
    chosen.
    """
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
    """Write the words. Exit codes: 0, 2 for bad input."""
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
