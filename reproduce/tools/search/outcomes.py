"""The outcome of a call to a service: a value, or one of a few fixed phrases."""

from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """A value (JSON types), or the phrase that says what went wrong."""

    value: Any = None
    error: str | None = None


class Unusable(Exception):
    """A reply that another attempt would not improve. Its text is the phrase of the outcome."""


class Retry(Exception):
    """A failure that another attempt may fix. wait: seconds that the service asked for."""

    def __init__(self, phrase: str, wait: float = 0.0):
        super().__init__(phrase)
        self.wait = wait
