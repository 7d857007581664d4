"""Calls of one kind, many at a time: answered from a recording, by the service, or with an error.

There are three modes. `live` asks the service. `record` asks only what has not been answered yet and records the
answers. `replay` asks nobody: what was not recorded is an error result, "not recorded", and counts as a miss.

A replay gives what the session saw, failures included. In record mode a call that failed is asked again when it is made
again, so a session sees, say, "timeout" and then the answer. Failures are recorded under the session's name, and a
replay under that name gives them in the same order. A replay under another name gives the answer, or the last failure
if no session got one. With `retry` off (pages) a failure is final for its session, and nothing asks twice.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from reproduce.config.search import MODES
from reproduce.tools.search.cache import Recording, content_key
from reproduce.tools.search.outcomes import Outcome
from reproduce.tools.search.transport import CLOSED, Transport

NOT_RECORDED = "not recorded"
FIELDS = ("calls", "requests", "cache_hits", "errors", "misses")


class Counts:
    """Counts of one kind of call; any thread may add.

    calls: made by us. requests: sent to the service, retries included (the most that a service bills). cache_hits:
    answered by the recording, or by an equal call of the same batch. errors: calls that ended with an error result.
    misses: those errors that are a replay's "not recorded".
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, name: str, number: int = 1) -> None:
        """Add to one of `FIELDS`."""
        with self._lock:
            self._counts[name] += number

    def costs(self) -> dict[str, float]:
        """Return `<kind>_<field>` for each of `FIELDS`."""
        with self._lock:
            return {f"{self.kind}_{name}": float(self._counts[name]) for name in FIELDS}


class Calls:
    """Resolves batches of calls; see the module.

    Args:
        counts: where calls are counted.
        ask: ask(request, key) -> Outcome asks the service; `threads` threads call it.
        transport: what it asks through, closed with the calls; None for a replay.
        mode: live, record or replay.
        recording: None in live mode.
        session: the run's name, for its failures.
        threads: calls at a time.
        retry: False makes a failure final for its session.
    """

    def __init__(
        self,
        counts: Counts,
        ask: Callable[[dict, str], Outcome],
        transport: Transport | None = None,
        *,
        mode: str,
        recording: Recording | None,
        session: str = "",
        threads: int = 1,
        retry: bool = True,
    ):
        if mode not in MODES or (recording is None) != (mode == "live"):
            raise ValueError(f"mode {mode!r} with recording {recording!r}")
        self.counts, self.ask, self.mode, self.recording = counts, ask, mode, recording
        self.session, self.retry, self.transport = session, retry, transport
        self._seen: Counter[str] = Counter()  # failures of this session that the replay has given so far
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=counts.kind)

    def close(self) -> None:
        """End waits, let running calls end, and close the connections."""
        if self.transport is not None:
            self.transport.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self.transport is not None:
            self.transport.close()

    def many(self, requests: Sequence[dict]) -> list[Outcome]:
        """Return outcomes in the order of `requests`. Equal requests of a batch are one call and share its outcome."""
        keys = [content_key(self.counts.kind, request) for request in requests]
        different = dict(zip(keys, requests, strict=True))
        found = {key: self._recorded(key) for key in different}
        missing = [key for key, outcome in found.items() if outcome is None]
        found |= zip(missing, self._pool.map(lambda key: self._live(key, different[key]), missing), strict=True)
        outcomes = [found[key] for key in keys]
        absent = sum(outcome.error == NOT_RECORDED for outcome in outcomes)
        self.counts.add("calls", len(keys))
        self.counts.add("cache_hits", len(keys) - len(missing) - absent)
        self.counts.add("errors", sum(outcome.error is not None for outcome in outcomes))
        self.counts.add("misses", absent)
        return outcomes

    def _recorded(self, key: str) -> Outcome | None:
        """The recorded answer; None if the service is to be asked."""
        if self.recording is None:
            return None
        failures = self.recording.failures(key)
        own = [error for session, error in failures if session == self.session]
        if own and not self.retry:
            return Outcome(error=own[-1])
        if self.mode == "replay" and self._seen[key] < len(own):
            self._seen[key] += 1
            return Outcome(error=own[self._seen[key] - 1])
        try:
            return Outcome(self.recording.answer(key))
        except KeyError:
            if self.mode == "record":
                return None
            return Outcome(error=failures[-1][1] if failures else NOT_RECORDED)

    def _live(self, key: str, request: dict) -> Outcome:
        outcome = self.ask(request, key)
        if self.recording is None or outcome.error == CLOSED:
            return outcome
        kind = self.counts.kind
        if outcome.error is None:
            return Outcome(self.recording.add_answer(key, kind, request, outcome.value))
        self.recording.add_failure(key, kind, request, self.session, outcome.error)
        return outcome
