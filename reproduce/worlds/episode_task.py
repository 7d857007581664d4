"""A multi-turn environment as training and evaluation see it: tasks of its splits, messages, actions, scores."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.seeding import child_seed, stream
from reproduce.worlds.actions import ParsedAction
from reproduce.worlds.messages import Turn
from reproduce.worlds.play import play, replay
from reproduce.worlds.rewards import Reward
from reproduce.worlds.text_environment import IID, OOD, TRAIN, Step, Task, TextEnvironment

ALL = "all"
"""Instead of families: every kind of task that the environment has."""
VALIDATION_SHARE = 1 / 6
"""The last tasks of each kind's training tasks; we keep them for the warm start and for choosing settings."""
PANELS = {"validation": (), "iid": (IID,), "ood": (OOD,), "test": (IID, OOD)}
"""Panels by name; "test" is EPO's two columns together. The validation panel is cut from the training tasks."""


class Form(Protocol):
    """How an environment talks to a model, such as `minihouse.messages.MiniHouseForm`."""

    def prompt(self, step: Step, past: Sequence[Turn], steps: int | None = None) -> str:
        """Write the message of a turn.

        Args:
            step: the environment's last answer.
            past: the turns before, oldest first.
            steps: number of turns so far, if `past` no longer holds them all; None: its length.
        """

    def response(self, command: str) -> str:
        """Write the answer that plays `command`, for demonstrations."""

    def action(self, response: str, step: Step) -> ParsedAction:
        """Parse the action in an answer to `step`'s message."""


Player = Callable[[TextEnvironment, Task, np.random.Generator, float, int], list[tuple[Step, str]]]
"""Plays one demonstration: (environment, task, rng, noise, turns) -> (observation, action) of each turn."""


def expert(
    environment: TextEnvironment, task: Task, rng: np.random.Generator, noise: float, turns: int
) -> list[tuple[Step, str]]:
    """Play the environment's own gold path, without noise."""
    episode = play(environment, task, replay(environment.gold_path(task)), turns)
    return list(zip(episode.steps, episode.actions, strict=False))  # the last step has no action


@dataclass(frozen=True)
class EpisodeQuestion:
    """One exact task in the terms of the records: `family` is its kind, `gold` the expert's actions, if any."""

    task: Task
    gold: str = ""
    level: int = 1

    @property
    def id(self) -> str:
        return self.task.id

    @property
    def family(self) -> str:
        return self.task.kind

    @property
    def split(self) -> str:
        return self.task.split


class EpisodeTask:
    """Episodes of many turns with one reward at the end (EPO, arXiv 2509.22576, section 3).

    Args:
        open_environments: open_environments(count) opens that many environments of one kind, each for one episode at a
            time.
        form: the messages.
        families: the kinds of task to train and evaluate on; ("all",): every one.
        success_reward: reward of a success (the paper: 1; released code: 10), times the value of the environment's
            first success rule.
        invalid_penalty: subtracted for each turn whose answer has the wrong format (the paper: none; released code:
            0.1, from that turn's own row only). Here it is part of the episode's return.
        at_a_time: episodes that are played at the same time; None: all of a batch.
        threads: turns of different episodes that are played in parallel; 1: one after another.
        player: plays demonstrations.
        repeatable: whether the environment gives the same answers to the same actions.

    Raises:
        UserError: a family is unknown.
    """

    def __init__(
        self,
        open_environments: Callable[[int], list[TextEnvironment]],
        form: Form,
        families: Sequence[str],
        success_reward: float = 1.0,
        invalid_penalty: float = 0.0,
        at_a_time: int | None = None,
        threads: int = 1,
        player: Player = expert,
        repeatable: bool = True,
    ):
        self.open_environments, self._player, self.repeatable = open_environments, player, repeatable
        self._environments = open_environments(1)
        self.success_reward, self.invalid_penalty = success_reward, invalid_penalty
        self.at_a_time, self.threads = at_a_time, threads
        kinds = sorted({task.kind for task in self._environments[0].tasks(TRAIN)})
        self.form, self.families = form, tuple(kinds if list(families) == [ALL] else families)
        for family in self.families:
            if family not in kinds:
                raise UserError(f"task.families: there is no kind of task {family!r}; choose from {', '.join(kinds)}")

    def environments(self, count: int) -> list[TextEnvironment]:
        """Return `count` environments, the same ones in every call."""
        missing = count - len(self._environments)
        if missing > 0:
            self._environments += self.open_environments(missing)
        return self._environments[:count]

    def train_questions(self, count: int, seed: int) -> list[EpisodeQuestion]:
        """Draw `count` training tasks in random order; each comes once before any comes again."""
        pool = [task for tasks in self._training.values() for task in tasks]
        drawn: list[Task] = []
        for number in range(-(-count // len(pool))):
            drawn += [pool[i] for i in stream(seed, "pass", number).permutation(len(pool))]
        return [EpisodeQuestion(task) for task in drawn[:count]]

    def panel(self, split: str, count: int) -> list[EpisodeQuestion]:
        """Return `count` tasks of each kind and split of a panel, kinds in turn.

        Raises:
            UserError: the panel is unknown or has fewer tasks.
        """
        if split not in PANELS:
            raise UserError(f"there is no panel {split!r}; panels: {', '.join(PANELS)}")
        found = []
        for name, by_kind in self._panels(split):
            for kind, tasks in by_kind.items():
                if count > len(tasks):
                    raise UserError(f"the panel {name} holds {len(tasks)} tasks of {kind}, {count} asked")
            found += [self._question(by_kind[kind][i]) for i in range(count) for kind in self.families]
        return found

    def panel_size(self, split: str) -> int:
        """Return the largest count that `panel` takes: the number of tasks of the rarest kind."""
        return min(len(tasks) for _, by_kind in self._panels(split) for tasks in by_kind.values())

    def random_panel(self, split: str, count: int, seed: int) -> list[EpisodeQuestion]:
        """Draw `count` tasks of "iid" or "ood" one by one from the whole split, so that a task may come twice."""
        tasks = [task for tasks in self._by_kind(split).values() for task in tasks]
        return [EpisodeQuestion(tasks[i]) for i in stream(seed, "random panel", split).integers(len(tasks), size=count)]

    def demonstrations(self, count: int, noise: float, turns: int, seed: int) -> Iterator[list[tuple[Step, str]]]:
        """Yield the player's episodes on `count` training tasks: (step, action) per turn."""
        environment = self.environments(1)[0]
        for number, question in enumerate(self.train_questions(count, child_seed(seed, "demonstrations"))):
            rng = stream(seed, "demonstrations", number)
            yield self._player(environment, question.task, rng, noise, turns)

    @staticmethod
    def prompt(question: EpisodeQuestion) -> str:
        """Return the text of the task where no turn's message is meant."""
        return question.id

    def score(self, success: Mapping[str, float], faults: Sequence[str]) -> Reward:
        """Compute the reward of an episode.

        Args:
            success: rule -> value at the end of the episode.
            faults: the format fault of each turn, "" for none.

        Returns:
            A `Reward`: `correct` is full success under the first rule, `answer` names all rules with their values.
        """
        main = float(success[self._environments[0].success_rules[0]])
        value = self.success_reward * main - self.invalid_penalty * sum(map(bool, faults))
        rules = ", ".join(f"{rule} {success[rule]:g}" for rule in self._environments[0].success_rules)
        return Reward(value, main, not any(faults), rules, main >= 1.0)

    def close(self) -> None:
        """Close all environments."""
        for environment in self._environments:
            environment.close()

    @cached_property
    def _training(self) -> dict[str, list[Task]]:
        return {kind: tasks[: len(tasks) - _held_out(tasks)] for kind, tasks in self._by_kind(TRAIN).items()}

    @cached_property
    def _validation(self) -> dict[str, list[Task]]:
        return {kind: tasks[len(tasks) - _held_out(tasks) :] for kind, tasks in self._by_kind(TRAIN).items()}

    def _panels(self, split: str) -> list[tuple[str, dict[str, list[Task]]]]:
        """(name, tasks by kind) of each split that a panel consists of."""
        return [(name, self._by_kind(name)) for name in PANELS[split]] or [(split, self._validation)]

    def _by_kind(self, split: str) -> dict[str, list[Task]]:
        tasks = self._environments[0].tasks(split)
        return {family: [task for task in tasks if task.kind == family] for family in self.families}

    def _question(self, task: Task) -> EpisodeQuestion:
        plan = self._environments[0].gold_path(task)
        return EpisodeQuestion(task, " > ".join(plan) if plan else "")


def _held_out(tasks: Sequence[Task]) -> int:
    return round(len(tasks) * VALIDATION_SHARE)


def episode_task(
    config: JobConfig,
    open_environments: Callable[[int], list[TextEnvironment]],
    short: Callable[[int], Form],
    full: Callable[[int], Form],
    player: Player = expert,
    *,
    threads: int = 1,
    repeatable: bool = True,
) -> EpisodeTask:
    """Make the task of a run's config over these environments.

    Args:
        config: the run's config.
        open_environments: as in `EpisodeTask`.
        short: makes the messages for a model trained from scratch, from the number of past turns that a message shows.
        full: makes the messages for a Hub model.
        player: as in `EpisodeTask`.
        threads: as in `EpisodeTask`.
        repeatable: as in `EpisodeTask`.
    """
    t, e = config.task, config.task.episodes
    form = short if config.model.name_or_path is None else full
    return EpisodeTask(
        open_environments,
        form(e.history),
        t.families,
        e.success_reward,
        e.invalid_penalty,
        e.at_a_time,
        threads,
        player,
        repeatable,
    )
