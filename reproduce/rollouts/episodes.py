"""Episodes of multi-turn environments: every turn is a prompt and a completion (EPO, arXiv 2509.22576).

The episodes of a call go through their turns together (all, or as many at a time as the task says). One engine run
samples the next answer of every episode that is not over; then the environments, which know nothing of the model, play
them. A turn knows of earlier turns only what its message says, so an episode trains one row per turn.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from reproduce.algorithms.parts.state import Sampling, SideRows
from reproduce.algorithms.policies import Independent
from reproduce.errors import UserError
from reproduce.rollouts.collector import Collector, ScoredGroup, without_truncated
from reproduce.rollouts.episode import Episode
from reproduce.rollouts.kept_episodes import KeptCall, KeptEpisodes
from reproduce.rollouts.token_path import Engine, TokenPath
from reproduce.rollouts.trajectory import Rollout
from reproduce.worlds.episode_task import EpisodeQuestion
from reproduce.worlds.text_environment import EpisodeLost


class EpisodeCollector(Collector):
    """A `Collector` of episodes. task: an `EpisodeTask`. limits.tool_calls: the most turns.

    A group is k episodes of the same exact task. A step's streams are those of `Collector`: one sampling stream for all
    turns of a `sample` call.
    """

    kept: KeptEpisodes | None = None
    """Where finished episodes are kept; None: nowhere, for environments that repeat themselves."""

    @property
    def max_turns(self) -> int:
        """The most turns that a trajectory can have."""
        return self.limits.tool_calls

    def sample(
        self,
        questions: Sequence[EpisodeQuestion],
        k: int,
        purpose: tuple,
        policy=Independent(),
        drawn: Sampling | SideRows | None = None,
    ) -> tuple[list[ScoredGroup], Rollout]:
        """Sample and score k episodes of each task.

        An episode whose environment gets lost is played again from its start, and its dropped turns count as sampled.
        Episodes that an interrupted call of the same purpose finished are reused (`kept_episodes`); its tokens for
        other episodes are not counted.

        Args:
            questions: the tasks.
            k: episodes of a group.
            purpose: names the random streams.
            policy: must not branch.
            drawn: as of `Collector.sample`.

        Raises:
            UserError: the policy branches.
        """
        if policy.branches or policy.needs_pilot:
            raise UserError(
                f"{type(policy).__name__} forks trajectories, but an environment's episode cannot be forked; choose a "
                "method with independent rollouts"
            )
        groups = [[Episode(q, g, r) for r in range(k)] for g, q in enumerate(questions)]
        episodes = [episode for group in groups for episode in group]
        kept = self._kept(questions, k, purpose)
        waiting = kept.restore(episodes) if kept else episodes
        restored = [episode for episode in episodes if episode.turns]
        engine = self.engine((*purpose, "after", len(restored)) if restored else purpose, drawn)
        tokens, calls = sum(episode.length for episode in restored), sum(episode.calls for episode in restored)
        together = min(self.task.at_a_time or len(waiting), len(waiting))
        environments = self.task.environments(together)
        with _threads(self.task.threads) as play_all:
            for start in range(0, len(waiting), together or 1):
                live = waiting[start : start + together]
                for episode, environment in zip(live, environments, strict=False):
                    episode.environment = environment
                play_all(Episode.start, live)
                while live:
                    paths = [self._path(episode) for episode in live]
                    self._answer(engine, live, paths, play_all)
                    tokens, calls = tokens + sum(path.length for path in paths), calls + len(paths)
                    over = [episode for episode in live if self._over(episode)]
                    live = [episode for episode in live if not self._over(episode)]
                    if kept:
                        kept.add(over)
        without_truncated(engine, [path for group in groups for episode in group for path in episode.paths])
        scored = [
            ScoredGroup(question, group, [e.text for e in group], [self._score(e) for e in group], initial=k)
            for question, group in zip(questions, groups, strict=True)
        ]
        return scored, Rollout(groups, tokens, calls, [k] * len(groups), [0] * len(groups))

    def message_ids(self, message: str) -> list[int]:
        """Encode a turn's message, beginning-of-sequence token first."""
        return [self.grammar.tokenizer.bos_token_id, *self.grammar.encode(message)]

    def message(self, episode: Episode) -> str:
        """Write the prompt of an episode's next turn."""
        return self.task.form.prompt(episode.step, episode.past)

    def _kept(self, questions: Sequence[EpisodeQuestion], k: int, purpose: tuple) -> KeptCall | None:
        if self.kept is None:
            return None
        return self.kept.of(self.model, self.seed, purpose, [question.id for question in questions], k)

    def _path(self, episode: Episode) -> TokenPath:
        path = TokenPath.root(self.message_ids(self.message(episode)))
        path.turn, path.budget = len(episode.turns), self.limits.completion_tokens
        return path

    def _answer(self, engine: Engine, episodes: list[Episode], paths: list[TokenPath], play_all) -> None:
        """One turn of all `episodes`."""
        engine.run(paths, lambda done: [])

        def play(episode: Episode, path: TokenPath) -> None:
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
