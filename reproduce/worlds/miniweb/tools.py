"""Tools of MiniWeb: search, page reader and Python, as a `ToolServer`.

All trajectories of a task share one `MiniWebTools`. A `Session` is the state of one trajectory (its searches and the
hits that it saw last) and is copied when the trajectory forks. The text of a tool result depends only on the question,
the session and the call, so a replay gives the same bytes.

Calls, in the papers' tags:

    <search> arlo painter </search>     titles of the best hits, numbered (mini-knowledge: the two best pages)
    <search> page 2 </search>           the body of hit 2 of the last list (mini-deepsearch)
    <python> print ( 3 + 4 ) </python>  the program's output, from the sandbox
"""

import hashlib
from dataclasses import dataclass, field

from reproduce.tools.search.bm25 import PassageIndex
from reproduce.worlds.miniweb.generator import World
from reproduce.worlds.miniweb.questions import MiniQuestion
from reproduce.worlds.tool_server import Call, CodeRunner, ToolResult

HITS = 4
SHOWN = 2
TIMEOUT_SHARE = 0.1
RESULT_WORDS = 40


@dataclass
class Session:
    """State of one trajectory. asked: repetitions of each query. hits: page ids of the last list."""

    question: MiniQuestion
    asked: dict[str, int] = field(default_factory=dict)
    hits: tuple[int, ...] = ()

    def fork(self) -> "Session":
        """Return an independent copy, for a branch of the trajectory."""
        return Session(self.question, dict(self.asked), self.hits)


class MiniWebTools:
    """Search, pages and Python over one world; see the module for the calls.

    Args:
        world: the web.
        sandbox: runs programs.
        timeout_share: share of searches that time out.
        printed: program outputs to share with another `MiniWebTools` of the same sandbox.
    """

    def __init__(
        self,
        world: World,
        sandbox: CodeRunner,
        timeout_share: float = TIMEOUT_SHARE,
        printed: dict[str, ToolResult] | None = None,
    ):
        self.world = world
        self.sandbox = sandbox
        self.timeout_share = timeout_share
        self.index = PassageIndex([{"id": p.id, "title": p.title, "text": p.body} for p in world.pages])
        self._hits: dict[str, tuple[int, ...]] = {}
        self.printed: dict[str, ToolResult] = {} if printed is None else printed

    def start(self, question: MiniQuestion) -> Session:
        """Return a fresh session for one trajectory of `question`."""
        return Session(question)

    def run(self, calls: list[Call]) -> list[ToolResult]:
        """Return the results of a batch of calls, in order. Python programs of the batch run together in the sandbox.

        A program's output is recorded and reused for the same program text. The sandbox has no network and no state
        between calls, and a program's clock and randomness follow from its text (`sandbox/inside/sources.py`), so the
        output depends only on the text. "What differs" in reproduce/README.md lists the exceptions, such as memory
        addresses and the time limit. There, a run that is killed and resumed has lost the record and may read another
        answer.
        """
        new = sorted({call.content for call in calls if call.tool == "python"} - self.printed.keys())
        if new:
            for code, result in zip(new, self.sandbox.run_many(new), strict=True):
                text = result.output if result.ok else (result.error or "error")
                self.printed[code] = ToolResult(_shorten(text) or "none", "python", bool(result.ok))
        return [self.printed[c.content] if c.tool == "python" else self._search(c.session, c.content) for c in calls]

    def _search(self, session: Session, content: str) -> ToolResult:
        words = content.split()
        deep = session.question.family == "mini-deepsearch"
        if deep and len(words) == 2 and words[0] == "page":
            return self._open(session, words[1])
        query = " ".join(words)
        attempt = session.asked[query] = session.asked.get(query, 0) + 1
        if self._times_out(session.question.id, query, attempt):
            return ToolResult("timeout", "timeout", False)
        if query not in self._hits:
            self._hits[query] = tuple(hit.id for hit in self.index.search(query, HITS))
        hits = self._hits[query]
        if not hits:
            return ToolResult("none", "empty", False)
        if not deep:
            return ToolResult(" , ".join(self.world.pages[page].body for page in hits[:SHOWN]), "search", True)
        session.hits = hits
        titles = [f"{rank} {self.world.pages[page].title}" for rank, page in enumerate(hits, start=1)]
        return ToolResult(" ".join(titles), "search", True)

    def _open(self, session: Session, rank: str) -> ToolResult:
        if not rank.isdigit() or not 1 <= int(rank) <= len(session.hits):
            return ToolResult("none", "nopage", False)
        return ToolResult(self.world.pages[session.hits[int(rank) - 1]].body, "open", True)

    def _times_out(self, question_id: str, query: str, attempt: int) -> bool:
        digest = hashlib.sha256(f"{question_id}/{query}/{attempt}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32 < self.timeout_share


def _shorten(text: str) -> str:
    return " ".join(text.split()[:RESULT_WORDS])
