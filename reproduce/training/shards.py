"""A rollout batch in shards, each with random streams of its own.

What is sampled depends on the number of shards, which is a setting, and not on how many processes share them out: a run
with eight shards is the same run on one process and on eight. With one shard there is nothing here to do.
"""

import copy
from dataclasses import replace

from reproduce.algorithms import Algorithm
from reproduce.algorithms.parts.state import Sampling
from reproduce.rollouts.collector import Batch, Collector
from reproduce.training.parallel import gathered, leads, sampling_part

OF_THE_SAMPLER = ("session", "environment")
"""A trajectory's environment. It is of no use once the trajectory is there, and stays in its process."""


class Shards:
    """Stands where a `Collector` does in the trainer: collects each shard of a step, and puts them together.

    collectors: one for each shard, on seeds of their own; shard s belongs to process s modulo their number, and only
    its own collectors are ever used by a process. Where processes sample together, shard s belongs to group s modulo
    the number of groups, whose first process collects it while the others follow. Dynamic sampling refills a
    shard by itself, with at most `max_generation_batches` batches each. What a collector carries from step to step is
    kept by shard.
    """

    def __init__(self, collectors: list[Collector]):
        self.collectors = collectors
        first = collectors[0]
        self.task, self.grammar, self.max_turns, self.host = first.task, first.grammar, first.max_turns, first.host
        self.model = first.model

    def collect(
        self, questions: list, k: int, algorithm: Algorithm, step: int, sampling: Sampling | None = None
    ) -> Batch:
        """The groups of RL step `step`, in the order of `questions`; the same in every process."""
        return self.put_together(self.collect_own(questions, k, algorithm, step, sampling))

    def collect_own(
        self, questions: list, k: int, algorithm: Algorithm, step: int, sampling: Sampling | None = None
    ) -> dict[int, Batch]:
        """shard -> groups of the shards that this process collects."""
        size = len(questions) // len(self.collectors)

        def collected(shard: int) -> Batch:
            own = questions[shard * size :][:size]
            return portable(self.collectors[shard].collect(own, k, algorithm, step, sampling))

        return self.host.led(lambda: {shard: collected(shard) for shard in self._own()}) or {}

    def put_together(self, own: dict[int, Batch]) -> Batch:
        """The groups that all processes collected. Every process must call it."""
        found = _by_shard(gathered(own))
        return Batch([group for batch in found for group in batch.groups], _costs([batch.cost for batch in found]))

    def state_dict(self) -> dict:
        """State of all shards that later steps depend on besides seed, step and weights. Every process calls it."""
        return {"shards": _by_shard(gathered({shard: self.collectors[shard].state_dict() for shard in self._own()}))}

    def load_state_dict(self, state: dict) -> None:
        """Continue from a `state_dict()`."""
        for collector, shard in zip(self.collectors, state["shards"], strict=True):
            collector.load_state_dict(shard)

    def _own(self) -> range:
        """Of the shards, those that this process collects."""
        together = self.host.tensor_parallel
        group, groups = sampling_part(together)
        return range(group, len(self.collectors), groups) if leads(together) else range(0)


def _by_shard(found: list[dict]) -> list:
    merged = {shard: value for of_process in found for shard, value in of_process.items()}
    return [merged[shard] for shard in sorted(merged)]


def portable(batch: Batch) -> Batch:
    """The batch without what cannot leave its process."""
    groups = [replace(group, trajectories=[_record(t) for t in group.trajectories]) for group in batch.groups]
    return replace(batch, groups=groups)


def _record(trajectory):
    made = copy.copy(trajectory)
    for name in OF_THE_SAMPLER:
        if hasattr(made, name):
            setattr(made, name, None)
    return made


OVER_GROUPS = ("tree_", "success_")  # means over groups, which are of equal size


def _costs(costs: list[dict[str, float]]) -> dict[str, float]:
    """Of all shards: sums; the largest of what ends in _max; means over groups (`OVER_GROUPS`) or tokens (others)."""
    return {name: _joined(name, costs) for name in costs[0]}


def _joined(name: str, costs: list[dict[str, float]]) -> float:
    values = [cost[name] for cost in costs]
    if name.endswith("_max"):
        return max(values)
    if not name.endswith("_mean"):
        return sum(values)
    weights = [cost["groups_sampled" if name.startswith(OVER_GROUPS) else "sampled_tokens"] for cost in costs]
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
