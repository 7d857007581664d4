"""The tools of an episode: what an agent's calls look like, and who answers them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Session(Protocol):
    """State of one trajectory, such as which hits it was shown last."""

    question: Any

    def fork(self) -> "Session":
        """An independent copy, for a branch of the trajectory."""
        ...


@dataclass(frozen=True)
class Call:
    """A tool call of one trajectory: `tool` is "search" or "python", `content` the text between the tags."""

    session: Any
    tool: str
    content: str


@dataclass(frozen=True)
class ToolResult:
    """Text that goes between the result tags, and the action's one-word name for trajectory signatures."""

    text: str
    action: str
    ok: bool


class CodeRunner(Protocol):
    """Runs programs (`reproduce.tools.sandbox.PythonSandbox`)."""

    def run_many(self, codes: Sequence[str]) -> list:
        """A result per program, in order."""
        ...


class ToolServer(Protocol):
    """Answers tool calls. One server is shared by all episodes of a task."""

    def start(self, question: Any) -> Session:
        """A fresh session for one trajectory of `question`."""
        ...

    def run(self, calls: Sequence[Call]) -> list[ToolResult]:
        """Results of a batch of calls, in order. Never raises for what a call holds."""
        ...
