"""The tools of a trajectory: an agent's calls, and the server that answers them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Session(Protocol):
    """State of one trajectory, such as the hits that it saw last."""

    question: Any

    def fork(self) -> "Session":
        """Return an independent copy, for a branch of the trajectory."""
        ...


@dataclass(frozen=True)
class Call:
    """A tool call of one trajectory. tool: "search" or "python". content: the text between the tags."""

    session: Any
    tool: str
    content: str


@dataclass(frozen=True)
class ToolResult:
    """The result of a call. text: goes between the result tags. action: the call's one-word name for trajectory
    signatures.
    """

    text: str
    action: str
    ok: bool


class CodeRunner(Protocol):
    """Runs programs (`reproduce.tools.sandbox.PythonSandbox`)."""

    def run_many(self, codes: Sequence[str]) -> list:
        """Return a result per program, in order."""
        ...


class ToolServer(Protocol):
    """Answers tool calls. All trajectories of a task share one server."""

    def start(self, question: Any) -> Session:
        """Return a fresh session for one trajectory of `question`."""
        ...

    def run(self, calls: Sequence[Call]) -> list[ToolResult]:
        """Return the results of a batch of calls, in order. Never raises for the content of a call."""
        ...
