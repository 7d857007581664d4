"""One check in a process of its own: `python -m reproduce.commands.check_gpu.one NAME FILE [--dry]`.

Its figures are written to FILE as JSON; what stopped it is there in their place.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

from reproduce.commands.check_gpu import attention, divided, sampling, steps
from reproduce.commands.check_gpu.figures import CannotRun, Figure

CHECKS: dict[str, tuple[Callable[[bool], list[Figure]], int]] = {
    "bf16-step": (steps.bf16_step, 100),
    "vllm": (sampling.vllm_colocated, 200),
    "sampler-gap": (sampling.sampler_gap, 200),
    "lora": (steps.lora, 140),
    "flex-attention": (attention.flex, 100),
    "zero3": (divided.zero3, divided.SECONDS + 5),
    "fsdp": (divided.fsdp, divided.SECONDS + 5),
    "all-weights": (steps.full_step, 90),
    "transformers": (sampling.transformers_speed, 60),
}
"""name -> (the check, the seconds that it may take), in their order. Together they stay below 25 minutes."""


def main(words: list[str]) -> int:
    """Runs the check and writes what came of it. Returns 0 whatever that was."""
    name, file, *rest = words
    check, _ = CHECKS[name]
    try:
        found = {"figures": [dataclasses.asdict(figure) for figure in check("--dry" in rest)]}
    except CannotRun as reason:
        found = {"needs": str(reason)}
    except Exception as error:  # of any kind: the next check goes on, and the line says what it was
        import traceback

        traceback.print_exc()
        found = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    Path(file).write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
