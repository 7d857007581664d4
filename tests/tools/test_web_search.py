"""Hosted search against a real server that misbehaves: retries, limits, recordings, replay, keys that stay secret."""

import dataclasses
import fcntl
import json
import logging
import multiprocessing
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny
from local_server import CLOSE, Answer, LocalServer, in_turn
from pydantic import ValidationError

from reproduce.algorithms.policies import AEPORollout
from reproduce.config.strict import build
from reproduce.errors import UserError
from reproduce.rollouts.agent import Grammar, Limits
from reproduce.rollouts.collector import Collector
from reproduce.tools.search import SearchConfig, open_search
from reproduce.tools.search import cache as cache_module
from reproduce.tools.search import transport as transport_module
from reproduce.tools.search.cache import Recording, content_key
from reproduce.tools.search.calls import Calls, Counts
from reproduce.tools.search.keys import Secret, hide
from reproduce.tools.search.limiter import RateLimiter
from reproduce.tools.search.outcomes import Outcome
from reproduce.tools.search.search import COSTS
from reproduce.tools.search.transport import RetryPolicy
from reproduce.worlds.benchmarks.questions import Question
from reproduce.worlds.benchmarks.tools import BenchmarkTools
from reproduce.worlds.rewards import reward
from reproduce.worlds.tool_server import Call

KEY = "sk-live/4711+abcdefgh=="
VARIABLES = {"serper": "SERPER_API_KEY", "brave": "BRAVE_API_KEY", "brightdata": "BRIGHTDATA_API_KEY"}


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, KEY)


def config(server, service="serper", **changes):
    """Hosted search at `server`, impatient."""
    settings = dict(
        service=service,
        endpoint=f"{server.url}/search",
        mode="live",
        timeout_seconds=5.0,
        backoff_seconds=0.01,
        backoff_cap_seconds=0.05,
        requests_per_second=0.0,
        zone="serp",
        concurrency=8,
    )
    return SearchConfig(**settings | changes)


def organic(*snippets):
    """What Serper says."""
    return {"organic": [{"title": f"t{i}", "link": f"http://x.org/{i}", "snippet": s} for i, s in enumerate(snippets)]}


def echo(asked):
    """A good answer that holds the query."""
    return Answer(body=organic(f"about {asked.body['q']}"))


def search(queries, config, **options):
    """(results, costs above zero) of one batch."""
    opened = open_search(config, **options)
    try:
        return opened.search_many(queries), {name: int(n) for name, n in opened.costs().items() if n}
    finally:
        opened.close()


def texts(found):
    return [[hit.text for hit in f.hits] if f.error is None else f.error for f in found]


# -- the three services ------------------------------------------------------------------------------------------------


def test_serper_is_asked_and_read_as_its_api_has_it():
    reply = organic("first  snippet", "", "second &amp; <b>third</b>", "first snippet", 7)
    with LocalServer(in_turn(Answer(body=reply))) as server:
        found, _ = search(["  who\npainted  it? "], config(server, results=10))
    assert texts(found) == [["first snippet", "second & third"]]  # without a snippet, or with an earlier one: dropped
    assert found[0].hits[1][:2] == ("t2", "http://x.org/2")
    (asked,) = server.asked
    assert (asked.method, asked.headers["x-api-key"]) == ("POST", KEY)
    assert asked.body == {"q": "who painted it?", "num": 10, "gl": "us", "hl": "en"}


def test_brave_is_asked_and_read_as_its_api_has_it():
    results = [{"title": "A", "url": "http://a.org", "description": "one &#x27;two&#x27;"}]
    with LocalServer(in_turn(Answer(body={"web": {"results": results}}), Answer(body={"query": {}}))) as server:
        found, _ = search(["a b", "x " * 500], config(server, "brave", results=30, concurrency=1))
    assert texts(found) == [["one 'two'"], []]  # no "web" at all is Brave's way to say that there is nothing
    assert server.asked[0].headers["x-subscription-token"] == KEY
    assert server.asked[0].path == "/search?q=a+b&count=20&country=US&search_lang=en&text_decorations=false"
    assert server.asked[1].path.split("&")[0].count("x") == 50  # the API takes 50 words


def test_bright_data_is_asked_and_read_as_its_api_has_it():
    reply = {"organic": [{"title": "A", "link": "http://a.org", "description": "said"}, {"title": "B"}]}
    with LocalServer(in_turn(Answer(body=reply))) as server:
        found, _ = search(["a & b"], config(server, "brightdata", zone="my-zone"))
    assert texts(found) == [["said"]]
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    bing = "https://www.bing.com/search?q=a+%26+b&mkt=en-US&setLang=en&count=10&brd_json=1"
    assert server.asked[0].body == {"zone": "my-zone", "url": bing, "format": "raw"}


def test_results_and_snippets_are_cut():
    with LocalServer(in_turn(Answer(body=organic("abcdef", "ghijkl", "mnopqr")))) as server:
        found, _ = search(["x"], config(server, results=2, result_chars=4))
    assert texts(found) == [["abcd", "ghij"]]


# -- a service that misbehaves -----------------------------------------------------------------------------------------

GOOD = Answer(body=organic("good"))
MALFORMED = Answer(body=b'{"organic": [')
WRONG = Answer(body={"organic": "no list"})


def test_every_passing_fault_is_retried():
    cut = Answer(body=b"{}", headers={"content-length": "100"})  # the connection ends before the body does
    faults = [Answer(500), Answer(429), CLOSE, MALFORMED, WRONG, Answer(body=b"[1]"), cut, Answer(wait=3.0, body={})]
    with LocalServer(in_turn(*faults, GOOD)) as server:
        found, costs = search(["x"], config(server, attempts=9, timeout_seconds=0.8))
    assert texts(found) == [["good"]]
    assert costs == {"search_calls": 1, "search_requests": 9}


@pytest.mark.parametrize(
    ("fault", "phrase", "requests"),
    [
        (Answer(500), "server error 500", 2),
        (Answer(429), "rate limited", 2),
        (CLOSE, "no connection", 2),
        (MALFORMED, "malformed reply", 2),
        (Answer(wait=3.0), "timeout", 2),
        (Answer(401), "access refused (401)", 1),
        (Answer(403, body=b"not enough credits"), "access refused (403)", 1),
        (Answer(404), "status 404", 1),
        (Answer(302, headers={"location": "http://elsewhere.example"}), "status 302", 1),  # the key goes nowhere else
        (Answer(body=b"[" * 200_000), "malformed reply", 2),
        (Answer(body=b'{"organic": []}' + b" " * (5 << 20)), "reply too large", 1),
    ],
)
def test_a_lasting_fault_is_the_error_of_its_call_alone(fault, phrase, requests):
    def answer(asked):
        return fault if asked.body["q"] == "bad" else echo(asked)

    with LocalServer(answer) as server:
        patience = 0.8 if phrase == "timeout" else 5.0
        found, costs = search(["one", "bad", "two"], config(server, attempts=2, timeout_seconds=patience))
    assert texts(found) == [["about one"], phrase, ["about two"]]
    assert costs == {"search_calls": 3, "search_requests": requests + 2, "search_errors": 1}


def test_no_server_at_all_is_an_error_result():
    with LocalServer(echo) as server:
        pass
    found, costs = search(["x"], config(server, attempts=2))
    assert texts(found) == ["no connection"] and costs["search_errors"] == 1


def test_a_reply_that_drips_is_given_up_in_time():
    started = time.perf_counter()
    with LocalServer(in_turn(Answer(body=organic("x" * 2000), drip=0.02))) as server:
        found, _ = search(["x"], config(server, attempts=1, timeout_seconds=0.3))
    assert texts(found) == ["timeout"] and time.perf_counter() - started < 10.0  # the whole would take 40


def test_a_dead_service_gets_one_attempt_a_call_until_it_lives(monkeypatch):
    monkeypatch.setattr(transport_module, "DEAD_AFTER", 2)
    dead = True
    with LocalServer(lambda asked: Answer(503) if dead else echo(asked)) as server:
        opened = open_search(config(server, attempts=3, concurrency=1))
        for query in "abcd":
            opened.search_many([query])
        assert opened.costs()["search_requests"] == 3 + 3 + 1 + 1
        dead = False
        assert texts(opened.search_many(["e"])) == [["about e"]]
        dead = True
        opened.search_many(["f"])
        assert opened.costs()["search_requests"] == 8 + 1 + 3
        opened.close()


def test_waits_grow_within_bounds_and_are_a_function_of_seed_call_and_attempt():
    patience = RetryPolicy(backoff_seconds=1.0, backoff_cap_seconds=5.0)
    waits = [[patience.wait(seed, "call", attempt) for attempt in (1, 2, 3, 4)] for seed in (0, 0, 1)]
    assert waits[0] == waits[1] != waits[2]
    for wait, base in zip(waits[0], (1, 2, 4, 5), strict=True):
        assert 0.5 * base <= wait < 1.5 * base
    assert patience.wait(0, "other", 1) != waits[0][0]


def test_a_service_that_asks_to_wait_is_given_the_time_up_to_the_cap():
    arrived = []
    replies = in_turn(Answer(429, headers={"retry-after": "99"}), GOOD)

    def answer(asked):
        arrived.append(time.monotonic())
        return replies(asked)

    with LocalServer(answer) as server:
        found, _ = search(["x"], config(server, backoff_cap_seconds=0.3))
    assert texts(found) == [["good"]] and arrived[1] - arrived[0] >= 0.3


def test_a_service_that_asks_to_wait_holds_up_every_call():
    arrived = []

    def answer(asked):
        arrived.append(time.monotonic())
        return Answer(429, headers={"retry-after": "1"}) if asked.body["q"] == "first" else GOOD

    with LocalServer(answer) as server:
        opened = open_search(config(server, attempts=1, requests_per_second=1000.0, backoff_cap_seconds=0.3))
        seen = [texts(opened.search_many([query]))[0] for query in ("first", "second")]
        opened.close()
    assert seen == ["rate limited", ["good"]] and arrived[1] - arrived[0] >= 0.25


@pytest.mark.parametrize("query", ["", " \n ", "\ud800", "x" * 9999, "\x00 <search>"])
def test_no_query_raises(query):
    with LocalServer(echo) as server:
        found, _ = search([query, "ok"], config(server))
    assert texts(found)[1] == ["about ok"]
    assert len(server.asked) == (2 if query.strip() else 1)  # nothing is asked for an empty query
    assert all(len(asked.body["q"]) <= 2000 for asked in server.asked)


# -- many at a time ----------------------------------------------------------------------------------------------------


def test_calls_run_together_and_results_keep_their_order():
    all_here = threading.Barrier(8)

    def answer(asked):
        all_here.wait(20)  # nobody is answered before all have asked
        return echo(asked)._replace(wait=0.16 - 0.02 * int(asked.body["q"]))  # the first takes longest

    with LocalServer(answer) as server:
        found, costs = search([str(i) for i in range(8)] + ["3"], config(server, timeout_seconds=30.0))
    assert texts(found) == [[f"about {i}"] for i in [*range(8), 3]]
    assert costs == {"search_calls": 9, "search_requests": 8, "search_cache_hits": 1}  # an equal call asks once


def test_the_rate_limit_spaces_requests():
    with LocalServer(echo) as server:
        started = time.perf_counter()
        search(list("abcde"), config(server, requests_per_second=20.0))
    assert time.perf_counter() - started >= 4 / 20


def test_a_limit_in_a_file_is_one_limit(tmp_path):
    now = [1000.0]
    first, second = (RateLimiter(2.0, tmp_path / "place", lambda: now[0]) for _ in range(2))
    assert [first.reserve(), second.reserve(), first.reserve()] == [0.0, 0.5, 1.0]
    second.push_back(10.0)
    assert first.reserve() == 10.0
    now[0] = 2000.0
    assert second.reserve() == 0.0
    (tmp_path / "place").write_text("9e9")  # a clock that was set back leaves places that never come
    assert first.reserve() == 0.0
    (tmp_path / "place").write_text("not a num")
    assert first.reserve() == 0.0
    assert RateLimiter(0.0).reserve() == 0.0


# -- recorded once, replayed for ever ----------------------------------------------------------------------------------


def test_a_recording_is_asked_once_and_replayed_without_network_or_key(tmp_path, monkeypatch):
    with LocalServer(echo) as server:
        settings = config(server, mode="record", cache_dir=str(tmp_path / "tape"))
        first, costs = search(["a", "b"], settings)
        assert costs == {"search_calls": 2, "search_requests": 2}
        again, costs = search(["b", "c"], settings)
        assert costs == {"search_calls": 2, "search_requests": 1, "search_cache_hits": 1}
    monkeypatch.delenv("SERPER_API_KEY")
    replayed, costs = search(["c", "never asked", "a", "b"], dataclasses.replace(settings, mode="replay"))
    assert replayed[0] == again[1] and replayed[2:] == first
    assert texts(replayed)[1] == "not recorded"
    assert costs == {"search_calls": 4, "search_cache_hits": 3, "search_errors": 1, "search_misses": 1}


def test_a_replay_gives_the_failures_of_its_own_session_in_their_order(tmp_path):
    with LocalServer(in_turn(Answer(500), Answer(404), GOOD)) as server:
        settings = config(server, mode="record", cache_dir=str(tmp_path), attempts=1)
        opened = open_search(settings, session="run 0")
        seen = [texts(opened.search_many(["x"]))[0] for _ in range(4)]
        opened.close()
    assert seen == ["server error 500", "status 404", ["good"], ["good"]] and len(server.asked) == 3
    for session, expected in (("run 0", seen), ("run 1", [["good"]] * 4)):
        opened = open_search(dataclasses.replace(settings, mode="replay"), session=session)
        assert [texts(opened.search_many(["x"]))[0] for _ in range(4)] == expected
        opened.close()


def test_what_always_failed_fails_in_every_replay(tmp_path):
    with LocalServer(in_turn(Answer(404))) as server:
        settings = config(server, mode="record", cache_dir=str(tmp_path))
        search(["x"], settings, session="run 0")
    found, costs = search(["x"], dataclasses.replace(settings, mode="replay"), session="run 1")
    assert texts(found) == ["status 404"] and "search_misses" not in costs


def test_another_setting_is_another_call(tmp_path):
    with LocalServer(in_turn(Answer(body=organic("x")))) as server:
        settings = config(server, mode="record", cache_dir=str(tmp_path))
        for changes in ({}, {"results": 3}, {"country": "de"}, {"language": "de"}, {"service": "brightdata"}):
            search(["x"], dataclasses.replace(settings, **changes))
        search(["x"], dataclasses.replace(settings, result_chars=3, attempts=1))  # shown differently: the same call
    assert len(server.asked) == 5


def test_a_line_cut_by_a_crash_costs_that_line_only(tmp_path, caplog):
    tape = Recording(tmp_path, writable=True)
    tape.add_answer("a" * 64, "search", {"query": "a"}, ["A"])
    file = tmp_path / "00000.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + whole.replace(b"a" * 64, b"b" * 64)[:-20])
    again = Recording(tmp_path, writable=True)
    assert again.answer("a" * 64) == ["A"]
    again.add_answer("c" * 64, "search", {"query": "c"}, ["C"])
    assert file.read_bytes().startswith(whole)  # nothing that was written is touched
    for reader in (tape, again, Recording(tmp_path, writable=False)):
        reader.refresh()
        assert (reader.answer("a" * 64), reader.answer("c" * 64)) == (["A"], ["C"])
        with pytest.raises(KeyError):
            reader.answer("b" * 64)
    assert f"00000.jsonl: the line at byte {len(whole)} is damaged" in caplog.text


def test_a_recording_is_made_of_small_files(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "ROLL_BYTES", 500)
    tape = Recording(tmp_path, writable=True)
    for i in range(10):
        tape.add_answer(content_key("search", {"query": i}), "search", {"query": i}, "x" * 200)
    assert [path.name for path in sorted(tmp_path.glob("*.jsonl"))] == [f"0000{i}.jsonl" for i in range(5)]
    replay = Recording(tmp_path, writable=False)
    assert len(replay) == 10 and replay.answer(content_key("search", {"query": 9})) == "x" * 200


def test_of_two_recordings_in_one_folder_the_first_file_counts(tmp_path):
    for name, value in (("00000", "first"), ("00001", "second")):
        line = {"key": "k", "kind": "search", "request": {}, "value": value}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    assert Recording(tmp_path, writable=False).answer("k") == "first"


def _record(folder, process):
    tape = Recording(folder, writable=True)
    for i in range(20):
        tape.add_answer(f"shared {i}", "search", {}, [process, "y" * 50])
        tape.add_answer(f"{process} {i}", "search", {}, [process])


def test_processes_share_a_recording_and_the_first_answer_counts(tmp_path):
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_record, args=(tmp_path, name)) for name in ("p", "q", "r")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    lines = [json.loads(line) for line in (tmp_path / "00000.jsonl").read_bytes().splitlines()]
    keys = [line["key"] for line in lines]
    assert len(keys) == len(set(keys)) == 20 + 3 * 20
    tape = Recording(tmp_path, writable=False)
    assert all(tape.answer(line["key"]) == line["value"] for line in lines)


def test_a_writer_waits_for_the_lock_of_another_process(tmp_path):
    tape = Recording(tmp_path, writable=True)
    with open(tmp_path / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writer = threading.Thread(target=tape.add_answer, args=("k", "search", {}, "v"))
        writer.start()
        writer.join(0.2)
        assert writer.is_alive() and not any(tmp_path.glob("*.jsonl"))
    writer.join()
    assert Recording(tmp_path, writable=False).answer("k") == "v"


def test_the_answer_that_counts_is_the_one_recorded_first(tmp_path):
    mine, other = (Recording(tmp_path, writable=True) for _ in range(2))

    def ask(request, key):
        other.add_answer(key, "search", request, "theirs")  # another process is faster
        return Outcome("ours")

    calls = Calls(Counts("search"), ask, mode="record", recording=mine)
    assert calls.many([{"query": 1}]) == [Outcome("theirs")]
    calls.close()


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", VARIABLES)
@pytest.mark.parametrize("value", [None, "  "])
def test_a_missing_key_is_one_clear_error_at_the_start(service, value, monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLES[service])
    if value:
        monkeypatch.setenv(VARIABLES[service], value)
    settings = SearchConfig(service=service, cache_dir=str(tmp_path), zone="z")
    with pytest.raises(UserError, match=f"{VARIABLES[service]}"):
        open_search(settings)


def test_bright_data_needs_a_zone_from_the_settings_or_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("BRIGHTDATA_ZONE", raising=False)
    settings = SearchConfig(service="brightdata", cache_dir=str(tmp_path))
    with pytest.raises(UserError, match="BRIGHTDATA_ZONE, or search.zone"):
        open_search(settings)
    monkeypatch.setenv("BRIGHTDATA_ZONE", "mine")
    opened = open_search(settings)
    assert opened.service.request("q", Secret("k")).json["zone"] == "mine"
    opened.close()


def test_a_garbled_key_is_refused_without_being_shown(monkeypatch, tmp_path):
    for bad in ("abc\ndefghijkl", "abc\u2028defghijkl", "abc defghijkl"):
        monkeypatch.setenv("SERPER_API_KEY", bad)
        with pytest.raises(UserError, match="SERPER_API_KEY holds a blank") as error:
            open_search(SearchConfig(service="serper", cache_dir=str(tmp_path)))
        assert "defghijkl" not in str(error.value)


def test_no_key_is_in_anything_that_is_written_or_shown(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    form = KEY.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")

    def answer(asked):
        query = asked.body["q"] if asked.body else asked.path
        if query == "fails":
            return Answer(403, body=f"bad key {KEY}".encode())
        if query == "garbage":
            return Answer(body=f"{{{KEY}".encode())
        item = {"title": KEY, "link": f"{server.url}/page?api_key={KEY}", "snippet": f"seen {form} and {KEY}"}
        return Answer(body={"organic": [item]}) if asked.body else Answer(body=f"<p>page {KEY}</p>".encode())

    with LocalServer(answer) as server:
        settings = config(
            server, mode="record", cache_dir=str(tmp_path / "tape"), pages="text", attempts=2, requests_per_second=1e6
        )
        opened = open_search(settings, session="s", check=lambda url: None)
        found = opened.search_many(["echo", "fails", "garbage"])
        shown = [repr(found), repr(opened.__dict__), repr(vars(opened.search)), repr(vars(opened.search.transport))]
        shown += [repr(opened.search.service.request("x", opened.search.key)), f"{opened.search.key}", repr(settings)]
        opened.close()
    assert texts(found)[1:] == ["access refused (403)", "malformed reply"]
    assert found[0].hits[0].text == "page [key]" and found[0].hits[0].title == "[key]"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".jsonl"} and len(files) >= 3
    written = b"".join(path.read_bytes() for path in files)
    everything = written.decode() + caplog.text + "".join(shown)
    assert b"seen [key] and [key]" in written and "api_key=[key]" in everything
    for secret in (KEY, form, "4711", "abcdefgh"):
        assert secret not in everything


def test_an_address_with_a_password_or_a_key_is_refused_without_being_shown():
    for url in (
        "https://me:4711pass@x.org/search",
        "https://x.org/search?q=1&api_key=4711pass",
        "https://x/?Token=4711",
    ):
        settings = {"service": "serper", "mode": "live", "endpoint": url}
        with pytest.raises(UserError, match="'endpoint' must hold no password or key: put the key in an env") as said:
            build(SearchConfig, settings, "table2.yaml")
        with pytest.raises(ValidationError) as raised:
            SearchConfig(**settings)
        assert "4711pass" not in f"{said.value}{raised.value}"
    assert SearchConfig(service="serper", mode="live", endpoint="https://x.org/a?page=2#b").endpoint


def test_a_secret_shows_itself_to_reveal_only():
    secret = Secret(KEY)
    assert secret.reveal() == KEY and KEY not in f"{secret} {secret!r} {[secret]} {dataclasses.asdict(Holder(secret))}"
    with pytest.raises(TypeError, match="not written anywhere"):
        pickle.dumps(secret)
    assert hide(b'{"a": "EMPTY"}', [Secret("EMPTY")]) == b'{"a": "EMPTY"}'  # a local server's stand-in is no secret


@dataclasses.dataclass
class Holder:
    secret: Secret


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"service": "google"}, "'search.service' must be one of local, serper, brave, brightdata"),
        ({"mode": "tape"}, "'search.mode' must be one of live, record, replay"),
        ({"service": "local"}, "'search.corpus' must name a JSONL or parquet file"),
        ({"cache_dir": None}, "'search.cache_dir' must name the folder of the recording when mode is record"),
        ({"pages": "summary"}, "'search.summary' must name the endpoint"),
        ({"attempts": 0}, "'search.attempts' must be positive, not 0"),
        ({"requests_per_second": -1.0}, "'search.requests_per_second' must not be negative"),
        ({"endpoint": "serper.dev"}, "'search.endpoint' must be an address"),
        ({"key": "4711"}, "unknown key 'search.key'"),
        (
            {"summary": {"base_url": "http://x/v1?key=1", "model": "m"}},
            "'search.summary.base_url' must hold no password",
        ),
    ],
)
def test_a_bad_setting_is_named(changes, message, tmp_path):
    settings = {"service": "serper", "cache_dir": str(tmp_path)} | changes
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        build(SearchConfig, settings, "table2.yaml", "search.")


def test_a_replay_of_nothing_is_refused_at_the_start(tmp_path):
    with pytest.raises(UserError, match="no recording .*mode: record"):
        open_search(SearchConfig(service="serper", mode="replay", cache_dir=str(tmp_path)))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the folder of the recording"):
        open_search(SearchConfig(service="serper", mode="record", cache_dir=str(tmp_path / "file" / "tape")))


# -- the tool of an episode --------------------------------------------------------------------------------------------

QUESTION = Question("q", "Who painted the year 7 zzz?", ["Bea Kent"], "2wiki")


def test_the_tool_shows_pages_errors_and_programs_in_order():
    def answer(asked):
        return {"bad": Answer(404), "none": Answer(body={})}.get(asked.body["q"], Answer(body=organic("a b c", "d e")))

    with LocalServer(answer) as server:
        environment = BenchmarkTools(open_search(config(server)), tiny.LocalPrinter())
        session = environment.start(QUESTION)
        said = [("search", "bad"), ("python", "print ( 3 + 4 )"), ("search", "x"), ("search", "none"), ("python", "?")]
        results = environment.run([Call(session.fork(), *call) for call in said])
        assert environment.run([]) == []
        costs = environment.costs()
        environment.close()
    assert [(r.text, r.action, r.ok) for r in results] == [
        ("search failed: status 404", "error", False),
        ("7", "python", True),
        ("Page 1: a b c\nPage 2: d e", "search", True),
        ("none", "empty", False),
        ("SyntaxError: invalid syntax", "python", False),
    ]
    assert set(costs) == set(COSTS) and (costs["search_calls"], costs["search_errors"]) == (3, 1)


def test_batches_of_several_threads_are_searched_at_the_same_time():
    both = threading.Barrier(2, timeout=30)

    def meeting(asked):
        both.wait()  # breaks, as a server's failure, unless the other search is under way
        return echo(asked)

    with LocalServer(meeting) as server:
        environment = BenchmarkTools(open_search(config(server, timeout_seconds=60.0)), tiny.LocalPrinter())
        with ThreadPoolExecutor(2) as threads:
            calls = [[Call(environment.start(None), "search", word)] for word in ("one", "two")]
            texts = [results[0].text for results in threads.map(environment.run, calls)]
        environment.close()
    assert texts == ["Page 1: about one", "Page 1: about two"]


def test_searches_run_beside_programs():
    both_here = threading.Barrier(2)

    class Meeting(tiny.LocalPrinter):
        def run_many(self, codes):
            both_here.wait(20)
            return super().run_many(codes)

    def answer(asked):
        both_here.wait(20)
        return echo(asked)

    with LocalServer(answer) as server:
        environment = BenchmarkTools(open_search(config(server, timeout_seconds=30.0)), Meeting(), max_words=2)
        results = environment.run([Call(environment.start(QUESTION), tool, "x") for tool in ("search", "python")])
        environment.close()
    assert [result.text for result in results] == ["Page 1:", "SyntaxError: invalid"]


class _Task:
    """Just enough of a task for the collector."""

    call_type = Call

    def __init__(self, environment):
        self.environment = environment

    prompt = staticmethod(lambda question: f"question : {question.question}")
    score = staticmethod(lambda question, text: reward(text, question.golds))


def _rollout(settings, session):
    """(texts of all trajectories, costs) of eight questions' trees with a random model that likes to search."""
    from callers import caller

    environment = BenchmarkTools(open_search(settings, session=session), tiny.LocalPrinter(), max_words=12)
    questions = [Question(f"q{i}", f"Who won in year {i}?", ["Bea"], "2wiki") for i in range(8)]
    collector = Collector(_Task(environment), caller(), Grammar(tiny.tokenizer()), Limits(4, 128), 1.0, 0)
    groups, _ = collector.sample(questions, 4, ("web",), AEPORollout(entropy_tokens=2))
    environment.close()
    return [text for group in groups for text in group.texts], environment.costs()


def test_a_recorded_session_replayed_offline_gives_byte_identical_trajectories(tmp_path, monkeypatch):
    asked_before = set()

    def answer(asked):
        """One of three queries fails the first time that it is asked, one for ever; some lines are words it knows."""
        query = asked.body["q"]
        first, fate = query not in asked_before, sum(map(ord, query)) % 3
        asked_before.add(query)
        if fate == 0 and first or fate == 1:
            return Answer(500) if fate else Answer(429)
        return Answer(body=organic("the value of a painter and of a town", f"zzz year {len(query)}"))

    with LocalServer(answer) as server:
        settings = config(server, mode="record", cache_dir=str(tmp_path), attempts=1)
        recorded, costs = _rollout(settings, "table2/aepo/0")
    assert costs["search_errors"] > 5 and costs["search_calls"] > costs["search_errors"] + 5
    monkeypatch.delenv("SERPER_API_KEY")
    replayed, replay_costs = _rollout(dataclasses.replace(settings, mode="replay"), "table2/aepo/0")
    assert replayed == recorded
    assert (replay_costs["search_requests"], replay_costs["search_misses"]) == (0, 0)
    assert replay_costs["search_errors"] == costs["search_errors"]
