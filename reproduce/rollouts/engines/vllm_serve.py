"""`python -m reproduce.rollouts.engines.vllm_serve MODEL [vLLM's own options]`: a server for the engine `vllm_server`.

MODEL: the folder or hub name of the model that trains, read for its config alone: the weights are random until the
trainer sends its own. What every such server needs is set here; everything else (--port, --tensor-parallel-size,
--max-model-len, --gpu-memory-utilization, ...) is vLLM's and is passed on. The server must see `engine.sync_folder`
under the same path as the trainer. It lets whoever reaches it replace the weights: keep it off public networks.
"""

import os
import sys
from pathlib import Path

from reproduce.errors import UserError
from reproduce.rollouts.engines.vllm_install import check_vllm

REPOSITORY = Path(__file__).resolve().parents[3]
NEEDED = (
    "--load-format",
    "dummy",
    "--hf-overrides",
    '{"tie_word_embeddings": false}',
    "--skip-tokenizer-init",
    "--enable-prefix-caching",
    "--enable-prompt-tokens-details",
    "--logprobs-mode",
    "processed_logprobs",
    "--generation-config",
    "vllm",
    "--worker-extension-cls",
    "reproduce.rollouts.engines.vllm_worker.WeightsFromFile",
)


def command(model: str, options: list[str]) -> list[str]:
    """The server's command line."""
    chosen = [] if any(option.split("=")[0] == "--max-logprobs" for option in options) else ["--max-logprobs", "20"]
    return [
        sys.executable,
        "-m",
        "vllm.entrypoints.launchers.api_server.entry",
        "--model",
        model,
        *NEEDED,
        *chosen,
        *options,
    ]


def main(words: list[str]) -> int:
    """Becomes the server; 2 with one line on what is wrong."""
    try:
        if not words or words[0].startswith("-"):
            raise UserError("usage: python -m reproduce.rollouts.engines.vllm_serve MODEL [vLLM's own options]")
        check_vllm()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    line = command(words[0], words[1:])
    os.execve(line[0], line, {**os.environ, "PYTHONPATH": path, "VLLM_SERVER_DEV_MODE": "1"})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
