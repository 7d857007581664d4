"""Five RL steps of a method on a small model, in double precision: what `test_trajectories.py` compares, and its
recorder.

Processors round float32 differently by about 1e-7. A sampled token flips once a uniform draw falls between two such
values, and Adam turns noise in a gradient that should be 0 into a step of full size. So nothing here is float32:
weights, passes, sampling, log-probabilities, advantages, losses and the optimiser are float64, and so are the two
places where transformers computes in float32 whatever the weights are (RMSNorm, rotary angles). Then processors differ
by about 1e-15 at first. `test_trajectories.py` holds that to noise of 1e-13 and to other instruction sets.

`PYTHONPATH=. python tests/support/trajectories.py` records every method of the tables in
tests/data/trajectories/steps.csv; say in the commit why it moved. With names of methods (`... opo gspo`) it records
these and keeps the others.

The model is the warm start of table 2's smoke profile with hidden_size 32, 2 key-value heads, intermediate_size 64,
6000 demonstrations and learning rate 1e-2, rounded to float16: it calls tools, so that trees branch. The reward depends
on the length of the text alone, so that it varies; the learning rate is high, so that ratios leave every clip range.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from places import DATA
from safetensors.torch import load_file
from tiny import model
from trainers import config, trainer
from transformers import TrainerCallback
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm, Qwen3RotaryEmbedding

from reproduce.algorithms import names
from reproduce.config.tables import TableConfig

FOLDER = DATA / "trajectories"
RECORD = FOLDER / "steps.csv"
METRICS = ("loss", "grad_norm", "reward_mean", "entropy", "outside_clip_fraction", "sampled_tokens", "trained_tokens")
STEPS = 5


@contextmanager
def in_double() -> Iterator[None]:
    """While open, numbers are float64: torch's default, and what transformers computes in float32 by itself."""

    def norm(self, hidden):
        return self.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    def angles(self, x, position_ids):
        pairs = torch.arange(0, self.config.head_dim, 2, dtype=torch.float64) / self.config.head_dim
        inverse = self.config.rope_parameters["rope_theta"] ** -pairs
        turned = position_ids[..., None].double() * torch.cat([inverse, inverse])
        return turned.cos(), turned.sin()

    before = Qwen3RMSNorm.forward, Qwen3RotaryEmbedding.forward, torch.get_default_dtype()
    Qwen3RMSNorm.forward, Qwen3RotaryEmbedding.forward = norm, angles
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        Qwen3RMSNorm.forward, Qwen3RotaryEmbedding.forward = before[:2]
        torch.set_default_dtype(before[2])


class _StopAfter(TrainerCallback):
    """Ends a training after some updates; what it was set to do in all stays."""

    def __init__(self, updates: int):
        self.updates = updates

    def on_step_end(self, args, state, control, **_):
        control.should_training_stop = state.global_step >= self.updates


def trajectory(
    method: str, folder: Path, jitter: float = 0.0, loss_factor: float = 1.0, steps: int = STEPS
) -> pd.DataFrame:
    """The METRICS of the first `steps` of STEPS steps.

    jitter: relative noise on the first weights, as another processor's rounding would bring it. loss_factor: an error
    planted in the method's loss.
    """
    torch.manual_seed(0)
    lm = model()
    lm.load_state_dict(load_file(FOLDER / "model.safetensors"))
    lm = lm.double()
    with torch.no_grad():
        for weight in lm.parameters() if jitter else ():
            weight.mul_(1 + jitter * torch.randn(weight.shape, dtype=torch.float64))
    settings = dict(steps=STEPS, prompts_per_step=4, learning_rate=1e-2, checkpoint_every=STEPS, dtype="float64")
    with in_double():
        made = trainer(folder, config(method, **settings), lm)
        if loss_factor != 1.0:
            made.algorithm = _Planted(made.algorithm, loss_factor)
        made.add_callback(_StopAfter(steps * made.updates_per_step))
        made.train()
    found = [json.loads(path.read_text()) for path in sorted(made.run.parts.glob("*.steps.json"))]
    rows = [{"method": method, "step": step["step"], **{m: step["metrics"][m] for m in METRICS}} for step in found]
    return pd.DataFrame(rows)


class _Planted:
    """An algorithm whose loss is wrong by a factor."""

    def __init__(self, algorithm, factor: float):
        self._algorithm, self._factor = algorithm, factor

    def __getattr__(self, name):
        return getattr(self._algorithm, name)

    def loss(self, *arguments, **options):
        loss, metrics = self._algorithm.loss(*arguments, **options)
        return self._factor * loss, metrics


def published() -> set[str]:
    """The methods that a table has a row of: each must have a record."""
    return {job.method for table in "12345" for job in TableConfig.load(table).jobs("mini", ["all"], [0])}


def record(methods: list[str]) -> None:
    """Writes the record of `methods`, or of all published ones; a record that another method has stays as it is."""
    kept = pd.read_csv(RECORD, dtype=str)
    methods = methods or [name for name in names() if name in published()]
    with tempfile.TemporaryDirectory() as folder:
        rows = pd.concat([trajectory(method, Path(folder) / method) for method in methods])
    rows.to_csv(RECORD, index=False, float_format="%.15g")
    rows = pd.concat([kept[~kept["method"].isin(methods)], pd.read_csv(RECORD, dtype=str)])
    rows.sort_values("method", key=lambda found: found.map(names().index), kind="stable").to_csv(RECORD, index=False)


if __name__ == "__main__":
    sys.exit(record(sys.argv[1:]))
