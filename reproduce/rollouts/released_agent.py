"""The agent loop of the code released for ARPO and AEPO, where it differs from the papers.

Each switch of `ReleasedTree` (`reproduce.algorithms.parts.released.rollouts`) overrides a step of the papers' loop.
With every switch off this is `AgentLoop`, to the byte.
"""

from typing import Any

import numpy as np
import torch

from reproduce.algorithms.parts.released.rollouts import ReleasedTree
from reproduce.precision import wide
from reproduce.rollouts.agent import AgentLoop
from reproduce.rollouts.rounds import Candidate, Rounds
from reproduce.rollouts.token_path import TokenPath
from reproduce.rollouts.trajectory import Group, Rollout, Trajectory

PAPER = ReleasedTree(**dict.fromkeys(ReleasedTree.__dataclass_fields__, False))


class ReleasedAgentLoop(AgentLoop):
    """`AgentLoop` for policies that are a `ReleasedTree`.

    initial_entropies: index -> h of the first segment of the first trajectory that ever had the index. It is read, and
    written where empty: pass the same dictionary to every loop of a run. model: scores the token that
    `eos_at_call_limit` appends, at the engine's temperature; None for policies without that switch.
    """

    def __init__(self, *arguments, initial_entropies: dict[int, float], model=None):
        super().__init__(*arguments)
        self.initial_entropies, self.model = initial_entropies, model

    def rollout(self, questions: list, prompts: list[list[int]], k: int, policy, rng=None) -> Rollout:
        found = super().rollout(questions, prompts, k, policy, rng)
        for path in (t.path for rows in found.groups for t in rows if t.ended == "calls"):
            if policy.eos_at_call_limit and path.length < self.limits.completion_tokens:
                self._append_eos(path)
        return found

    @torch.inference_mode()
    def _append_eos(self, path: TokenPath) -> None:
        """Append an end-of-sequence token that counts as sampled, with its log-probability."""
        was_training = self.model.training
        self.model.eval()
        ids = torch.tensor([path.tokens], device=next(self.model.parameters()).device)
        logps = torch.log_softmax(wide(self.model(input_ids=ids).logits[0, -1]) / self.engine.temperature, dim=-1)
        self.model.train(was_training)
        entropy = -(logps.exp() * logps.clamp(min=-1e4)).sum()
        path.add_sampled(self.grammar.eos_id, float(logps[self.grammar.eos_id]), float(entropy))

    def _pilot_entropies(self, pilot: Trajectory, policy) -> tuple[float, float]:
        root, tool = super()._pilot_entropies(pilot, policy)
        if policy.pilot_mean_all_segments:
            tool = float(np.mean([self._height(turn, policy) for turn in pilot.segment_entropies() if turn]))
        return root, tool

    def _grow(self, groups: list[Group], sizes: list[int], policy) -> None:
        self.switches = policy if isinstance(policy, ReleasedTree) else PAPER  # as for a pilot
        self.rounds = Rounds() if self.switches.lockstep else None
        self.grown_in_a_row = [0] * len(groups)  # rounds in a row in which the question got a new trajectory
        super()._grow(groups, sizes, policy)

    # -- late_test, stale_baseline, child_own_baseline ----------------------------------------------------------------

    @property
    def _look_ahead_tokens(self) -> int:
        """A late test needs one token, only so that the engine has been fed all of the prefix that a fork shares."""
        return 1 if self.switches.late_test else super()._look_ahead_tokens

    def _begin_segment(self, trajectory: Trajectory, look_ahead: bool) -> None:
        late_baseline = self.switches.late_test and trajectory.initial_entropy is None  # read off the finished segment
        super()._begin_segment(trajectory, look_ahead and not late_baseline)

    def _looked_ahead(self, trajectory: Trajectory) -> list[TokenPath]:
        return self._test(trajectory) if self.switches.late_test else super()._looked_ahead(trajectory)

    def _finish_segment(self, trajectory: Trajectory) -> tuple[Any | None, str]:
        if self.switches.late_test:
            self._measure(trajectory)
        return super()._finish_segment(trajectory)

    def _measure(self, trajectory: Trajectory) -> None:
        first = trajectory.initial_entropy is None
        super()._measure(trajectory)
        if first and self.switches.stale_baseline:
            own = trajectory.segment_entropy
            trajectory.initial_entropy = self.initial_entropies.setdefault(trajectory.index, own)

    def _fork(self, child: Trajectory) -> list[TokenPath]:
        if self.switches.child_own_baseline:
            child.initial_entropy = None
        return super()._fork(child)

    # -- lockstep, single_fill_up, penalty_per_prompt -----------------------------------------------------------------

    def _enlist(self, trajectory: Trajectory) -> None:
        if self.rounds:
            self.rounds.join(trajectory)
        super()._enlist(trajectory)

    def _may_fork(self, trajectory: Trajectory) -> bool:
        """In rounds, whether budget is left is known only when the round is decided."""
        return self.rounds is not None or super()._may_fork(trajectory)

    def _advance(self, done: list[TokenPath]) -> list[TokenPath]:
        go_on = super()._advance(done)
        while self.rounds and (candidates := self.rounds.finished()) is not None:
            go_on += self._decide(candidates)
        return go_on

    def _test(self, trajectory: Trajectory) -> list[TokenPath]:
        if not self.rounds:
            return super()._test(trajectory)
        self.rounds.report(trajectory, Candidate(trajectory, trajectory.child(), trajectory.entropy_change))
        return []

    def _decide(self, candidates: list[Candidate]) -> list[TokenPath]:
        """End a round: branch tests group by group, then whole trajectories for groups with no path left."""
        new, sizes = [], [len(group.rows) for group in self.groups]
        in_round = dict.fromkeys(candidate.parent.group for candidate in candidates)
        for index in in_round:
            for parent, child, change in candidates:
                place = child.branch_turn, child.branch_token
                if parent.group == index and self._passes(parent, change, place):
                    child.consecutive = parent.consecutive
                    new += self._fork(child)
        for index, group in enumerate(self.groups):
            if index not in in_round and len(group.rows) < group.size:
                new += self._fill_up(index)
        grown = [len(group.rows) > size for group, size in zip(self.groups, sizes, strict=True)]
        if any(grown):
            counts = zip(self.grown_in_a_row, grown, strict=True)
            self.grown_in_a_row = [count + 1 if more else 0 for count, more in counts]
        return new

    def _in_a_row(self, trajectory: Trajectory) -> int:
        if self.rounds and self.switches.penalty_per_prompt:
            return self.grown_in_a_row[trajectory.group]
        return super()._in_a_row(trajectory)

    def _end(self, trajectory: Trajectory, reason: str) -> list[TokenPath]:
        if not self.rounds:
            return super()._end(trajectory, reason)
        trajectory.ended = reason
        self.rounds.report(trajectory, None)
        return []

    def _fill_up(self, index: int) -> list[TokenPath]:
        if not (self.rounds and self.switches.single_fill_up):
            return super()._fill_up(index)
        group = self.groups[index]
        group.forks_left = group.size - len(group.rows) - 1
        return [self._root(index)]


def loop_for(policy, *arguments, initial_entropies: dict[int, float], model=None) -> AgentLoop:
    """Make the agent loop that rolls out `policy`: the papers', or the released code's. Arguments are theirs."""
    if isinstance(policy, ReleasedTree):
        return ReleasedAgentLoop(*arguments, initial_entropies=initial_entropies, model=model)
    return AgentLoop(*arguments)
