"""The trainer's part of a record of tokens: its log-probabilities, advantages, and log-probabilities of each update."""

from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor

from reproduce.algorithms import Algorithm
from reproduce.config.tables import JobConfig
from reproduce.rollouts.collector import Batch
from reproduce.rollouts.token_log import group_record
from reproduce.runs.token_records import VERSION, TokenRecord, rounded
from reproduce.training.micro_batches import take

ROWS = "log_rows_B"
"""The number of each row of a batch, from 1; 0 for rows that only fill a mini-batch."""


class TokenLog:
    """Records the first groups of some RL steps. It draws nothing and changes no tensor that a loss reads.

    Args:
        config: the run's, with `training.token_log`.
        algorithm: the method.
        decode: text of token ids, special tokens included.
    """

    def __init__(self, config: JobConfig, algorithm: Algorithm, decode: Callable[[list[int]], str]):
        self.config, self.algorithm, self.decode = config, algorithm, decode
        self.batch: Batch | None = None
        self._lengths: list[int] = []
        self._columns: dict[str, Tensor] = {}
        self._updates: list[list[Tensor]] = []

    def due(self, step: int, last: bool = False) -> bool:
        """Whether RL step `step` (from 1) is recorded. last: training ends with it."""
        t = self.config.training
        return last or step in (1, t.steps) or step % t.token_log.every == 0

    def begin(self, batch: Batch, output: dict, score: Callable[[dict], tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Take what is known before the first update of a step.

        Args:
            batch: the rollout batch.
            output: its tensors, advantages (B, T) included.
            score: (log-probabilities (B, T), entropies (B, T)) of some rows under the trainer's weights.

        Returns:
            The numbers of the rows, which must go through shuffling and splitting with the others.
        """
        own = batch.own()
        self.batch = Batch(own.groups[: self.config.training.token_log.groups])
        self._lengths = [row.path.length for row in self.batch.training_rows()]
        rows = torch.arange(len(self._lengths), device=output["completion_mask"].device)
        logps_BT, entropies_BT = score(take(output, rows))
        self._columns = {
            "advantages": output["advantages"][rows].cpu(),
            "trainer_logps": logps_BT.cpu(),
            "trainer_entropies": entropies_BT.cpu(),
        }
        self._updates = [[] for _ in self._lengths]
        return {ROWS: torch.arange(1, len(output["completion_mask"]) + 1, device=rows.device)}

    def update(self, inputs: dict, logps_BT: Tensor) -> None:
        """Take the log-probabilities (B, T) of a mini-batch, before its update."""
        if ROWS not in inputs:
            return
        for place, number in enumerate(inputs[ROWS].tolist()):
            if 1 <= number <= len(self._updates):
                self._updates[number - 1].append(logps_BT[place].detach().cpu())

    def record(self, step: int) -> TokenRecord:
        """Make the record of RL step `step` (from 1), after its last update."""
        columns = iter(
            {name: rounded(values[row, :length].tolist()) for name, values in self._columns.items()}
            | {"update_logps": [rounded(values[:length].tolist()) for values in self._updates[row]]}
            for row, length in enumerate(self._lengths)
        )
        c, policy = self.config, self.algorithm.rollout
        return TokenRecord(
            version=VERSION,
            profile=c.profile,
            experiment=c.experiment,
            method=c.method,
            name=c.name,
            seed=c.seed,
            step=step,
            steps=c.training.steps,
            world=c.task.world,
            temperature=float(c.training.temperature),
            clip_range=rounded(self.algorithm.clip_range),
            single_turns=self.batch.single_turns,
            policy={"name": type(policy).__name__, **asdict(policy)},
            groups=[group_record(group, columns, self.decode) for group in self.batch.groups],
        )
