"""Hostile pages and services: addresses, bodies, headers, markup. A bad network environment: proxies, certificates."""

import gzip
import ipaddress
import json
import logging
import random
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from local_server import Answer, LocalServer, in_turn
from places import DATA

from reproduce.config.judge import JudgeConfig
from reproduce.config.search import ChatConfig
from reproduce.errors import UserError
from reproduce.evaluation.judge import Judge
from reproduce.network import read_proxies, ssl_context
from reproduce.tools.search import SearchConfig, connections, open_search
from reproduce.tools.search.addresses import check_public, is_public
from reproduce.tools.search.bodies import body
from reproduce.tools.search.deadline import seconds_left, time_limit
from reproduce.tools.search.limiter import RateLimiter
from reproduce.tools.search.outcomes import Outcome, Retry, Unusable
from reproduce.tools.search.page_text import page_text
from reproduce.tools.search.retry_after import seconds_to_wait
from reproduce.tools.search.transport import Request, RetryPolicy, Transport

CERTIFICATE = DATA / "site_example_org.pem"
NETWORK = [
    name
    for word in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "sslkeylogfile")
    for name in (word, word.upper())
]
NUMBERS = socket.getaddrinfo  # resolves numbers, whatever a test puts in its place


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in NETWORK:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SERPER_API_KEY", "0123456789")


def names(monkeypatch, **addresses):
    """Resolves these names ("_" for "."): each to its list of addresses, or to the next one of an iterator of lists."""
    asked = []

    def getaddrinfo(host, port, *arguments, **options):
        asked.append(host)
        known = addresses.get(host.replace(".", "_"))
        if known is None:
            ipaddress.ip_address(host)  # nothing else may be looked up
            return NUMBERS(host, port, *arguments, **options)
        found = known if isinstance(known, list) else next(known)
        return [item for address in found for item in NUMBERS(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def sent(url, *, check=check_public, read=lambda data, kind: data.decode(), **patience):
    """The outcome of one GET."""
    patience = {"timeout_seconds": 5.0, "attempts": 1, "backoff_seconds": 0.01, **patience}
    transport = Transport("page", RetryPolicy(**patience), RateLimiter(0), 0, connections=4, check=check)
    try:
        return transport.send(Request("GET", url), read, "test")
    finally:
        transport.close()


def port_of(server):
    return server.url.rpartition(":")[2]


def allow(url):
    """A check that lets everything pass."""


# -- where pages may be read from --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.5",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "100.100.100.200",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001::1",
        "2001:0:5ef5:79fb:0:59d:a0d5:4ae",
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "3fff::1",
        "4000::1",
        "::ffff:0:10.0.0.1",
    ],
)
def test_numbers_that_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Unusable, match="not a public address"):
        check_public(f"http://{host}/")


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_numbers_that_are_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://router.home/",
        "http://a.home.arpa/",
        "http://intranet.corp/",
        "http://printer.local/",
        "http://x.lan/",
        "http://db.internal/",
        "http://host.docker.internal/",
        "http://foo.localhost/",
        "http://LOCALHOST/",
        "http://intranet/",
        "http://router.home./",
        "http://x.localdomain/",
        "http://127.1/",
        "http://0x7f.0.0.1/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://1.2.3.4.5/",
        "http://127\u30020\u30020\u30021/",
        "http://\u24db\u24de\u24d2\u24d0\u24db/",
        "http://example.org:22/",
        "http://example.org:8080/",
        "https://example.org:6379/",
        "http://user@example.org/",
        "http://a:b@example.org/",
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://example.org/",
        "javascript:alert(1)",
        "//example.org/",
        "",
        "http://",
        "http:///a",
        "http://exa mple.org/",
        "http://[::1",
        "http://a..b/",
        "http://.example.org/",
        "http://example.org:99999/",
        "http://%6c%6fcalhost/",
        f"http://{'a' * 64}.org/",
        "http://example.org\\@10.0.0.1/",
        "http://10.0.0.1#@a.org/",
    ],
)
def test_addresses_that_no_page_has(url):
    with pytest.raises(Unusable, match="address"):
        check_public(url)


@pytest.mark.parametrize(
    "url",
    ["http://example.org:80/", "http://example.org:443/", "https://b\u00fccher.example.org/", "HTTPS://A_b.co.uk./x"],
)
def test_addresses_that_pages_have(url):
    check_public(url)


@pytest.mark.parametrize(
    "found",
    [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["64:ff9b::7f00:1"], ["93.184.216.34", "127.0.0.1"]],
)
def test_a_name_that_resolves_to_a_local_address_is_never_connected_to(monkeypatch, found):
    monkeypatch.setattr(connections.socket, "socket", lambda *a: pytest.fail("a connection was tried"))
    names(monkeypatch, evil_example_com=found)
    assert sent("http://evil.example.com/") == Outcome(error="not a public address")


def test_a_redirect_to_such_a_name_is_never_connected_to(monkeypatch):
    with LocalServer(in_turn(Answer(302, headers={"location": "http://inside.example.com/secret"}))) as server:
        start = server.url.replace("127.0.0.1", "outside.example.com")
        names(monkeypatch, outside_example_com=["127.0.0.1"], inside_example_com=["127.0.0.1"])

        def check(url):
            if f":{port_of(server)}" not in url:  # the test's own server stands for a public one
                check_public(url)

        assert sent(start, check=check) == Outcome(error="not a public address")
        assert [asked.path for asked in server.asked] == ["/"]


def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to(monkeypatch):
    """The second answer of a resolver that changes its mind is not asked for."""
    with LocalServer(lambda asked: Answer(body=asked.headers["host"].encode())) as server:
        checked = []
        asked = names(monkeypatch, site_example_org=iter([["127.0.0.1"], ["10.0.0.1"]]))
        outcome = sent(f"http://site.example.org:{port_of(server)}/a?b=1", check=checked.append)
    assert outcome == Outcome(f"site.example.org:{port_of(server)}")
    assert asked == ["site.example.org", "127.0.0.1"]  # the number needs no look-up
    base = f"http://site.example.org:{port_of(server)}"
    assert checked == [f"{base}/a?b=1", f"http://127.0.0.1:{port_of(server)}/"]


def test_the_next_address_is_tried_where_one_does_not_answer(monkeypatch):
    with LocalServer(in_turn(Answer(body=b"here"))) as server:
        names(monkeypatch, site_example_org=["127.0.0.9", "127.0.0.1"])
        assert sent(f"http://site.example.org:{port_of(server)}/", check=allow) == Outcome("here")


def test_tls_asks_for_the_name_and_checks_its_certificate(monkeypatch):
    asked = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    context.sni_callback = lambda sock, name, _: asked.append(name)
    server = LocalServer(in_turn(Answer(body=b"safe")))
    server.secure(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with server:
        names(monkeypatch, site_example_org=["127.0.0.1"], other_example_org=["127.0.0.1"])
        assert sent(f"https://site.example.org:{port_of(server)}/", check=allow) == Outcome("safe")
        assert sent(f"https://other.example.org:{port_of(server)}/", check=allow) == Outcome(error="no connection")
    assert asked == ["site.example.org", "other.example.org"]


def test_a_resolver_that_hangs_ends_with_the_time_limit(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: threading.Event().wait(5))
    started = time.monotonic()
    assert sent("http://slow.example.org/", timeout_seconds=0.3) == Outcome(error="timeout")
    assert time.monotonic() - started < 3


def test_names_that_cannot_be_resolved_are_error_results(monkeypatch):
    def fails(host, *arguments, **options):
        raise UnicodeError("label too long") if "long" in host else socket.gaierror(-2, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    for host in ("unknown.example.org", "long.example.org"):
        assert sent(f"http://{host}/") == Outcome(error="no connection")


# -- replies -----------------------------------------------------------------------------------------------------------


def replied(*answers, **options):
    with LocalServer(in_turn(*answers)) as server:
        return sent(server.url, check=allow, **options)


def packed(data, wbits):
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return packer.compress(data) + packer.flush()


BOMB = b"\0" * (64 << 20)
GZIP, ZLIB, RAW = 31, 15, -15


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw", "gzip, gzip", "outer"])
def test_a_body_is_bounded_while_it_is_inflated(coding):
    data = {
        "gzip": lambda: packed(BOMB, GZIP),
        "deflate": lambda: packed(BOMB, ZLIB),
        "raw": lambda: packed(BOMB, RAW),
        "gzip, gzip": lambda: packed(packed(BOMB, GZIP), GZIP),
        "outer": lambda: packed(BOMB, GZIP),  # the outer coding alone grows, and what is inside is no gzip
    }[coding]()
    header = {"raw": "deflate", "outer": "gzip, gzip"}.get(coding, coding)
    tracemalloc.start()
    try:
        with pytest.raises((Unusable, Retry), match="reply too large|malformed reply"):
            body(iter([data[i : i + 65536] for i in range(0, len(data), 65536)]), header, 4 << 20)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "coding", "found"),
    [
        (packed(b"text", GZIP), "gzip", "text"),
        (packed(b"text", GZIP), "X-GZIP , identity", "text"),
        (packed(b"text", ZLIB), "deflate", "text"),
        (packed(b"text", RAW), "deflate", "text"),
        (packed(packed(b"text", GZIP), ZLIB), "gzip, deflate", "text"),
        (packed(b"text", GZIP) + b"\0\0trailing", "gzip", "text"),
        (b"", "gzip", ""),
        (b"text", "identity", "text"),
        (b"text", "br", Outcome(error="unknown content encoding")),
        (b"text", "zstd", Outcome(error="unknown content encoding")),
        (b"text", "gzip, gzip, gzip", Outcome(error="unknown content encoding")),
        (b"no gzip", "gzip", Outcome(error="malformed reply")),
        (packed(b"text" * 1000, GZIP)[:20] + b"\xff" * 90, "gzip", Outcome(error="malformed reply")),
    ],
)
def test_bodies_are_decoded_or_an_error_result(data, coding, found):
    reply = Answer(body=data, headers={"content-encoding": coding})
    assert replied(reply) == (found if isinstance(found, Outcome) else Outcome(found))


def test_only_what_can_be_decoded_is_asked_for():
    with LocalServer(in_turn(Answer(body=b"x"))) as server:
        sent(server.url, check=allow)
    assert server.asked[0].headers["accept-encoding"] == "gzip, deflate"


def raw_server(send):
    """A socket server that lets `send(connection)` answer the first request."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listening:
            connection, _ = listening.accept()
            with connection:
                try:
                    connection.recv(65536)
                    send(connection)
                except OSError:  # the client has given up
                    pass

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}/"


def drip(start, piece, every):
    def send(connection):
        connection.sendall(start)
        while True:
            time.sleep(every)
            connection.sendall(piece)

    return send


@pytest.mark.parametrize(
    "send",
    [
        drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 0.05),
        drip(b"", b"H", 0.05),
        drip(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n", b"x", 0.05),
        drip(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 99999\r\n\r\n", b"x", 0.05),
        drip(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.05),
    ],
)
def test_a_reply_that_drips_ends_with_the_time_limit(send):
    """Headers, bodies, and redirects' bodies, which are not read: the connection is closed then."""
    started = time.monotonic()
    outcome = sent(raw_server(send), check=allow, timeout_seconds=0.5)
    assert outcome.error in ("timeout", "no connection") and time.monotonic() - started < 4


@pytest.mark.parametrize(
    "sent_bytes",
    [
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000,
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 1_000_000,
        b"x" * 1_000_000,
        b"HTTP/1.1 999999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: \xff\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://[::1\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: //\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 300 Choices\r\n\r\n",
        b"HTTP/1.1 302 Found\r\n\r\n",
    ],
)
def test_no_bytes_of_a_server_raise(sent_bytes):
    outcome = sent(raw_server(lambda connection: connection.sendall(sent_bytes)), check=allow, timeout_seconds=3.0)
    assert outcome.error and len(outcome.error) < 40


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4", 4.0),
        ("4.0", 4.0),
        (" 4 ", 4.0),
        ("0.5", 0.5),
        ("Wed, 21 Oct 2026 07:28:05 GMT", 5.0),
        ("Wed, 21 Oct 2026 07:28:05 -0000", 5.0),
        ("Wednesday, 21-Oct-26 07:28:05 GMT", 5.0),
        ("Wed, 21 Oct 2026 09:28:05 +0200", 5.0),
        ("Wed, 21 Oct 2026 07:00:00 GMT", 0.0),
        ("1e9", 30.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 30.0),
        ("99999999999999999999", 30.0),
        ("\xb2", 0.0),
        ("\u0664", 0.0),
        ("-4", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("-inf", 0.0),
        ("1e999", 0.0),
        ("1_0", 0.0),
        ("", 0.0),
        ("soon", 0.0),
        ("0x10", 0.0),
        ("4, 5", 0.0),
        ("Wed, 99 Oct 99999 99:99:99 GMT", 0.0),
        ("1" * 5000, 0.0),
        ("\0", 0.0),
        ("Wed, 21 Oct 2026 07:28:05 +999999", 0.0),
    ],
)
def test_how_long_a_service_asks_us_to_wait(text, seconds):
    assert seconds_to_wait(text, 30.0, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("header", ["1", "1.0", "date"])
def test_a_wait_is_kept_however_it_is_written(header):
    arrived = []
    replies = in_turn(None, Answer(body=b"good"))

    def answer(asked):
        arrived.append(time.time())
        later = datetime.fromtimestamp(int(time.time()) + 2, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return replies(asked) or Answer(429, headers={"retry-after": later if header == "date" else header})

    with LocalServer(answer) as server:
        assert sent(server.url, check=None, attempts=2) == Outcome("good")
    assert arrived[1] - arrived[0] >= 0.95


@pytest.mark.parametrize("header", ["\xb2", "-1", "NaN", "inf", "1e9", "Wed, 99 Oct", "9" * 400])
def test_no_retry_after_raises_or_waits_for_ever(header):
    refusal = Answer(503, headers={"retry-after": header})
    assert replied(refusal, attempts=2, backoff_cap_seconds=0.05) == Outcome(error="server error 503")


# -- pages -------------------------------------------------------------------------------------------------------------

MB = 1 << 20


def filled(start, piece, end=""):
    return (start + piece * (MB // len(piece)) + end).encode()


HOSTILE = {
    "comments": filled("", "<!--"),
    "declarations": filled("", "<!["),
    "tags": filled("", "<p"),
    "ends": filled("", "</"),
    "instructions": filled("", "<?"),
    "less": filled("", "<"),
    "references": filled("", "&#x1"),
    "entities": filled("", "&lt;"),
    "long entity": filled("&", "a"),
    "nested": filled("", "<div>"),
    "formatting": filled("", "<b><p>"),
    "tables": filled("", "<table><tr><td>"),
    "misnested": filled("", "<a><p></a>"),
    "ends below": filled("<x>" * 150_000, "</y>"),
    "ends of a kind": filled("<div>" * 100_000, "</b>"),
    "attribute": filled('<p a="', "x"),
    "quotes": filled("", '<p a="'),
    "same attribute": filled("<p ", "a=1 ", ">"),
    "attributes": ("<p " + " ".join(f"a{i}=1" for i in range(MB // 9)) + ">").encode(),
    "of the body": "".join(f"<body a{i}=1>" for i in range(MB // 13)).encode(),
    "namespaces": ("<p " + " ".join(f"xmlns:a{i}=x" for i in range(MB // 14)) + ">").encode(),
    "script": filled("<script>", "<!--<script>"),
    "title": filled("<title>", "</titl"),
    "doctype": filled("<!DOCTYPE ", "x"),
    "names": "".join(f"<t{i}>" for i in range(MB // 8)).encode(),
    "zeros": bytes(MB),
    "bytes": random.Random(0).randbytes(MB),
    "marks": filled("a", "\u0315\u0300"),  # normalising sorts them
    "charsets": filled("", "<meta charset=utf-16>"),
    "main": filled("", "<main><article>"),
    "a declared entity": (
        "<!DOCTYPE a [" + "".join(f'<!ENTITY a{i + 1} "&a{i};&a{i};">' for i in range(60)) + "]>&a60;"
    ).encode(),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_megabyte_of_hostile_markup_is_read_or_refused_in_seconds(kind):
    started = time.process_time()
    try:
        title, text = page_text(HOSTILE[kind])
        assert len(title) + len(text) <= 2 * MB
    except Unusable as refused:
        assert str(refused) == "malformed page"
    assert time.process_time() - started < 15  # about one; without the bounds minutes, or 40 s (attributes)


def test_the_time_limit_of_a_page_counts_its_parsing(monkeypatch):
    page = Answer(body=b"<b><p>" * 60_000, headers={"content-type": "text/html"})
    with LocalServer(lambda asked: page if asked.path == "/page" else Answer(body=links)) as server:
        links = {"organic": [{"link": f"{server.url}/page", "snippet": "snippet"}]}
        config = SearchConfig(
            service="serper", endpoint=f"{server.url}/search", mode="live", pages="text", requests_per_second=0.0
        )
        search = open_search(config, check=allow)
        (found,) = search.search_many(["x"])
        assert found.hits[0].text == "snippet" and search.costs()["page_errors"] == 1  # no text on it
        monkeypatch.setattr("reproduce.tools.search.page_text.seconds_left", late := _Late())
        assert search.pages.read_many([f"{server.url}/page"]) == [Outcome(error="timeout")]
        search.close()
    assert late.asked == 3


class _Late:
    """`seconds_left` of a page whose time is over at the third piece."""

    asked = 0

    def __call__(self):
        self.asked += 1
        if self.asked == 3:
            raise TimeoutError("timeout")


def test_the_time_that_is_left_is_that_of_the_thread():
    assert seconds_left() is None
    with time_limit(60.0):
        assert 59 < seconds_left() <= 60
        other = []
        thread = threading.Thread(target=lambda: other.append(seconds_left()))
        thread.start()
        thread.join()
        assert other == [None]
    with time_limit(-1.0), pytest.raises(TimeoutError):
        seconds_left()


@pytest.mark.parametrize(
    ("data", "kind", "found"),
    [
        ("<p>é ü</p>".encode(), "text/html; charset=iso-8859-1", "é ü"),  # declared wrong
        ("<p>é ü</p>".encode("cp1252"), "text/html; charset=utf-8", "\ufffd \ufffd"),
        ("<p>é ü</p>".encode("cp1252"), "text/html", "é ü"),
        ("<p>你好</p>".encode("gbk"), "text/html; charset=GB2312; x=y", "你好"),
        ("<p>こんにちは</p>".encode("iso-2022-jp"), 'text/html; charset="iso-2022-jp"', "こんにちは"),
        ("<p>wide é</p>".encode("utf-16"), "text/html", "wide é"),
        ("<p>wide é</p>".encode("utf-16-le"), "text/html; charset=utf-16", "wide é"),
        (b"<p>plain</p>", "text/html; charset=utf-16", "plain"),
        (b"\xef\xbb\xbf<p>mark</p>", "text/html; charset=latin-1", "mark"),
        (b"<p>x</p>", "text/html; charset=punycode", "x"),
        (b"<p>x</p>", "text/html; charset=zlib_codec", "x"),
        (b"<p>x</p>", "text/html; charset=" + "a" * 5000, "x"),
        (b"<p>x</p>", "TEXT/HTML", "x"),
        (b"<p>x</p>", "", "x"),
        (b"a < b", "text/plain; charset=none", "a < b"),
        (b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(5000), "text/html", "not a text page"),
        (gzip.compress(b"text" * 5000, mtime=0), "text/plain", "not a text page"),
        (bytes(1000), "text/html", "not a text page"),
        (b"%PDF-1.7", "application/pdf", "not a text page"),
        (b"{}", "application/json", "not a text page"),
        (b"", "text/html", "no text on the page"),
        (b" \n ", "text/plain", "no text on the page"),
        (b"<script>x</script><!-- y -->", "text/html", "no text on the page"),
        (b"\xff\xfe", "text/html", "no text on the page"),
    ],
)
def test_what_a_page_says_in_any_dress(monkeypatch, data, kind, found):
    with LocalServer(in_turn(Answer(body=data, headers={"content-type": kind} if kind else {}))) as server:
        config = SearchConfig(service="serper", mode="live", pages="text", requests_per_second=0.0)
        search = open_search(config, check=allow)
        (outcome,) = search.pages.read_many([server.url])
        search.close()
    assert (outcome.error or outcome.value["text"]) == found


# -- the environment ---------------------------------------------------------------------------------------------------

BAD = [
    ("ALL_PROXY", "socks5://127.0.0.1:1080"),
    ("all_proxy", "socks5h://127.0.0.1:1080"),
    ("ALL_PROXY", "socks://1.2.3.4:1"),
    ("HTTPS_PROXY", "socks4://1.2.3.4:1"),
    ("HTTP_PROXY", " http://proxy:3128 "),
    ("http_proxy", "http://proxy:3128\n"),
    ("HTTP_PROXY", "http://"),
    ("HTTP_PROXY", "http://proxy:port"),
    ("HTTP_PROXY", "http://proxy:99999"),
    ("HTTPS_PROXY", "ftp://proxy:21"),
    ("HTTPS_PROXY", "https://proxy:443"),
    ("HTTPS_PROXY", "http://[::1:3128"),
    ("HTTPS_PROXY", "http://pr\u00f6xy:1"),
    ("NO_PROXY", "localhost,[::1]"),
    ("no_proxy", "http://a.org"),
    ("NO_PROXY", "a b"),
    ("SSL_CERT_FILE", "/nowhere/ca.pem"),
    ("SSL_CERT_FILE", "/"),
    ("SSL_CERT_FILE", __file__),
    ("SSL_CERT_DIR", "/nowhere"),
    ("SSLKEYLOGFILE", "/nowhere/keys.log"),
]


def opens(tmp_path, mode):
    """What builds a client: hosted search with pages and summaries, and a judge."""
    chat = ChatConfig("http://model.example.org/v1", "m")
    config = SearchConfig(
        service="serper", mode=mode, cache_dir=str(tmp_path), pages="summary", summary=chat, pages_through_proxy=True
    )
    return [lambda: open_search(config), lambda: Judge(JudgeConfig(chat, mode, str(tmp_path)))]


@pytest.mark.parametrize(("variable", "value"), BAD)
def test_a_bad_network_environment_is_one_line_that_names_the_variable(monkeypatch, tmp_path, variable, value):
    monkeypatch.setenv(variable, value)
    for open_it in opens(tmp_path, "record"):
        with pytest.raises(
            UserError, match=rf"the environment variable {variable} |certificates.*{variable}"
        ) as refused:
            open_it()
        assert "\n" not in str(refused.value)
        assert value in ("/", "http://") or value not in str(refused.value)  # it may hold a password
    (tmp_path / "00000.jsonl").write_text(json.dumps({"key": "k", "kind": "search", "request": {}, "value": []}) + "\n")
    monkeypatch.setattr(
        "reproduce.tools.search.transport.Connections", lambda *a: pytest.fail("a replay needs no network")
    )
    for open_it in opens(tmp_path, "replay"):
        open_it().close()


def test_a_good_network_environment_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p%40ss@proxy.example.org:3128/")
    monkeypatch.setenv("ALL_PROXY", "10.0.0.7:8080")
    monkeypatch.setenv("NO_PROXY", " localhost, .Example.net,*.a.org, 10.0.0.0/8 ,::1,b.org:8000 ,,")
    monkeypatch.setenv("SSL_CERT_DIR", f"/nowhere:{tmp_path}")
    proxies = read_proxies()
    secure = proxies.by_scheme["https"]
    assert (secure.url, secure.auth) == ("http://proxy.example.org:3128", ("me", "p@ss")) and "p@ss" not in repr(
        proxies
    )
    assert proxies.by_scheme["http"].url == "http://10.0.0.7:8080"
    assert proxies.of("https", "x.org", None) == secure
    for host in ("localhost", "example.net", "x.EXAMPLE.net", "y.a.org", "10.9.9.9", "::1"):
        assert proxies.of("https", host, None) is None
    assert proxies.of("http", "b.org", 8000) is None and proxies.of("http", "b.org", 80) is not None
    assert proxies.of("http", "notexample.net", None) is not None
    assert ssl_context().verify_mode == ssl.CERT_REQUIRED
    monkeypatch.setenv("NO_PROXY", "*")
    assert read_proxies().of("http", "x.org", None) is None
    monkeypatch.setenv("HTTPS_PROXY", "")
    monkeypatch.delenv("ALL_PROXY")
    assert read_proxies().by_scheme == {}


def test_a_service_is_asked_through_the_proxy_and_no_secret_is_shown(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    with LocalServer(lambda asked: Answer(body={"organic": [{"snippet": "found"}]})) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:sesame4711@127.0.0.1:{port_of(proxy)}")
        config = SearchConfig(
            service="serper", mode="live", endpoint="http://serper.example.org/search", requests_per_second=0.0
        )
        search = open_search(config)
        assert search.search_many(["x"])[0].hits[0].text == "found"
        shown = caplog.text + repr(vars(search)) + repr(vars(search.transport))
        search.close()
    (asked,) = proxy.asked
    assert asked.path == "http://serper.example.org/search" and asked.headers["host"] == "serper.example.org"
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    assert "sesame4711" not in shown and "0123456789" not in shown


def tunnel(port):
    """A proxy for one connection: CONNECT to anything leads to `port` of this machine. (its port, what was asked)"""
    listening, asked = socket.create_server(("127.0.0.1", 0)), []

    def pump(source, target):
        with suppress(OSError):  # one end is closed already
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve():
        with listening, listening.accept()[0] as client, socket.create_connection(("127.0.0.1", port)) as server:
            asked.append(client.recv(65536).decode())
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            back.join(5)

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1], asked


def test_a_secure_service_is_asked_through_a_tunnel_of_the_proxy(monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server = LocalServer(in_turn(Answer(body=b"safe")))
    server.secure(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with server:
        port, asked = tunnel(int(port_of(server)))
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:sesame4711@127.0.0.1:{port}")
        assert sent("https://site.example.org/search", check=None) == Outcome("safe")
    assert asked[0].startswith("CONNECT site.example.org:443 ") and "Proxy-Authorization: Basic " in asked[0]


def test_pages_go_through_a_proxy_only_where_that_is_set(monkeypatch):
    with LocalServer(in_turn(Answer(body=b"<p>through", headers={"content-type": "text/html"}))) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{port_of(proxy)}")
        settings = dict(service="serper", mode="live", pages="text")
        with pytest.raises(UserError, match="ALL_PROXY: .*pages_through"):
            open_search(SearchConfig(**settings))
        search = open_search(SearchConfig(**settings, pages_through_proxy=True))
        read = search.pages.read_many(["http://site.example.org/", "http://10.0.0.1/", "http://router.home/"])
        search.close()
        assert [o.error or o.value["text"] for o in read] == ["through", *["not a public address"] * 2]
        assert [asked.path for asked in proxy.asked] == ["http://site.example.org/"]
        monkeypatch.setenv("NO_PROXY", "*")
        open_search(SearchConfig(**settings)).close()
