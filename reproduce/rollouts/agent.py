"""The agent loop: turn prompts into groups of exactly k trajectories, calling tools and growing trees on the way.

The engine samples; this module decides what a finished segment means. A segment that ends with a closing tool tag is a
call: its result is appended as forced tokens, and a new turn begins. A segment that ends with a token that only could
have closed a tag goes on. Under a branching policy the first `entropy_tokens` tokens of a turn are a look-ahead: they
are sampled, measured, and kept as the beginning of the continuation. If the policy says so, a new path forks off at the
end of the tool result.

Tool calls of the paths that end a segment in the same step are one batch, for which all of them wait. With threads
(`reproduce.rollouts.tools`) they run together, and an engine that can (`overlaps_tools`) samples the other paths
meanwhile: each path goes on as soon as its own call is answered.
"""

from typing import Any

import numpy as np

from reproduce.algorithms.policies import Independent
from reproduce.rollouts.grammar import Grammar
from reproduce.rollouts.token_path import Engine, TokenPath
from reproduce.rollouts.tools import ToolPool
from reproduce.rollouts.trajectory import Group, Limits, Rollout, Trajectory
from reproduce.runs.token_records import BranchTest
from reproduce.text import clean
from reproduce.worlds.tags import escape_tags


def height(entropies: list[float], tokens: int, log_vocabulary: float) -> float:
    """h of a turn: the sum of the entropies of its first `tokens` tokens, over log V."""
    return sum(entropies[:tokens]) / log_vocabulary


def pilot_entropies(turns: list[list[float]], tokens: int, log_vocabulary: float) -> tuple[float, float]:
    """H_root and H_tool of AEPO's pre-monitoring (arXiv 2510.14545); without any tool call the two are equal.

    Args:
        turns: entropies of the sampled tokens of each turn of a whole trajectory, in nats.
        tokens: of a turn that count.
        log_vocabulary: log V, the highest entropy of a token, in nats.
    """
    root, *after_results = turns
    tools = [height(turn, tokens, log_vocabulary) for turn in after_results if turn]
    at_root = height(root, tokens, log_vocabulary)
    return at_root, float(np.mean(tools)) if tools else at_root


class AgentLoop:
    """Rolls out questions in an environment with an engine; see the module.

    Args:
        engine: samples tokens.
        environment: a `ToolServer`.
        call_type: makes the environment's call, call_type(session, tool, content).
        grammar: the tags.
        limits: of each trajectory.
        tools: threads for the environment's calls; None: `environment.run` in this thread.
    """

    def __init__(
        self, engine: Engine, environment, call_type, grammar: Grammar, limits: Limits, tools: ToolPool | None = None
    ):
        self.engine, self.environment, self.call_type, self.tools = engine, environment, call_type, tools
        self._overlapped = tools is not None and engine.overlaps_tools
        self.grammar, self.limits = grammar, limits

    def rollout(
        self,
        questions: list,
        prompts: list[list[int]],
        k: int,
        policy=Independent(),
        rng: np.random.Generator | None = None,
    ) -> Rollout:
        """Sample `k` trajectories for each question.

        Args:
            questions: the questions.
            prompts: their token ids.
            k: trajectories of a group.
            policy: who branches when.
            rng: the branching stream; only branching policies draw from it.

        Raises:
            ValueError: a branching policy has no stream.
        """
        if policy.branches and rng is None:
            raise ValueError("a branching policy needs its random stream")
        self.rng = rng
        self.tool_calls = 0
        tokens = 0
        groups = [Group(question, prompt, k) for question, prompt in zip(questions, prompts, strict=True)]
        if policy.needs_pilot:
            pilots = [Group(question, prompt, 1) for question, prompt in zip(questions, prompts, strict=True)]
            self._grow(pilots, [1] * len(pilots), Independent())
            tokens += sum(t.new_tokens for g in pilots for t in g.rows)
            measured = [self._pilot_entropies(pilot.rows[0], policy) for pilot in pilots]
            sizes = [policy.initial(k, *entropies) for entropies in measured]
        else:
            measured = None
            sizes = [policy.initial(k) for _ in groups]
        self._grow(groups, sizes, policy)
        tokens += sum(t.new_tokens for g in groups for t in g.rows)
        forks = [sum(t.parent >= 0 for t in g.rows) for g in groups]
        return Rollout([g.rows for g in groups], tokens, self.tool_calls, sizes, forks, measured)

    def _pilot_entropies(self, pilot: Trajectory, policy) -> tuple[float, float]:
        return pilot_entropies(pilot.segment_entropies(), policy.entropy_tokens, self.grammar.log_vocabulary)

    def _height(self, entropies: list[float], policy) -> float:
        return height(entropies, policy.entropy_tokens, self.grammar.log_vocabulary)

    # -- growing the trees --------------------------------------------------------------------------------------------

    def _grow(self, groups: list[Group], sizes: list[int], policy) -> None:
        self.groups, self.policy, self.trajectories = groups, policy, {}
        paths = []
        for index, (group, size) in enumerate(zip(groups, sizes, strict=True)):
            group.forks_left = group.size - size
            paths += [self._root(index) for _ in range(size)]
        if self._overlapped:
            self.engine.run(paths, self._advance, self.tools)
        else:
            self.engine.run(paths, self._advance)
        short = [len(group.rows) for group in groups if len(group.rows) != group.size]
        if short:
            raise RuntimeError(f"groups must hold {groups[0].size} trajectories, got {short}")

    def _root(self, index: int) -> TokenPath:
        group = self.groups[index]
        path = TokenPath.root(group.prompt)
        self._enlist(Trajectory(path, self.environment.start(group.question), index))
        return path

    def _enlist(self, trajectory: Trajectory) -> None:
        group = self.groups[trajectory.group]
        trajectory.index, trajectory.row = len(self.trajectories), len(group.rows)
        group.rows.append(trajectory)
        group.alive += 1
        self.trajectories[id(trajectory.path)] = trajectory
        self._begin_segment(trajectory, look_ahead=trajectory.initial_entropy is None)  # which is its baseline

    def _begin_segment(self, trajectory: Trajectory, look_ahead: bool) -> None:
        trajectory.segment_start = trajectory.path.length
        trajectory.measuring = look_ahead and self._may_fork(trajectory)
        self._set_budget(trajectory)

    def _may_fork(self, trajectory: Trajectory) -> bool:
        return self.groups[trajectory.group].forks_left > 0

    @property
    def _look_ahead_tokens(self) -> int:
        return self.policy.entropy_tokens

    def _set_budget(self, trajectory: Trajectory) -> None:
        budget = self.limits.completion_tokens - trajectory.path.length
        if trajectory.measuring:
            budget = min(budget, self._look_ahead_tokens)
        trajectory.path.budget = budget

    def _advance(self, done: list[TokenPath]) -> list[TokenPath]:
        """Handle finished segments: measure and fork, run tool calls, end paths, fill up groups."""
        go_on: list[TokenPath] = []
        calls: list[tuple[Trajectory, Any]] = []
        for path in done:
            trajectory = self.trajectories[id(path)]
            if path.finish == "stop" and not self.grammar.ends_call(path.completion[trajectory.segment_start :]):
                path.finish = "length"  # a token that could have ended a call's tag
                if path.budget > 0:
                    go_on.append(path)
                    continue
            if trajectory.measuring:
                trajectory.measuring = False
                go_on += self._looked_ahead(trajectory)
                self._set_budget(trajectory)
                if path.finish == "length" and path.budget > 0:
                    go_on.append(path)
                    continue
            call, reason = self._finish_segment(trajectory)
            if call is None:
                go_on += self._end(trajectory, reason)
            else:
                calls.append((trajectory, call))
        self.tool_calls += len(calls)
        for trajectory, result in self._results(calls):
            go_on += self._continue(trajectory, result)
        return go_on

    def _results(self, calls: list[tuple[Trajectory, Any]]) -> list[tuple[Trajectory, Any]]:
        """(trajectory, result) of these calls; where tools overlap with sampling, of those that are answered by now."""
        if self._overlapped:
            self.tools.submit(calls)
            return self.tools.finished()
        if not calls:
            return []
        run = self.environment.run if self.tools is None else self.tools.run
        results = run([call for _, call in calls])
        return [(trajectory, result) for (trajectory, _), result in zip(calls, results, strict=True)]

    def _measure(self, trajectory: Trajectory) -> None:
        """Measure h of the segment's sampled tokens; the first one becomes the path's baseline."""
        trajectory.segment_entropy = self._height(trajectory.path.entropies[trajectory.segment_start :], self.policy)
        if trajectory.initial_entropy is None:
            trajectory.initial_entropy = trajectory.segment_entropy

    def _looked_ahead(self, trajectory: Trajectory) -> list[TokenPath]:
        """A path has sampled its look-ahead: its baseline if it is the first one, else a branch test."""
        first = trajectory.initial_entropy is None
        self._measure(trajectory)
        return [] if first else self._test(trajectory)

    def _test(self, trajectory: Trajectory) -> list[TokenPath]:
        """The branch test after a tool result."""
        place = trajectory.path.turn, trajectory.segment_start
        return self._fork(trajectory.child()) if self._passes(trajectory, trajectory.entropy_change, place) else []

    def _passes(self, trajectory: Trajectory, change: float, place: tuple[int, int]) -> bool:
        """Whether the policy branches at this dH. Draws one number, and only if there is budget left.

        place: turn and completion token of the fork, for the record.
        """
        if self.groups[trajectory.group].forks_left == 0:
            return False
        in_a_row, draw = self._in_a_row(trajectory), float(self.rng.random())
        passes = self.policy.branch(change, in_a_row, draw)
        trajectory.tests.append(
            BranchTest(
                turn=place[0],
                token=place[1],
                baseline=float(trajectory.initial_entropy),
                entropy_change=float(change),
                consecutive=in_a_row,
                probability=float(self.policy.branch_probability(change, in_a_row)),
                draw=draw,
                forked=bool(passes),
            )
        )
        trajectory.consecutive = trajectory.consecutive + 1 if passes else 0
        return passes

    def _in_a_row(self, trajectory: Trajectory) -> int:
        return trajectory.consecutive

    def _fork(self, child: Trajectory) -> list[TokenPath]:
        self.groups[child.group].forks_left -= 1
        self._enlist(child)
        return [child.path]

    def _finish_segment(self, trajectory: Trajectory) -> tuple[Any | None, str]:
        """(call, "") of a finished segment that ends with one; (None, why the path ends) of any other."""
        if trajectory.path.finish != "stop":
            return None, trajectory.path.finish
        tool, content = self.grammar.call(trajectory.path.completion[trajectory.segment_start :])
        if trajectory.calls >= self.limits.tool_calls:
            return None, "calls"
        if not content.strip():
            return None, "malformed"
        trajectory.calls += 1
        return self.call_type(trajectory.session, tool, content), ""

    def _continue(self, trajectory: Trajectory, result) -> list[TokenPath]:
        """Append a tool result; the path goes on unless no token is left for it."""
        trajectory.actions.append(result.action)
        shown = clean(result.text)
        trajectory.results.append(shown)
        forced = self.grammar.encode(f"<result> {escape_tags(shown)} </result>")
        if trajectory.path.length + len(forced) >= self.limits.completion_tokens:
            return self._end(trajectory, "length")
        trajectory.path.add_forced(forced)
        self._begin_segment(trajectory, look_ahead=True)
        return [trajectory.path]

    def _end(self, trajectory: Trajectory, reason: str) -> list[TokenPath]:
        """End a path. When its group has none left, unused branch budget becomes whole trajectories."""
        trajectory.ended = reason
        self.groups[trajectory.group].alive -= 1
        return [] if self.groups[trajectory.group].alive else self._fill_up(trajectory.group)

    def _fill_up(self, index: int) -> list[TokenPath]:
        """Start whole trajectories for what a group is short of."""
        group = self.groups[index]
        group.forks_left = 0
        return [self._root(index) for _ in range(group.size - len(group.rows))]
