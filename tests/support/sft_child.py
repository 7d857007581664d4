"""A warm start in one process of several: sft_child.main([runs root, model folder, data folder, key=value ...]).

fsdp=1 divides the weights; cut=N ends process by process after update N, as a kill would.
"""

import json
import sys
from pathlib import Path

import hub
import parallel_child
import torch

from reproduce.config.tables import JobConfig
from reproduce.grid.freeze_inputs import pinned
from reproduce.training import sft_warm_start
from reproduce.training.parallel import process_index
from reproduce.training.prepare import prepare_warm_start


class Cut(BaseException):
    pass


def job(model: Path, data: Path, dtype: str = "float32") -> JobConfig:
    """Sixteen rows in batches of four, two passes: eight updates, a checkpoint every third."""
    changes = {"warm_start": {"batch_size": 4, "max_epochs": 2}, "training": {"dtype": dtype}}
    return pinned([JobConfig.from_dict(hub.config(model, data, **changes))])[0]


def main(words: list[str]) -> None:
    root, model, data, *more = words
    settings = {key: json.loads(value) for key, value in (word.split("=", 1) for word in more)}
    if settings.get("fsdp"):
        parallel_child.divide_weights()
    torch.set_num_threads(1)
    sft_warm_start.CHECKPOINT_EVERY = 3
    told, cut = sft_warm_start._Told.on_step_end, settings.get("cut")
    seen: list[int] = []

    def on_step_end(self, args, state, control, **kwargs):
        if not seen and process_index() == 0:
            (Path(root) / "first_step").write_text(str(state.global_step))
        seen.append(state.global_step)
        told(self, args, state, control, **kwargs)
        if state.global_step == cut:
            raise Cut

    sft_warm_start._Told.on_step_end = on_step_end
    try:
        prepare_warm_start(job(Path(model), Path(data)), Path(root))
    except Cut:
        sys.exit(9)
