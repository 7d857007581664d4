"""Trajectories in groups, their place in a tree, and what they cost."""

from dataclasses import dataclass, field
from typing import Any

from reproduce.rollouts.token_path import TokenPath
from reproduce.runs.token_records import BranchTest


@dataclass(frozen=True)
class Limits:
    """Limits per trajectory: tool calls, and completion tokens including tool results."""

    tool_calls: int
    completion_tokens: int


@dataclass(eq=False)
class Trajectory:
    """One trajectory of a group. `path` holds tokens and measurements; the rest is its place in the tree.

    parent: row of the path that it forked from, or -1. branch_token, branch_turn: completion token and turn of the
    fork, or -1. ended: "eos", "length", "calls" (call limit) or "malformed" (a call without content). actions, results:
    name and text of every tool result in `path`, the result that opens turn i at i - 1. index: its number in the
    rollout call, in order of creation. tests: branch tests of this path, those of a shared prefix excluded.
    """

    path: TokenPath
    session: Any
    group: int
    row: int = -1
    parent: int = -1
    branch_token: int = -1
    branch_turn: int = -1
    ended: str = ""
    calls: int = 0
    inherited_calls: int = 0
    actions: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    segment_start: int = 0
    measuring: bool = False
    initial_entropy: float | None = None
    segment_entropy: float = 0.0
    consecutive: int = 0
    index: int = -1
    tests: list[BranchTest] = field(default_factory=list)

    opening = ""
    faults = ()
    single_turns = False
    """Whether each turn is a path, as in `reproduce.rollouts.episodes.Episode`."""

    def child(self) -> "Trajectory":
        """Make a trajectory that forks off where the current segment began; it joins the group later, or never."""
        return Trajectory(
            self.path.fork(self.segment_start, self.path.turn),
            self.session.fork(),
            self.group,
            parent=self.row,
            branch_token=self.segment_start,
            branch_turn=self.path.turn,
            calls=self.calls,
            inherited_calls=self.calls,
            actions=list(self.actions),
            results=list(self.results),
            initial_entropy=self.initial_entropy,
            consecutive=self.consecutive,
        )

    @property
    def entropy_change(self) -> float:
        """dH of a branch test: h of the last measured segment minus that of the first."""
        return self.segment_entropy - self.initial_entropy

    @property
    def paths(self) -> list[TokenPath]:
        """Paths to train on: one, which holds the whole trajectory."""
        return [self.path]

    @property
    def observations(self) -> list[str | None]:
        """The observation that each turn started from: None is the bare question, then the last tool result."""
        return [None, *self.results]

    @property
    def length(self) -> int:
        """Completion tokens, forced ones included."""
        return self.path.length

    @property
    def new_tokens(self) -> int:
        """Tokens that the policy sampled for this trajectory alone."""
        return sum(self.path.sampled[self.path.inherited :])

    @property
    def trained_tokens(self) -> int:
        """Tokens in the loss mask, those of a shared prefix included."""
        return sum(self.path.sampled)

    def segment_entropies(self) -> list[list[float]]:
        """List the entropies (nats) of the sampled tokens, turn by turn."""
        turns: list[list[float]] = [[] for _ in range(self.path.turn + 1)]
        for sampled, turn, entropy in zip(self.path.sampled, self.path.turns, self.path.entropies, strict=True):
            if sampled:
                turns[turn].append(entropy)
        return turns


@dataclass
class Rollout:
    """Result of one call of `AgentLoop.rollout`: groups of k trajectories, and what they cost.

    sampled_tokens, tool_calls: everything that was generated and run, pilots included, shared prefixes once. initial: m
    of each group. branches: forks of each group. pilots: H_root and H_tool of each group; None without pilots.
    """

    groups: list[list[Trajectory]]
    sampled_tokens: int
    tool_calls: int
    initial: list[int]
    branches: list[int]
    pilots: list[tuple[float, float]] | None = None


@dataclass
class Group:
    """The trajectories of one question while they grow: `rows` so far, of `size`; `alive` of them have not ended.

    forks_left: trajectories that branches may still add.
    """

    question: Any
    prompt: list[int]
    size: int
    rows: list[Trajectory] = field(default_factory=list)
    alive: int = 0
    forks_left: int = 0
