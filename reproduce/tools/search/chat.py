"""Models behind an OpenAI-compatible endpoint: prompts in, replies out, temperature 0, many at a time.

A server need not give the same reply twice even at temperature 0. What makes a result repeatable is the recording: a
reply is kept under the hash of (model, messages, token limit) and asked for once.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from reproduce.config.search import ChatConfig
from reproduce.text import clean
from reproduce.tools.search.cache import Recording
from reproduce.tools.search.calls import Calls, Counts
from reproduce.tools.search.keys import read_key
from reproduce.tools.search.limiter import RateLimiter
from reproduce.tools.search.outcomes import Outcome
from reproduce.tools.search.transport import Request, RetryPolicy, Transport


class ChatModel:
    """The model of a `ChatConfig`. kind: what its calls are counted as ("judge", "summary").

    mode, recording, session: as in `Calls`. Raises UserError if the key is asked for and missing, or the network
    environment is bad (not for a replay, which needs neither).
    """

    def __init__(
        self, kind: str, config: ChatConfig, *, mode: str, recording: Recording | None, seed: int = 0,
        session: str = "",
    ):  # fmt: skip
        self.config = config
        self._key = None
        if config.key_variable and mode != "replay":
            self._key = read_key(config.key_variable, f"{kind} model {config.model}")
        self.counts = Counts(kind)
        shared = None if recording is None else recording.folder / f".rate-{kind}"
        self._transport = None if mode == "replay" else Transport(
            f"{kind} model", RetryPolicy(config.timeout_seconds, config.attempts),
            RateLimiter(config.requests_per_second, shared), seed, connections=config.concurrency,
            secrets=[] if self._key is None else [self._key], count=self.counts.add,
        )  # fmt: skip
        self._calls = Calls(
            self.counts, self._ask, self._transport, mode=mode, recording=recording, session=session,
            threads=config.concurrency,
        )  # fmt: skip

    def __enter__(self) -> "ChatModel":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        self._calls.close()

    def reply_many(self, prompts: Sequence[str]) -> list[Outcome]:
        """For each prompt, sent as one user message, the text of the reply, or an error."""
        return self._calls.many([self.request(prompt) for prompt in prompts])

    def request(self, prompt: str) -> dict:
        """Request for a prompt, under which its reply is recorded. The address is not part of it."""
        return {
            "model": self.config.model, "messages": [{"role": "user", "content": clean(prompt)}],
            "temperature": 0, "max_tokens": self.config.max_tokens,
        }  # fmt: skip

    def _ask(self, request: dict, key: str) -> Outcome:
        headers = {} if self._key is None else {"Authorization": f"Bearer {self._key.reveal()}"}
        url = f"{self.config.base_url.rstrip('/')}/chat/completions"
        return self._transport.send(Request("POST", url, headers=headers, json=request), _read, key)


def open_recording(mode: str, cache_dir: str | Path | None) -> Recording | None:
    """The recording of a mode: None in live mode, read-only for a replay."""
    return None if mode == "live" else Recording(Path(cache_dir), writable=mode == "record")


def _read(body: bytes, content_type: str) -> str:
    """The text of the first choice, "" if it holds no text (a thinking model that ran out of tokens gives null).

    ValueError if the reply is not of that form.
    """
    reply = json.loads(body)
    try:
        text = reply["choices"][0]["message"]["content"]
    except (TypeError, KeyError, IndexError):
        raise ValueError("the reply has no message") from None
    if not isinstance(text, str | None):
        raise ValueError("the message is not a text")
    return clean(text or "")
