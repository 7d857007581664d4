"""One RL step's rollouts: sample groups, score them, let the method filter them, and measure the result."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from reproduce.algorithms import Algorithm
from reproduce.algorithms.parts.state import Sampling, SideRows
from reproduce.algorithms.policies import Independent
from reproduce.errors import UserError
from reproduce.rollouts.agent import Grammar, Limits, Rollout, Trajectory
from reproduce.rollouts.engines.host import EngineHost, open_engine
from reproduce.rollouts.released_agent import loop_for
from reproduce.rollouts.tensors import TrainingRow
from reproduce.rollouts.token_path import Engine, TokenPath
from reproduce.runs.schema import SAMPLED_SUCCESS
from reproduce.seeding import child_seed, stream
from reproduce.worlds.rewards import Reward
from reproduce.worlds.task import Task


@dataclass
class ScoredGroup:
    """k trajectories of one question with their texts and rewards.

    rejected: dynamic sampling dropped the group, and it only fills up a batch that was short. Its advantages are 0.
    side: the group belongs to `SideRows`. initial: m, whole trajectories that it began with. pilot: H_root and H_tool
    that m follows from, None without a pilot.
    """

    question: object
    trajectories: list[Trajectory]
    texts: list[str]
    rewards: list[Reward]
    rejected: bool = False
    side: bool = False
    initial: int = 0
    pilot: tuple[float, float] | None = None

    @property
    def reward_values(self) -> list[float]:
        """Task rewards, before any shaping."""
        return [r.reward for r in self.rewards]


@dataclass
class Batch:
    """The groups that one RL step trains on, and the cost of sampling them."""

    groups: list[ScoredGroup]
    cost: dict[str, float] = field(default_factory=dict)

    def rows(self) -> list[tuple[int, ScoredGroup, int]]:
        """List (group index, group, row) of every trajectory, groups in order."""
        return [(g, group, i) for g, group in enumerate(self.groups) for i in range(len(group.trajectories))]

    def training_rows(self) -> list[TrainingRow]:
        """List the rows to train on, in the order of the trainer's tensors: each path of each trajectory of `rows`."""
        return [
            TrainingRow(g, trajectory, path, group.side)
            for g, group in enumerate(self.groups)
            for trajectory in group.trajectories
            for path in trajectory.paths
        ]

    def own(self) -> "Batch":
        """Return the batch without side rows."""
        return Batch([group for group in self.groups if not group.side], self.cost)

    @property
    def single_turns(self) -> bool:
        """Whether a row is one turn of a trajectory, and not all of it."""
        return any(trajectory.single_turns for group in self.groups for trajectory in group.trajectories)


class Collector:
    """Samples groups for one task with one model. Every draw is a function of (seed, purpose, step) and the weights.

    Only `initial_entropies`, the memory of `ReleasedAgentLoop`, is carried from step to step. Save `state_dict()` with
    a checkpoint and give it to `load_state_dict` when you resume. Truncated entropies of an engine stay inside the
    rollout: afterwards they are NaN, and the trainer fills them in.

    Args:
        task: the questions.
        model: the policy.
        grammar: its tags.
        limits: of each trajectory.
        temperature: of sampling.
        seed: root seed.
        host: opens engines; None: Transformers, tools in batches.
    """

    def __init__(
        self,
        task: Task,
        model,
        grammar: Grammar,
        limits: Limits,
        temperature: float,
        seed: int,
        host: EngineHost | None = None,
    ):
        self.task, self.model, self.grammar, self.limits = task, model, grammar, limits
        self.temperature, self.seed, self.host = temperature, seed, open_engine() if host is None else host
        self.initial_entropies: dict[int, float] = {}

    @property
    def max_turns(self) -> int:
        """The most turns that a trajectory can have."""
        return self.limits.tool_calls + 1

    def state_dict(self) -> dict:
        """Return what later steps depend on besides seed, step and weights; JSON-able."""
        return {"initial_entropies": {str(index): h for index, h in self.initial_entropies.items()}}

    def load_state_dict(self, state: dict) -> None:
        """Continue from a `state_dict()`. Raises KeyError if it is not one."""
        self.initial_entropies = {int(index): float(h) for index, h in state["initial_entropies"].items()}

    def prompt_ids(self, question) -> list[int]:
        """Return prompt token ids, beginning-of-sequence token first."""
        return [self.grammar.tokenizer.bos_token_id, *self.grammar.encode(self.task.prompt(question))]

    def engine(self, purpose: tuple, drawn: Sampling | SideRows | None = None) -> Engine:
        """Open an engine with the sampling stream of `purpose`. drawn: as of `sample`."""
        temperature = self.temperature if drawn is None else drawn.temperature
        return self.host.engine(self._model(drawn), self.grammar, temperature, self.seed, *purpose)

    def _model(self, drawn: Sampling | SideRows | None):
        other = drawn.model if isinstance(drawn, SideRows) else None
        return self.model if other is None else other

    def sample(
        self, questions: list, k: int, purpose: tuple, policy=Independent(), drawn: Sampling | SideRows | None = None
    ) -> tuple[list[ScoredGroup], Rollout]:
        """Sample and score k trajectories for each question.

        Args:
            questions: the questions.
            k: trajectories of a group.
            purpose: names the random streams.
            policy: who branches when.
            drawn: the temperature, and of side rows the model; None: the collector's.

        Returns:
            The groups, and what they cost.

        Raises:
            UserError: the policy branches by entropy, and the engine measures none.
        """
        engine, environment = self.engine(purpose, drawn), self.task.environment
        if policy.branches and not engine.has_entropies:
            raise UserError(
                f"engine.top_logprobs: {type(policy).__name__} branches by entropy, of which 0 log-probabilities tell "
                "nothing; set it to 1 or more"
            )
        prompts = [self.prompt_ids(question) for question in questions]
        branching = stream(self.seed, "branching", *purpose)
        with self.host.tools(environment) as tools:
            loop = loop_for(
                policy,
                engine,
                environment,
                self.task.call_type,
                self.grammar,
                self.limits,
                tools,
                initial_entropies=self.initial_entropies,
                model=self._model(drawn),
            )
            rollout = loop.rollout(questions, prompts, k, policy, branching)
        without_truncated(engine, [path for rows in rollout.groups for t in rows for path in t.paths])
        groups = []
        for i, (question, trajectories) in enumerate(zip(questions, rollout.groups, strict=True)):
            texts = [self.grammar.decode(t.path.completion) for t in trajectories]
            rewards = [self.task.score(question, text) for text in texts]
            pilot = rollout.pilots[i] if rollout.pilots else None
            made = ScoredGroup(question, trajectories, texts, rewards, initial=rollout.initial[i], pilot=pilot)
            groups.append(made)
        return groups, rollout

    def collect(
        self, questions: list, k: int, algorithm: Algorithm, step: int, sampling: Sampling | None = None
    ) -> Batch:
        """Collect the groups of an RL step: one per question, degenerate ones replaced if the method samples
        dynamically.

        Dynamic sampling (DAPO, arXiv 2503.14476) draws fresh questions for the groups that it drops, at most
        `max_generation_batches` - 1 times, twice as many as are missing so that few rounds suffice. Groups that are
        still missing then are filled with dropped ones, whose advantage is 0.

        Args:
            questions: the questions of the step.
            k: trajectories of a group.
            algorithm: the method.
            step: the RL step.
            sampling: what the method's states ask for; None: the collector's temperature.
        """
        kept: list[ScoredGroup] = []
        dropped: list[ScoredGroup] = []
        cost = dict.fromkeys(("sampled_tokens", "tool_calls", "groups_sampled", "groups_degenerate"), 0.0)
        initial, branches, correct = [], [], []
        wanted, asked = len(questions), questions
        for attempt in range(algorithm.max_generation_batches):
            if attempt:
                drawn = self.task.train_questions(2 * wanted, child_seed(self.seed, "dynamic-sampling", step, attempt))
                questions = drawn[: 2 * (wanted - len(kept))]
            groups, rollout = self.sample(questions, k, (step, attempt), algorithm.rollout, sampling)
            cost["sampled_tokens"] += rollout.sampled_tokens
            cost["tool_calls"] += rollout.tool_calls
            cost["groups_sampled"] += len(groups)
            initial += rollout.initial
            branches += rollout.branches
            correct += [reward.correct for group in groups for reward in group.rewards]
            for group in groups:
                values = torch.tensor(group.reward_values)
                degenerate = k > 1 and bool((values == values[0]).all())
                cost["groups_degenerate"] += degenerate
                group.rejected = not bool(algorithm.filter_groups(values, torch.zeros(k, dtype=torch.int64)).all())
                (dropped if group.rejected else kept).append(group)
            if len(kept) >= wanted:
                break
        if algorithm.max_generation_batches > 1:
            cost[SAMPLED_SUCCESS] = float(np.mean(correct))
        side = self._side_groups(asked, k, algorithm, step, sampling, cost)
        cost["tree_initial_mean"], cost["tree_branches_mean"] = float(np.mean(initial)), float(np.mean(branches))
        return Batch((kept + dropped)[:wanted] + side, cost | self.host.costs())

    def collect_own(self, *arguments) -> Batch:
        """Collect the part of this process, which here is all: see `training.shards`."""
        return self.collect(*arguments)

    def put_together(self, own: Batch) -> Batch:
        """Return the groups of all processes."""
        return own

    def _side_groups(self, questions: list, k: int, algorithm, step: int, sampling, cost: dict) -> list[ScoredGroup]:
        """Groups of the side rows that `sampling` asks for; their tokens and calls are added to `cost`."""
        if sampling is None or sampling.side_rows is None:
            return []
        asked = questions[: math.ceil(sampling.side_rows.share * len(questions))]
        rows = max(1, round(sampling.side_rows.group_share * k))
        groups, rollout = self.sample(asked, rows, (step, "side"), algorithm.rollout, sampling.side_rows)
        for group in groups:
            group.side = True
        cost["sampled_tokens"] += rollout.sampled_tokens
        cost["tool_calls"] += rollout.tool_calls
        return groups


def without_truncated(engine: Engine, paths: list[TokenPath]) -> None:
    """Replace the entropies of sampled tokens by NaN if the engine's are not over the full softmax."""
    if engine.exact_entropies:
        return
    for path in paths:
        path.entropies = [math.nan if sampled else 0.0 for sampled in path.sampled]
