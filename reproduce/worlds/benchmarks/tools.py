"""The tools on real questions: search through `open_search`, and Python in the sandbox."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from reproduce.tools.search.search import Found, Search
from reproduce.worlds.tool_server import Call, CodeRunner, ToolResult


@dataclass(frozen=True)
class BenchmarkSession:
    """State of one trajectory: its question. The tools remember nothing else."""

    question: Any

    def fork(self) -> "BenchmarkSession":
        """Return the session itself: a branch can change nothing in it."""
        return self


class BenchmarkTools:
    """Search and Python, as a `ToolServer`.

    A search gives `Page 1: ...` lines, the released format; "none" if nothing is found; "search failed:" and the phrase
    of its error if it fails. A program gives its output, or its error. No call raises, whatever the model wrote. The
    searches of a batch run together, in parallel to the programs.

    Args:
        search: as `open_search` returns it.
        sandbox: runs programs; its owner closes it.
        max_words: cut of each tool result, for models with short contexts; None: only the settings of the search cut.
    """

    def __init__(self, search: Search, sandbox: CodeRunner, max_words: int | None = None):
        self.search, self.sandbox, self.max_words = search, sandbox, max_words
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="searches")

    def start(self, question: Any) -> BenchmarkSession:
        """Return a fresh session for one trajectory of `question`."""
        return BenchmarkSession(question)

    def run(self, calls: Sequence[Call]) -> list[ToolResult]:
        """Return the results of a batch of calls, in order. Equal programs run once. Several threads may call this."""
        queries = [call.content for call in calls if call.tool == "search"]
        programs = sorted({call.content for call in calls if call.tool == "python"})
        if programs and queries:
            searching = self._beside.submit(self.search.search_many, queries)
            printed, found = self._run(programs), iter(searching.result())
        else:
            printed, found = self._run(programs), iter(self.search.search_many(queries) if queries else ())
        return [self._printed(printed[c.content]) if c.tool == "python" else self._shown(next(found)) for c in calls]

    def costs(self) -> dict[str, float]:
        """Return totals of the search since it was opened (`reproduce.tools.search.search.COSTS`)."""
        return self.search.costs()

    def close(self) -> None:
        """End the threads and the search; the sandbox stays open."""
        self._beside.shutdown()
        self.search.close()

    def _run(self, programs: list[str]) -> dict:
        return dict(zip(programs, self.sandbox.run_many(programs), strict=True)) if programs else {}

    def _printed(self, result) -> ToolResult:
        text = result.output if result.ok else (result.error or "error")
        return ToolResult(self._cut(text).strip() or "none", "python", bool(result.ok))

    def _shown(self, found: Found) -> ToolResult:
        if found.error is not None:
            return ToolResult(f"search failed: {found.error}", "error", False)
        if not found.hits:
            return ToolResult("none", "empty", False)
        pages = (f"Page {number}: {hit.text}" for number, hit in enumerate(found.hits, start=1))
        return ToolResult(self._cut("\n".join(pages)), "search", True)

    def _cut(self, text: str) -> str:
        return text if self.max_words is None else " ".join(text.split()[: self.max_words])
