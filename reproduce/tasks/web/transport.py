"""HTTP requests to services that may fail: time limits, retries with exponential backoff, a rate limit.

Nothing here raises for what a service does: an `Outcome` holds a value or an error, one of a few fixed phrases, so that
the error text of a call is the same whenever the failure is the same and never holds an address, a header or a key.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from reproduce.seeding import stream
from reproduce.tasks.web.keys import Secret, hide
from reproduce.tasks.web.limiter import RateLimiter

logger = logging.getLogger(__name__)

DEAD_AFTER = 16  # failed calls in a row after which a service gets one attempt a call, until one succeeds
RETRY_STATUS = frozenset({408, 425, 429})  # and 5xx
REDIRECTS = 5
CLOSED = "closed"  # the error of a call that our own end cut off


class Outcome(NamedTuple):
    """What became of a call: a value (JSON types), or the phrase of what went wrong."""

    value: Any = None
    error: str | None = None


class Unusable(Exception):
    """A reply that another attempt would not make better; its text is the phrase of the outcome."""


class _Retry(Exception):
    """A failure that another attempt may mend. wait: seconds that the service asked for."""

    def __init__(self, phrase: str, wait: float = 0.0):
        super().__init__(phrase)
        self.wait = wait


@dataclass(frozen=True)
class Request:
    """One HTTP request; headers hold the key and are not in its repr."""

    method: str
    url: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Any = None


@dataclass(frozen=True)
class Patience:
    """timeout_seconds: of one attempt, body included. attempts: in all. The wait before attempt i (from 1) is
    backoff_seconds * 2**(i - 1), at most backoff_cap_seconds, times a factor in [0.5, 1.5); a longer Retry-After of
    the service is kept, up to the cap. max_bytes: of a reply's body, decoded."""

    timeout_seconds: float = 60.0
    attempts: int = 4
    backoff_seconds: float = 1.0
    backoff_cap_seconds: float = 30.0
    max_bytes: int = 4 << 20

    def wait(self, seed: int, name: str, attempt: int) -> float:
        """Seconds before attempt `attempt`, a function of (seed, name of the call, attempt) alone."""
        jitter = 0.5 + float(stream(seed, "backoff", name, attempt).random())
        return min(self.backoff_cap_seconds, self.backoff_seconds * 2.0 ** (attempt - 1)) * jitter


class Transport:
    """Sends requests, from any number of threads.

    what: the service's name, for the log. count: called with "requests" once for each attempt that is sent.
    check: called with each URL, redirects included, before it is requested; raises `Unusable` to refuse. With a check,
    redirects are followed; without, a redirect is a failure, so that a key goes nowhere else.
    """

    def __init__(
        self, what: str, patience: Patience, limiter: RateLimiter, seed: int, *, connections: int,
        secrets: Sequence[Secret] = (), count: Callable[[str], None] = lambda name: None,
        check: Callable[[str], None] | None = None,
    ):  # fmt: skip
        self.what, self.patience, self.limiter, self.seed = what, patience, limiter, seed
        self.secrets, self.count = tuple(secrets), count
        hooks = [] if check is None else [lambda request: check(str(request.url))]
        self._client = httpx.Client(
            follow_redirects=check is not None, max_redirects=REDIRECTS, event_hooks={"request": hooks},
            timeout=httpx.Timeout(patience.timeout_seconds, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )  # fmt: skip
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._failures = 0
        self._warned: set[str] = set()

    def stop(self) -> None:
        """Ends waits: what is waiting for a place or for another attempt gives up."""
        self._closed.set()

    def close(self) -> None:
        """Closes the connections; no request may be under way."""
        self.stop()
        self._client.close()

    def send(self, request: Request, read: Callable[[bytes, str], Any], name: str) -> Outcome:
        """`read(body, content type)` of the reply, or why there is none.

        read raises ValueError for a malformed reply (asked for again), `Unusable` for one that will not improve.
        name: names the call in the stream of the jitter.
        """
        with self._lock:
            attempts = 1 if self._failures >= DEAD_AFTER else self.patience.attempts
        phrase = ""
        asked = 0.0
        for attempt in range(attempts):
            pause = max(asked, self.patience.wait(self.seed, name, attempt)) if attempt else 0.0
            if self._closed.wait(pause) or self._closed.wait(self.limiter.reserve()):
                return Outcome(error=CLOSED)
            self.count("requests")
            try:
                value = self._read_once(request, read)
            except Unusable as failure:
                return self._failed(str(failure), dead=False)
            except _Retry as failure:
                phrase, asked = str(failure), min(failure.wait, self.patience.backoff_cap_seconds)
                if asked:
                    self.limiter.push_back(asked)
                continue
            with self._lock:
                self._failures = 0
            return Outcome(value)
        return self._failed(phrase, dead=True)

    def _failed(self, phrase: str, dead: bool) -> Outcome:
        with self._lock:
            self._failures += dead
            new = phrase not in self._warned
            self._warned.add(phrase)
        if new:
            logger.warning("%s: %s (later calls that end so are counted, not logged)", self.what, phrase)
        return Outcome(error=phrase)

    def _read_once(self, request: Request, read: Callable[[bytes, str], Any]) -> Any:
        deadline = time.monotonic() + self.patience.timeout_seconds
        try:
            with self._client.stream(
                request.method, request.url, params=request.params or None, headers=dict(request.headers),
                json=request.json,
            ) as response:  # fmt: skip
                _refuse(response.status_code, response.headers.get("retry-after", ""))
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > self.patience.max_bytes:
                        raise Unusable("reply too large")
                    if time.monotonic() > deadline:  # httpx limits each read, not the whole: a slow drip passes it
                        raise _Retry("timeout")
                kind = response.headers.get("content-type", "")
        # the causes are cut off: the exceptions of httpx hold the request with its headers
        except httpx.TimeoutException:
            raise _Retry("timeout") from None
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL, UnicodeError):
            raise Unusable("bad address") from None
        except httpx.TooManyRedirects:
            raise Unusable("too many redirects") from None
        except httpx.DecodingError:
            raise _Retry("malformed reply") from None
        except httpx.TransportError:
            raise _Retry("no connection") from None
        try:
            return read(hide(bytes(body), self.secrets), kind)
        except (ValueError, RecursionError):  # the second: JSON or HTML nested beyond all sense
            raise _Retry("malformed reply") from None


def _refuse(status: int, retry_after: str) -> None:
    """Raises for a status that is not a success."""
    if 200 <= status < 300:
        return
    wait = float(retry_after) if retry_after.isdigit() else 0.0
    if status == 429:
        raise _Retry("rate limited", wait)
    if status >= 500 or status in RETRY_STATUS:
        raise _Retry(f"server error {status}", wait)
    if status in (401, 402, 403):
        raise Unusable(f"access refused ({status})")
    raise Unusable(f"status {status}")
