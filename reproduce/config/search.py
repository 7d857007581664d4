"""Settings of search, pages and chat endpoints. They hold no key: keys come from the environment (`keys.py`).

Sources: "released" is the official ARPO/AEPO code (search tool of `evaluation/src/tools`, training yaml); "paper" is
arXiv 2507.19849 (search: Bing, US-EN, ten results; deep search reads pages of at most 6,000 tokens). "ours" is our
choice.
"""

import re
from collections.abc import Iterator
from typing import Literal, get_args
from urllib.parse import parse_qsl, urlsplit

from reproduce.config.strict import Amount, Count, Flag, Later, Positive, Unhashed, section

Mode = Literal["live", "record", "replay"]
MODES = get_args(Mode)
"""Of a recording; see `reproduce.tools.search.calls`."""
DOCUMENTED_RATES = {"local": 0.0, "serper": 2.0, "brave": 2.0, "brightdata": 100.0}
"""Requests a second that a service allows. brightdata: 100 for its SERP services from January 2026 on
(docs.brightdata.com/general/usage-monitoring/serp-rate-limit; an account that was never paid into: 1,000 a minute).
serper, brave: it depends on the plan, and we know no page that says it for all: the released code's two (assumed). Set
`requests_per_second` to your plan's."""
_KEY_LIKE = re.compile(r"key|token|secret|passw|auth|signature|credential|^sig$", re.IGNORECASE)


@section
class ChatConfig:
    """A model behind an OpenAI-compatible endpoint (`POST <base_url>/chat/completions`), asked at temperature 0.

    base_url: such as http://localhost:8000/v1. key_variable: the environment variable that holds its key; None for a
    server without one. max_tokens: of a reply, including the thinking of a thinking model.
    """

    base_url: Unhashed[str]
    model: str
    key_variable: Unhashed[str | None] = None
    max_tokens: Count = 1024  # ours
    timeout_seconds: Unhashed[Positive] = 120.0  # ours: one reply of a large model under load
    attempts: Unhashed[Count] = 4  # ours; the released judge: 3
    concurrency: Unhashed[Count] = 50  # released judge
    requests_per_second: Unhashed[Amount] = 0.0  # 0: no limit

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (setting, problem) for addresses and names that lead nowhere."""
        yield from _url_problems("base_url", self.base_url)
        if not self.model:
            yield "model", "must name the model as the endpoint knows it"


@section
class SearchConfig:
    """Where searches go, what they give, and whether they are recorded.

    service: "local" (over `corpus`, a JSONL or parquet file, by BM25 or an `encoder`) or a hosted engine. mode and
    cache_dir (hosted services and pages): see `calls.py`; live needs no cache_dir. pages: "none" gives snippets, "text"
    the text of the first `pages_read` results, "summary" a summary of it for the query by the model `summary`.
    """

    service: Literal["local", "serper", "brave", "brightdata"] = "local"
    corpus: Unhashed[str | None] = None
    corpus_sha256: str | None = None  # of its titles and texts; filled in when a table's jobs are made
    index_dir: Unhashed[str | None] = None  # None: beside the corpus
    encoder: Unhashed[str | None] = None  # dense search: a Hub model (intfloat/e5-base-v2) or a folder; None: BM25
    encoder_revision: Later[str | None] = None  # filled in when a table's jobs are made
    results: Count = 10  # paper, released
    result_chars: Count = 1000  # released: characters of each snippet
    mode: Unhashed[Mode] = "record"
    cache_dir: Unhashed[str | None] = None
    country: str = "us"  # paper: US-EN (released: cn)
    language: str = "en"
    zone: Unhashed[str | None] = None  # Bright Data: your SERP zone; None: environment variable BRIGHTDATA_ZONE
    endpoint: Unhashed[str | None] = None  # None: the service's own
    requests_per_second: Unhashed[Amount | None] = None  # shared by all processes of a cache_dir; 0: no limit; None:
    # the service's own (`DOCUMENTED_RATES`); released: 2
    timeout_seconds: Unhashed[Positive] = 60.0  # released search tool (training: 120)
    attempts: Unhashed[Count] = 4  # released training yaml
    backoff_seconds: Unhashed[Amount] = 1.0
    backoff_cap_seconds: Unhashed[Amount] = 30.0
    concurrency: Unhashed[Count] = 64  # released training yaml: workers
    ask_again: Later[Flag | None] = None  # false: a query that failed is not sent again in the same run; None: it is
    pages: Literal["none", "text", "summary"] = "none"
    pages_read: Count = 5
    page_timeout_seconds: Unhashed[Positive] = 20.0
    pages_through_proxy: Unhashed[Flag] = False  # ours: a proxy of the environment hides where a page's name leads
    page_chars: Count = 24_000  # paper: 6,000 tokens, at four characters each
    summary: ChatConfig | None = None

    @property
    def rate(self) -> float:
        """Requests a second, 0 for no limit: as set, or as the service documents."""
        own = self.requests_per_second
        return DOCUMENTED_RATES[self.service] if own is None else own

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (setting, problem) for settings that do not go together, and for a bad address."""
        if self.service == "local" and not self.corpus:
            yield "corpus", "must name a JSONL or parquet file when service is local"
        if self.service != "local" and self.encoder is not None:
            yield "encoder", f"belongs to the local search: leave it out for {self.service}"
        if self.service == "local" and self.pages != "none":
            yield "pages", "must be none when service is local: a corpus has no pages to fetch"
        if self.service != "local" and self.mode != "live" and not self.cache_dir:
            yield "cache_dir", f"must name the folder of the recording when mode is {self.mode}"
        if self.pages == "summary" and self.summary is None:
            yield "summary", "must name the endpoint and model that summarise when pages is summary"
        if self.endpoint is not None:
            yield from _url_problems("endpoint", self.endpoint)


def _url_problems(name: str, url: str) -> Iterator[tuple[str, str]]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield name, "must be an address such as http://localhost:8000/v1"
    elif has_credentials(url):  # and the message does not repeat it
        yield name, "must hold no password or key: put the key in an environment variable"


def has_credentials(url: str) -> bool:
    """Whether the URL carries a user, a password, or a query parameter that looks like a key."""
    parts = urlsplit(url)
    names = (name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    return "@" in parts.netloc or any(_KEY_LIKE.search(name) for name in names)
