"""Extract the text of an HTML page, with libxml2's parser as a stream of events: no tree, and time linear in the size.

Pages are hostile, so work that would be more than linear is bounded. An end tag makes the parser search all open
elements, so end tags times depth have a limit. The time limit of the page's request holds between pieces.
"""

import re

import webencodings
from lxml import etree

from reproduce.text import clean
from reproduce.tools.search.deadline import seconds_left
from reproduce.tools.search.outcomes import Unusable

MAIN_CHARS = 200  # a <main> or <article> with less text is a frame around something else
PIECE = 1 << 14  # bytes that are parsed at a time
MOST_WORK = 250_000_000  # steps through open elements, about a second; 20,000 nested ones, all closed, fit
MOST_CONTROLS = 0.02  # the share of control characters that a text may have; images and archives have a tenth

_NOISE = frozenset("script style noscript template svg iframe head nav header footer aside form button select".split())
_BLOCKS = frozenset(
    (
        "address article blockquote br caption dd div dl dt figcaption figure h1 h2 h3 h4 h5 h6 hr li main ol p pre "
        "section table td th tr ul"
    ).split()
)
_CHARSET = re.compile(rb"<meta[^<>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def page_text(body: bytes, charset: str | None = None) -> tuple[str, str]:
    """Extract (title, text): the page's main part if it marks one, a line for each block, no menus and no scripts.

    Args:
        body: the page.
        charset: the server's claim.

    Raises:
        Unusable: the markup is made to take long to parse.
        TimeoutError: the thread's time limit is over (`deadline.py`).
    """
    if charset is None and (found := _CHARSET.search(body[:4096])):
        charset = found[1].decode("ascii")
    page = _Page()
    parser = etree.HTMLParser(target=page, encoding="utf-8", no_network=True, recover=True, collect_ids=False)
    data = decoded(body, charset).encode()
    work = 0
    try:
        for start in range(0, len(data), PIECE):
            seconds_left()
            piece = data[start : start + PIECE]
            parser.feed(piece)
            work += piece.count(b"</") * page.deepest()
            if work > MOST_WORK:
                raise Unusable("malformed page")
        parser.close()
    except etree.LxmlError:  # nothing on the page, or nothing that libxml2 can go on with: what there was counts
        pass
    parts = (page.main.text(), page.article.text())
    text = next((part for part in parts if len(part) >= MAIN_CHARS), "") or page.whole.text()
    return clean(" ".join(page.title.text().split())), clean(text)


def decoded(body: bytes, charset: str | None) -> str:
    """Decode `body`: by its byte-order mark; as UTF-8 if it is valid UTF-8; by `charset`, or as Windows-1252.

    Charsets are those of the web (the WHATWG's), not Python's codecs, some of which take quadratic time.
    """
    encoding = webencodings.lookup(charset or "")
    wide = _is_wide(body, charset)
    seven_bits = encoding is not None and encoding.name == "iso-2022-jp"  # is valid UTF-8, whatever it says
    if not wide and not seven_bits:
        try:
            return body.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    if encoding is None or encoding.name.startswith("utf-16") and not wide:
        encoding = webencodings.lookup("windows-1252")
    return webencodings.decode(body, encoding, errors="replace")[0]


def is_binary(body: bytes, charset: str | None) -> bool:
    """Whether the body is an image, an archive or the like, whatever its content type says."""
    return not _is_wide(body, charset) and len(_CONTROLS.findall(body)) > MOST_CONTROLS * len(body)


def _is_wide(body: bytes, charset: str | None) -> bool:
    """Whether the body is UTF-16: by its byte-order mark, or declared so and with the zeros that Latin text has."""
    encoding = webencodings.lookup(charset or "")
    declared = encoding is not None and encoding.name.startswith("utf-16")
    return body[:2] in (b"\xff\xfe", b"\xfe\xff") or declared and b"\0" in body


class _Part:
    """The text inside one element, or of the whole page. It begins at the start tag and is complete at the end tag."""

    def __init__(self):
        self.pieces: list[str] = []
        self.since: int | None = None  # the depth at which it begins, while it is open
        self.noise = 0  # elements inside it, open now, whose text does not count

    def text(self) -> str:
        """One line for each block."""
        lines = (" ".join(line.split()) for line in "".join(self.pieces).split("\n"))
        return "\n".join(line for line in lines if line)


class _Page:
    """Collects the parser's events: the target of an lxml parser (`start`, `end`, `data`, `close`)."""

    def __init__(self):
        self.whole, self.main, self.article, self.title = (_Part() for _ in range(4))
        self.whole.since = 0
        self._open = [self.whole]
        self._waiting = {"main": self.main, "article": self.article, "title": self.title}
        self._depth = self._deepest = 0

    def deepest(self) -> int:
        """Return the greatest depth since the last call."""
        deepest, self._deepest = self._deepest, self._depth
        return deepest

    def start(self, tag: str, attributes) -> None:
        self._depth += 1
        self._deepest = max(self._deepest, self._depth)
        self._mark(tag, 1)
        part = self._waiting.pop(tag, None)  # the first of its kind
        if part is not None:
            part.since = self._depth
            self._open.append(part)

    def end(self, tag: str) -> None:
        for part in [part for part in self._open if part.since == self._depth]:
            self._open.remove(part)
        self._mark(tag, -1)
        self._depth -= 1

    def data(self, text: str) -> None:
        spaced = text.replace("\n", " ").replace("\r", " ")
        for part in self._open:
            if not part.noise:
                part.pieces.append(spaced)

    def close(self) -> None:
        return None

    def _mark(self, tag: str, noise: int) -> None:
        for part in self._open if tag in _NOISE or tag in _BLOCKS else ():
            if tag in _NOISE:
                part.noise += noise
            elif not part.noise:
                part.pieces.append("\n")
