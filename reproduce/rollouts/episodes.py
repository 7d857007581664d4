"""Episodes of multi-turn environments: every turn is a prompt and a completion of its own (EPO, arXiv 2509.22576).

The episodes of a call go through their turns together (all, or as many at a time as the task says): one engine run
samples the next answer of every episode that is not over, then the environments, which know nothing of the model, play
them. Nothing is carried from turn to turn but
what the message says, so an episode trains one row per turn.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from reproduce.errors import UserError
from reproduce.rollouts.collector import Collector, ScoredGroup, without_truncated
from reproduce.rollouts.path import Engine, Path
from reproduce.rollouts.policies import Independent
from reproduce.rollouts.trajectory import Rollout
from reproduce.tasks.envs.interface import Environment, EpisodeLost, Step
from reproduce.tasks.envs.prompts import Turn as PastTurn
from reproduce.tasks.episode_task import EpisodeQuestion


@dataclass(frozen=True)
class Turn:
    """A turn: the observation that it started from, message and answer in tokens, and the command that was played.

    fault: what is wrong with the answer's format, "" if nothing is.
    """

    observation: str
    path: Path
    response: str
    command: str
    fault: str


@dataclass(eq=False)
class Episode:
    """One episode of a group, in the terms of `trajectory.Trajectory`. step: what the environment said last."""

    question: EpisodeQuestion
    environment: Environment
    group: int
    row: int
    step: Step = Step("")
    turns: list[Turn] = field(default_factory=list)

    single_turns = True
    parent = branch_token = branch_turn = -1  # episodes do not fork

    def start(self) -> None:
        """Begins at the task's first observation; an environment that gets lost in doing so is asked again."""
        self.turns.clear()
        while True:
            try:
                self.step = self.environment.reset(self.question.task)
                return
            except EpisodeLost:
                continue

    def play(self, path: Path, response: str, form) -> None:
        """Adds the turn that sampled `path`. Raises EpisodeLost, without the turn, if the environment got lost."""
        action = form.action(response, self.step)
        after = self.environment.step(action.text)
        self.turns.append(Turn(self.step.text, path, response, action.text, action.fault))
        self.step = after

    @property
    def paths(self) -> list[Path]:
        """What is trained on: one path per turn."""
        return [turn.path for turn in self.turns]

    @property
    def observations(self) -> list[str]:
        """What each turn started from, in the environment's own words."""
        return [turn.observation for turn in self.turns]

    @property
    def actions(self) -> list[str]:
        """The commands that were played."""
        return [turn.command for turn in self.turns]

    @property
    def past(self) -> list[PastTurn]:
        """What the next message may show of the turns so far."""
        return [PastTurn(turn.observation, turn.command) for turn in self.turns]

    @property
    def calls(self) -> int:
        """Turns played."""
        return len(self.turns)

    @property
    def length(self) -> int:
        """Completion tokens of all turns; all of them are sampled, by this episode alone, and trained on."""
        return sum(path.length for path in self.paths)

    new_tokens = trained_tokens = length

    def segment_entropies(self) -> list[list[float]]:
        """Entropies (nats) of the sampled tokens, turn by turn."""
        return [path.entropies for path in self.paths]

    @property
    def text(self) -> str:
        """What was seen and answered, a turn after the other, and what the environment said last."""
        said = [f"{turn.observation}\n> {turn.response}" for turn in self.turns]
        return "\n".join([*said, self.step.text])


class EpisodeCollector(Collector):
    """A `Collector` of episodes. task: `tasks.episode_task.EpisodeTask`; limits.tool_calls: the most turns.

    A group is k episodes of the same exact task. A step's streams are those of `Collector`: one sampling stream for all
    turns of a `sample` call.
    """

    @property
    def max_turns(self) -> int:
        """The most turns that a trajectory can have."""
        return self.limits.tool_calls

    def sample(
        self, questions: Sequence[EpisodeQuestion], k: int, purpose: tuple, policy=Independent()
    ) -> tuple[list[ScoredGroup], Rollout]:
        """k scored episodes of each task; `purpose` names the random streams. UserError for a policy that branches.

        An episode whose environment gets lost is played again from its start, and its dropped turns are counted as
        sampled.
        """
        if policy.branches or policy.needs_pilot:
            raise UserError(
                f"{type(policy).__name__} forks trajectories, but an environment's episode cannot be forked; choose a "
                "method with independent rollouts"
            )
        together = self.task.at_a_time or len(questions) * k
        environments = self.task.environments(min(together, len(questions) * k))
        numbered = itertools.cycle(environments)
        groups = [[Episode(q, next(numbered), g, r) for r in range(k)] for g, q in enumerate(questions)]
        episodes = [episode for group in groups for episode in group]
        engine, tokens, calls = self.engine(purpose), 0, 0
        with _threads(self.task.threads) as play_all:
            for start in range(0, len(episodes), together):
                live = episodes[start : start + together]
                play_all(Episode.start, live)
                while live:
                    paths = [self._path(episode) for episode in live]
                    self._answer(engine, live, paths, play_all)
                    tokens, calls = tokens + sum(path.length for path in paths), calls + len(paths)
                    live = [episode for episode in live if not self._over(episode)]
        without_truncated(engine, [path for group in groups for episode in group for path in episode.paths])
        scored = [
            ScoredGroup(question, group, [e.text for e in group], [self._score(e) for e in group])
            for question, group in zip(questions, groups, strict=True)
        ]
        return scored, Rollout(groups, tokens, calls, [k] * len(groups), [0] * len(groups))

    def message_ids(self, message: str) -> list[int]:
        """Token ids of a turn's message, beginning-of-sequence token first."""
        return [self.grammar.tokenizer.bos_token_id, *self.grammar.encode(message)]

    def message(self, episode: Episode) -> str:
        """What the next turn of an episode is asked."""
        return self.task.form.prompt(episode.step, episode.past)

    def _path(self, episode: Episode) -> Path:
        path = Path.root(self.message_ids(self.message(episode)))
        path.turn, path.budget = len(episode.turns), self.limits.completion_tokens
        return path

    def _answer(self, engine: Engine, episodes: list[Episode], paths: list[Path], play_all) -> None:
        """One turn of all `episodes`."""
        engine.run(paths, lambda done: [])

        def play(episode: Episode, path: Path) -> None:
            try:
                episode.play(path, self.grammar.decode(path.completion), self.task.form)
            except EpisodeLost:
                episode.start()

        play_all(play, episodes, paths)

    def _over(self, episode: Episode) -> bool:
        return episode.step.done or len(episode.turns) == self.limits.tool_calls

    def _score(self, episode: Episode):
        return self.task.score(episode.step.success, [turn.fault for turn in episode.turns])


@contextmanager
def _threads(count: int) -> Iterator[Callable]:
    """A `map` that is done when it returns: one call after another, or `count` at a time in threads."""
    if count == 1:
        yield lambda call, *lists: list(map(call, *lists))
        return
    with ThreadPoolExecutor(count) as pool:
        yield lambda call, *lists: list(pool.map(call, *lists))
