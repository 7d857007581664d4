"""The real batch of the fidelity audit, and the gradient of any method on it.

The batch is one RL step of a mini run, made by `python -m analysis.fidelity.recorder`.

Gradients are taken with respect to the logits of every trained token. One token's is a combination of two vectors,
d log p(token) / d logits and dH / d logits, whose inner products stand in the batch, so that norms and distances are
exact although no logits are stored.
"""

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.fidelity.schema import ALL_ENTROPIES, BATCH_SCHEMA, ROWS, TESTS_SCHEMA, TOKENS
from reproduce.algorithms import Algorithm, load
from reproduce.errors import UserError
from reproduce.runs.files import read_table

NAMES = {
    "turn": "turns_BT",
    "owner": "owners_BT",
    "old_logp": "old_logps_BT",
    "logp": "logps_BT",
    "ref_logp": "ref_logps_BT",
    "old_entropy": "old_entropies_BT",
    "old_entropy_top10": "old_entropies_top10_BT",
    "entropy": "entropies_BT",
}
"""Column -> the tensor's name in the algorithms; any other column of tokens is called <column>_BT."""


@dataclass(frozen=True)
class Batch:
    """One RL step. rows, tests: the columns of `schema.py`. about: how it was made. tensors: (B, T) on the
    completion's positions, float64 or int64, 0 (turns and owners: -1) outside mask_BT; and rewards_B, groups_B."""

    rows: pd.DataFrame
    tests: pd.DataFrame
    about: dict
    tensors: dict[str, Tensor]

    @property
    def mask_BT(self) -> Tensor:
        return self.tensors["mask_BT"]

    @property
    def description(self) -> str:
        """Description of the batch, in a sentence or two."""
        a, training = self.about, self.about["config"]["training"]
        return (
            f"Measured on one batch: RL step {a['rl_step'] + 1} of AEPO on the mini world "
            f"({', '.join(a['config']['task']['families'])}, seed {a['config']['seed']}), "
            f"{training['prompts_per_step']} questions of {self.k} trajectories, {self.tokens} trained tokens, "
            f"π as the last of {a['updates_per_step']} updates sees it. Made by `{a['made_by']}`."
        )

    @property
    def tokens(self) -> int:
        """Loss-mask tokens."""
        return int(self.mask_BT.sum())

    @property
    def completion_limit(self) -> int:
        """Tokens that a completion may have in the run of the batch."""
        return self.about["config"]["task"]["max_completion_tokens"]

    @property
    def k(self) -> int:
        """Trajectories per question."""
        return self.about["group_size"]

    @cached_property
    def ratios(self) -> Tensor:
        """pi / pi_old of every loss-mask token."""
        return (self.tensors["logps_BT"] - self.tensors["old_logps_BT"])[self.mask_BT].exp()

    @property
    def numbers(self) -> dict:
        """The place in the training and the entropies of past steps, as the trainer gives them to a loss."""
        references = {name: torch.tensor(value).double() for name, value in self.about["references"].items()}
        return {"rl_step": self.about["rl_step"], "rl_steps": self.about["rl_steps"], **references}

    def with_tensors(self, **changes: Tensor) -> "Batch":
        """The same batch with other tensors."""
        return replace(self, tensors={**self.tensors, **changes})

    @cached_property
    def segments(self) -> pd.DataFrame:
        """A row per segment (turn) that was sampled for its trajectory, in order.

        row, turn; h, h_top10: its height, the entropies (over the ten likeliest) of its first tokens, summed, over
        ln V; first: h of the path's first segment; before: h of the segment before the tool call, NaN in the first;
        stale: h of the first segment of the same index in RL step 1; tested: whether a branch test falls at its start.
        """
        records = []
        values = {name: self.tensors[name].numpy() for name in NAMES.values()}
        mask = self.mask_BT.numpy()
        for row in range(len(mask)):
            height = {}
            own = sorted({int(t) for t in values["turns_BT"][row][mask[row] & (values["owners_BT"][row] == row)]})
            for turn in sorted({int(t) for t in values["turns_BT"][row][mask[row]]}):
                here = mask[row] & (values["turns_BT"][row] == turn)
                height[turn] = self._height(values["old_entropies_BT"][row][here])
                if turn in own:
                    records.append(
                        {
                            "row": row,
                            "turn": turn,
                            "h": height[turn],
                            "h_top10": self._height(values["old_entropies_top10_BT"][row][here]),
                            "first": height[0],
                            "before": height.get(turn - 1, math.nan),
                            "stale": float(self.rows["first_batch_h"][row]),
                            "tested": turn > 0 and (turn > own[0] or self.rows["parent"][row] < 0),
                        }
                    )
        return pd.DataFrame(records)

    def _height(self, entropies: np.ndarray) -> float:
        return float(entropies[: self.about["entropy_tokens"]].sum()) / math.log(self.about["vocabulary"])

    @property
    def branch_tests(self) -> pd.DataFrame:
        """The segments at whose start a branch test falls."""
        return self.segments[self.segments["tested"]].reset_index(drop=True)


def load_batch(folder: Path) -> Batch:
    """The batch in `folder`. UserError if a file is missing, cut short or of another schema."""
    folder = Path(folder)
    about = folder / "batch.json"
    if not about.is_file():
        raise UserError(f"{about} is missing; run python -m analysis.fidelity.recorder")
    table = read_table(folder / "batch.parquet", BATCH_SCHEMA).to_pandas()
    tests = read_table(folder / "tests.parquet", TESTS_SCHEMA).to_pandas()
    width = int(table["completion_tokens"].max())
    tensors = {"mask_BT": _dense(table, [np.ones(len(p)) for p in table["position"]], width, 0).bool()}
    for column in TOKENS.keys() - {"position"}:
        whole = column in ("turn", "owner")
        dense = _dense(table, table[column], width, -1 if whole else 0)
        tensors[NAMES.get(column, f"{column}_BT")] = dense.long() if whole else dense
    every = [np.arange(n) for n in table["completion_tokens"]]
    tensors["all_entropies_BT"] = _dense(table.assign(position=every), table[ALL_ENTROPIES], width, 0)
    tensors["rewards_B"] = torch.tensor(table["reward"].to_numpy(np.float64))
    tensors["groups_B"] = torch.tensor(table["group"].to_numpy(np.int64))
    return Batch(table[list(ROWS)], tests, json.loads(about.read_text("utf-8")), tensors)


def _dense(table: pd.DataFrame, lists, width: int, padding: float) -> Tensor:
    dense = torch.full((len(table), width), float(padding), dtype=torch.float64)
    for row, (positions, values) in enumerate(zip(table["position"], lists, strict=True)):
        dense[row, torch.tensor(np.asarray(positions, np.int64))] = torch.tensor(np.asarray(values, np.float64))
    return dense


class Gradient(NamedTuple):
    """d loss / d log p and d loss / d H of every token, and the loss itself. Gradients may be subtracted and scaled."""

    logp_BT: Tensor
    entropy_BT: Tensor
    loss: float

    def minus(self, other: "Gradient") -> "Gradient":
        return Gradient(self.logp_BT - other.logp_BT, self.entropy_BT - other.entropy_BT, self.loss - other.loss)


def advantages(batch: Batch, algorithm: Algorithm) -> Tensor:
    """advantages_BT of a method; methods with a critic get GRPO's, for the batch holds no values."""
    if "values_BT" in algorithm.advantage_needs:
        algorithm = load("grpo")
    tensors = batch.tensors
    extra = {name: tensors[name] for name in algorithm.advantage_needs if name != "entropies_BT"}
    return algorithm.advantages(
        tensors["rewards_B"], tensors["groups_B"], batch.mask_BT, entropies_BT=tensors["old_entropies_BT"], **extra
    )


def gradient(batch: Batch, name: str, advantages_BT: Tensor | None = None, **overrides) -> Gradient:
    """The gradient of method `name` with overrides, the whole batch being one update batch.

    advantages_BT: None takes the method's own.
    """
    algorithm = load(name, **overrides)
    if advantages_BT is None:
        advantages_BT = advantages(batch, algorithm)
    logps_BT = batch.tensors["logps_BT"].clone().requires_grad_()
    entropies_BT = batch.tensors["entropies_BT"].clone().requires_grad_()
    known = {**batch.tensors, **batch.numbers}
    passed = ("logps_BT", "old_logps_BT", "advantages_BT", "entropies_BT")
    extra = {name: known[name] for name in algorithm.loss_needs if name not in passed}
    loss, _ = algorithm.loss(
        logps_BT, batch.tensors["old_logps_BT"], advantages_BT, batch.mask_BT, entropies_BT=entropies_BT, **extra
    )
    loss.backward()
    zeros_BT = torch.zeros_like(logps_BT)
    return Gradient(
        zeros_BT if logps_BT.grad is None else logps_BT.grad,
        zeros_BT if entropies_BT.grad is None else entropies_BT.grad,
        float(loss.detach()),
    )


def norm(batch: Batch, found: Gradient) -> float:
    """Euclidean norm of the gradient with respect to all logits."""
    g_BT, w_BT, t = found.logp_BT, found.entropy_BT, batch.tensors
    square_BT = g_BT**2 * t["score_square_BT"] + 2 * g_BT * w_BT * t["score_slope_BT"] + w_BT**2 * t["slope_square_BT"]
    return math.sqrt(max(0.0, float(square_BT[batch.mask_BT].sum())))


def distance(batch: Batch, paper: Gradient, other: Gradient) -> float:
    """|other - paper| / |paper|, in percent. ValueError if the paper's gradient is 0."""
    size = norm(batch, paper)
    if size == 0:
        raise ValueError("the gradient to compare with is 0 on this batch: no reward varies inside a group")
    return 100.0 * norm(batch, other.minus(paper)) / size


def compared(batch: Batch, paper: tuple[str, dict], other: tuple[str, dict], advantages_BT=None) -> float:
    """`distance` of two methods, each (name, overrides)."""
    forms = [gradient(batch, name, advantages_BT, **overrides) for name, overrides in (paper, other)]
    return distance(batch, *forms)
