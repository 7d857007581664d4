"""Models behind an OpenAI-compatible endpoint: prompts in, replies out, temperature 0, many at a time.

A server need not give the same reply twice even at temperature 0, so a recording makes results repeatable: a reply is
kept under the hash of (model, messages, token limit) and asked for once. The `openai` client makes the requests. They
travel through our `Transport`, which bounds time and size, retries, limits the rate and hides keys.
"""

from collections.abc import Sequence
from pathlib import Path

import httpx

from reproduce.closing import Closing
from reproduce.config.search import ChatConfig
from reproduce.text import clean
from reproduce.tools.search.cache import Recording
from reproduce.tools.search.calls import Calls, Counts
from reproduce.tools.search.keys import read_key
from reproduce.tools.search.limiter import RateLimiter
from reproduce.tools.search.outcomes import Outcome
from reproduce.tools.search.transport import Request, RetryPolicy, Transport


class ChatModel(Closing):
    """The model of a `ChatConfig`.

    Args:
        kind: the name under which its calls are counted ("judge", "summary").
        config: the endpoint.
        mode: as in `Calls`.
        recording: as in `Calls`.
        seed: root seed, for the jitter of retries.
        session: as in `Calls`.

    Raises:
        UserError: the key is missing, or the network environment is bad. A replay needs neither.
    """

    def __init__(
        self, kind: str, config: ChatConfig, *, mode: str, recording: Recording | None, seed: int = 0, session: str = ""
    ):
        self.config, self.counts = config, Counts(kind)
        self._transport = None
        if mode != "replay":
            key = read_key(config.key_variable, f"{kind} model {config.model}") if config.key_variable else None
            shared = None if recording is None else recording.folder / f".rate-{kind}"
            self._transport = Transport(
                f"{kind} model",
                RetryPolicy(config.timeout_seconds, config.attempts),
                RateLimiter(config.requests_per_second, shared),
                seed,
                connections=config.concurrency,
                secrets=[] if key is None else [key],
                count=self.counts.add,
            )
            self._client = _client(config.base_url, self._transport)
        self._calls = Calls(
            self.counts,
            self._ask,
            self._transport,
            mode=mode,
            recording=recording,
            session=session,
            threads=config.concurrency,
        )

    def close(self) -> None:
        self._calls.close()

    def reply_many(self, prompts: Sequence[str]) -> list[Outcome]:
        """Send each prompt as one user message. Returns the text of each reply, or an error, in order."""
        return self._calls.many([self.request(prompt) for prompt in prompts])

    def request(self, prompt: str) -> dict:
        """Build the request for a prompt, under which its reply is recorded. The address is not part of it."""
        return {
            "model": self.config.model,
            "messages": [{"role": "user", "content": clean(prompt)}],
            "temperature": 0,
            "max_tokens": self.config.max_tokens,
        }

    def name(self) -> Outcome:
        """The name that the endpoint gives its model in a reply of one token, or an error; nothing is recorded."""
        request = self.request("Say yes.") | {"max_tokens": 1}
        return self._transport.retried(lambda: _name(self._client.chat.completions.create(**request)), "name")

    def _ask(self, request: dict, key: str) -> Outcome:
        return self._transport.retried(lambda: _text(self._client.chat.completions.create(**request)), key)


def open_recording(mode: str, cache_dir: str | Path | None) -> Recording | None:
    """Open the recording of a mode: None in live mode, read-only for a replay."""
    return None if mode == "live" else Recording(Path(cache_dir), writable=mode == "record")


class _Wire(httpx.BaseTransport):
    """Carries a client's requests over a `Transport`, with its key and none of the client's own headers."""

    def __init__(self, transport: Transport):
        self.transport = transport
        self.headers = {"Content-Type": "application/json"}
        for secret in transport.secrets:
            self.headers["Authorization"] = f"Bearer {secret.reveal()}"

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        sent = Request(request.method, str(request.url), headers=self.headers, content=request.read())
        body, _ = self.transport.reply(sent)
        return httpx.Response(200, headers={"Content-Type": "application/json"}, content=body)


def _client(base_url: str, transport: Transport):
    from openai import OpenAI  # slow to import

    wire = httpx.Client(transport=_Wire(transport), trust_env=False)
    return OpenAI(base_url=base_url, api_key="of the transport", max_retries=0, http_client=wire)


def _text(completion) -> str:
    """The text of the first choice, "" if it holds none (a thinking model that ran out of tokens gives null).

    Raises:
        ValueError: the reply does not have that form.
    """
    try:
        text = completion.choices[0].message.content
    except (TypeError, KeyError, IndexError, AttributeError):
        raise ValueError("the reply has no message") from None
    if not isinstance(text, str | None):
        raise ValueError("the message is not a text")
    return clean(text or "")


def _name(completion) -> str:
    """The model's name in a reply. ValueError if it holds none, or is no reply."""
    _text(completion)
    if not isinstance(completion.model, str) or not completion.model:
        raise ValueError("the reply names no model")
    return clean(completion.model)[:200]
