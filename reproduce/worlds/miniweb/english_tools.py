"""The tools of MiniWeb for a model that reads and writes English."""

from dataclasses import replace

from reproduce.worlds.miniweb import english
from reproduce.worlds.miniweb.tools import MiniWebTools
from reproduce.worlds.tool_server import Call, ToolResult


class EnglishTools(MiniWebTools):
    """`MiniWebTools` whose calls are read, and whose results are written, in English."""

    def run(self, calls: list[Call]) -> list[ToolResult]:
        """Return the results of a batch of calls, in order, as `MiniWebTools.run` finds them."""
        read = [c if c.tool == "python" else replace(c, content=english.query(c.content)) for c in calls]
        return [
            replace(found, text=english.result(call.session.question, call.tool, call.content, found.text))
            for call, found in zip(read, super().run(read), strict=True)
        ]
