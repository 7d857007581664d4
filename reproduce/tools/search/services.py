"""Hosted search engines: build the request of a query, and read the results in a reply. Pure; `transport.py` sends
them.

Formats: Serper (google.serper.dev), Brave Search API (api.search.brave.com), Bright Data's SERP API for Bing
(api.brightdata.com), with which the papers searched. Keys travel in headers only.
"""

import html
import json
import os
import re
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlencode

from reproduce.config.search import SearchConfig
from reproduce.errors import UserError
from reproduce.text import clean
from reproduce.tools.search.bm25 import MAX_QUERY_CHARS
from reproduce.tools.search.keys import Secret
from reproduce.tools.search.transport import Request

_TAG = re.compile(r"<[^<>]*>")


class WebHit(NamedTuple):
    """One search result: title, address, and the snippet (or what was read from the page)."""

    title: str
    url: str
    text: str


class Service(ABC):
    """One engine. variable: the environment variable that holds its key."""

    name: ClassVar[str]
    variable: ClassVar[str]
    endpoint: ClassVar[str]

    def __init__(self, config: SearchConfig):
        self.config = config
        self.url = config.endpoint or self.endpoint

    def check(self) -> None:
        """Raise UserError if the engine lacks a setting that its requests need."""
        return None

    def identity(self, query: str) -> dict[str, Any]:
        """Return all that the results of a query depend on, without the account: the call as it is recorded and looked
        up.
        """
        c = self.config
        return {
            "service": self.name,
            "query": self.cut(query),
            "results": c.results,
            "country": c.country,
            "language": c.language,
        }

    def cut(self, query: str) -> str:
        """Return the query as the engine takes it: one line, not longer than it accepts."""
        return clean(" ".join(query.split()))[:MAX_QUERY_CHARS]

    @abstractmethod
    def request(self, query: str, key: Secret) -> Request:
        """Build the HTTP request of a query that `cut` has shortened."""

    @abstractmethod
    def items(self, reply: dict) -> Any:
        """Return the list of results in a reply; None if the engine leaves it out, because it found nothing."""

    fields: ClassVar[tuple[str, str, str]]
    """The keys of a result's title, address and snippet."""

    def read(self, body: bytes, content_type: str) -> list[list[str]]:
        """Read [title, url, snippet] of the results with a snippet, at most `results` of them.

        Raises:
            ValueError: the reply is malformed.
        """
        reply = json.loads(body)
        if not isinstance(reply, dict):
            raise ValueError("the reply is not a JSON object")
        items = self.items(reply)
        if items is None:
            return []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ValueError("the results are not a list of objects")
        hits = [[_text(item.get(field)) for field in self.fields] for item in items]
        return [hit for hit in hits if hit[2]][: self.config.results]


class Serper(Service):
    name, variable, endpoint = "serper", "SERPER_API_KEY", "https://google.serper.dev/search"
    fields = ("title", "link", "snippet")

    def request(self, query: str, key: Secret) -> Request:
        c = self.config
        body = {"q": query, "num": c.results, "gl": c.country, "hl": c.language}
        return Request("POST", self.url, headers={"X-API-KEY": key.reveal()}, json=body)

    def items(self, reply: dict) -> Any:
        return reply.get("organic")


class Brave(Service):
    name, variable, endpoint = "brave", "BRAVE_API_KEY", "https://api.search.brave.com/res/v1/web/search"
    fields = ("title", "url", "description")
    MOST_RESULTS, MOST_WORDS, MOST_CHARS = 20, 50, 400  # limits of the API

    def cut(self, query: str) -> str:
        return " ".join(super().cut(query).split()[: self.MOST_WORDS])[: self.MOST_CHARS].strip()

    def request(self, query: str, key: Secret) -> Request:
        c = self.config
        params = {
            "q": query,
            "count": min(c.results, self.MOST_RESULTS),
            "country": c.country.upper(),
            "search_lang": c.language,
            "text_decorations": "false",
        }
        headers = {"X-Subscription-Token": key.reveal(), "Accept": "application/json"}
        return Request("GET", self.url, params=params, headers=headers)

    def items(self, reply: dict) -> Any:
        web = reply.get("web")
        if web is not None and not isinstance(web, dict):
            raise ValueError("'web' is not an object")
        return (web or {}).get("results")


class BrightData(Service):
    name, variable, endpoint = "brightdata", "BRIGHTDATA_API_KEY", "https://api.brightdata.com/request"
    fields = ("title", "link", "description")

    @property
    def zone(self) -> str:
        """The name of the account's SERP zone."""
        return self.config.zone or os.environ.get("BRIGHTDATA_ZONE", "").strip()

    def check(self) -> None:
        if not self.zone:
            raise UserError("search.service brightdata needs your SERP zone: set BRIGHTDATA_ZONE, or search.zone")

    def request(self, query: str, key: Secret) -> Request:
        c = self.config
        market = {"mkt": f"{c.language}-{c.country.upper()}", "setLang": c.language}
        words = urlencode({"q": query, **market, "count": c.results, "brd_json": 1})
        body = {"zone": self.zone, "url": f"https://www.bing.com/search?{words}", "format": "raw"}
        return Request("POST", self.url, headers={"Authorization": f"Bearer {key.reveal()}"}, json=body)

    def items(self, reply: dict) -> Any:
        return reply.get("organic")


HOSTED: dict[str, type[Service]] = {service.name: service for service in (Serper, Brave, BrightData)}


def _text(value: Any) -> str:
    """A field as plain text: HTML entities and tags undone, white space single. Anything but a string is empty."""
    return " ".join(clean(html.unescape(_TAG.sub("", value))).split()) if isinstance(value, str) else ""
