"""Policies for ScienceWorld that know nothing of the task, and their scores under each success rule.

They show what a success rule is worth: an agent that only waits, or that looks into every room and then waits, has done
no task. The built-in expert's path is the other end of the scale.
"""

from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor

from reproduce.seeding import stream
from reproduce.worlds.play import Policy, play, replay
from reproduce.worlds.scienceworld.environment import TURNS, ScienceWorld
from reproduce.worlds.scienceworld.pool import SimulatorPool
from reproduce.worlds.text_environment import Task

ROOMS = tuple(
    "art studio, bathroom, bedroom, foundry, greenhouse, hallway, kitchen, living room, outside, workshop".split(", ")
)
"""Targets of `teleport to` under the "easy" simplifications."""

WAIT, TOUR, GOLD, GOLD_WHOLE = "wait", "tour, then wait", "gold path, 30 turns", "gold path, to its end"
POLICIES = (WAIT, TOUR, GOLD, GOLD_WHOLE)


def wait(steps: list, actions: list) -> str:
    """Wait, whatever happens: the policy `WAIT`."""
    return "wait"


def tour(steps: list, actions: list) -> str:
    """Teleport through all rooms, one per turn, then wait: the policy `TOUR`."""
    return f"teleport to {ROOMS[len(actions)]}" if len(actions) < len(ROOMS) else "wait"


def panel(tasks: list[Task], size: int, seed: int) -> list[Task]:
    """Choose `size` different tasks (all, if there are fewer), each equally likely, in the order of `tasks`.

    The choice is uniform over (task type, variation) pairs as in EPO's released code, so a type weighs as many
    variations as it has.
    """
    chosen = stream(seed, "panel", *{task.split for task in tasks}).permutation(len(tasks))[:size]
    return [tasks[index] for index in sorted(chosen)]


def measure(
    pool: SimulatorPool,
    tasks: list[Task],
    policies: tuple[str, ...] = POLICIES,
    workers: int = 1,
    keep: Callable[[dict], None] = lambda row: None,
    finished: Container[tuple[str, str]] = frozenset(),
) -> list[dict]:
    """Play the policies on the tasks. The expert is asked once per task; both gold policies follow the same path.

    Episodes of all policies but `GOLD_WHOLE` end after EPO's 30 turns at the latest. `GOLD_WHOLE` ends with the path,
    without any limit on turns or moves.

    Args:
        pool: simulators.
        tasks: the tasks.
        policies: their names.
        workers: tasks that are played at a time, each with its own simulator of `pool`.
        keep: gets every row as soon as its episode is over, in the worker's thread.
        finished: (policy, task id) of episodes not to play.

    Returns:
        One row per policy and task: policy, split, kind, task, turns; gold_length (actions in the expert's path, 0 for
            policies that do not follow it); score (raw and final, -100 to 100); released, strict (whether the episode
            is a success under that rule).
    """

    def rows(task: Task) -> list[dict]:
        wanted = [policy for policy in policies if (policy, task.id) not in finished]
        path: tuple[str, ...] = ()
        if {GOLD, GOLD_WHOLE} & set(wanted):
            with ScienceWorld(pool, listing="none") as environment:
                path = environment.gold_path(task)
        made = []
        for policy in wanted:
            made.append(_row(pool, task, policy, path))
            keep(made[-1])
        return made

    with ThreadPoolExecutor(workers) as threads:
        try:
            return [row for made in threads.map(rows, tasks) for row in made]
        except KeyboardInterrupt:
            pool.close()  # or the episodes that run now would first be played to their ends
            raise


def _row(pool: SimulatorPool, task: Task, policy: str, path: tuple[str, ...]) -> dict:
    """Play one episode. path: the expert's, for the policies that follow it."""
    follows = policy in (GOLD, GOLD_WHOLE)
    chosen: Policy = replay(path) if follows else {WAIT: wait, TOUR: tour}[policy]
    free = {"move_limit": None} if policy == GOLD_WHOLE else {}
    with ScienceWorld(pool, listing="none", **free) as environment:
        episode = play(environment, task, chosen, len(path) if policy == GOLD_WHOLE else TURNS)
    return {
        "policy": policy,
        "split": task.split,
        "kind": task.kind,
        "task": task.id,
        "turns": len(episode.actions),
        "gold_length": len(path) if follows else 0,
        "score": episode.last.info["score"],
        **{rule: episode.last.success[rule] == 1.0 for rule in ("released", "strict")},
    }
