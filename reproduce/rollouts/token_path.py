"""A path: one trajectory while it is sampled, token by token; and the protocol between the agent loop and an engine."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(eq=False)
class TokenPath:
    """Tokens of one trajectory, and what was measured when each was sampled.

    `tokens` is prompt + completion. For completion token i, `sampled[i]` says whether the policy produced it (False:
    forced, that is, a tool result; the end that `eos_at_call_limit` adds counts as produced), `logps[i]` is its
    log-probability and `entropies[i]` the full-softmax entropy in nats at the sampling temperature (0.0 if forced),
    `turns[i]` the number of tool results before it. `inherited` counts completion tokens copied from `parent` at a
    fork.
    """

    prompt: tuple[int, ...]
    tokens: list[int]
    sampled: list[bool] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    turn: int = 0
    parent: "TokenPath | None" = None
    inherited: int = 0
    budget: int = 0
    finish: str = ""
    slot: int = -1

    @classmethod
    def root(cls, prompt: list[int]) -> "TokenPath":
        """Make a path that starts at the prompt."""
        return cls(tuple(prompt), list(prompt))

    @property
    def length(self) -> int:
        """Completion tokens so far, forced ones included."""
        return len(self.tokens) - len(self.prompt)

    @property
    def completion(self) -> list[int]:
        """Completion token ids."""
        return self.tokens[len(self.prompt) :]

    def add_sampled(self, token: int, logp: float, entropy: float) -> None:
        """Append a token that the policy sampled. logp and entropy in nats."""
        self.tokens.append(token)
        self.sampled.append(True)
        self.logps.append(logp)
        self.entropies.append(entropy)
        self.turns.append(self.turn)

    def add_forced(self, tokens: list[int]) -> None:
        """Append tokens of a tool result and start the next turn."""
        self.tokens.extend(tokens)
        n = len(tokens)
        self.sampled.extend([False] * n)
        self.logps.extend([0.0] * n)
        self.entropies.extend([0.0] * n)
        self.turns.extend([self.turn] * n)
        self.turn += 1

    def fork(self, length: int, turn: int) -> "TokenPath":
        """Make a path that shares the first `length` completion tokens, exactly as they were sampled.

        Raises:
            ValueError: the path does not have so many.
        """
        if not 0 < length <= self.length:
            raise ValueError(f"cannot fork after {length} of {self.length} completion tokens")
        return TokenPath(
            self.prompt,
            self.tokens[: len(self.prompt) + length],
            self.sampled[:length],
            self.logps[:length],
            self.entropies[:length],
            self.turns[:length],
            turn,
            self,
            length,
        )


class Engine(Protocol):
    """Samples tokens. `run` owns the schedule, `advance` owns the meaning.

    `run(paths, advance)` extends every path until it emits a stop token (`path.finish = "stop"`), the end of sequence
    ("eos") or `path.budget` new tokens ("length"), then hands it to `advance` together with the others that got there
    in the same step. `advance` returns the paths to go on with: the same ones, with forced tokens appended and a new
    budget, or new ones (roots and forks). A path that it does not return is over. `run` returns when none is left.

    An engine that `overlaps_tools` gets `tools` (`reproduce.rollouts.tools.ToolPool`). A path that `advance` does not
    return may then be waiting for a tool. While any is, `run` goes on, and it calls `advance`, if need be with no path,
    when a result is there. Inherit from this class for the defaults of its attributes.
    """

    overlaps_tools: bool = False
    """Whether `run` takes `tools` and samples on while calls are running."""
    has_entropies: bool = True
    """Whether `path.entropies` means anything; branching policies need it."""
    exact_entropies: bool = True
    """Whether `path.entropies` is over the full softmax."""

    @abstractmethod
    def run(
        self, paths: list[TokenPath], advance: Callable[[list[TokenPath]], list[TokenPath]], tools: Any = None
    ) -> None:
        """Sample all paths to their ends; see the class."""
