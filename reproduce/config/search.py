"""Settings of search, pages and chat endpoints. They hold no key: keys come from the environment (`keys.py`).

Sources: "released" is the official ARPO/AEPO code (search tool of `evaluation/src/tools`, training yaml), "paper" is
arXiv 2507.19849 (search: Bing, US-EN, ten results; deep search reads pages of at most 6,000 tokens). The rest is ours.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

SERVICES = ("local", "serper", "brave", "brightdata")
PAGES = ("none", "text", "summary")
MODES = ("live", "record", "replay")
"""Of a recording; see `reproduce.tools.search.calls`."""
_KEY_LIKE = re.compile(r"key|token|secret|passw|auth|signature|credential|^sig$", re.IGNORECASE)


@dataclass(frozen=True)
class ChatConfig:
    """A model behind an OpenAI-compatible endpoint (`POST <base_url>/chat/completions`), asked at temperature 0.

    base_url: such as http://localhost:8000/v1. key_variable: environment variable with its key; None for a server that
    wants none. max_tokens: of a reply, the thinking of a thinking model included.
    """

    base_url: str
    model: str
    key_variable: str | None = None
    max_tokens: int = 1024  # ours
    timeout_seconds: float = 120.0  # ours: one reply of a large model under load
    attempts: int = 4  # ours; the released judge: 3
    concurrency: int = 50  # released judge
    requests_per_second: float = 0.0  # 0: no limit

    def problems(self) -> Iterator[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting that cannot be used."""
        yield from _url_problems("base_url", self.base_url)
        if not self.model:
            yield "model", "must name the model as the endpoint knows it"
        yield from _number_problems(self, ("max_tokens", "timeout_seconds", "attempts", "concurrency"))


@dataclass(frozen=True)
class SearchConfig:
    """Where searches go, what they give, and whether they are recorded.

    service: "local" (over `corpus`, a JSONL or parquet file, by BM25 or an `encoder`) or a hosted engine. mode and
    cache_dir (hosted and pages): see `calls.py`; live needs no cache_dir. pages: "none" gives snippets, "text" the text
    of the first `pages_read` results, "summary" what the model `summary` finds in it for the query.
    """

    service: str = "local"
    corpus: str | None = None
    corpus_sha256: str | None = None  # of its titles and texts; filled in when a table's jobs are made
    index_dir: str | None = None  # None: beside the corpus
    encoder: str | None = None  # dense search: a model of the hub such as intfloat/e5-base-v2, or a folder; None: BM25
    encoder_revision: str | None = None  # filled in when a table's jobs are made
    results: int = 10  # paper, released
    result_chars: int = 1000  # released: characters of each snippet
    mode: str = "record"
    cache_dir: str | None = None
    country: str = "us"  # paper: US-EN (released: cn)
    language: str = "en"
    zone: str | None = None  # Bright Data: the name of your SERP zone; None: environment variable BRIGHTDATA_ZONE
    endpoint: str | None = None  # None: the service's own
    requests_per_second: float = 2.0  # released; shared by all processes with the same cache_dir; 0: no limit
    timeout_seconds: float = 60.0  # released search tool (training: 120)
    attempts: int = 4  # released training yaml
    backoff_seconds: float = 1.0
    backoff_cap_seconds: float = 30.0
    concurrency: int = 64  # released training yaml: workers
    pages: str = "none"
    pages_read: int = 5
    page_timeout_seconds: float = 20.0
    pages_through_proxy: bool = False  # ours: a proxy of the environment hides where a page's name leads
    page_chars: int = 24_000  # paper: 6,000 tokens, at four characters each
    summary: ChatConfig | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting that cannot be used."""
        if self.service not in SERVICES:
            yield "service", f"must be one of {', '.join(SERVICES)}, not {self.service!r}"
        if self.mode not in MODES:
            yield "mode", f"must be one of {', '.join(MODES)}, not {self.mode!r}"
        if self.pages not in PAGES:
            yield "pages", f"must be one of {', '.join(PAGES)}, not {self.pages!r}"
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
        if self.summary is not None:
            yield from ((f"summary.{name}", problem) for name, problem in self.summary.problems())
        whole = ("results", "result_chars", "attempts", "concurrency", "pages_read", "page_chars")
        yield from _number_problems(self, (*whole, "timeout_seconds", "page_timeout_seconds"))
        for name in ("backoff_seconds", "backoff_cap_seconds"):
            if getattr(self, name) < 0:
                yield name, f"must not be negative, not {getattr(self, name)}"


def _number_problems(config: ChatConfig | SearchConfig, positive: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in positive:
        if getattr(config, name) <= 0:
            yield name, f"must be positive, not {getattr(config, name)}"
    if config.requests_per_second < 0:
        yield "requests_per_second", "must not be negative (0 is no limit)"


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
