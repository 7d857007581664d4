"""The header Retry-After: seconds, or a date (RFC 9110, 10.2.3)."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def seconds_to_wait(text: str, most: float, now: datetime | None = None) -> float:
    """Read the seconds that the header asks for, as a number (with or without decimals) or a date.

    Args:
        text: the header.
        most: the longest wait, in seconds.
        now: for tests.

    Returns:
        Seconds in [0, most]; 0 if the header cannot be read.
    """
    text = text.strip()
    try:
        seconds = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        seconds = _until(text, datetime.now(UTC) if now is None else now)
    return min(max(seconds, 0.0), most) if math.isfinite(seconds) else 0.0


def _until(text: str, now: datetime) -> float:
    try:
        then = parsedate_to_datetime(text)
        return ((then if then.tzinfo else then.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return math.nan
