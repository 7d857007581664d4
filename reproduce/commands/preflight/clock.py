"""The machine's clock against the Date header of whoever answers: certificates, rate limits and records rest on it."""

import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from reproduce.commands.preflight.check import NotNeeded
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.tools.hub.packaged import PACKAGED
from reproduce.tools.search.services import HOSTED

MOST_SECONDS = 60.0
"""Beyond this a clock is wrong, not slow to answer: assumed."""
LOCAL = ("localhost", "127.0.0.1", "::1")


def addresses(job: JobConfig) -> list[str]:
    """Addresses of other machines that runs of a job ask anyway."""
    found = []
    if job.search is not None and job.search.service != "local" and job.search.mode != "replay":
        found.append(job.search.endpoint or HOSTED[job.search.service].endpoint)
    if job.judge is not None and job.judge.mode != "replay":
        found.append(job.judge.chat.base_url)
    name = job.model.name_or_path
    if name is not None and name not in PACKAGED and not name.startswith((".", "/")):
        from huggingface_hub import constants

        found.append(constants.ENDPOINT)
    return [url for url in found if urlsplit(url).hostname not in LOCAL]


def check_clock(urls: Sequence[str], clock: Callable[[], float] = time.time) -> str:
    """The first Date that one of these addresses answers with. UserError for a clock more than a minute away.

    clock: seconds since the epoch.
    """
    if not urls:
        raise NotNeeded("no other machine is asked")
    for url in urls:
        try:
            said = httpx.head(url, timeout=15.0, follow_redirects=False).headers.get("date", "")
            there = parsedate_to_datetime(said).timestamp()
        except (httpx.HTTPError, ValueError, TypeError):
            continue
        away = clock() - there
        host = urlsplit(url).hostname
        if abs(away) > MOST_SECONDS:
            word = "ahead of" if away > 0 else "behind"
            raise UserError(
                f"this machine's clock is {abs(away):.0f} s {word} that of {host}: set it (timedatectl set-ntp true)"
            )
        return f"{abs(away):.0f} s from that of {host}"
    raise UserError(f"no Date came from {', '.join(str(urlsplit(url).hostname) for url in urls)}: check the network")
