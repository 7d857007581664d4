"""The learning rate over the RL steps."""

import math


def cosine_factor(step: int, steps: int, warmup_share: float, floor: float) -> float:
    """Factor on the learning rate: linear warm-up from `floor` to 1, then half a cosine down to `floor`.

    All updates of an RL step share its factor. Source: EPO
    (arXiv 2509.22576 v2, tables 2 and 3: cosine, 0.5 cycles, warm-up ratio 0.1, minimum ratio 0.2); that the warm-up
    begins at the minimum and that the schedule moves once an RL step are the released code's
    (`verl/utils/torch_functional.py`, `get_cosine_schedule_with_warmup`; `verl/workers/fsdp_workers.py`).

    Args:
        step: RL step, from 0.
        steps: of the whole training.
        warmup_share: int(warmup_share * steps) steps are warm-up.
        floor: the lowest factor, from 0 to 1.
    """
    warmup = int(warmup_share * steps)
    if step < warmup:
        return floor + (1.0 - floor) * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
