"""HTTP requests to services that may fail: time limits, retries with exponential backoff, a rate limit.

Nothing here raises for what a service does. An `Outcome` holds a value or an error, one of a few fixed phrases. So the
error text of a call is the same whenever the failure is the same, and never holds an address, a header or a key.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpcore
import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from reproduce.seeding import stream
from reproduce.tools.search.bodies import ACCEPTED, body
from reproduce.tools.search.connections import Connections
from reproduce.tools.search.deadline import seconds_left, time_limit
from reproduce.tools.search.keys import Secret, hide
from reproduce.tools.search.limiter import RateLimiter
from reproduce.tools.search.outcomes import Outcome, Retry, Unusable
from reproduce.tools.search.retry_after import seconds_to_wait

logger = logging.getLogger(__name__)

DEAD_AFTER = 16  # failed calls in a row after which a service gets one attempt a call, until one succeeds
RETRY_STATUS = frozenset({408, 425, 429})  # and 5xx
MOVED = frozenset({301, 302, 303, 307, 308})
REDIRECTS = 5
CLOSED = "closed"  # the error of a call that our own end cut off
HEADERS = {"User-Agent": "reproduce", "Accept": "*/*", "Accept-Encoding": ACCEPTED}


@dataclass(frozen=True)
class Request:
    """One HTTP request. headers: hold the key and are not in its repr. json: sent as the body, instead of content."""

    method: str
    url: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Any = None
    content: bytes | None = None


@dataclass(frozen=True)
class RetryPolicy:
    """When to give up and how long to wait.

    timeout_seconds: of one attempt, body included. attempts: in all. The wait before attempt i (from 1) is
    backoff_seconds * 2**(i - 1), at most backoff_cap_seconds, times a factor in [0.5, 1.5). A longer Retry-After of the
    service is kept, up to the cap. max_bytes: of a reply's body, decoded.
    """

    timeout_seconds: float = 60.0
    attempts: int = 4
    backoff_seconds: float = 1.0
    backoff_cap_seconds: float = 30.0
    max_bytes: int = 4 << 20

    def wait(self, seed: int, name: str, attempt: int) -> float:
        """Return the seconds before attempt `attempt`, a function of (seed, name of the call, attempt) alone."""
        jitter = 0.5 + float(stream(seed, "backoff", name, attempt).random())
        return min(self.backoff_cap_seconds, self.backoff_seconds * 2.0 ** (attempt - 1)) * jitter


class Closed(Exception):
    """Our own side cut the call off."""


class Transport:
    """Sends requests, from any number of threads.

    With a `check`, redirects are followed. Without one a redirect is a failure, so that a key goes nowhere else.

    Args:
        what: the service's name, for the log.
        retry: time limits and attempts.
        limiter: the rate limit.
        seed: root seed, for the jitter of retries.
        connections: at a time.
        secrets: keys to hide in replies.
        count: called with "requests" once for each attempt that is sent.
        check: called with each URL, redirects included, before it is requested, and with each address that its name
            resolves to (`http://<number>:<port>/`) before it is connected to. It raises `Unusable` to refuse.

    Raises:
        UserError: the network environment is bad (`reproduce.network`).
    """

    def __init__(
        self,
        what: str,
        retry: RetryPolicy,
        limiter: RateLimiter,
        seed: int,
        *,
        connections: int,
        secrets: Sequence[Secret] = (),
        count: Callable[[str], None] = lambda name: None,
        check: Callable[[str], None] | None = None,
    ):
        self.what, self.retry, self.limiter, self.seed = what, retry, limiter, seed
        self.secrets, self.count, self.check = tuple(secrets), count, check
        kept = connections if check is None else 0  # pages come from everywhere, once each
        self._connections = Connections(connections, kept, check)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._failures = 0
        self._warned: set[str] = set()

    def stop(self) -> None:
        """End waits: whatever waits for a place or for another attempt gives up."""
        self._closed.set()

    def close(self) -> None:
        """Close the connections; no request may be running."""
        self.stop()
        self._connections.close()

    def send(self, request: Request, read: Callable[[bytes, str], Any], name: str) -> Outcome:
        """Return `read(body, content type)` of the reply, or why there is none; as `retried` does."""
        return self.retried(lambda: read(*self.reply(request)), name)

    def retried(self, ask: Callable[[], Any], name: str) -> Outcome:
        """Return the value of `ask`, which calls `reply` and is repeated after a passing fault; or why there is none.

        Args:
            ask: raises ValueError for a malformed reply (asked for again) and `Unusable` for one that will not improve.
                All of it counts towards the time limit of an attempt.
            name: names the call in the stream of the jitter.
        """
        with self._lock:
            attempts = 1 if self._failures >= DEAD_AFTER else self.retry.attempts
        retrying = Retrying(
            retry=retry_if_exception_type(Retry),
            stop=stop_after_attempt(attempts),
            wait=lambda state: max(
                state.outcome.exception().wait, self.retry.wait(self.seed, name, state.attempt_number)
            ),
            sleep=self._pause,
            reraise=True,
        )
        try:
            value = retrying(self._attempt, ask)
        except Closed:
            return Outcome(error=CLOSED)
        except (Retry, Unusable) as failure:
            return self._failed(str(failure), dead=isinstance(failure, Retry))
        with self._lock:
            self._failures = 0
        return Outcome(value)

    def _pause(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise Closed

    def _attempt(self, ask: Callable[[], Any]) -> Any:
        self._pause(self.limiter.reserve())
        self.count("requests")
        try:
            with time_limit(self.retry.timeout_seconds):
                value = ask()
                seconds_left()
                return value
        except TimeoutError:  # of reading: another attempt would take as long
            raise Unusable("timeout") from None
        except (ValueError, RecursionError):  # the second: JSON nested beyond all sense
            raise Retry("malformed reply") from None
        except Retry as failure:
            if failure.wait:
                self.limiter.push_back(failure.wait)
            raise

    def _failed(self, phrase: str, dead: bool) -> Outcome:
        with self._lock:
            self._failures += dead
            new = phrase not in self._warned
            self._warned.add(phrase)
        if new:
            logger.warning("%s: %s (later calls that end so are counted, not logged)", self.what, phrase)
        return Outcome(error=phrase)

    def reply(self, request: Request) -> tuple[bytes, str]:
        """Return (body without keys, content type) of a success, within what is left of the time.

        Raises:
            Retry: another attempt may help.
            Unusable: it would not.
        """
        try:
            data, kind = self._reply(request)
        # the causes are cut off: they may hold the request with its headers
        except (httpcore.TimeoutException, TimeoutError):
            raise Retry("timeout") from None
        except (httpcore.UnsupportedProtocol, httpcore.LocalProtocolError, httpx.InvalidURL, UnicodeError):
            raise Unusable("bad address") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError):
            raise Retry("no connection") from None
        return hide(data, self.secrets), kind

    def _reply(self, request: Request) -> tuple[bytes, str]:
        """(body, content type) of the reply; redirects are followed if there is a check."""
        url = httpx.URL(request.url).copy_merge_params(request.params) if request.params else httpx.URL(request.url)
        headers = HEADERS | dict(request.headers)
        content = request.content
        if request.json is not None:
            content = json.dumps(request.json, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
            headers |= {"Content-Type": "application/json"}
        for _ in range(REDIRECTS + 1):
            if self.check is not None:
                self.check(str(url))
            with self._connections.stream(request.method, url, headers, content) as response:
                found = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
                if self.check is None or response.status not in MOVED or "location" not in found:
                    _refuse(response.status, found.get("retry-after", ""), self.retry.backoff_cap_seconds)
                    coding = found.get("content-encoding", "")
                    data = body(response.iter_stream(), coding, self.retry.max_bytes)
                    return data, found.get("content-type", "")
            url = url.join(_text(found["location"]))
        raise Unusable("too many redirects")


def _text(header: str) -> str:
    """A header that may hold UTF-8, as servers write it."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return header


def _refuse(status: int, retry_after: str, most: float) -> None:
    """Raise for a status that is not a success. most: seconds that a service may ask us to wait."""
    if 200 <= status < 300:
        return
    wait = seconds_to_wait(retry_after, most)
    if status == 429:
        raise Retry("rate limited", wait)
    if status >= 500 or status in RETRY_STATUS:
        raise Retry(f"server error {status}", wait)
    if status in (401, 402, 403):
        raise Unusable(f"access refused ({status})")
    raise Unusable(f"status {status}")
