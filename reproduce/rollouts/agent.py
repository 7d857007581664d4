"""The agent loop: turns prompts into groups of exactly k trajectories, calling tools and growing trees on the way.

The engine samples; this module decides what a finished segment means. A segment that ends with a closing tool tag is a
call: its result is appended as forced tokens and a new turn begins. One that ends with a token that only could have
closed a tag goes on. Under a branching policy the first `entropy_tokens` tokens of a turn are a look-ahead: they are
sampled, measured, and kept as the beginning of the continuation; when the policy says so, a new path forks off at the
end of the tool result.

A policy with `late_test` measures the segment before the call instead. Its look-ahead is one token long, only so that
the engine has been fed all of the prefix that a fork shares. A policy with `lockstep` decides on forks and fill-ups in
rounds (`reproduce.rollouts.rounds`) and not as each path gets there.

Tool calls of the paths that end a segment in the same step are one batch, which all of them wait for. With threads
(`reproduce.rollouts.tools`) they run together, and an engine that can (`overlaps_tools`) samples the other paths
meanwhile: each path goes on as soon as its own call is answered.
"""

from typing import Any

import numpy as np

from reproduce.algorithms.policies import Independent
from reproduce.rollouts.grammar import Grammar
from reproduce.rollouts.rounds import ForkPoint, Rounds
from reproduce.rollouts.token_path import Engine, TokenPath
from reproduce.rollouts.tools import ToolPool
from reproduce.rollouts.trajectory import Group, Limits, Rollout, Trajectory
from reproduce.text import clean
from reproduce.worlds.tags import escape_tags


class AgentLoop:
    """Rolls out questions in an environment with an engine; see the module.

    environment: `start(question) -> session`, `run(calls) -> results` (`reproduce.worlds.miniweb.tools`).
    call_type: the environment's call record, `call_type(session, tool, content)`. tools: threads for the environment's
    calls; None: `environment.run` in this one.
    """

    def __init__(
        self, engine: Engine, environment, call_type, grammar: Grammar, limits: Limits, tools: ToolPool | None = None
    ):
        self.engine, self.environment, self.call_type, self.tools = engine, environment, call_type, tools
        self._overlapped = tools is not None and engine.overlaps_tools
        self.grammar, self.limits = grammar, limits

    def rollout(
        self, questions: list, prompts: list[list[int]], k: int, policy=Independent(),
        rng: np.random.Generator | None = None, initial_entropies: dict[int, float] | None = None,
    ) -> Rollout:  # fmt: skip
        """`k` trajectories for each question. `rng` is the branching stream; only branching policies draw from it.

        initial_entropies: for a policy with `stale_baseline`, the same dictionary in every call of a run: h of the
        first segment of the first trajectory that ever had an index, by index. It is read, and written where empty.
        """
        if policy.branches and rng is None:
            raise ValueError("a branching policy needs its random stream")
        if policy.stale_baseline and initial_entropies is None:
            raise ValueError("a policy with stale_baseline needs the initial_entropies of the run's earlier calls")
        self.rng, self.initial_entropies = rng, initial_entropies
        self.tool_calls = 0
        tokens = 0
        groups = [Group(question, prompt, k) for question, prompt in zip(questions, prompts, strict=True)]
        if policy.needs_pilot:
            pilots = [Group(question, prompt, 1) for question, prompt in zip(questions, prompts, strict=True)]
            self._grow(pilots, [1] * len(pilots), Independent())
            tokens += sum(t.new_tokens for g in pilots for t in g.rows)
            sizes = [policy.initial(k, *self._pilot_entropies(pilot.rows[0], policy)) for pilot in pilots]
        else:
            sizes = [policy.initial(k) for _ in groups]
        self._grow(groups, sizes, policy)
        tokens += sum(t.new_tokens for g in groups for t in g.rows)
        forks = [sum(t.parent >= 0 for t in g.rows) for g in groups]
        return Rollout([g.rows for g in groups], tokens, self.tool_calls, sizes, forks)

    def _pilot_entropies(self, pilot: Trajectory, policy) -> tuple[float, float]:
        """H_root and H_tool of AEPO's pre-monitoring; without any tool call the two are equal."""
        segments = pilot.segment_entropies()
        heights = [self._height(turn, policy) for turn in segments]
        first = 0 if policy.pilot_mean_all_segments else 1
        tools = [h for h, turn in zip(heights[first:], segments[first:], strict=True) if turn]
        return heights[0], float(np.mean(tools)) if tools else heights[0]

    def _height(self, entropies: list[float], policy) -> float:
        """h of a segment from the entropies of its tokens."""
        return sum(entropies[: policy.entropy_tokens]) / self.grammar.log_vocabulary

    # -- growing the trees --------------------------------------------------------------------------------------------

    def _grow(self, groups: list[Group], sizes: list[int], policy) -> None:
        self.groups, self.policy, self.trajectories = groups, policy, {}
        self.rounds = Rounds() if policy.lockstep else None
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
        trajectory = Trajectory(path, self.environment.start(group.question), index, len(group.rows))
        self._enlist(trajectory)
        return path

    def _enlist(self, trajectory: Trajectory) -> None:
        group = self.groups[trajectory.group]
        trajectory.index = len(self.trajectories)
        group.rows.append(trajectory)
        group.alive += 1
        self.trajectories[id(trajectory.path)] = trajectory
        if self.rounds:
            self.rounds.join(trajectory)
        # a first segment is looked into for the baseline only, and a late test reads that off the finished segment
        self._begin_segment(trajectory, trajectory.initial_entropy is None and not self.policy.late_test)

    def _begin_segment(self, trajectory: Trajectory, measure: bool) -> None:
        trajectory.segment_start = trajectory.path.length
        trajectory.measuring = measure and (self.rounds is not None or self.groups[trajectory.group].forks_left > 0)
        self._set_budget(trajectory)

    def _set_budget(self, trajectory: Trajectory) -> None:
        budget = self.limits.completion_tokens - trajectory.path.length
        if trajectory.measuring:
            budget = min(budget, 1 if self.policy.late_test else self.policy.entropy_tokens)
        trajectory.path.budget = budget

    def _advance(self, done: list[TokenPath]) -> list[TokenPath]:
        """Meaning of finished segments: measure and fork, run tool calls, end paths, fill up groups."""
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
            if self.policy.late_test:
                self._measure(trajectory)
            if path.finish != "stop":
                go_on += self._end(trajectory, path.finish)
                continue
            call = self._parse(trajectory)
            if call is None:
                go_on += self._end(trajectory, "malformed" if trajectory.calls < self.limits.tool_calls else "calls")
            else:
                calls.append((trajectory, call))
        self.tool_calls += len(calls)
        for trajectory, result in self._results(calls):
            go_on += self._continue(trajectory, result)
        while self.rounds and (points := self.rounds.finished()) is not None:
            go_on += self._decide(points)
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
        """h of what was sampled of the segment; the first one ever becomes the path's baseline."""
        trajectory.segment_entropy = self._height(trajectory.path.entropies[trajectory.segment_start :], self.policy)
        if trajectory.initial_entropy is None:
            trajectory.initial_entropy = trajectory.segment_entropy
            if self.policy.stale_baseline:
                trajectory.initial_entropy = self.initial_entropies.setdefault(
                    trajectory.index, trajectory.segment_entropy
                )

    def _looked_ahead(self, trajectory: Trajectory) -> list[TokenPath]:
        """A path has sampled its look-ahead: its baseline if it is the first one, a branch test after that."""
        first = trajectory.initial_entropy is None
        if not self.policy.late_test:
            self._measure(trajectory)
        if first:
            return []
        change = trajectory.segment_entropy - trajectory.initial_entropy
        if self.rounds:
            self.rounds.report(trajectory, ForkPoint.of(trajectory, change))
            return []
        return self._fork(ForkPoint.of(trajectory, change)) if self._passes(trajectory, change) else []

    def _passes(self, trajectory: Trajectory, change: float) -> bool:
        """The branch test. Draws one number, and only if there is budget left."""
        group = self.groups[trajectory.group]
        if group.forks_left == 0:
            return False
        in_a_row = group.consecutive if self.rounds and self.policy.penalty_per_prompt else trajectory.consecutive
        passes = self.policy.branch(change, in_a_row, float(self.rng.random()))
        trajectory.consecutive = trajectory.consecutive + 1 if passes else 0
        return passes

    def _fork(self, point: ForkPoint) -> list[TokenPath]:
        group = self.groups[point.trajectory.group]
        group.forks_left -= 1
        child = point.child(len(group.rows), self.policy.child_own_baseline)
        self._enlist(child)
        return [child.path]

    def _decide(self, points: list[ForkPoint]) -> list[TokenPath]:
        """End of a round: branch tests group by group, then whole trajectories for groups with no path left."""
        new, sizes = [], [len(group.rows) for group in self.groups]
        in_round = dict.fromkeys(point.trajectory.group for point in points)
        for index in in_round:
            for point in points:
                if point.trajectory.group == index and self._passes(point.trajectory, point.entropy_change):
                    new += self._fork(point)
        for index, group in enumerate(self.groups):
            if index not in in_round and len(group.rows) < group.size:
                new += self._fill_up(index)
        grown = [len(group.rows) > size for group, size in zip(self.groups, sizes, strict=True)]
        if any(grown):
            for group, more in zip(self.groups, grown, strict=True):
                group.consecutive = group.consecutive + 1 if more else 0
        return new

    def _parse(self, trajectory: Trajectory) -> Any | None:
        """The call that the segment ends with; None if it has no content or the call limit is reached."""
        tool, content = self.grammar.call(trajectory.path.completion[trajectory.segment_start :])
        if not content.strip() or trajectory.calls >= self.limits.tool_calls:
            return None
        trajectory.calls += 1
        return self.call_type(trajectory.session, tool, content)

    def _continue(self, trajectory: Trajectory, result) -> list[TokenPath]:
        """Append a tool result; the path goes on unless no token is left for it."""
        trajectory.actions.append(result.action)
        shown = clean(result.text)
        trajectory.results.append(shown)
        forced = self.grammar.encode(f"<result> {escape_tags(shown)} </result>")
        if trajectory.path.length + len(forced) >= self.limits.completion_tokens:
            return self._end(trajectory, "length")
        trajectory.path.add_forced(forced)
        self._begin_segment(trajectory, measure=True)
        return [trajectory.path]

    def _end(self, trajectory: Trajectory, reason: str) -> list[TokenPath]:
        """Close a path. When its group has none left, unused branch budget becomes whole trajectories."""
        trajectory.ended = reason
        self.groups[trajectory.group].alive -= 1
        if self.rounds:
            self.rounds.report(trajectory, None)
            return []
        return [] if self.groups[trajectory.group].alive else self._fill_up(trajectory.group)

    def _fill_up(self, index: int) -> list[TokenPath]:
        """Whole trajectories for what a group is short of, or one of them (`single_fill_up`, in rounds)."""
        group = self.groups[index]
        missing = group.size - len(group.rows)
        added = min(missing, 1) if self.rounds and self.policy.single_fill_up else missing
        group.forks_left = missing - added
        return [self._root(index) for _ in range(added)]
