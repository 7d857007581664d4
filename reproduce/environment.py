"""The environment in which runs start: whatever can change a result is set here or left out, never inherited.

Variables that libraries read without asking the config (accelerate's precision, a launcher's ranks, switches of Python
and of arithmetic libraries) would change results under an unchanged config hash. So a child gets an allow-list of the
user's variables.
"""

import os
import re
from pathlib import Path

LAUNCHED = "REPRODUCE_LAUNCHED"
"""Our launchers set this on the processes of a run, whose RANK, WORLD_SIZE and ACCELERATE_* are then kept."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Two processes of one thread each do not disturb each other; one process of two threads suffers when anything else
runs.
"""

FIXED = {
    **ONE_THREAD,
    "PYTHONPATH": str(Path(__file__).resolve().parents[1]),  # this checkout, wherever a child is started
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8:replace",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
"""Variables of every child, whatever the user's are."""

_KEPT = (
    r"PATH|HOME|USER|LOGNAME|SHELL|PWD|TZ|TERM|COLUMNS|LINES|LANG|LANGUAGE|LC_\w+|TMPDIR|TEMP|TMP|XDG_\w+",  # a session
    r"LD_LIBRARY_PATH|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|HOME|PATH)|NVIDIA_(VISIBLE_DEVICES|DRIVER_CAPABILITIES)",
    r"ROCR_VISIBLE_DEVICES|HIP_VISIBLE_DEVICES|ZE_AFFINITY_MASK",  # which cards, and their libraries
    r"OPENBLAS_(CORETYPE|L2_SIZE)",  # without it old builds compute wrong results on some processors
    r"NCCL_\w+|GLOO_\w+|FI_\w+|UCX_\w+|SLURM\w*|SBATCH_\w+",  # the fabric and the cluster
    r"HF_(HOME|HUB_CACHE|HUB_OFFLINE|DATASETS_CACHE|DATASETS_OFFLINE|TOKEN|TOKEN_PATH|ENDPOINT|XET_CACHE)",
    r"HUGGINGFACE_HUB_CACHE|HUGGING_FACE_HUB_TOKEN|TRANSFORMERS_(CACHE|OFFLINE)|TORCH_HOME",  # where files are
    r"VLLM_(CACHE_ROOT|CONFIG_ROOT|CPU_KVCACHE_SPACE|CPU_OMP_THREADS_BIND|WORKER_MULTIPROC_METHOD)|TORCHDYNAMO_DISABLE",
    r"JAVA_HOME|ALFWORLD_DATA|REPRODUCE_\w+",
    r"\w*(_API_KEY|_KEY|_TOKEN|_ZONE)|WANDB_\w+|TRACKIO_\w+",  # keys and trackers, which no result depends on
)
_NETWORK = r"(https?|all|no|ftp)_proxy|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
_LAUNCHER = (
    r"RANK|LOCAL_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|GROUP_RANK|ROLE_\w+|MASTER_(ADDR|PORT)|TORCHELASTIC_\w+|TORCH_NCCL_\w+"
    r"|ACCELERATE_\w+|FSDP_\w+|CROSS_NODE\w*|OMPI_\w+|PMI_\w+|MPI_\w+"
)


def child_environment(network: bool = True, launched: bool = False) -> dict[str, str]:
    """Build the environment of a child process: `FIXED`, and those of the user's variables that no result depends on.

    Args:
        network: the child may send something, so proxies and certificates are kept.
        launched: the child is a process of a launcher, whose own variables (ranks, addresses, accelerate's switches)
            are kept.
    """
    parts = [*_KEPT, *([f"(?i:{_NETWORK})"] if network else []), *([_LAUNCHER] if launched else [])]
    kept = re.compile("|".join(f"(?:{part})" for part in parts))
    return {name: value for name, value in os.environ.items() if kept.fullmatch(name)} | FIXED


def settle(network: bool = True) -> None:
    """Give this process the environment of a child.

    Whatever runs a job calls this before it imports torch, accelerate or a library of theirs, so that a job started by
    hand equals one that the grid starts.
    """
    clean = child_environment(network, launched=LAUNCHED in os.environ)
    for name in set(os.environ) - set(clean):
        del os.environ[name]
    os.environ.update(clean)


def set_precision(dtype: str) -> None:
    """Tell accelerate the precision that the config names; otherwise a variable of the user's would decide."""
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if dtype == "bfloat16" else "no"
