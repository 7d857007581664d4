"""Five RL steps of every method on a small model: what `test_trajectories.py` compares, and its recorder.

PYTHONPATH=. python tests/trajectories.py     records tests/data/trajectories/steps.csv; say in the commit why it moved

The model is the warm start of table 2's smoke profile with hidden_size 32, 2 key-value heads, intermediate_size 64,
6000 demonstrations and learning rate 1e-2, rounded to float16: it calls tools, so that trees branch. The reward depends
on the length of the text alone, so that it varies; the learning rate is high, so that ratios leave every clip range.
"""

import json
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file
from test_trainer import config, trainer
from tiny import model

from reproduce.algorithms import names

FOLDER = Path(__file__).parent / "data" / "trajectories"
RECORD = FOLDER / "steps.csv"
METRICS = ("loss", "grad_norm", "reward_mean", "entropy", "outside_clip_fraction", "sampled_tokens", "trained_tokens")
STEPS = 5


def trajectory(method: str, folder: Path) -> pd.DataFrame:
    """The METRICS of STEPS steps, in double precision so that another processor's rounding flips no sampled token."""
    torch.manual_seed(0)
    lm = model()
    lm.load_state_dict(load_file(FOLDER / "model.safetensors"))
    settings = dict(steps=STEPS, prompts_per_step=4, learning_rate=1e-2, checkpoint_every=STEPS, dtype="float64")
    made = trainer(folder, config(method, **settings), lm.double())
    made.train()
    steps = [json.loads(path.read_text()) for path in sorted(made.run.parts.glob("*.steps.json"))]
    rows = [{"method": method, "step": step["step"], **{m: step["metrics"][m] for m in METRICS}} for step in steps]
    return pd.DataFrame(rows)


def record() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = [trajectory(method, Path(folder) / method) for method in names()]
    pd.concat(rows).to_csv(RECORD, index=False, float_format="%.12g")


if __name__ == "__main__":
    sys.exit(record())
