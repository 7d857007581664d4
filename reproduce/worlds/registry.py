"""All worlds, by the name that `task.world` of a config uses for them."""

from reproduce.config.sections import TaskConfig
from reproduce.errors import UserError
from reproduce.worlds.alfworld.task import WORLD as ALFWORLD
from reproduce.worlds.benchmarks.task import WORLD as BENCHMARKS
from reproduce.worlds.minihouse.task import WORLD as MINIHOUSE
from reproduce.worlds.miniweb.task import WORLD as MINIWEB
from reproduce.worlds.scienceworld.task import WORLD as SCIENCEWORLD
from reproduce.worlds.task import World

TOOL_WORLDS: dict[str, World] = {"miniweb": MINIWEB, "web": BENCHMARKS}
EPISODE_WORLDS: dict[str, World] = {"minihouse": MINIHOUSE, "alfworld": ALFWORLD, "scienceworld": SCIENCEWORLD}
WORLDS = {**TOOL_WORLDS, **EPISODE_WORLDS}


def world_of(task: TaskConfig) -> World:
    """Find the world of a config's section `task`.

    Raises:
        UserError: there is no such world, or a setting belongs to another one.
    """
    episodes = task.episodes
    known = TOOL_WORLDS if episodes is None else EPISODE_WORLDS
    if task.world not in known:
        kind = "" if episodes is None else " of episodes"
        raise UserError(f"task.world: there is no world{kind} {task.world!r}; worlds: {', '.join(known)}")
    for name, world in EPISODE_WORLDS.items():
        for key in world.settings if episodes is not None and name != task.world else ():
            if getattr(episodes, key) is not None:
                raise UserError(f"task.episodes.{key} belongs to the world {name}: leave it out for {task.world}")
    return known[task.world]
