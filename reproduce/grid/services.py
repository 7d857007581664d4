"""Whether the services that a job asks take our keys and answer as its config says: one small request each.

A search is asked for one query, a judge for one token. Nothing is recorded, nothing is shown but the service's name,
its address and the phrase of its error: a key is in no message (`reproduce.tools.search.keys`).
"""

import re
from collections.abc import Callable
from dataclasses import replace

from reproduce.config.judge import JudgeConfig
from reproduce.config.search import ChatConfig, SearchConfig
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.tools.search.chat import ChatModel
from reproduce.tools.search.search import open_search
from reproduce.tools.search.services import HOSTED

QUERY = "capital of France"
REFUSED = "access refused"


def services_of(job: JobConfig) -> dict[str, Callable[[], str]]:
    """setting -> check of each service that a run of this job asks; a check says what it found, or raises UserError."""
    checks: dict[str, Callable[[], str]] = {}
    search, judge = job.search, job.judge
    if search is not None and search.service != "local" and search.mode != "replay":
        checks["search"] = lambda: check_search(search)
        if search.pages == "summary":
            checks["search.summary"] = lambda: check_chat("search.summary", "summary", search.summary)
    if judge is not None and judge.mode != "replay":
        checks["judge"] = lambda: check_judge(judge)
    return checks


def check_services(job: JobConfig) -> None:
    """UserError for the first service of a job that refuses its key, does not answer, or is another model."""
    for check in services_of(job).values():
        check()


def check_search(config: SearchConfig) -> str:
    """One query to the hosted search. UserError if it has no key, refuses it or fails."""
    service = HOSTED[config.service]
    once = replace(config, mode="live", pages="none", summary=None, attempts=1)
    opened = open_search(once)
    try:
        (found,) = opened.search_many([QUERY])
    finally:
        opened.close()
    _raise_for("search", f"search.service {config.service}", service.variable, found.error)
    if not found.hits:
        raise UserError(f"search.service {config.service} finds nothing for '{QUERY}': check its zone and its plan")
    return f"{config.service} takes the key in {service.variable}: {len(found.hits)} results"


def check_judge(config: JudgeConfig) -> str:
    """As `check_chat`, for the section `judge`."""
    return check_chat("judge.chat", "judge", config.chat)


def check_chat(setting: str, kind: str, config: ChatConfig) -> str:
    """One token of a model behind a chat endpoint. UserError if it does not answer, or answers as another model."""
    once = replace(config, attempts=1)
    with ChatModel(kind, once, mode="live", recording=None) as model:
        answered = model.name()
    _raise_for(setting, f"{setting}.base_url {config.base_url}", config.key_variable, answered.error, config.model)
    if not same_model(config.model, answered.value):
        raise UserError(
            f"{setting}: {config.base_url} answers as the model '{answered.value}', not as {config.model}: serve that "
            f"model, or name the endpoint that does in {setting}.base_url"
        )
    return f"{config.base_url} answers as {answered.value}"


def same_model(asked: str, answered: str) -> bool:
    """Whether an endpoint answers as the model that was asked for: by the same name, or by that name and a date, as
    hosted services name the snapshot behind an alias."""
    return answered == asked or re.fullmatch(rf"{re.escape(asked)}-\d{{4}}(-?\d\d){{0,2}}", answered) is not None


def _raise_for(setting: str, what: str, variable: str | None, error: str | None, model: str | None = None) -> None:
    if error is None:
        return
    if error.startswith(REFUSED):
        key = f"the key in {variable}" if variable else f"requests without a key: set {setting}.key_variable"
        raise UserError(f"{what} refuses {key} ({error}): check the key and the account behind it")
    if model is not None and error == "status 404":
        raise UserError(f"{what} knows no model {model} ({error}): serve it under that name, or correct the address")
    raise UserError(f"{what} does not answer ({error}): start it, or correct the address")
