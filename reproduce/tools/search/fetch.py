"""Read pages of the web as plain text."""

from collections.abc import Sequence

from reproduce.text import clean
from reproduce.tools.search.calls import Calls, Counts
from reproduce.tools.search.outcomes import Outcome, Unusable
from reproduce.tools.search.transport import Request, Transport

HEADERS = {
    "User-Agent": "Mozilla/5.0 (compatible; reproduce)",  # many sites refuse a client that gives no browser's name
    "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9",
}
MAX_PAGE_BYTES = 1 << 20


class PageReader:
    """Reads pages, many at a time, through `Calls`: recorded, replayed or live.

    Args:
        transport: None for a replay.
        counts: where calls are counted.
        page_chars: characters of a page's text that are kept.
        **calls: the other arguments of `Calls`.
    """

    def __init__(self, transport: Transport | None, counts: Counts, page_chars: int, **calls):
        self.transport, self.page_chars = transport, page_chars
        self.calls = Calls(counts, self._ask, transport, retry=False, **calls)

    def close(self) -> None:
        self.calls.close()

    def read_many(self, urls: Sequence[str]) -> list[Outcome]:
        """Return {"title", "text"} for each address, or an error, in order."""
        return self.calls.many([{"url": url, "chars": self.page_chars} for url in urls])

    def _ask(self, request: dict, key: str) -> Outcome:
        return self.transport.send(Request("GET", request["url"], headers=HEADERS), self._read, key)

    def _read(self, body: bytes, content_type: str) -> dict[str, str]:
        from reproduce.tools.search.page_text import decoded, is_binary, page_text  # lxml, which only pages need

        kind, _, options = content_type.lower().partition(";")
        charset = options.replace(" ", "").partition("charset=")[2].partition(";")[0].strip("\"'") or None
        if is_binary(body, charset):
            raise Unusable("not a text page")
        if kind.strip() in ("text/html", "application/xhtml+xml", ""):
            title, text = page_text(body, charset)
        elif kind.startswith("text/"):
            title, text = "", clean(decoded(body, charset))
        else:
            raise Unusable("not a text page")
        if not text.strip():
            raise Unusable("no text on the page")
        return {"title": title, "text": text[: self.page_chars]}
