"""A vLLM server, on this node or another, that `python -m reproduce.rollouts.engines.vllm_serve` started.

Requests are tokens in, tokens out, over HTTP. Weights go through a folder that trainer and server both see: the trainer
writes a safetensors file, the server's workers read it (`vllm_worker`). That needs neither a network of GPUs between
the two nor a GPU at all.
"""

import shutil
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import httpx
from safetensors.torch import save_file

from reproduce.errors import UserError
from reproduce.network import check_network_environment
from reproduce.rollouts.engines.vllm_engine import Request, Segment, VllmHost
from reproduce.rollouts.engines.vllm_install import check_server_version
from reproduce.rollouts.engines.weights import named_weights, version_of

AT_A_TIME = 256  # requests under way; the server queues what it cannot batch
STEP_SECONDS = 0.02  # how long `step` waits for a segment before tools are looked after
READY_SECONDS = 60.0
ANSWER_SECONDS = 3600.0  # a segment, or the loading of weights
WEIGHTS = "model.safetensors"


class VllmServer:
    """`reproduce.rollouts.engines.vllm_engine.Sampler` of a server.

    config: `EngineConfig` with `url` and `sync_folder`. vocabulary: of the model that trains. UserError if the server
    does not answer, is of a version that TRL does not support, or was started otherwise than `vllm_serve` does.
    """

    def __init__(self, config, vocabulary: int):
        self.url, self.vocabulary = config.url.rstrip("/"), vocabulary
        self.top_logprobs = min(config.top_logprobs, vocabulary)
        self._folder = Path(config.sync_folder)
        check_network_environment()
        limits = httpx.Limits(max_connections=AT_A_TIME, max_keepalive_connections=AT_A_TIME)
        self._client = httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS, limits=limits)
        self._threads = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="vllm")
        self._running: dict[Future, int] = {}
        self._loaded: tuple | None = None
        self._written = 0
        self._check(config)

    def load(self, model, always: bool = False) -> float:
        """As `LocalVllm.load`; the earlier weights in the folder are deleted."""
        version = version_of(model)
        if version == self._loaded and not always:
            return 0.0
        started = time.perf_counter()
        self._written += 1
        folder = self._folder / f"weights-{self._written}"
        folder.mkdir(parents=True, exist_ok=True)
        # a tied head shares the embeddings' memory, which safetensors does not take
        save_file({name: tensor.cpu().clone().contiguous() for name, tensor in named_weights(model)}, folder / WEIGHTS)
        self._post("/collective_rpc", {"method": "load_weights_file", "args": [str((folder / WEIGHTS).resolve())]})
        self._post("/reset_prefix_cache", {})
        shutil.rmtree(folder)
        self._loaded = version
        return time.perf_counter() - started

    def sleep(self) -> None:
        """Does nothing: its memory is its own."""

    def add(self, request: Request) -> None:
        """Sends a request."""
        self._running[self._threads.submit(self._sample, request)] = request.id

    def step(self) -> list[Segment]:
        """The segments that have come, after waiting a moment for the first one."""
        done, _ = wait(self._running, timeout=STEP_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            del self._running[future]
        return [future.result() for future in done]

    def abort(self) -> None:
        """Forgets all requests: those that the server works on end there by themselves."""
        for future in self._running:
            future.cancel()
        self._running.clear()

    def close(self) -> None:
        """Ends the connections; the server runs on."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _sample(self, request: Request) -> Segment:
        answer = self._post(
            "/v1/completions",
            {
                "prompt": request.tokens,
                "max_tokens": request.budget,
                "temperature": request.temperature,
                "seed": request.seed,
                "stop_token_ids": list(request.stop_ids),
                "ignore_eos": True,
                "logprobs": self.top_logprobs,
                "return_tokens_as_token_ids": True,
                "return_token_ids": True,
            },
        )
        choice, k = answer["choices"][0], self.top_logprobs
        found = choice["logprobs"]
        cached = (answer["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        tops = [sorted(top.values(), reverse=True)[:k] for top in found["top_logprobs"]]
        return Segment(request.id, choice["token_ids"], found["token_logprobs"], tops, cached)

    def _post(self, path: str, body: dict) -> dict:
        try:
            answer = self._client.post(path, json=body)
        except httpx.HTTPError as error:
            raise UserError(
                f"engine.url: the vLLM server {self.url} stopped answering ({error}): start it again; the run goes on "
                "from its last checkpoint"
            ) from error
        if answer.status_code != httpx.codes.OK:
            raise UserError(f"engine.url: {self.url}{path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json() if answer.content else {}

    def _check(self, config) -> None:
        """The server is up, of a known version, and started with the options that log-probs and weights need."""
        version, until = None, time.monotonic() + READY_SECONDS
        while version is None:
            try:
                version = self._client.get("/version", timeout=5.0).json()["version"]
            except (httpx.HTTPError, ValueError, KeyError) as error:
                if time.monotonic() > until:
                    raise UserError(
                        f"engine.url: no vLLM server answers at {self.url} ({type(error).__name__}); start one: python "
                        "-m reproduce.rollouts.engines.vllm_serve MODEL"
                    ) from None
                time.sleep(1.0)
        check_server_version(version)
        info = self._client.get("/server_info", params={"config_format": "json"})
        model = info.json()["vllm_config"]["model_config"] if info.status_code == httpx.codes.OK else {}
        if model.get("logprobs_mode") != "processed_logprobs":
            raise UserError(
                f"engine.url: the server {self.url} gives no log-probabilities at the sampling temperature: start it "
                "by python -m reproduce.rollouts.engines.vllm_serve MODEL"
            )
        if model["max_logprobs"] < self.top_logprobs:
            raise UserError(
                f"engine.top_logprobs is {self.top_logprobs}, but the server {self.url} gives {model['max_logprobs']}: "
                f"start it with --max-logprobs {self.top_logprobs}, or lower the setting"
            )
        self.max_context = int(model["max_model_len"])
        if config.max_context is not None and self.max_context < config.max_context:
            raise UserError(
                f"engine.max_context is {config.max_context}, but the server {self.url} takes {self.max_context} tokens"
            )


class Host(VllmHost):
    """Samples with a server."""

    one_process = True

    def _start(self, model) -> VllmServer:
        return VllmServer(self.config, int(model.config.get_text_config().vocab_size))
