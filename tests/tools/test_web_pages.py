"""Pages as text and as summaries, over a real server; and the local corpus index."""

import json
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from local_server import CLOSE, Answer, LocalServer
from places import REAL_DATA, needs_cache
from question_files import PAGES

from reproduce.config.search import ChatConfig
from reproduce.config.strict import build
from reproduce.errors import UserError
from reproduce.tools.search import SearchConfig, open_search
from reproduce.tools.search.addresses import check_public
from reproduce.tools.search.bm25 import PassageIndex, read_search_cache
from reproduce.tools.search.corpus import open_corpus
from reproduce.tools.search.outcomes import Unusable
from reproduce.tools.search.page_text import page_text

HTML = """<!doctype html><html><head><title> A  page </title><style>p {}</style></head><body>
<nav><a href=/>Home</a></nav><header>Big name</header>
<p>Arlo <b>Kent</b>, born<br>1931 &amp; dead</p><script>var x = "<p>no</p>"</script><!-- no -->
<table><tr><td>one</td><td>two</td></tr></table><footer>imprint</footer></body></html>"""

# -- text of a page ----------------------------------------------------------------------------------------------------


def test_a_page_is_its_text_block_by_block():
    assert page_text(HTML.encode()) == ("A page", "Arlo Kent, born\n1931 & dead\none\ntwo")


def test_the_main_part_is_taken_if_it_holds_anything():
    page = "<body><div>around</div><main><p>{}</p></main></body>"
    assert page_text(page.format("word " * 50).encode())[1] == " ".join(["word"] * 50)
    assert page_text(page.format("word").encode())[1] == "around\nword"


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("<p>é ü".encode("latin-1"), "iso-8859-1", "é ü"),
        ("<p>é ü".encode(), "no-such-charset", "é ü"),
        ('<meta charset="gbk"><p>\u4f60\u597d'.encode("gbk"), None, "\u4f60\u597d"),
        (b"<p>a\xff\xfe<p", None, None),
        (b"", None, ""),
        (b"<div>" * 20_000 + b"deep", None, "deep"),
        (b"<p>one\n  two <i> three</i>four<p>five", None, "one two threefour\nfive"),
        (b"\x00\x01\x02", None, None),
    ],
)
def test_no_page_breaks_the_extraction(body, charset, text):
    found = page_text(body, charset)[1]
    assert text is None or found == text
    found.encode()


def test_no_mixture_of_markup_raises():
    bits = ["<![", "<!--", "<?", "</", "<p", ">", "&#x", "&#99999999999;", "\0", '"', " a ", "<title>", "<svg>", "["]
    rng = np.random.default_rng(0)
    for _ in range(300):
        page_text("".join(rng.choice(bits, size=rng.integers(1, 14))).encode())[1].encode()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://x.org/a",
        "http://",
        "http://localhost:8000/",
        "http://127.0.0.1/",
        "http://127.1/",
        "http://[::1]/",
        "http://10.0.0.3/",
        "http://169.254.169.254/latest/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://intranet/",
        "http://db.internal/",
        "http://printer.local./",
        "http://[::ffff:10.0.0.1]/",
    ],
)
def test_only_public_addresses_are_fetched(url):
    with pytest.raises(Unusable, match="address"):
        check_public(url)


def test_public_addresses_pass():
    for url in ("https://en.wikipedia.org/wiki/A", "http://93.184.216.34/", "http://[2606:4700::1111]/"):
        check_public(url)


# -- pages in the place of snippets ------------------------------------------------------------------------------------

PAGES_BY_PATH = {
    "/good": Answer(body=HTML.encode(), headers={"content-type": "text/html; charset=utf-8"}),
    "/plain": Answer(body="só".encode("latin-1"), headers={"content-type": "text/plain; charset=latin-1"}),
    "/moved": Answer(302, headers={"location": "/good"}),
    "/inside": Answer(302, headers={"location": "http://10.0.0.1/"}),
    "/round": Answer(302, headers={"location": "/round"}),
    "/pdf": Answer(body=b"%PDF", headers={"content-type": "application/pdf"}),
    "/empty": Answer(body=b"<script>x</script>", headers={"content-type": "text/html"}),
    "/huge": Answer(body=b"<p>" + b"x" * (1 << 20), headers={"content-type": "text/html"}),
    "/gone": Answer(404),
    "/slow": Answer(wait=4.0),
    "/shut": CLOSE,
}
SUMMARY = Answer(body={"choices": [{"message": {"content": " born \n 1931 "}}]})


def server_of(paths, summary=SUMMARY):
    """A server with a search that finds all of `paths`, the pages, and a chat model."""

    def answer(asked):
        if asked.path == "/search":
            links = [{"link": server.url + path, "snippet": f"snippet {path}"} for path in paths]
            return Answer(body={"organic": [*links, {"snippet": "no address"}]})
        return summary if asked.path == "/v1/chat/completions" else PAGES_BY_PATH[asked.path]

    server = LocalServer(answer)
    return server


def opened(server, monkeypatch, **changes):
    monkeypatch.setenv("SERPER_API_KEY", "0123456789")
    settings = dict(
        service="serper",
        endpoint=f"{server.url}/search",
        mode="live",
        pages="text",
        page_timeout_seconds=10.0,
        results=20,
        pages_read=20,
        concurrency=8,
        requests_per_second=0.0,
    )
    return open_search(SearchConfig(**settings | changes), check=lambda url: check_but_here(url, server))


def check_but_here(url, server):
    if not url.startswith(server.url):
        check_public(url)


def test_pages_replace_snippets_and_what_cannot_be_read_keeps_its_own(monkeypatch):
    monkeypatch.setattr("reproduce.tools.search.search.PAGE_ATTEMPTS", 1)
    with server_of(PAGES_BY_PATH) as server:
        search = opened(server, monkeypatch, page_chars=12, page_timeout_seconds=1.0)
        (found,) = search.search_many(["x"])
        costs = search.costs()
        search.close()
    said = dict(zip(PAGES_BY_PATH, (hit.text for hit in found.hits), strict=False))
    assert (said.pop("/good"), said.pop("/moved"), said.pop("/plain")) == ("Arlo Kent, b", "Arlo Kent, b", "só")
    assert said == {path: f"snippet {path}" for path in said} and found.hits[-1].text == "no address"
    n = len(PAGES_BY_PATH)
    assert (costs["page_calls"], costs["page_errors"], costs["search_errors"]) == (n, n - 3, 0)
    assert not any("10.0.0.1" in str(asked) for asked in server.asked)


def test_only_the_first_pages_are_read(monkeypatch):
    with server_of(["/good", "/plain", "/moved"]) as server:
        search = opened(server, monkeypatch, pages_read=2)
        (found,) = search.search_many(["x"])
        assert search.costs()["page_calls"] == 2 and found.hits[2].text == "snippet /moved"
        search.close()


def test_summaries_are_made_of_pages_recorded_and_replayed(monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_KEY", "mk-abcdefghijk")
    with server_of(["/good", "/gone"]) as server:
        chat = ChatConfig(f"{server.url}/v1", "reader", key_variable="MODEL_KEY")
        changes = dict(pages="summary", summary=chat, mode="record", cache_dir=str(tmp_path))
        search = opened(server, monkeypatch, **changes)
        found = search.search_many(["when was Arlo born", "when was Arlo born"])
        search.search_many(["when was Arlo born"])
        costs = search.costs()
        search.close()
    assert [[hit.text for hit in f.hits] for f in found] == [["born 1931", "snippet /gone", "no address"]] * 2
    assert (costs["summary_requests"], costs["page_requests"], costs["search_requests"]) == (1, 2, 1)
    (asked,) = [asked for asked in server.asked if asked.path == "/v1/chat/completions"]
    assert asked.headers["authorization"] == "Bearer mk-abcdefghijk"
    assert (asked.body["temperature"], asked.body["model"]) == (0, "reader")
    prompt = asked.body["messages"][0]["content"]
    assert "Search: when was Arlo born" in prompt and "Page title: A page" in prompt and "1931 & dead" in prompt
    monkeypatch.delenv("MODEL_KEY")
    replay = opened(server, monkeypatch, **changes | {"mode": "replay"})
    assert replay.search_many(["when was Arlo born"]) == found[:1]
    assert {name for name, n in replay.costs().items() if n and "requests" in name} == set()
    replay.close()
    with pytest.raises(UserError, match="MODEL_KEY"):
        opened(server, monkeypatch, **changes)


def test_a_summary_that_cannot_be_made_leaves_the_snippet(monkeypatch):
    with server_of(["/good"], Answer(400)) as server:
        search = opened(server, monkeypatch, pages="summary", summary=ChatConfig(f"{server.url}/v1", "reader"))
        (found,) = search.search_many(["x"])
        assert [hit.text for hit in found.hits] == ["snippet /good", "no address"]
        assert search.costs()["summary_errors"] == 1
        search.close()


def test_a_page_that_failed_is_not_asked_for_again_in_the_session(monkeypatch, tmp_path):
    with server_of(["/gone"]) as server:
        search = opened(server, monkeypatch, mode="record", cache_dir=str(tmp_path))
        for query in "abc":
            search.search_many([query])
        search.close()
    assert [asked.path for asked in server.asked].count("/gone") == 1


# -- a corpus of one's own ---------------------------------------------------------------------------------------------


def write(path, passages):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(passages), path)
    else:
        path.write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    return path


def local(path, **changes):
    return open_search(SearchConfig(corpus=str(path), **changes))


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.parquet"])
def test_a_corpus_is_searched_as_the_passage_index_does(tmp_path, name):
    search = local(write(tmp_path / name, PAGES), results=2)
    found = search.search_many(["Kent born", "nothing known", "", "VARDEN 1204"])
    assert [[hit.title for hit in f.hits] for f in found] == [
        ["Arlo Kent", "Bea Kent"],
        [],
        [],
        ["Varden", "Arlo Kent"],
    ]
    assert search.costs()["search_calls"] == 4 and sum(search.costs().values()) == 4
    search.close()


def test_scores_order_and_ties_are_those_of_the_passage_index(tmp_path):
    rng = np.random.default_rng(5)
    words = [f"w{i}" for i in range(40)]
    passages = [{"text": " ".join(rng.choice(words, size=rng.integers(1, 6)))} for _ in range(300)]
    reference = PassageIndex(passages)
    index = open_corpus(write(tmp_path / "c.jsonl", passages))
    for _ in range(30):
        query = " ".join(rng.choice(words, size=3))
        assert index.search(query, 7) == reference.search(query, 7)
    index.close()


def test_the_index_is_built_once_and_again_when_the_corpus_changes(tmp_path):
    path = write(tmp_path / "c.jsonl", PAGES)
    first = open_corpus(path)
    made = (tmp_path / "c.jsonl.bm25" / "index.json").stat().st_mtime_ns
    assert open_corpus(path).sha256 == first.sha256
    assert (tmp_path / "c.jsonl.bm25" / "index.json").stat().st_mtime_ns == made
    write(path, [*PAGES, {"text": "zebra"}])
    second = open_corpus(path, None)
    assert len(second) == 4 and second.search("zebra")[0].text == "zebra" and second.sha256 != first.sha256
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []
    assert len(open_corpus(path, tmp_path / "elsewhere" / "index")) == 4


def test_threads_that_open_a_corpus_at_once_build_it_once(tmp_path, monkeypatch):
    import reproduce.tools.search.corpus as corpus

    path, built, build = write(tmp_path / "c.jsonl", PAGES), [], corpus.build_index

    def slow(*arguments):
        built.append(arguments)
        time.sleep(0.1)
        build(*arguments)

    monkeypatch.setattr(corpus, "build_index", slow)
    threads = [threading.Thread(target=open_corpus, args=(path,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.jsonl", b'{"text": "a"}\n{"title": "b"}\n', "c.jsonl, line 2: needs a string under one of text, contents"),
        ("c.jsonl", b'{"text": "a"}\n{"te', "line 2: not valid JSON"),
        ("c.jsonl", b"[1]\n", "line 1: expected an object with a text, found list"),
        ("c.jsonl", b"", "holds no passage with a word"),
        ("c.jsonl", b'{"text": "?!"}\n', "holds no passage with a word"),
        ("c.parquet", b"PAR1", "not a readable parquet file"),
        ("c.txt", b"words", "must be a .jsonl, .json or .parquet file"),
    ],
)
def test_a_bad_corpus_is_named_and_leaves_no_index(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        local(tmp_path / name)
    assert not (tmp_path / f"{name}.bm25").exists()
    with pytest.raises(UserError, match="no such file; search.corpus names"):
        local(tmp_path / "absent.jsonl")


def test_an_index_that_cannot_be_written_says_what_to_set(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="search.index_dir"):
        local(write(tmp_path / "c.jsonl", PAGES), index_dir=str(tmp_path / "file" / "index"))


@needs_cache
def test_stored_results_of_a_real_engine_as_a_corpus(tmp_path):
    cache = REAL_DATA / "search_cache.json"
    records = read_search_cache(cache)[:2000]
    search = local(write(tmp_path / "c.parquet", records), results=10, result_chars=50)
    queries = list(json.loads(cache.read_text()))[:100]
    index = PassageIndex(records)
    expected = [index.search(query, 10) for query in queries]
    found = search.search_many(queries)
    assert [[h.text for h in f.hits] for f in found] == [[h.text[:50] for h in hits] for hits in expected]
    search.close()


def test_the_settings_of_pages_are_checked(tmp_path):
    settings = {"service": "serper", "mode": "live", "pages": "text"}
    for name, value in {"pages": "html", "pages_read": 0, "page_chars": 0, "page_timeout_seconds": 0}.items():
        with pytest.raises(UserError, match=f"'{name}'"):
            build(SearchConfig, {**settings, name: value}, "table2.yaml")
    with pytest.raises(UserError, match="'pages'"):
        build(SearchConfig, {**settings, "service": "local", "corpus": "c.jsonl"}, "table2.yaml")
