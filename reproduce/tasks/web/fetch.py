"""Pages of the web as plain text."""

import ipaddress
import re
import warnings
from collections.abc import Sequence
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, ParserRejectedMarkup, XMLParsedAsHTMLWarning
from bs4.element import CData, NavigableString, Tag

from reproduce.tasks.web.calls import Calls, Counts
from reproduce.tasks.web.transport import Outcome, Request, Transport, Unusable
from reproduce.text import clean

for category in (
    MarkupResemblesLocatorWarning,
    XMLParsedAsHTMLWarning,
):  # the author of the page chose how it looks
    warnings.filterwarnings("ignore", category=category)

HEADERS = {
    "User-Agent": "Mozilla/5.0 (compatible; reproduce)",  # many sites refuse a client that gives no browser's name
    "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9",
}
MAX_PAGE_BYTES = 1 << 20  # parsing costs about two seconds a megabyte
MAIN_CHARS = 200  # a <main> or <article> with less text is a frame around something else

_NOISE = frozenset((
    "script", "style", "noscript", "template", "svg", "iframe", "head", "nav", "header", "footer", "aside", "form",
    "button", "select",
))  # fmt: skip
_BLOCKS = frozenset((
    "address", "article", "blockquote", "br", "caption", "dd", "div", "dl", "dt", "figcaption", "figure", "h1", "h2",
    "h3", "h4", "h5", "h6", "hr", "li", "main", "ol", "p", "pre", "section", "table", "td", "th", "tr", "ul",
))  # fmt: skip


def page_text(body: bytes, charset: str | None = None) -> tuple[str, str]:
    """(title, text) of an HTML page: its main part if it marks one, a line for each block, no menus and no scripts.

    Raises `Unusable` for what the parser refuses.
    """
    try:
        soup = BeautifulSoup(body, "html.parser", from_encoding=charset)
    except ParserRejectedMarkup:
        raise Unusable("malformed page") from None
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    parts = [_lines(part) for part in (soup.find("main"), soup.find("article")) if part is not None]
    return clean(title), clean(next((text for text in parts if len(text) >= MAIN_CHARS), "") or _lines(soup))


def _lines(part: Tag) -> str:
    """The text below `part`, one line for each block. Walked with a stack: pages may nest without end."""
    pieces: list[str] = []
    left: list = [part]
    while left:
        node = left.pop()
        if isinstance(node, Tag):
            if node.name not in _NOISE:
                ends = ["\n"] if node.name in _BLOCKS else []
                left += [*ends, *reversed(node.contents), *ends]
        elif type(node) is str:
            pieces.append(node)
        elif type(node) in (NavigableString, CData):  # not its other kinds, such as comments
            pieces.append(re.sub(r"\s+", " ", node))
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return "\n".join(line for line in lines if line)


def check_public(url: str) -> None:
    """Raises `Unusable` for an address that is no public web page: another scheme, a name or number of a local network.

    The addresses come from search results, which anyone may have written.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in ("http", "https") or not host:
        raise Unusable("bad address")
    try:
        local = not ipaddress.ip_address(host).is_global
    except ValueError:
        number = re.fullmatch(r"\d+|0x[0-9a-f]*", host.rpartition(".")[2])  # 127.1 and the like: no name ends so
        local = "." not in host or bool(number) or host.endswith((".local", ".internal", ".localhost", ".lan"))
    if local:
        raise Unusable("not a public address")


class PageReader:
    """Reads pages, many at a time, through `Calls`: recorded, replayed or live."""

    def __init__(self, transport: Transport, counts: Counts, page_chars: int, **calls):
        """page_chars: characters of a page's text that are kept. calls: the other arguments of `Calls`."""
        self.transport, self.page_chars = transport, page_chars
        self.calls = Calls(counts, self._ask, retry=False, **calls)

    def close(self) -> None:
        self.transport.stop()
        self.calls.close()
        self.transport.close()

    def read_many(self, urls: Sequence[str]) -> list[Outcome]:
        """For each address {"title", "text"}, or an error."""
        return self.calls.many([{"url": url, "chars": self.page_chars} for url in urls])

    def _ask(self, request: dict, key: str) -> Outcome:
        return self.transport.send(Request("GET", request["url"], headers=HEADERS), self._read, key)

    def _read(self, body: bytes, content_type: str) -> dict[str, str]:
        kind, _, options = content_type.lower().partition(";")
        charset = options.partition("charset=")[2].strip(" \"'") or None
        if kind.strip() in ("text/html", "application/xhtml+xml", ""):
            title, text = page_text(body, charset)
        elif kind.startswith("text/"):
            title, text = "", _decoded(body, charset)
        else:
            raise Unusable("not a text page")
        if not text.strip():
            raise Unusable("no text on the page")
        return {"title": title, "text": text[: self.page_chars]}


def _decoded(body: bytes, charset: str | None) -> str:
    try:
        return clean(body.decode(charset or "utf-8", "replace"))
    except LookupError:  # a charset that Python does not know
        return body.decode("utf-8", "replace")
