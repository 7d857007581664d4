"""One interface over all searches: `search_many(queries)` returns results or an error for each query; costs are
counted.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from reproduce.config.search import SearchConfig
from reproduce.errors import UserError
from reproduce.network import read_proxies
from reproduce.tools.search.addresses import check_public
from reproduce.tools.search.calls import FIELDS, Calls, Counts
from reproduce.tools.search.chat import ChatModel, open_recording
from reproduce.tools.search.connections import Check
from reproduce.tools.search.corpus import CorpusIndex, index_folder, open_corpus
from reproduce.tools.search.fetch import MAX_PAGE_BYTES, PageReader
from reproduce.tools.search.keys import Secret, read_key
from reproduce.tools.search.limiter import RateLimiter
from reproduce.tools.search.outcomes import Outcome
from reproduce.tools.search.services import HOSTED, Service, WebHit
from reproduce.tools.search.transport import RetryPolicy, Transport

PAGE_ATTEMPTS = 2  # ours: one dead page of fifty must not hold up a batch of rollouts
KINDS = ("search", "page", "summary")
COSTS = tuple(f"{kind}_{name}" for kind in KINDS for name in FIELDS)
"""Every name in `costs()`: calls, requests sent, cache_hits, errors and misses of searches, pages and summaries."""

SUMMARY_PROMPT = """\
Below is the text of a web page that a search returned. Write down what the page says that helps with the search, and \
nothing that it does not say: names, numbers and dates exactly as they stand there, in at most 150 words. If it says \
nothing that helps, write only: nothing relevant.

Search: {query}
Page title: {title}
Page text:
{text}
"""


class Found(NamedTuple):
    """The results of one query, best first; or why there are none."""

    hits: tuple[WebHit, ...] = ()
    error: str | None = None


class Search(Protocol):
    """Search with its costs, as `open_search` returns it."""

    def search_many(self, queries: Sequence[str]) -> list[Found]:
        """Return results in the order of the queries. Never raises for a query or a service."""

    def costs(self) -> dict[str, float]:
        """Return totals since it was opened, one for each name in `COSTS`."""

    def close(self) -> None: ...


def open_search(config: SearchConfig, *, seed: int = 0, session: str = "", check: Check = check_public) -> Search:
    """Open the search of a config. Close it at the end. A replay needs neither key nor network.

    Args:
        config: the section `search`.
        seed: root seed, for the jitter of retries.
        session: the run's name in the recording (`calls.py`).
        check: refuses page addresses (`Transport`).

    Raises:
        UserError: before the first call, for a bad setting, a missing key, a bad network environment, a missing corpus,
            or a replay without a recording.
    """
    if config.service == "local":
        index = open_corpus(config.corpus, config.index_dir)
        if config.corpus_sha256 not in (None, index.sha256):
            raise UserError(f"search.corpus: {config.corpus} has changed since the runs were set up; restore it")
        if config.encoder is not None:
            from reproduce.tools.search.dense import DenseIndex  # imports torch

            index = DenseIndex(
                index, index_folder(config.corpus, config.index_dir), config.encoder, config.encoder_revision
            )
        return LocalSearch(index, config)
    service = HOSTED[config.service](config)
    replay = config.mode == "replay"
    if not replay:
        service.check()
    key = None if replay else read_key(service.variable, f"search.service {service.name} (mode {config.mode})")
    recording = open_recording(config.mode, config.cache_dir)
    common = dict(mode=config.mode, recording=recording, session=session)
    search: Search = HostedSearch(service, key, seed, **common)
    if config.pages == "none":
        return search
    counts = Counts("page")
    transport = None if replay else _page_transport(config, seed, key, check, counts)
    pages = PageReader(transport, counts, config.page_chars, threads=config.concurrency, **common)
    model = ChatModel("summary", config.summary, seed=seed, **common) if config.pages == "summary" else None
    return ReadingSearch(search, pages, model, config.pages_read)


def _page_transport(config: SearchConfig, seed: int, key: Secret, check: Check, counts: Counts) -> Transport:
    proxies = read_proxies()
    if proxies.by_scheme and not config.pages_through_proxy:
        variables = " and ".join(sorted({proxy.variable for proxy in proxies.by_scheme.values()}))
        raise UserError(
            f"search.pages is {config.pages}, but the environment sets {variables}: a proxy resolves names itself, and "
            "pages of a local network cannot be told from public ones; unset it, set NO_PROXY=*, or set "
            "search.pages_through_proxy: true"
        )
    retry = RetryPolicy(config.page_timeout_seconds, PAGE_ATTEMPTS, max_bytes=MAX_PAGE_BYTES)
    return Transport(
        "page",
        retry,
        RateLimiter(0),
        seed,
        connections=config.concurrency,
        check=check,
        secrets=[key],
        count=counts.add,
    )


def _retry_policy(config: SearchConfig) -> RetryPolicy:
    return RetryPolicy(config.timeout_seconds, config.attempts, config.backoff_seconds, config.backoff_cap_seconds)


class LocalSearch:
    """Search in a corpus. Nothing is sent, so nothing is recorded and nothing fails."""

    def __init__(self, index: CorpusIndex, config: SearchConfig):
        self.index, self.config, self.counts = index, config, Counts("search")

    def search_many(self, queries: Sequence[str]) -> list[Found]:
        self.counts.add("calls", len(queries))
        return [Found(tuple(self._hits(query))) for query in queries]

    def _hits(self, query: str) -> list[WebHit]:
        found = self.index.search(query, self.config.results)
        return [WebHit(hit.title, "", hit.text[: self.config.result_chars]) for hit in found]

    def costs(self) -> dict[str, float]:
        return dict.fromkeys(COSTS, 0.0) | self.counts.costs()

    def close(self) -> None:
        self.index.close()


class HostedSearch:
    """Search through a service. Of results with the same snippet the first is kept, as in the released code.

    Args:
        service: the engine.
        key: None for a replay.
        seed: root seed, for the jitter of retries.
        **calls: mode, recording and session of `Calls`.
    """

    def __init__(self, service: Service, key: Secret | None, seed: int, **calls):
        self.service, self.key, self.config = service, key, service.config
        self.counts = Counts("search")
        recording = calls["recording"]
        shared = None if recording is None else recording.folder / f".rate-{service.name}"
        self.transport = (
            None
            if key is None
            else Transport(
                service.name,
                _retry_policy(self.config),
                RateLimiter(self.config.rate, shared),
                seed,
                connections=self.config.concurrency,
                secrets=[key],
                count=self.counts.add,
            )
        )
        retry = self.config.ask_again is not False
        self.calls = Calls(
            self.counts, self._ask, self.transport, threads=self.config.concurrency, retry=retry, **calls
        )

    def search_many(self, queries: Sequence[str]) -> list[Found]:
        asked = [self.service.cut(query) for query in queries]
        outcomes = iter(self.calls.many([self.service.identity(query) for query in asked if query]))
        return [self._found(next(outcomes)) if query else Found() for query in asked]

    def _ask(self, request: dict, key: str) -> Outcome:
        return self.transport.send(self.service.request(request["query"], self.key), self.service.read, key)

    def _found(self, outcome: Outcome) -> Found:
        if outcome.error is not None:
            return Found(error=outcome.error)
        hits: dict[str, WebHit] = {}
        for title, url, text in outcome.value:
            hits.setdefault(text, WebHit(title, url, text[: self.config.result_chars]))
        return Found(tuple(hits.values()))

    def costs(self) -> dict[str, float]:
        return dict.fromkeys(COSTS, 0.0) | self.counts.costs()

    def close(self) -> None:
        self.calls.close()


class ReadingSearch:
    """Replaces the first `pages_read` snippets by the text of their pages, or by a model's summary of it.

    All searches of a batch run together, then all their pages, then all summaries. If a page cannot be read or a
    summary cannot be made, the earlier text stays; that is an error in the counts and not of the search.
    """

    def __init__(self, search: Search, pages: PageReader, model: ChatModel | None, pages_read: int):
        self.search, self.pages, self.model, self.pages_read = search, pages, model, pages_read

    def search_many(self, queries: Sequence[str]) -> list[Found]:
        found = self.search.search_many(queries)
        places = [(q, i) for q, f in enumerate(found) for i, hit in enumerate(f.hits[: self.pages_read]) if hit.url]
        pages = self.pages.read_many([found[q].hits[i].url for q, i in places])
        read = {place: page.value for place, page in zip(places, pages, strict=True) if page.error is None}
        texts = {place: page["text"] for place, page in read.items()}
        if self.model is not None:
            prompts = [SUMMARY_PROMPT.format(query=queries[place[0]], **page) for place, page in read.items()]
            replies = zip(read, self.model.reply_many(prompts), strict=True)
            texts = {place: " ".join(reply.value.split()) for place, reply in replies if reply.error is None}
        return [
            f._replace(hits=tuple(hit._replace(text=texts.get((q, i)) or hit.text) for i, hit in enumerate(f.hits)))
            for q, f in enumerate(found)
        ]

    def costs(self) -> dict[str, float]:
        costs = self.search.costs() | self.pages.calls.counts.costs()
        return costs if self.model is None else costs | self.model.counts.costs()

    def close(self) -> None:
        self.search.close()
        self.pages.close()
        if self.model is not None:
            self.model.close()
