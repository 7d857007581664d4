"""The agent loop: turns prompts into groups of exactly k trajectories, calling tools and growing trees on the way.

The engine samples; this module decides what a finished segment means. A segment that ends with a closing tool tag is a
call: its result is appended as forced tokens and a new turn begins. Under a branching policy the first `entropy_tokens`
tokens of a turn are a look-ahead: they are sampled, measured, and kept as the beginning of the continuation; when the
policy says so, a new path forks off at the end of the tool result.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reproduce.errors import UserError
from reproduce.rollouts.path import Engine, Path
from reproduce.rollouts.policies import Independent
from reproduce.tasks.prompts import escape_tags


class Grammar:
    """The tag tokens of a tokenizer, and text to ids and back. Every tool tag must be a single token."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.eos_id, self.pad_id = tokenizer.eos_token_id, tokenizer.pad_token_id
        self.open = {self._tag(f"<{tool}>"): tool for tool in ("search", "python")}
        self.close = {self._tag(f"</{tool}>"): tool for tool in ("search", "python")}
        self.log_vocabulary = math.log(len(tokenizer))

    def _tag(self, tag: str) -> int:
        ids = self.tokenizer.encode(tag, add_special_tokens=False)
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            raise UserError(f"tokenizer: {tag} is not a single token; add the tool tags to the tokenizer's vocabulary")
        return ids[0]

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        """Text without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)


@dataclass(frozen=True)
class Limits:
    """Per-trajectory limits: tool calls, and completion tokens with tool results counted in."""

    tool_calls: int
    completion_tokens: int


@dataclass(eq=False)
class Trajectory:
    """One finished trajectory of a group. `path` holds tokens and measurements; the rest is its place in the tree.

    parent: row of the path that it forked from, or -1. branch_token / branch_turn: completion token and turn of the
    fork, or -1. ended: "eos", "length", "calls" (call limit) or "malformed" (a call without content).
    """

    path: Path
    session: Any
    group: int
    row: int
    parent: int = -1
    branch_token: int = -1
    branch_turn: int = -1
    ended: str = ""
    calls: int = 0
    inherited_calls: int = 0
    actions: list[str] = field(default_factory=list)
    segment_start: int = 0
    measuring: bool = False
    initial_entropy: float | None = None
    consecutive: int = 0

    @property
    def new_tokens(self) -> int:
        """Tokens that the policy sampled for this trajectory alone."""
        return sum(self.path.sampled[self.path.inherited :])

    def segment_entropies(self) -> list[list[float]]:
        """Entropies (nats) of the sampled tokens, turn by turn."""
        turns: list[list[float]] = [[] for _ in range(self.path.turn + 1)]
        for sampled, turn, entropy in zip(self.path.sampled, self.path.turns, self.path.entropies, strict=True):
            if sampled:
                turns[turn].append(entropy)
        return turns


@dataclass
class Rollout:
    """What one call of `AgentLoop.rollout` produced: groups of k trajectories, and what they cost.

    sampled_tokens and tool_calls count everything that was generated and run, pilots included, shared prefixes once.
    initial: m of each group; branches: forks of each group.
    """

    groups: list[list[Trajectory]]
    sampled_tokens: int
    tool_calls: int
    initial: list[int]
    branches: list[int]


@dataclass
class _Group:
    question: Any
    prompt: list[int]
    size: int
    rows: list[Trajectory] = field(default_factory=list)
    alive: int = 0
    forks_left: int = 0
    initial: int = 0


class AgentLoop:
    """Rolls out questions in an environment with an engine; see the module.

    environment: `start(question) -> session`, `run(calls) -> results` (`reproduce.tasks.environment`).
    call_type: the environment's call record, `call_type(session, tool, content)`.
    """

    def __init__(self, engine: Engine, environment, call_type, grammar: Grammar, limits: Limits):
        self.engine, self.environment, self.call_type = engine, environment, call_type
        self.grammar, self.limits = grammar, limits

    def rollout(
        self, questions: list, prompts: list[list[int]], k: int, policy=Independent(),
        rng: np.random.Generator | None = None,
    ) -> Rollout:  # fmt: skip
        """`k` trajectories for each question. `rng` is the branching stream; only branching policies draw from it."""
        if policy.branches and rng is None:
            raise ValueError("a branching policy needs its random stream")
        self.policy, self.rng = policy, rng
        self.tool_calls = 0
        tokens = 0
        groups = [_Group(question, prompt, k) for question, prompt in zip(questions, prompts, strict=True)]
        if policy.needs_pilot:
            pilots = [_Group(question, prompt, 1) for question, prompt in zip(questions, prompts, strict=True)]
            self._grow(pilots, [1] * len(pilots))
            tokens += sum(t.new_tokens for g in pilots for t in g.rows)
            sizes = [policy.initial(k, *self._pilot_entropies(pilot.rows[0])) for pilot in pilots]
        else:
            sizes = [policy.initial(k) for _ in groups]
        self._grow(groups, sizes)
        tokens += sum(t.new_tokens for g in groups for t in g.rows)
        forks = [sum(t.parent >= 0 for t in g.rows) for g in groups]
        return Rollout([g.rows for g in groups], tokens, self.tool_calls, sizes, forks)

    def _pilot_entropies(self, pilot: Trajectory) -> tuple[float, float]:
        """H_root and H_tool of AEPO's pre-monitoring; without any tool call the two are equal."""
        length = self.policy.entropy_tokens
        heights = [sum(turn[:length]) / self.grammar.log_vocabulary for turn in pilot.segment_entropies()]
        tools = [h for h, turn in zip(heights[1:], pilot.segment_entropies()[1:], strict=True) if turn]
        return heights[0], float(np.mean(tools)) if tools else heights[0]

    # -- growing the trees --------------------------------------------------------------------------------------------

    def _grow(self, groups: list[_Group], sizes: list[int]) -> None:
        self.groups, self.trajectories = groups, {}
        paths = []
        for index, (group, size) in enumerate(zip(groups, sizes, strict=True)):
            group.initial, group.forks_left = size, group.size - size
            paths += [self._root(index) for _ in range(size)]
        self.engine.run(paths, self._advance)
        short = [len(group.rows) for group in groups if len(group.rows) != group.size]
        if short:
            raise RuntimeError(f"groups must hold {groups[0].size} trajectories, got {short}")

    def _root(self, index: int) -> Path:
        group = self.groups[index]
        path = Path.root(group.prompt)
        trajectory = Trajectory(path, self.environment.start(group.question), index, len(group.rows))
        self._enlist(trajectory, measure=group.forks_left > 0)
        return path

    def _enlist(self, trajectory: Trajectory, measure: bool) -> None:
        group = self.groups[trajectory.group]
        group.rows.append(trajectory)
        group.alive += 1
        self.trajectories[id(trajectory.path)] = trajectory
        self._begin_segment(trajectory, measure)

    def _begin_segment(self, trajectory: Trajectory, measure: bool) -> None:
        trajectory.segment_start = trajectory.path.length
        trajectory.measuring = measure
        self._set_budget(trajectory)

    def _set_budget(self, trajectory: Trajectory) -> None:
        remaining = self.limits.completion_tokens - trajectory.path.length
        trajectory.path.budget = min(remaining, self.policy.entropy_tokens) if trajectory.measuring else remaining

    def _advance(self, done: list[Path]) -> list[Path]:
        """Meaning of finished segments: measure and fork, run tool calls, end paths, fill up groups."""
        go_on: list[Path] = []
        calls: list[tuple[Trajectory, Any]] = []
        for path in done:
            trajectory = self.trajectories[id(path)]
            if trajectory.measuring:
                trajectory.measuring = False
                go_on += self._measure(trajectory)
                self._set_budget(trajectory)
                if path.finish == "length" and path.budget > 0:
                    go_on.append(path)
                    continue
            if path.finish != "stop":
                go_on += self._end(trajectory, path.finish)
                continue
            call = self._parse(trajectory)
            if call is None:
                go_on += self._end(trajectory, "malformed" if trajectory.calls < self.limits.tool_calls else "calls")
            else:
                calls.append((trajectory, call))
        if calls:
            self.tool_calls += len(calls)
            results = self.environment.run([call for _, call in calls])
            for (trajectory, _), result in zip(calls, results, strict=True):
                go_on += self._continue(trajectory, result)
        return go_on

    def _measure(self, trajectory: Trajectory) -> list[Path]:
        """Entropy of the look-ahead: the path's baseline on its first turn, a branch test after that."""
        path, group = trajectory.path, self.groups[trajectory.group]
        height = sum(path.entropies[trajectory.segment_start :]) / self.grammar.log_vocabulary
        if trajectory.initial_entropy is None:
            trajectory.initial_entropy = height
            return []
        if group.forks_left == 0:
            return []
        change = height - trajectory.initial_entropy
        if not self.policy.branch(change, trajectory.consecutive, float(self.rng.random())):
            trajectory.consecutive = 0
            return []
        trajectory.consecutive += 1
        group.forks_left -= 1
        child = Trajectory(
            path.fork(trajectory.segment_start, path.turn), trajectory.session.fork(), trajectory.group,
            len(group.rows), trajectory.row, trajectory.segment_start, path.turn, calls=trajectory.calls,
            inherited_calls=trajectory.calls, actions=list(trajectory.actions),
            initial_entropy=trajectory.initial_entropy, consecutive=trajectory.consecutive,
        )  # fmt: skip
        self._enlist(child, measure=False)
        return [child.path]

    def _parse(self, trajectory: Trajectory) -> Any | None:
        """The call that the segment ends with; None if it has no content or the call limit is reached."""
        segment = trajectory.path.completion[trajectory.segment_start :]
        tool = self.grammar.close[segment[-1]]
        starts = [i for i, token in enumerate(segment) if self.grammar.open.get(token) == tool]
        content = self.grammar.decode(segment[starts[-1] + 1 : -1]) if starts else ""
        if not content.strip() or trajectory.calls >= self.limits.tool_calls:
            return None
        trajectory.calls += 1
        return self.call_type(trajectory.session, tool, content)

    def _continue(self, trajectory: Trajectory, result) -> list[Path]:
        """Append a tool result; the path goes on unless no token is left for it."""
        trajectory.actions.append(result.action)
        forced = self.grammar.encode(f"<result> {escape_tags(result.text)} </result>")
        if trajectory.path.length + len(forced) >= self.limits.completion_tokens:
            return self._end(trajectory, "length")
        trajectory.path.add_forced(forced)
        self._begin_segment(trajectory, measure=self.groups[trajectory.group].forks_left > 0)
        return [trajectory.path]

    def _end(self, trajectory: Trajectory, reason: str) -> list[Path]:
        """Close a path. When its group has none left, unused branch budget becomes whole trajectories."""
        group = self.groups[trajectory.group]
        trajectory.ended = reason
        group.alive -= 1
        if group.alive or len(group.rows) == group.size:
            return []
        group.forks_left = 0
        return [self._root(trajectory.group) for _ in range(group.size - len(group.rows))]
